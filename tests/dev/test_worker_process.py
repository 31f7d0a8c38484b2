"""A worker as an operator runs it: how it starts, answers probes, and ends. Each test runs its own process."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from issuebox.dev.environment import bare, to_temporal
from issuebox.health import answering, polls
from issuebox.watchdog import EXIT_STALLED, TASK_LOST
from localdaytona.testing import free_port
from tests.cli.conftest import own_namespace
from tests.waiting import until
from workflows.audit import AuditWorkflow

REPOSITORY = Path(__file__).parents[2]
READY_S = 60.0
END_S = 20.0


class Process:
    """A process of ours, and what it has logged so far."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self._log = log

    def lines(self) -> list[dict[str, Any]]:
        """What it logged. Fails when a line is no JSON."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def words(self) -> list[str]:
        return [line["event"] for line in self.lines()]

    async def logs(self, word: str) -> None:
        """Wait until it has logged this word."""

        async def seen() -> bool:
            assert self.process.returncode is None, self._log.read_text()
            return f'"event": "{word}"' in self._log.read_text()

        await until(seen, bool, word, READY_S)

    async def ended(self) -> int:
        return await asyncio.wait_for(self.process.wait(), READY_S)


def environment_of(address: str, **own: str) -> dict[str, str]:
    """A worker on its own task queue, whose Daytona is away."""
    away = {"DAYTONA_API_KEY": "key", "DAYTONA_API_URL": f"http://127.0.0.1:{free_port()}/api"}
    return bare() | to_temporal(address) | away | {"ISSUEBOX_TASK_QUEUE": uuid.uuid4().hex} | own


@asynccontextmanager
async def running(directory: Path, environment: dict[str, str], *arguments: str) -> AsyncIterator[Process]:
    """Run `issuebox worker`, or with arguments another command, and end it after the block."""
    log = directory / f"{uuid.uuid4().hex}.log"
    command = arguments or ("-m", "issuebox", "worker")
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=REPOSITORY, env=environment, stdout=file, stderr=file
        )
    try:
        yield Process(process, log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"ISSUEBOX_ADMIN_ADDRESS": "203.0.113.1:8788"}, "ISSUEBOX_ADMIN_ADDRESS=203.0.113.1:8788 cannot be bound: "),
        (
            {"READY": "/no/such/directory/ready"},
            "/no/such/directory/ready cannot be written: No such file or directory",
        ),
    ],
    ids=["address", "ready file"],
)
async def test_worker_that_cannot_start_says_why_in_one_line(
    tmp_path: Path, temporal_address: str, changed: dict[str, str], reason: str
) -> None:
    """It is JSON, and has no traceback: the reason is all that an operator needs."""
    environment = environment_of(temporal_address) | changed
    arguments = ["-m", "issuebox", "worker"]
    if "READY" in environment:
        arguments += ["--ready-file", environment.pop("READY")]
    async with running(tmp_path, environment, *arguments) as worker:
        assert await worker.ended() == 3, worker.lines()
        [line] = [line for line in worker.lines() if line["level"] == "critical"]
    assert (line["event"], "exception" in line) == ("worker_start_failed", False)
    assert line["reason"].startswith(reason)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"TEMPORAL_ADDRESS": "127.0.0.1:1"}, "no connection to Temporal: "),
        ({"TEMPORAL_NAMESPACE": "no-such"}, "Temporal answered NOT_FOUND: Namespace no-such is not found"),
        ({"TEMPORAL_TLS": "true"}, "no connection to Temporal: "),
    ],
    ids=["Temporal is away", "wrong namespace", "no TLS there"],
)
async def test_worker_waits_for_temporal_and_says_so(
    tmp_path: Path, temporal_address: str, changed: dict[str, str], reason: str
) -> None:
    """A start ends only at malformed settings. Meanwhile it is alive, not ready, not polling, and ends in order."""
    port, ready_file = free_port(), tmp_path / "ready"
    environment = environment_of(temporal_address, ISSUEBOX_ADMIN_ADDRESS=f"127.0.0.1:{port}") | changed
    arguments = ("-m", "issuebox", "worker", "--ready-file", str(ready_file))
    async with running(tmp_path, environment, *arguments) as worker, httpx.AsyncClient(trust_env=False) as client:
        await worker.logs("check_failed")
        alive = await client.get(f"http://127.0.0.1:{port}/healthz")
        ready = await client.get(f"http://127.0.0.1:{port}/readyz")
        assert (alive.status_code, ready.status_code) == (httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE)
        assert ready.json()["status"].startswith(f"temporal: {reason}")
        assert await checked(tmp_path, environment) == (1, f"the worker at 127.0.0.1:{port} is not ready")
        worker.process.terminate()
        assert await asyncio.wait_for(worker.process.wait(), END_S) == 0
        line = next(line for line in worker.lines() if line["event"] == "check_failed")
        assert worker.words()[-1] == "worker_stopping"
    assert line["reason"].startswith(reason)
    assert line["advice"]
    assert not ready_file.exists()


async def test_worker_begins_when_temporal_is_there(tmp_path: Path, temporal: Client, temporal_address: str) -> None:
    """It needs no restart: the namespace is created while it waits."""
    name = f"late-{uuid.uuid4().hex[:8]}"
    async with running(tmp_path, environment_of(temporal_address, TEMPORAL_NAMESPACE=name)) as worker:
        await worker.logs("check_failed")
        await own_namespace(temporal_address, name)
        await worker.logs("worker_ready")
        assert "check_passed" in worker.words()
        worker.process.terminate()
        assert await worker.ended() == 0


@pytest.mark.parametrize("path", ["/no/such/file", __file__], ids=["no file", "no PEM"])
async def test_malformed_temporal_settings_end_a_worker(tmp_path: Path, temporal_address: str, path: str) -> None:
    """As any wrong setting does: with 2, in one sentence, before anything is connected."""
    environment = environment_of(temporal_address, TEMPORAL_TLS_SERVER_CA_CERT_PATH=path)
    async with running(tmp_path, environment) as worker:
        assert await worker.ended() == 2
        said = worker._log.read_text()
    named = "Temporal's configuration (TEMPORAL_*)" if path != __file__ else "TEMPORAL_TLS_SERVER_CA_CERT_"
    assert said.startswith(f"issuebox: {named}")
    assert said.count("\n") == 1


UNEXPECTED = """
import sys
import issuebox.worker
def fail(*_):
    raise ArithmeticError("a bug")
