"""The routes of git."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field, SecretStr

from localdaytona.toolbox import git
from localdaytona.toolbox.workspaces import Workspaces
from localdaytona.types import JSONObject


class CloneRequest(BaseModel):
    """What `git.clone` sends."""

    url: Annotated[str, Field(min_length=1)]
    path: Annotated[str, Field(min_length=1)]
    branch: str | None = None
    commit_id: str | None = None
    depth: Annotated[int | None, Field(ge=0)] = None
    username: str | None = None
    password: SecretStr | None = None
    insecure_skip_tls: bool = False

    def source(self) -> git.Source:
        """Return what to clone."""
        password = self.password.get_secret_value() if self.password else ""
        given = git.Credentials(self.username or "", password) if self.username or password else None
        return git.Source(self.url, self.branch, self.commit_id, self.depth, given, self.insecure_skip_tls)


def add_git_routes(router: APIRouter, workspaces: Workspaces) -> None:
    """Add the routes to the toolbox's router."""

    @router.post("/git/clone")
    async def clone(sandbox_id: str, asked: CloneRequest) -> Response:
        await git.clone(workspaces.open(sandbox_id), asked.source(), asked.path)
        return Response(status_code=200)

    @router.get("/git/status")
    async def status(sandbox_id: str, path: str) -> JSONObject:
        return await git.status(workspaces.open(sandbox_id), path)
