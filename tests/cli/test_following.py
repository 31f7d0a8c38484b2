"""The commands that wait, watch, or lead to a page: how they end, and what a pipe gets of them."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio.client import Client

from issuebox.dev.dev_stack import DevStack
from tests.cli.conftest import Run, environment, issue_in
from tests.cli.test_reading import known, visible
from tests.waiting import until
from tests.workflow.conftest import Stack
from workflows.messages import Published

QUOTA = {"kind": "status", "status": 400, "message": "Total CPU limit exceeded."}


async def test_wait_ends_when_the_sandbox_can_be_used(stack: Stack, issuebox: Run, repository: str) -> None:
    """It may begin before anybody knows the issue, and asks for nothing itself."""
    await stack.daytona.admin.config(durations={"create_s": 1.0})
    waiting = asyncio.create_task(issuebox("wait", f"{repository}#5", "--timeout", "60"))
    await asyncio.sleep(1.0)
    assert await stack.live() == []
    await stack.deliver(stack.event(issue=issue_in(stack, repository)))
    ran = await waiting
    [live] = await stack.live()
    assert (ran.code, ran.err, live.state) == (0, "", "started")
    for fact in (f"{stack.name} can be used.", "started", live.id, f"{stack.daytona.base_url}/toolbox/{live.id}"):
        assert fact in ran.out
    again = await issuebox("wait", stack.name, "--timeout", "0", "--json")
    assert (again.code, again.json["sandbox"]["id"]) == (0, live.id)


async def test_wait_for_a_blocked_issue_ends_with_the_reason(stack: Stack, issuebox: Run) -> None:
    """At once, with exit code 1, and with what helps."""
    await stack.daytona.admin.add_fault("create", QUOTA, times=None)
    await issuebox("start", stack.name)
    ran = await issuebox("wait", stack.name)
    assert (ran.code, ran.err) == (1, "")
    assert "Total CPU limit exceeded." in ran.out
    assert "raise the organization's limit" in ran.out


async def test_wait_says_what_to_do_when_nobody_asks_for_the_sandbox(stack: Stack, issuebox: Run) -> None:
    """The time is over, and the sandbox is as it was."""
    await stack.ensure()
    await stack.order("stop")
    await until(stack.state, lambda state: state == "stopped", "the sandbox stopped")
    ran = await issuebox("wait", stack.name, "--timeout", "1")
    assert ran.code == 1
    assert "cannot be used after 1 s: stopped. Nobody wants it to run now (goal: stopped)" in ran.out
    assert f"`issuebox ensure {stack.issue_id}` asks for it." in ran.out


@pytest.mark.parametrize("name", ["{id}", "octo/nobody-knows#7"])
async def test_wait_for_an_unknown_issue_ends_with_4_when_the_time_is_over(
    run: Run, temporal_address: str, issue_id: int, name: str
) -> None:
    """A script can tell it from a sandbox that is not ready."""
    ran = await run("wait", name.format(id=issue_id), "--timeout", "1", TEMPORAL_ADDRESS=temporal_address)
    assert (ran.code, ran.out) == (4, ""), ran


@asynccontextmanager
async def watching(directory: Path, address: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`issuebox list --watch`, with its standard output as a pipe."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "issuebox", "list", "--watch", *arguments),
        env=environment(directory, {"TEMPORAL_ADDRESS": address}),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_watch_gives_a_pipe_the_list_again_at_each_change(
    temporal: Client, repository: str, temporal_address: str, tmp_path: Path
) -> None:
    """One JSON document to a line. Ctrl-C ends it without a word."""
    first = await known(temporal, Published(phase="usable", repository=repository, number=1))
    await visible(temporal, first)
    async with watching(tmp_path, temporal_address, "--repo", repository, "--json") as process:
        assert process.stdout is not None

        async def numbers() -> list[int]:
            assert process.stdout is not None
            line = await asyncio.wait_for(process.stdout.readline(), 30)
            return [row["published"]["number"] for row in json.loads(line)["issues"]]

        assert await numbers() == [1]
        await known(temporal, Published(phase="usable", repository=repository, number=2))
        assert await numbers() == [2, 1]
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), 30)
        assert (process.returncode, out, err) == (130, b"", b"")


async def test_watch_on_a_pipe_dates_each_list(repository: str, temporal_address: str, tmp_path: Path) -> None:
    """A log of it can be read later, and a list with nothing in it says so."""
    async with watching(tmp_path, temporal_address, "--repo", repository) as process:
        assert process.stdout is not None
        lines = [(await asyncio.wait_for(process.stdout.readline(), 30)).decode() for _ in range(2)]
    assert lines[0].endswith(" UTC\n")
    assert lines[1].strip()


async def test_watch_on_a_terminal_ends_with_ctrl_c_and_leaves_the_list(
    temporal: Client, repository: str, temporal_address: str, tmp_path: Path
) -> None:
    """The list is drawn in its place, and the cursor is given back."""
    await visible(temporal, await known(temporal, Published(phase="usable", repository=repository, number=1)))
    leader, follower = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "issuebox", "list", "--watch", "--repo", repository),
        env=environment(tmp_path, {"TEMPORAL_ADDRESS": temporal_address, "TERM": "xterm", "COLUMNS": "80"}),
        stdin=follower, stdout=follower, stderr=follower,
    )  # fmt: skip
    os.close(follower)
    shown = await asyncio.to_thread(read_until, leader, f"{repository}#1".encode())
    process.send_signal(signal.SIGINT)
    shown += await asyncio.to_thread(read_until, leader, b"\x1b[?25h")
    assert await asyncio.wait_for(process.wait(), 30) == 130
    os.close(leader)
    assert b"Traceback" not in shown


def read_until(descriptor: int, wanted: bytes) -> bytes:
    """Read a terminal until it has shown this."""
    shown = b""
    while wanted not in shown:
        shown += os.read(descriptor, 4096)
    return shown


async def test_open_prints_the_address_of_the_issues_page(
    run: Run, temporal: Client, repository: str, temporal_address: str, tmp_path: Path
) -> None:
    """A pipe gets the address and no token. With --web-ui it is that of Temporal's workflow."""
    name = await known(temporal, Published(repository=repository, number=5))
    await visible(temporal, name)
    issue_id = name.removeprefix("claude-issue-")
    data = tmp_path / "data"
    data.mkdir()
    DevStack(
        pid=os.getpid(), is_ready=True, api_url="http://127.0.0.1:8787", api_token="token", webhook_secret="s",
        temporal_address=temporal_address, temporal_namespace="default", temporal_ui_url="http://127.0.0.1:8233",
        daytona_api_url="", daytona_page_url=None, daytona_api_key=None, processes={},
    ).write(data)  # fmt: skip
    own = await run("open", f"{repository}#5", "--data", str(data))
    assert (own.code, own.out, own.err) == (0, f"http://127.0.0.1:8787/status/issues/{issue_id}\n", "")
    ui = await run("open", name, "--web-ui", "--data", str(data))
    assert (ui.code, ui.out) == (0, f"http://127.0.0.1:8233/namespaces/default/workflows/{name}\n")


