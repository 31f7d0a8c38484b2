"""What the reader of a process's standard error gets, and how the process ends. Each test runs its own process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from issuebox.dev.environment import bare, to_temporal
from issuebox.logs import FLUSH_TIMEOUT_S
from localdaytona.testing import free_port
from tests.dev.test_watchdog import listens
from tests.waiting import until

END_S = 20.0
LINES = 5_000
"""More lines than any pipe holds, and fewer than the log queues."""

# Ends as the `issuebox` command does.
COMMAND = f"""
import sys
from issuebox.cli import app as cli
@cli.app.command()
def chatter():
    import logging
    from issuebox.logs import configure
    configure("json", "info")
    for number in range({LINES}):
        logging.getLogger("test").info("line", extra={{"number": number}})
    sys.stdout.write("done")
sys.argv = ["issuebox", "chatter"]
cli.main()
"""

# Ends as Python does by itself.
PLAIN = COMMAND.replace("cli.main()", "chatter()")

UNTOLD = """
import threading, warnings
from issuebox.logs import configure
configure("json", "info")

class Ghost:
    def __del__(self):
        raise ValueError("in a destructor")

def fail():
    raise ValueError("in a thread")

warnings.warn("mind this", RuntimeWarning)
Ghost()
thread = threading.Thread(target=fail, name="failing")
thread.start()
thread.join()
"""

CRASH = """
import os, signal
from issuebox.logs import configure
configure("json", "info")

def crash():
    os.kill(os.getpid(), signal.SIGABRT)

crash()
"""

EVENT_STREAM = """
import logging
import socketio
from issuebox.logs import configure
configure("json", "info")
client = socketio.AsyncClient()
for logger in (client.logger, client.eio.logger):
    logger.error("packet queue is empty, aborting")
"""

FAILING_WORKFLOW = """
import asyncio, logging, os, uuid
from temporalio import workflow
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from issuebox.logs import configure
from issuebox.temporal.connect import connect, forward_core_log

@workflow.defn
class Failing:
    @workflow.run
    async def run(self) -> None:
        raise ValueError("a bug")

async def main():
    client = await connect()
    queue = uuid.uuid4().hex
    async with Worker(client, task_queue=queue, workflows=[Failing], workflow_runner=UnsandboxedWorkflowRunner()):
        handle = await client.start_workflow(Failing.run, id=queue, task_queue=queue)
        while not (await handle.describe()).raw_description.pending_workflow_task.attempt > 1:
            await asyncio.sleep(0.05)
        await handle.terminate()

configure("json", "info")
forward_core_log()
asyncio.run(main())
logging.shutdown()
os._exit(0)  # The command does so, too, for the same reason.
"""


@asynccontextmanager
async def run(program: str, *arguments: str, **environment: str) -> AsyncIterator[Any]:
    """Run a process whose standard error is a pipe that nobody reads yet, and end it after the block."""
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, *arguments),
        env=bare() | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=writing,
    )
    os.close(writing)
    process.unread = reading
    try:
        yield process
    finally:
        os.close(reading)
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def lines(process: Any, code: int = 0) -> list[dict[str, Any]]:
    """Read everything that the process logs until it has ended. Fails when a line is not JSON."""
    return [json.loads(line) for line in (await written(process, code)).splitlines() if line]


async def written(process: Any, code: int) -> str:
    """Read its standard error until it has ended, with this exit code."""

    def read() -> str:
        with os.fdopen(os.dup(process.unread)) as file:
            return file.read()

    text = await asyncio.wait_for(asyncio.to_thread(read), END_S)
    assert await asyncio.wait_for(process.wait(), END_S) == code
    return text


@pytest.mark.parametrize("program", [COMMAND, PLAIN], ids=["issuebox", "python"])
async def test_last_lines_are_written_before_the_process_ends(program: str) -> None:
    """A reader gets the whole log in order, although the process had nothing left to do but to write it."""
    async with run(program) as process:
        assert await asyncio.wait_for(process.stdout.read(4), END_S) == b"done"
        assert [line["number"] for line in await lines(process)] == list(range(LINES))


@pytest.mark.parametrize("program", [COMMAND, PLAIN], ids=["issuebox", "python"])
async def test_process_ends_although_nobody_reads(program: str) -> None:
    """It waits only for a moment."""
    async with run(program) as process:
        assert await asyncio.wait_for(process.stdout.read(4), END_S) == b"done"
        async with asyncio.timeout(FLUSH_TIMEOUT_S + 5):
            assert await process.wait() == 0


async def test_what_python_would_print_is_logged() -> None:
    """Warnings, errors in destructors, and errors that end a thread, which may come from a workflow's thread."""
    async with run(UNTOLD) as process:
        warned, ignored, failed = await lines(process)
    assert "RuntimeWarning: mind this" in warned["event"]
    assert (ignored["event"], ignored["level"]) == ("error_ignored", "error")
    assert "in a destructor" in ignored["exception"]
    assert (failed["event"], failed["thread_name"]) == ("thread_failed", "failing")
    assert "in a thread" in failed["exception"]


async def test_crash_in_c_code_leaves_a_stack() -> None:
    """Such as an abort by the SDK's core: without it, nothing but an exit code tells of it."""
    async with run(CRASH) as process:
        text = await written(process, -signal.SIGABRT)
    assert "Fatal Python error: Aborted" in text
    assert "in crash" in text


async def test_client_of_the_event_stream_prints_nothing_past_the_log() -> None:
    """Each of its lines once, as JSON: a handler of its own would also wait for the reader of the log."""
    async with run(EVENT_STREAM) as process:
        assert [line["event"] for line in await lines(process)] == ["packet queue is empty, aborting"] * 2


async def test_lines_of_temporals_core_are_logged(temporal_address: str) -> None:
    """With the format JSON they are JSON with their fields, and nothing goes to standard output."""
    async with run(FAILING_WORKFLOW, **to_temporal(temporal_address)) as process:
        told = await lines(process)
        assert await process.stdout.read() == b""
    [line] = [line for line in told if line["event"].startswith("Failing workflow task")][:1]
    assert (line["level"], line["target"]) == ("warning", "temporalio_sdk_core::worker::workflow")
    assert "a bug" in line["failure"]
    assert "temporal_log" not in line


@pytest.mark.skipif(sys.platform != "linux", reason="opens a pipe through /proc")
async def test_api_that_gets_sigterm_writes_its_last_lines(temporal_address: str) -> None:
    """It dies by SIGTERM, after waiting for a moment until its last lines are read."""
    port = free_port()
    program = "from issuebox.cli.app import main; main()"
    async with run(program, "api", "--port", str(port), **to_temporal(temporal_address)) as process:
        await until(lambda: listens(port), bool, "the API listens", END_S)
        fill(process)
        process.terminate()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(process.wait(), FLUSH_TIMEOUT_S / 2)
        told = await lines(process, code=-signal.SIGTERM)
    assert told[-1]["event"].startswith("Finished server process")
    assert not [line for line in told if "color_message" in line], "a second copy, with escape sequences"


def fill(process: Any) -> None:
    """Leave no room in the pipe: later output of the process waits until somebody reads."""
    writing = os.open(f"/proc/self/fd/{process.unread}", os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"\n" * 4096)
    os.close(writing)
