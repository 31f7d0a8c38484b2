"""The parts of issuebox as separate processes, in the numbers that a measurement needs.

They use the descriptions of `issuebox dev`, so that a measurement runs what people run: Temporal with a database
file, localdaytona, some workers, one API. All use free ports on loopback and are stopped at the end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from temporalio.client import Client

from bench.measure.bench_stack import SETTINGS
from issuebox.dev import services
from issuebox.dev.dev_stack import LOOPBACK, DevSecrets
from issuebox.dev.environment import bare
from issuebox.dev.services import Ports, Surroundings
from issuebox.dev.supervisor import Reporter, Supervisor
from issuebox.dev.temporal_server import DevServer, ensure_binary
from issuebox.temporal.connect import connect
from issuebox.temporal.search_attributes import register
from localdaytona.testing import AdminClient, free_port

WORKER = ("issuebox", "worker")
"""The module that is a worker, and its arguments. The last two of every worker say where it reports to be ready."""


NOTHING_ELSE: Mapping[str, str | int] = {}


@dataclass(frozen=True, slots=True)
class Parts:
    """The running parts, and how to reach them."""

    around: Surroundings
    supervisor: Supervisor
    client: Client
    admin: AdminClient

    @property
    def api_port(self) -> int:
        """Where the API listens on loopback."""
        return self.around.ports.api

    @property
    def daytona_port(self) -> int:
        """Where localdaytona listens on loopback."""
        assert self.around.ports.daytona is not None  # noqa: S101 -- always ours here
        return self.around.ports.daytona

    @property
    def pids(self) -> dict[str, int]:
        """The processes: temporal, localdaytona, worker-1 and so on, api."""
        return self.supervisor.pids

    async def start_worker(self, number: int, program: Sequence[str] = WORKER) -> None:
        """Start another worker of issuebox, and return when it polls."""
        data_dir = self.around.data_dir / f"worker-{number}"
        data_dir.mkdir()
        service = services.worker_service(replace(self.around, data_dir=data_dir))
        command = [*services.PYTHON, "-m", *program, *service.command[-2:]]
        await self.supervisor.start(replace(service, name=f"worker-{number}", command=command))


@asynccontextmanager
async def running(
    data_dir: Path,
    *,
    workers: int,
    speed: float = 1.0,
    dynamic_config: Mapping[str, str | int] = NOTHING_ELSE,
    **settings: str,
) -> AsyncIterator[Parts]:
    """Run all parts in this directory. `settings` are environment variables in addition to those of every run.

    `dynamic_config` replaces values of Temporal's server.
    """
    around = _surroundings(data_dir, speed, settings)
    log_dir = data_dir / "logs"
    log_dir.mkdir(parents=True)
    reporter = Reporter(say=lambda _: None, show=lambda _name, _line: None, changed=lambda: None)
    supervisor = Supervisor(log_dir, reporter)
    try:
        parts = await _start(around, supervisor, dynamic_config)
        for number in range(1, workers + 1):
            await parts.start_worker(number)
        await supervisor.start(services.api_service(around))
        yield parts
        await parts.admin.aclose()
    finally:
        await supervisor.stop()


async def _start(around: Surroundings, supervisor: Supervisor, dynamic_config: Mapping[str, str | int]) -> Parts:
    """Start Temporal and localdaytona, and create the clients of both."""
    ports = around.ports
    assert ports.temporal is not None and ports.ui is not None and ports.daytona is not None  # noqa: S101, PT018
    server = DevServer(
        binary=await ensure_binary(),
        database=around.data_dir / "temporal.db",
        port=ports.temporal,
        ui_port=ports.ui,
        log_level="error",
    )
    server = replace(server, dynamic_config={**server.dynamic_config, **dynamic_config})
    await supervisor.start(services.temporal_service(server, around))
    client = await connect(environment=around.environment())
    await register(client)
    await supervisor.start(services.daytona_service(around, ports.daytona))
    return Parts(around, supervisor, client, AdminClient(f"http://{LOOPBACK}:{ports.daytona}"))


def _surroundings(data_dir: Path, speed: float, settings: dict[str, str]) -> Surroundings:
    """The parts get none of the caller's own settings of Temporal, Daytona or issuebox."""
    data_dir.mkdir(parents=True, exist_ok=True)
    return Surroundings(
        data_dir=data_dir,
        ports=Ports(api=free_port(), temporal=free_port(), ui=free_port(), daytona=free_port()),
        secrets=DevSecrets.load_or_create(data_dir),
        daytona_speed=speed,
        inherited={**bare(), **SETTINGS, **settings},
    )