issuebox.worker.serve = fail
sys.argv = ["issuebox", "worker"]
from issuebox.cli.app import main
main()
"""


async def test_unexpected_error_is_one_line_of_json(tmp_path: Path, temporal_address: str) -> None:
    """Not a coloured drawing, which no log collector reads."""
    async with running(tmp_path, environment_of(temporal_address), "-c", UNEXPECTED) as worker:
        assert await worker.ended() == 1
        [line] = worker.lines()
    assert (line["event"], line["level"]) == ("process_failed", "critical")
    assert "ArithmeticError: a bug" in line["exception"]


async def test_probes_of_a_worker(tmp_path: Path, temporal_address: str) -> None:
    """It is alive and ready, `--check` agrees, and when it hangs nobody answers."""
    port = free_port()
    environment = environment_of(temporal_address, ISSUEBOX_ADMIN_ADDRESS=f"127.0.0.1:{port}")
    assert await checked(tmp_path, environment) == (3, f"the worker at 127.0.0.1:{port} does not answer")
    async with running(tmp_path, environment) as worker, httpx.AsyncClient(trust_env=False) as client:
        await worker.logs("worker_ready")

        async def ready() -> int:
            return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code

        await until(ready, lambda status: status == httpx.codes.OK, "the worker is ready")
        assert (await client.get(f"http://127.0.0.1:{port}/healthz")).json() == {"status": "ok"}
        assert (await client.get(f"http://127.0.0.1:{port}/")).status_code == httpx.codes.NOT_FOUND
        await worker.logs("check_failed")  # Its Daytona is away, and it works all the same.
        assert await checked(tmp_path, environment) == (0, f"the worker at 127.0.0.1:{port} is ready, but daytona")
        worker.process.send_signal(signal.SIGSTOP)
        assert await checked(tmp_path, environment) == (3, f"the worker at 127.0.0.1:{port} does not answer")
        worker.process.send_signal(signal.SIGCONT)
        worker.process.terminate()
        assert await worker.ended() == 0
    assert await checked(tmp_path, environment_of(temporal_address)) == (2, "ISSUEBOX_ADMIN_ADDRESS is not set")


async def checked(directory: Path, environment: dict[str, str]) -> tuple[int, str]:
    """The exit code of `issuebox worker --check`, and the beginning of what it says."""
    async with running(directory, environment, "-m", "issuebox", "worker", "--check") as check:
        code = await check.ended()
        said = check._log.read_text().strip().removeprefix("issuebox: ")
    assert "\n" not in said
    return code, said.split(": ")[0]


async def test_worker_whose_polls_do_not_return_is_not_ready(temporal: Client) -> None:
    """Temporal is asked who polls: nobody polls this task queue; then somebody polls it, and not those beside it."""
    port, queue = free_port(), uuid.uuid4().hex
    async with (
        answering(f"127.0.0.1:{port}", lambda: polls(temporal, queue)),
        httpx.AsyncClient(trust_env=False) as client,
    ):

        async def ready() -> tuple[int, str]:
            reply = await client.get(f"http://127.0.0.1:{port}/readyz")
            return reply.status_code, reply.json()["status"]

        assert await ready() == (503, "no poll for workflows within 150 s")
        assert (await client.get(f"http://127.0.0.1:{port}/healthz")).status_code == httpx.codes.OK
        async with Worker(
            temporal,
            task_queue=queue,
            workflows=[AuditWorkflow],
            activities=[_nothing],
            workflow_runner=UnsandboxedWorkflowRunner(),
        ):
            await until(ready, lambda seen: seen == (503, "no poll for waits within 150 s"), "only waits are missing")


@activity.defn
async def _nothing() -> None:
    """Only a worker with an activity polls for activities."""


LOST = f"""
import logging, sys, threading
import issuebox.health, issuebox.worker
async def polls(*_):
    logging.getLogger("temporalio.core").error({TASK_LOST!r})
