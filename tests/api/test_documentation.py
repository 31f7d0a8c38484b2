"""docs/api.md is right: its commands run, and its table agrees with the OpenAPI document."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

from api import problems
from tests.api.conftest import SECRET, TOKEN, Serve
from tests.api.test_rest import document, operations
from tests.workflow.conftest import Started, daytona, start  # noqa: F401 -- fixtures

TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
COMMANDS = [block for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) if "curl" in block]


async def test_commands_run_as_they_stand(serve: Serve, start: Started, issue_id: int) -> None:  # noqa: F811
    """Pasted into a shell one after the other, every command succeeds."""
    runs = {"run_preset": "command", "run_command": "sleep 60"}
    stack = await start(name_prefix=f"docs{issue_id}-", **runs)
    api = await serve(task_queue=stack.settings.task_queue, name_prefix=stack.settings.name_prefix, **runs)
    variables = {
        "API": str(api.client.base_url),
        "TOKEN": TOKEN,
        "SECRET": SECRET,
        "DAYTONA_API_KEY": stack.daytona.api_key,
        "no_proxy": "*",
    }
    assert len(COMMANDS) == 7
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", "\n".join(COMMANDS)),
        env=os.environ | variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode() + output.decode()
    assert b'"intention":"ensure"' in output
    assert b'"state":"started"' in output
    assert b'"waited":"usable"' in output
    assert b"git version" in output
    assert b'"key":"call-nightly-1"' in output


async def test_table_is_what_openapi_says(serve: Serve, closed_address: str) -> None:
    """The table has each call with exactly the statuses in the OpenAPI document."""
    schema = await document(await serve(closed_address))
    documented = {
        (method.upper(), path): {int(status) for status in operation["responses"]}
        for method, path, operation in operations(schema)
        if path.startswith(("/v1", "/webhooks"))
    }
    rows = re.findall(r"^\| `(\w+) ([^`]+)` \| ([^|]+) \|", TEXT, re.MULTILINE)
    listed = {
        (method, path): {int(status) for status in re.findall(r"\d{3}", statuses)} for method, path, statuses in rows
    }
    assert listed == documented


def test_every_type_of_problem_is_listed() -> None:
    """A program may compare all of them, so the page has all of them."""
    source = "".join(path.read_text() for path in Path(problems.__file__).parent.glob("*.py"))
    made = {*re.findall(r'(?:ProblemError|_respond)\(\s*\d+,\s*"([a-z-]+)"', source), "not-found", "method-not-allowed"}
    types = made | {kind for _, kind in problems.OF_ISSUES.values()}
    assert len(types) > 15
    assert {kind for kind in types if f"`{kind}`" not in TEXT.partition("## Errors")[2]} == set()
