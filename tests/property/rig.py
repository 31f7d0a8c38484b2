"""The system that all examples of the property test share: Temporal, localdaytona and the workers are separate
processes; the API is the real application in the test's process, without a socket in between.

One event loop drives everything. It runs only while the test waits for something; the other processes go on in between.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from pydantic import SecretStr
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from api.app import create_app
from issuebox.dev.temporal_server import ensure_binary
from issuebox.settings import ApiSettings
from issuebox.temporal.connect import DATA_CONVERTER
from localdaytona.testing import Server, running
from tests.property.worker_process import Request, Workers
from tests.waiting import until

SECRET = "a webhook secret"
TOKEN = "an-api-token"

FIRST_ISSUE = 1_000_001
"""All IDs have the same number of digits, so that no name is a prefix of another."""

SPEED = 20
"""Daytona's durations are divided by this: a create takes 50 ms, a tick of its timers half a second."""

WORKER = {
    "backoff_initial_s": 0.05,
    "backoff_max_s": 0.4,
    "blocked_retry_initial_s": 0.3,
    "blocked_retry_max_s": 1.0,
    "unreachable_after_s": 3.0,
    # Longer than an outage of Daytona answers 404, as with the defaults: 75 s and 10 s.
    "confirm_gone_s": 1.5,
    "daytona_request_timeout_s": 1.0,
    "daytona_command_timeout_s": 2.0,
    "daytona_listen_s": 0.5,
    "daytona_settle_timeout_s": 2.0,
    "daytona_read_interval_s": 0.3,
    "pending_budget_s": 1.5,
    "thaw_budget_s": 2.0,
    "stopping_budget_s": 1.5,
    "leaving_budget_s": 1.5,
    "unknown_budget_s": 0.5,
    "forget_after_s": -1.0,
    "inspect_paths": "~",
    "setup_timeout_s": 5.0,
}
"""Seconds instead of minutes, in the proportions of the defaults."""

DYNAMIC = {
    # A killed worker holds a workflow task for this long.
    "history.defaultWorkflowTaskTimeout": '"1s"',
    # Temporal's default is 4,096. With 60, every longer example goes through continue-as-new.
    "limit.historyCount.suggestContinueAsNew": "60",
}


@dataclass(slots=True)
class Rig:
    """The processes, for the duration of the test module."""

    temporal_address: str
    temporal: Client
    daytona: Server
    workers: Workers
    directory: Path
    examples: int = 0
    failures: list[str] = field(default_factory=list)
    journal_seen: int = 0
    old_sandboxes: set[str] = field(default_factory=set)
    _issues: Iterator[int] = field(default_factory=lambda: itertools.count(FIRST_ISSUE))

    def new_issue(self) -> int:
        """The ID of an issue that no earlier example has used."""
        return next(self._issues)

    def start_worker(self, settings: dict[str, object], *, cached_workflows: int) -> None:
        """Start one more worker. Returns when it polls."""
        daytona = {
            "daytona_api_key": self.daytona.api_key,
            "daytona_api_url": self.daytona.api_url,
            "daytona_target": "us",
        }
        log = str(self.directory / "worker.log")
        self.workers.start(Request(self.temporal_address, cached_workflows, log, WORKER | daytona | settings))

    def api(self, task_queue: str) -> httpx.AsyncClient:
        """A client of a new API application."""
        settings = ApiSettings.model_validate(
            {"webhook_secrets": (SecretStr(SECRET),), "api_tokens": (SecretStr(TOKEN),), "task_queue": task_queue}
        )

        async def connected() -> Client:
            return self.temporal

        transport = httpx.ASGITransport(create_app(settings, connected))
        return httpx.AsyncClient(
            transport=transport, base_url="http://issuebox", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30
        )


@asynccontextmanager
async def running_rig(directory: Path) -> AsyncIterator[Rig]:
    """Start everything, and end it with the block."""
    async with AsyncExitStack() as exits:
        workers = Workers(directory)
        forker = await asyncio.create_subprocess_exec(*workers.command)

        async def end_forker() -> None:
            workers.kill_all()
            if forker.returncode is None:
                forker.kill()
            await forker.wait()

        exits.push_async_callback(end_forker)
        environment = await WorkflowEnvironment.start_local(
            dev_server_existing_path=str(await ensure_binary()),
            dev_server_log_level="error",
            data_converter=DATA_CONVERTER,
            dev_server_extra_args=[
                part for key, value in DYNAMIC.items() for part in ("--dynamic-config-value", f"{key}={value}")
            ],
        )
        exits.push_async_callback(environment.shutdown)
        daytona = await exits.enter_async_context(running(directory / "daytona", speed=SPEED))

        async def is_forking() -> bool:
            return (directory / "workers.sock").exists()

        await until(is_forking, bool, "the workers' process is ready", timeout_s=60)
        address = environment.client.service_client.config.target_host
        yield Rig(address, environment.client, daytona, workers, directory)


def new_task_queue() -> str:
    """A task queue without the workflows of earlier examples."""
    return f"property-{uuid.uuid4().hex[:8]}"