issuebox.worker.polls = polls
sys.argv = ["issuebox", "worker"]
from issuebox.cli.app import main
main()
"""

FAILED = """
import sys
import issuebox.worker
async def polls(*_):
    built[{index}]._activity_worker._fail_worker_exception_queue.put_nowait(ArithmeticError("a bug in the SDK"))
    return ""
built = []
class Worker(issuebox.worker.Worker):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        built.append(self)
issuebox.worker.polls, issuebox.worker.Worker = polls, Worker
sys.argv = ["issuebox", "worker"]
from issuebox.cli.app import main
main()
"""


@pytest.mark.parametrize(
    ("program", "word"),
    [
        (LOST, "workflow_task_lost"),
        (FAILED.format(index=0), "worker_failed"),
        (FAILED.format(index=1), "worker_failed"),
        (FAILED.format(index=2), "worker_failed"),
    ],
    ids=["task lost", "own queue", "waits", "inside"],
)
async def test_worker_that_can_do_its_work_no_more_ends(
    tmp_path: Path, temporal_address: str, program: str, word: str
) -> None:
    """The SDK lost a workflow task, or gave up: it would never end by itself. A probe is when that happens here."""
    port = free_port()
    environment = environment_of(temporal_address, ISSUEBOX_ADMIN_ADDRESS=f"127.0.0.1:{port}")
    async with running(tmp_path, environment, "-c", program) as worker, httpx.AsyncClient(trust_env=False) as client:
        await worker.logs("worker_ready")
        await asyncio.gather(client.get(f"http://127.0.0.1:{port}/readyz"), return_exceptions=True)
        assert await worker.ended() == EXIT_STALLED
        assert worker.words()[-1] == word
