"""The watchdog ends blocked processes and no others. Each test runs a real process, with ticks of 50 ms."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from issuebox.dev.environment import bare, to_temporal
from issuebox.dev.supervisor import Reporter, Service, Supervisor
from issuebox.watchdog import EXIT_STALLED
from localdaytona.testing import free_port, running_inside
from tests.waiting import until

REPOSITORY = Path(__file__).parents[2]
END_S = 20.0
TICK_S = 0.05
TICKS_MAX = 20

# Ready when it has written its first line; then it runs the given work in its event loop.
PROGRAM = f"""
import asyncio, logging, sys, time
from issuebox import logs, watchdog
from issuebox.logs import configure
watchdog.TICK_S, watchdog.TICKS_MAX = {TICK_S}, {TICKS_MAX}
configure("json", "info")
log = logging.getLogger("test")

async def main():
    asyncio.get_running_loop().run_in_executor(None, ready)
    await watchdog.watched(work())

def ready():
    print("ready", flush=True)

def stand_still():
    time.sleep(600)
"""

BLOCKED = "async def work(): stand_still()"
IDLE = """
async def work():
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        print("heard " + line.decode(), end="", flush=True)
"""
OVER = "async def work(): pass"


@asynccontextmanager
async def run(work: str, after: str = "", stderr: int = asyncio.subprocess.PIPE) -> AsyncIterator[Any]:
    """Run a process with this work, yield it once it is ready, and end it after the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", f"{PROGRAM}\n{work}\nasyncio.run(main())\n{after}"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
    )
    try:
        assert process.stdout
        assert await asyncio.wait_for(process.stdout.readline(), END_S) == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ended(process: asyncio.subprocess.Process) -> int:
    return await asyncio.wait_for(process.wait(), END_S)


async def test_process_with_a_blocked_loop_is_ended_and_logs_why() -> None:
    """It has a special exit code, and the log has one line with the stack of every thread."""
    async with run(BLOCKED) as process:
        assert await ended(process) == EXIT_STALLED == 70
        [line] = [json.loads(line) for line in (await process.stderr.read()).splitlines()]
    assert (line["event"], line["level"], line["ticks"]) == ("loop_stalled", "critical", TICKS_MAX)
    own, everybody = line["stack"].split("\n\n", 1)
    assert "stand_still" in own
    assert "watchdog.py" in everybody


async def test_end_needs_no_reader_of_the_log() -> None:
    """Even when the log cannot be written, because it is full and nobody reads it, the process ends."""
    reading, writing = os.pipe()
    async with run(
        "async def work():\n    for _ in range(9999): log.info('x' * 99)\n    stand_still()", stderr=writing
    ) as process:
        os.close(writing)
        assert await ended(process) == EXIT_STALLED
    os.close(reading)


async def test_end_needs_no_logging() -> None:
    """Even the log itself may block, on a lock that is never released."""
    locked = "logging.getLogger().handlers[0].handle = lambda record: time.sleep(600)"
    async with run(f"watchdog.REPORT_TIMEOUT_S = 0.2\n{locked}\n{BLOCKED}") as process:
        assert await ended(process) == EXIT_STALLED


async def test_end_that_hangs_is_ended_too() -> None:
    """The work is done and the loop is closed, but the process still runs."""
    async with run(OVER, after="stand_still()") as process:
        assert await ended(process) == EXIT_STALLED


async def test_frozen_process_lives_on_when_it_is_thawed() -> None:
    """It missed its ticks because it was stopped for longer than the limit: a suspended machine kills nothing."""
    async with run(IDLE) as process:
        for word in (b"before\n", b"after\n"):
            process.stdin.write(word)
            assert await asyncio.wait_for(process.stdout.readline(), END_S) == b"heard " + word
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(2 * TICK_S * TICKS_MAX)
            process.send_signal(signal.SIGCONT)
        # It has also had its ticks since: an idle loop answers each of them.
        await asyncio.sleep(2 * TICK_S * TICKS_MAX)
        process.stdin.write(b"still\n")
        assert await asyncio.wait_for(process.stdout.readline(), END_S) == b"heard still\n"


async def test_supervisor_restarts_an_ended_process(tmp_path: Path) -> None:
    """`issuebox dev` starts a new one within a second, and reports how the old one ended."""
    said: list[str] = []
    once = tmp_path / "once"
    work = f"""
import pathlib
once = pathlib.Path({str(once)!r})
async def work():
    if once.exists():
        await asyncio.Event().wait()
    once.touch()
    stand_still()
"""

    async def is_ready() -> bool:
        return once.exists()

    supervisor = Supervisor(tmp_path, Reporter(say=said.append, show=lambda _, __: None, changed=lambda: None))
    program = [sys.executable, "-c", f"{PROGRAM}\n{work}\nasyncio.run(main())"]
    await supervisor.start(Service(name="part", command=program, environment=dict(os.environ), is_ready=is_ready))
    first = supervisor.pids["part"]

    async def others() -> list[int]:
        return [pid for pid in supervisor.pids.values() if pid != first]

    await until(others, bool, "another one runs")
    assert said[0].startswith(f"part ended with exit code {EXIT_STALLED}; restarting it")
    supervisor.hurry()
    await supervisor.stop()


# Every Python process that finds this runs it. On SIGUSR1 it blocks the main thread, which runs the loop.
BLOCK_ON_SIGNAL = f"""
import signal, time
from issuebox import watchdog
watchdog.TICK_S, watchdog.TICKS_MAX = {TICK_S}, {TICKS_MAX}
signal.signal(signal.SIGUSR1, lambda *_: time.sleep(600))
"""


@pytest.mark.parametrize("part", ["worker", "api"])
async def test_worker_and_api_are_watched(part: str, tmp_path: Path, temporal_address: str) -> None:
    """The processes run as an operator starts them; one with a blocked loop ends by itself, and logs why."""
    (tmp_path / "sitecustomize.py").write_text(BLOCK_ON_SIGNAL)
    ready, port = tmp_path / "ready", free_port()
    options = {"worker": ("--ready-file", str(ready)), "api": ("--port", str(port))}[part]
    async with running_inside(tmp_path / "daytona") as daytona:
        path = f"{tmp_path}{os.pathsep}{REPOSITORY}"
        own = {"PYTHONPATH": path, "DAYTONA_API_KEY": daytona.api_key, "DAYTONA_API_URL": daytona.api_url}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "issuebox", part, *options),
            env=bare() | to_temporal(temporal_address) | own,
            stderr=asyncio.subprocess.PIPE,
        )
        try:

            async def is_ready() -> bool:
                return ready.exists() if part == "worker" else await listens(port)

            await until(is_ready, bool, f"the {part} is ready", 60.0)
            process.send_signal(signal.SIGUSR1)
            assert await ended(process) == EXIT_STALLED
            assert process.stderr
            words = [json.loads(line)["event"] for line in (await process.stderr.read()).splitlines()]
            assert words[-1] == "loop_stalled"
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()


async def listens(port: int) -> bool:
    """Whether a server accepts connections on this port."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True
