"""The lines of docs/connect-your-agent.md run as they stand, against the whole stack."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

from tests.api.conftest import TOKEN, Api, Serve
from tests.workflow.conftest import Stack, Started, daytona, start  # noqa: F401 -- fixtures

TEXT = (Path(__file__).parents[2] / "docs" / "connect-your-agent.md").read_text()
LINES_MAX = 15


def lines() -> str:
    """The page's only block of Python."""
    [block] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    return str(block)


async def ran(api: Api, stack: Stack) -> tuple[int | None, str, str]:
    """How the lines end in a new Python, and what they print."""
    variables = {
        "API": str(api.client.base_url),
        "TOKEN": TOKEN,
        "ISSUE_ID": str(stack.issue_id),
        "DAYTONA_API_KEY": stack.daytona.api_key,
        "DAYTONA_API_URL": stack.daytona.api_url,
        "no_proxy": "*",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", lines()),
        env=os.environ | variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


async def test_lines_of_the_page_run_as_they_stand(start: Started, serve: Serve) -> None:  # noqa: F811
    """They ask, wait and run a command in the sandbox; of a blocked issue they tell the reason."""
    assert len(lines().strip().splitlines()) == LINES_MAX
    stack = await start()
    api = await serve(task_queue=stack.settings.task_queue)
    code, output, errors = await ran(api, stack)
    assert (code, output.startswith("hello from /")) == (0, True), errors
    [row] = await stack.live()
    assert row.state == "started"
    await stack.daytona.admin.act(row.id, "delete")
    await stack.daytona.admin.config(cpu_max=0)
    code, output, errors = await ran(api, stack)
    assert (code, output) == (1, "")
    assert "raise the organization's limit" in errors


def test_page_names_each_variable_that_the_lines_read() -> None:
    """Nobody has to read the code to know what to set."""
    for name in {*re.findall(r"environ\[.(\w+).\]", lines()), "DAYTONA_API_KEY"}:
        assert f"| `{name}` |" in TEXT
