"""The commands of the pages run as they stand, on one `issuebox dev` for all."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pytest

from issuebox.dev.dev_stack import DevStack
from issuebox.dev.temporal_server import ensure_binary
from localdaytona.testing import free_port
from tests.cli.conftest import environment
from tests.docs.blocks import NOT_RUN, REPOSITORY, RUN_BY, Block, blocks
from tests.waiting import until

READY_S, PAGE_S = 60.0, 120.0
USUAL_API = "http://127.0.0.1:8787"
KNOWN = """
issuebox send opened --issue 1 --repo octo/repo
issuebox start 3141592653 --repo octo/repo --number 5 --title 'Crash on start'
"""
"""The issues of the pages."""
RUNNING = "issuebox ensure 1\n"
"""What each page takes for granted; another may have deleted the sandbox."""


@dataclass(frozen=True)
class Place:
    """A directory in which a stack runs, as somebody has it who follows the pages."""

    directory: Path
    stack: DevStack
    variables: dict[str, str]

    async def run(self, page: str, script: str) -> str:
        """Run a page's commands in one shell. Returns what went wrong, or an empty text."""
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euxo", "pipefail", "-c", script.replace(USUAL_API, self.stack.api_url)),
            cwd=self.directory,
            env=self.variables,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), PAGE_S)
        return "" if process.returncode == 0 else f"{page} ended with {process.returncode}:\n{output.decode()[-2000:]}"


@asynccontextmanager
async def dev(directory: Path) -> AsyncIterator[Place]:
    """`issuebox dev` in this directory; `issuebox`, `uv run` and `temporal` are on the PATH.

    Only `temporal` is told the address, which is the usual one for a reader: `issuebox` finds the stack by itself.
    """
    commands = directory / "bin"
    commands.mkdir()
    temporal = await ensure_binary()
    for name, text in {
        "issuebox": f'exec {sys.executable} -m issuebox "$@"',
        "uv": '[ "$1" = run ] && shift && exec "$@"',
        "temporal": f'TEMPORAL_ADDRESS=$DEV_TEMPORAL exec {temporal} "$@"',
    }.items():
        (commands / name).write_text(f"#!/bin/sh\n{text}\n")
        (commands / name).chmod(stat.S_IRWXU)
    agent = {"ISSUEBOX_RUN_PRESET": "command", "ISSUEBOX_RUN_COMMAND": "echo done"}
    given = agent | {"PYTHONPATH": str(REPOSITORY), "PATH": f"{commands}:{os.environ['PATH']}", "no_proxy": "*"}
    variables = environment(directory, given)
    ports = [text for part in ("api", "temporal", "ui", "daytona") for text in (f"--{part}-port", str(free_port()))]
    log = directory / "dev.log"
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "issuebox", "dev", "--speed", "50", "--attached", *ports),
            cwd=directory,
            env=variables,
            stdin=asyncio.subprocess.PIPE,
            stdout=file,
            stderr=file,
        )

    async def ready() -> DevStack | None:
        assert process.returncode is None, log.read_text()
        return DevStack.lookup(directory / ".issuebox")

    try:
        stack = await until(ready, lambda seen: bool(seen and seen.is_ready), "the stack is ready", READY_S)
        assert stack
        reached = {"TOKEN": stack.api_token, "SECRET": stack.webhook_secret, "API": stack.api_url}
        yield Place(directory, stack, variables | reached | {"DEV_TEMPORAL": stack.temporal_address})
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.timeout(300)
async def test_commands_of_the_pages_run_as_they_stand(tmp_path: Path) -> None:
    """Pasted into a shell one after the other, every command of every page succeeds."""
    run_here = [block for block in blocks() if block.is_run_here]
    assert {"README.md", "docs/temporal.md"} <= {block.page for block in run_here}
    async with dev(tmp_path) as place:
        wrong = [await place.run("before the pages", KNOWN)]
        for page, of_page in groupby(run_here, lambda block: block.page):
            wrong.append(await place.run(page, RUNNING + "\n".join(block.commands for block in of_page)))
    assert [text for text in wrong if text] == []


@pytest.mark.parametrize("block", [block for block in blocks() if block.mark], ids=lambda block: block.page)
def test_mark_of_a_block_gives_its_reason(block: Block) -> None:
    """What is not run says why; what another test runs names that test, and the test names the page."""
    if block.mark.startswith(NOT_RUN):
        assert len(block.mark.removeprefix(NOT_RUN).split()) >= 3
    else:
        assert block.mark.startswith(RUN_BY)
        test = REPOSITORY / block.mark.removeprefix(RUN_BY)
        assert Path(block.page).name in test.read_text()