async def test_open_elsewhere_needs_an_address(run: Run, temporal_address: str) -> None:
    """Where no `issuebox dev` runs, the option or the variable names the API."""
    given = {"TEMPORAL_ADDRESS": temporal_address}
    ran = await run("open", "7", ISSUEBOX_API_URL="https://issuebox.example.org/", **given)
    assert (ran.code, ran.out, ran.err) == (0, "https://issuebox.example.org/status/issues/7\n", "")
    ran = await run("open", "7", **given)
    assert (ran.code, ran.out) == (2, "")
    assert "name its data directory with --data, or the API with --url" in ran.err
    ran = await run("open", "7", "--web-ui", **given)
    assert (ran.code, "ISSUEBOX_TEMPORAL_UI_URL" in ran.err) == (2, True)


STAND_IN = """#!/bin/sh
if [ "$1" = --version ]; then echo "temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)"; exit 0; fi
printf '%s\\n' "$TEMPORAL_ADDRESS" "$TEMPORAL_NAMESPACE" "${TEMPORAL_API_KEY-none}" "$@"
exit 7
"""


async def test_temporal_gets_all_arguments_and_the_temporal_of_dev(run: Run, tmp_path: Path) -> None:
    """Its exit code is passed on, and no key for another cluster goes with it."""
    binary, data = tmp_path / "their-temporal", tmp_path / "data"
    binary.write_text(STAND_IN)
    binary.chmod(0o755)
    data.mkdir()
    DevStack(
        pid=os.getpid(), is_ready=True, api_url="", api_token="token", webhook_secret="s",
        temporal_address="127.0.0.1:7", temporal_namespace="n", temporal_ui_url=None,
        daytona_api_url="", daytona_page_url=None, daytona_api_key=None, processes={},
    ).write(data)  # fmt: skip
    words = ["workflow", "list", "--query", "a = 'b c'", "--help", "--data", "theirs", "--", "-o"]
    given = {"ISSUEBOX_TEMPORAL_BINARY": str(binary), "TEMPORAL_API_KEY": "key"}
    ran = await run("temporal", "--data", str(data), *words, **given)
    assert (ran.code, ran.err) == (7, "")
    assert ran.out.splitlines() == ["127.0.0.1:7", "n", "none", *words]
    given["TEMPORAL_ADDRESS"] = "cluster:7233"
    assert (await run("temporal", "-v", **given)).out.splitlines() == ["cluster:7233", "", "key", "-v"]


async def test_temporal_lists_the_issues(run: Run, temporal: Client, repository: str, temporal_address: str) -> None:
    """The real one, as this machine has it."""
    name = await known(temporal, Published(repository=repository, number=5))
    await visible(temporal, name)
    ran = await run(
        "temporal", "workflow", "list", "--query", f"WorkflowId = '{name}'", TEMPORAL_ADDRESS=temporal_address
    )
    assert (ran.code, name in ran.out) == (0, True), ran
    gone = await run("temporal", "workflow", "describe", "--workflow-id", "none", TEMPORAL_ADDRESS=temporal_address)
    assert gone.code == 1
