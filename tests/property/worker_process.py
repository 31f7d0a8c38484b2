"""A process that has imported the worker, and forks one for each request: a worker that can be killed at any moment.

The test needs many real SIGKILLs, and the imports of the SDK take seconds.

Times that are constants in the product are divided here, as the test's settings divide the others: the heartbeat of a
killed worker times out after one second instead of some.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from temporalio.client import Client
from temporalio.plugin import SimplePlugin
from temporalio.worker import WorkerConfig

import issuebox.domain.unsaved_work
from issuebox.logs import configure
from issuebox.providers.daytona import DaytonaProvider
from issuebox.temporal.connect import DATA_CONVERTER
from issuebox.worker import build_worker
from proofs.shortened import made_from
from tests.forking import serve
from workflows import options

HEARTBEAT = options.Heartbeat(every=timedelta(seconds=0.2), timeout=timedelta(seconds=1))
ACTIVITY_SLACK_S = 0.3
LOOKUP_TIMEOUT_S = 2.5
"""Two reads of a second, the shortest timeout of the SDK."""
STICKY_TIMEOUT_S = 0.5
"""How long a workflow task waits for the worker that has the workflow in its cache, before any other may take it."""


@dataclass(frozen=True, slots=True)
class Request:
    """The worker to start. Without `cached_workflows`, each workflow task replays its whole history."""

    temporal_address: str
    cached_workflows: int
    log: str
    settings: dict[str, Any]


class _Cache(SimplePlugin):
    """Sets what `build_worker` leaves at Temporal's defaults."""

    def __init__(self, cached_workflows: int) -> None:
        super().__init__("property-test")
        self._cached_workflows = cached_workflows

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        config["max_cached_workflows"] = self._cached_workflows
        # Without it, Temporal computes one from all loaded code, which takes two seconds.
        config["build_id"] = "property-test"
        config["sticky_queue_schedule_to_start_timeout"] = timedelta(seconds=STICKY_TIMEOUT_S)
        return config


def _shorten() -> None:
    options.HEARTBEATS = dict.fromkeys(options.HEARTBEATS, HEARTBEAT)
    options.LOOKUP_TIMEOUT = timedelta(seconds=LOOKUP_TIMEOUT_S)
    issuebox.domain.unsaved_work.SLACK = timedelta(seconds=ACTIVITY_SLACK_S)


def _become_worker(connection: socket.socket) -> NoReturn:
    """Become the worker that one JSON line describes. Answers with the process ID and `ready`."""
    with connection.makefile("r") as lines:
        request = Request(**json.loads(lines.readline()))
    log = os.open(request.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    configure("json", "info")
    connection.sendall(f"{os.getpid()}\n".encode())
    asyncio.run(_work(request, connection))
    os._exit(0)


async def _work(request: Request, connection: socket.socket) -> None:
    """Serve until killed, or until the test's process ends: a worker must not outlive its test."""
    connection.setblocking(False)
    worker = made_from(request.settings)
    client = await Client.connect(
        request.temporal_address,
        data_converter=DATA_CONVERTER,
        plugins=[_Cache(request.cached_workflows)],
    )
    async with DaytonaProvider(worker.daytona) as provider, build_worker(client, provider, worker):
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(connection, b"ready\n")
        await loop.sock_recv(connection, 1)
        os._exit(0)


class Workers:
    """The forking process and its workers. Each call blocks for about a fifth of a second."""

    def __init__(self, directory: Path) -> None:
        self._path = str(directory / "workers.sock")
        self._directory = directory
        self._alive: list[tuple[int, socket.socket]] = []

    @property
    def command(self) -> list[str]:
        """The command of the forking process."""
        return [sys.executable, "-m", "tests.property.worker_process", self._path]

    def start(self, request: Request) -> None:
        """Start one more worker. Returns when it polls."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(30)
        connection.connect(self._path)
        connection.sendall(f"{json.dumps(asdict(request))}\n".encode())
        with connection.makefile("r") as lines:
            pid = int(lines.readline())
            if lines.readline() != "ready\n":
                connection.close()
                raise RuntimeError(f"the worker ended before it was ready: see {request.log}")
        self._alive.append((pid, connection))

    def kill_all(self) -> None:
        """SIGKILL: nothing in flight is finished, reported or cleaned up."""
        for pid, connection in self._alive:
            os.kill(pid, signal.SIGKILL)
            # The kernel closes the other end when the process has ended.
            while connection.recv(1):
                pass
            connection.close()
        self._alive.clear()


if __name__ == "__main__":
    _shorten()
    serve(sys.argv[1], _become_worker)
