"""`issuebox dev` as a person runs it: every part a real process, on its own ports."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from issuebox.dev.dev_stack import DevStack
from issuebox.temporal.search_attributes import registered
from localdaytona.testing import free_port

READY_TIMEOUT_S = 60.0
SANDBOX_NAME = "claude-issue-1"


@dataclass
class Run:
    """One `issuebox dev` and what it published."""

    process: asyncio.subprocess.Process
    stack: DevStack
    output: Path

    async def sandboxes(self) -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self.stack.daytona_api_key}"}
        async with httpx.AsyncClient(headers=headers, trust_env=False) as client:
            reply = await client.get(f"{self.stack.daytona_api_url}/sandbox/{SANDBOX_NAME}")
        return [reply.raise_for_status().json()] if reply.status_code != httpx.codes.NOT_FOUND else []

    async def deliver_as_printed(self) -> str:
        """Run the printed curl command, word for word, and return the HTTP status."""

        async def printed() -> str:
            # The stack says that it is ready a moment before the commands are printed.
            return next((line for line in self.output.read_text().splitlines() if "/webhooks/github" in line), "")

        command = await eventually(printed)
        words = [*shlex.split(command), "-o", "/dev/null", "-w", "%{http_code}", "--noproxy", "*"]
        process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
        return (await process.communicate())[0].decode()


async def eventually(read: Callable[[], Awaitable[Any]], timeout_s: float = 30.0) -> Any:
    async with asyncio.timeout(timeout_s):
        while not (found := await read()):
            await asyncio.sleep(0.1)
    return found


@pytest.fixture
async def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[], Awaitable[Run]]]:
    """Start the stack any number of times, one after the other, on one data directory."""
    for name in ("TEMPORAL_ADDRESS", "DAYTONA_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    processes: list[asyncio.subprocess.Process] = []
    # Ports of its own, always the same, so that no other stack takes one while a server of this one is down.
    ports = [text for part in ("api", "temporal", "ui", "daytona") for text in (f"--{part}-port", str(free_port()))]

    async def start() -> Run:
        output = tmp_path / f"output-{len(processes)}.txt"
        arguments = ["dev", "--data", str(tmp_path / "data"), "--speed", "50", "--attached", *ports]
        with output.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "issuebox", *arguments, stdin=asyncio.subprocess.PIPE, stdout=file, stderr=file
            )
        processes.append(process)

        async def ready() -> DevStack | None:
            assert process.returncode is None, output.read_text()
            stack = DevStack.lookup(tmp_path / "data")
            return stack if stack and stack.is_ready and stack.pid == process.pid else None

        return Run(process, await eventually(ready, READY_TIMEOUT_S), output)

    yield start
    for process in processes:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def gone(stack: DevStack) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in stack.processes.values())


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
async def test_killed_stack_comes_back_with_its_sandbox(dev: Callable[[], Awaitable[Run]]) -> None:
    """Search attributes are registered, a pasted webhook creates the sandbox, and a restart after kill -9 finds it."""
    first = await dev()
    assert (await registered(await Client.connect(first.stack.temporal_address))).is_complete
    assert await first.deliver_as_printed() == "202"

    async def started() -> list[dict[str, Any]]:
        return [sandbox for sandbox in await first.sandboxes() if sandbox["state"] == "started"]

    [before] = await eventually(started)
    first.process.kill()
    await first.process.wait()
    await eventually(lambda: gone(first.stack))

    second = await dev()
    assert second.stack.webhook_secret == first.stack.webhook_secret
    assert await second.deliver_as_printed() == "202"
    [after] = await second.sandboxes()
    assert after["id"] == before["id"]

    second.process.send_signal(signal.SIGTERM)
    assert await second.process.wait() == 0
    assert await gone(second.stack)


# Starts a stack as the demo and the benchmarks do.
STARTER = """
import asyncio, pathlib, sys
from issuebox.dev.demo.stack import running

async def main():
    async with running(pathlib.Path(sys.argv[1])):
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
async def test_stack_ends_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    """After kill -9 of a demo, a benchmark or a test, every part ends in order within seconds."""
    data_dir = tmp_path / "data"
    starter = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STARTER, str(data_dir), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert starter.stdout
        assert await asyncio.wait_for(starter.stdout.readline(), READY_TIMEOUT_S) == b"ready\n"
        stack = DevStack.lookup(data_dir)
        assert stack
        assert not await gone(stack)
    finally:
        starter.kill()
        await starter.wait()
    await eventually(lambda: gone(stack), 15.0)

    async def is_forgotten() -> bool:
        return DevStack.lookup(data_dir) is None and not Path(f"/proc/{stack.pid}").exists()

    await eventually(is_forgotten, 5.0)
