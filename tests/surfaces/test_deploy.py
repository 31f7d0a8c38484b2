"""A deploy: SIGTERM to the worker in the middle of its commands, on the whole stack as `issuebox dev` runs it.

Each of five issues is in the middle of a different command, which takes longer than a stopping worker waits for it.
Afterwards each has what was requested, in its one sandbox, and none was blocked on the way.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import pytest
import pytest_asyncio

from issuebox.dev.demo.stack import SETTINGS, Stack, running, until
from issuebox.dev.dev_stack import DevStack
from issuebox.dev.environment import inherited, to_temporal

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

LONG_S = 20.0
"""Longer than starting all five commands takes, and than a stopping worker waits for them."""

SETTINGS_HERE = SETTINGS | {
    "ISSUEBOX_CLOSE_STOP_AFTER_S": "0.5",
    "ISSUEBOX_CLOSE_ARCHIVE_AFTER_S": "3600",
}

COMMANDS = ("create", "start", "set_up", "inspect", "stop")


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """While this file exists, the set-up of each sandbox takes long."""
    return tmp_path_factory.mktemp("set-up") / "slow"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(slow: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    command = f"if [ -e {shlex.quote(str(slow))} ]; then sleep {LONG_S:g}; fi"
    data_dir = tmp_path_factory.mktemp("stack") / "data"
    async with running(data_dir, SETTINGS_HERE | {"ISSUEBOX_SETUP_COMMAND": command}) as stack:
        yield stack


@pytest.mark.parametrize("goes_on", ["the same worker, started again", "another worker"])
async def test_commands_of_a_worker_that_stops_are_completed(
    stack: Stack, slow: Path, tmp_path: Path, goes_on: str
) -> None:
    """Five issues, five commands, one SIGTERM: one sandbox each, no command lost, no issue blocked."""
    first = 500 if goes_on.startswith("the same") else 600
    issues = {command: first + number for number, command in enumerate(COMMANDS)}
    pid = worker_of(stack)
    await _in_the_middle(stack, issues, slow)
    async with another_worker(stack, tmp_path) if first == 600 else nullcontext():
        os.kill(pid, signal.SIGTERM)
        slow.unlink()
        await asyncio.gather(
            *(stack.served(issues[command]) for command in ("create", "start", "set_up")),
            *(stack.settled(issues[command], "stopped") for command in ("inspect", "stop")),
        )
        for command, issue in issues.items():
            await _is_right(stack, command, issue)
    await until(lambda: _restarted(stack, pid), bool, "`issuebox dev` has started its worker again", 60.0)


async def _in_the_middle(stack: Stack, issues: dict[str, int], slow: Path) -> None:
    """Bring each issue into the middle of its command."""
    calm = [issues[command] for command in ("start", "inspect", "stop")]
    await asyncio.gather(*(stack.send("opened", issue) for issue in calm))
    await asyncio.gather(*(stack.served(issue) for issue in calm))
    name = {command: stack.name(issue) for command, issue in issues.items()}
    await stack.act(issues["start"], "stop")
    await stack.settled(issues["start"], "stopped")
    slow.touch()
    add = stack.admin.add_fault
    await add("create", {"kind": "slow", "seconds": LONG_S}, name=name["create"])
    await add("start", {"kind": "slow", "seconds": LONG_S}, name=name["start"])
    await add("stop", {"kind": "slow", "seconds": LONG_S}, name=name["stop"])
    await add("toolbox", {"kind": "delay", "seconds": LONG_S}, sandbox_id=(await stack.one(issues["inspect"])).id)
    await asyncio.gather(
        stack.send("opened", issues["create"]),
        stack.send("opened", issues["set_up"]),
        stack.send("labeled", issues["start"]),
        stack.send("closed", issues["inspect"]),
        stack.send("closed", issues["stop"]),
    )
    doing = {
        "create": "creating", "start": "starting", "set_up": "setting", "inspect": "inspecting", "stop": "stopping",
    }  # fmt: skip
    for command, issue in issues.items():
        await until(
            lambda issue=issue: stack.status(issue),  # type: ignore[misc]
            lambda seen, word=doing[command]: str(seen.get("doing", "")).startswith(word),  # type: ignore[misc]
            f"{command} is under way",
            15.0,
        )


async def _is_right(stack: Stack, command: str, issue: int) -> None:
    """One sandbox, created once, and no block on the way to it."""
    await stack.one(issue)
    assert await stack.creates(issue) == 1, command
    reply = await stack.http.get(
        f"{stack.stack.api_url}/v1/issues/{issue}/sandbox/why",
        headers={"Authorization": f"Bearer {stack.stack.api_token}"},
    )
    notes = [(note["what"], note["reason"]) for note in reply.json()["notes"]]
    assert not [note for note in notes if note[0] == "blocked"], (command, notes)


def worker_of(stack: Stack) -> int:
    """The process of the worker that `issuebox dev` runs."""
    found = DevStack.lookup(stack.data_dir)
    assert found is not None
    return found.processes["worker"]


async def _restarted(stack: Stack, before: int) -> bool:
    found = DevStack.lookup(stack.data_dir)
    is_new = found is not None and found.processes.get("worker", before) != before
    return is_new and (stack.data_dir / "worker.ready").exists()


@asynccontextmanager
async def another_worker(stack: Stack, directory: Path) -> AsyncIterator[None]:
    """A second worker of the same installation."""
    dev, ready = stack.stack, directory / "worker.ready"
    environment = {
        **inherited(),
        **SETTINGS_HERE,
        **to_temporal(dev.temporal_address, dev.temporal_namespace),
        "DAYTONA_API_URL": dev.daytona_api_url,
        "DAYTONA_API_KEY": dev.daytona_api_key or "",
        "ISSUEBOX_SETUP_COMMAND": "true",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "issuebox", "worker", "--ready-file", str(ready)), env=environment
    )

    async def is_ready() -> bool:
        assert process.returncode is None
        return ready.exists()

    try:
        await until(is_ready, bool, "the other worker polls", 60.0)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 30)
