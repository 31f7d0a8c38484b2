"""The routes that run single commands and report directories."""

import re
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from localdaytona.toolbox.commands import execute
from localdaytona.toolbox.errors import ToolboxError
from localdaytona.toolbox.workspaces import Workspaces

ENV_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TIMEOUT_MAX_S = 86_400


class ExecuteRequest(BaseModel):
    """What `process.exec` sends. A timeout of zero or none means no timeout."""

    command: str = ""
    cwd: str | None = None
    envs: dict[str, str] | None = None
    timeout: Annotated[float | None, Field(ge=0, le=TIMEOUT_MAX_S)] = None


def add_process_routes(router: APIRouter, workspaces: Workspaces) -> None:
    """Add the routes to the toolbox's router."""

    @router.post("/process/execute")
    async def execute_command(sandbox_id: str, asked: ExecuteRequest) -> dict[str, int | str]:
        if not asked.command.strip():
            raise ToolboxError(400, "bad request: empty command")
        _refuse_bad_keys(asked.envs or {})
        workspace = workspaces.open(sandbox_id)
        cwd = workspace.follow(asked.cwd) if asked.cwd else workspace.home
        env = workspace.environment(asked.envs)
        done = await execute(workspace.run, asked.command, cwd, env, asked.timeout or None)
        return {"exitCode": done.exit_code, "result": done.output}

    @router.get("/user-home-dir")
    @router.get("/work-dir")
    async def home_dir(sandbox_id: str) -> dict[str, str]:
        """Return the path on this machine, which is the one that commands see."""
        return {"dir": str(workspaces.open(sandbox_id).home)}


def _refuse_bad_keys(envs: dict[str, str]) -> None:
    bad = [key for key, value in envs.items() if not ENV_KEY.fullmatch(key) or "\0" in value]
    if bad:
        raise ToolboxError(400, f"bad request: invalid environment variable: {', '.join(bad)}")
