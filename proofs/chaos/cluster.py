"""The system under test, as in a deployment: two APIs, three workers, Temporal, Daytona, and the links between them.

Commands, environments and ports. Everything is bound to loopback, and all files are under `run_dir`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
from temporalio.client import Client

from issuebox.dev.environment import bare, to_temporal
from issuebox.dev.services import answers, has_namespace
from issuebox.dev.temporal_server import DevServer, ensure_binary
from issuebox.temporal.connect import connect
from issuebox.temporal.search_attributes import needed, register
from localdaytona.testing import AdminClient, free_port
from proofs.chaos.parts import Part, Program
from proofs.chaos.proxy import Link
from proofs.chaos.receiver import Receiver, receiving
from proofs.chaos.terms import (
    API,
    CALM,
    DAYTONA,
    KNOBS,
    LINKS,
    OURS,
    PARTS,
    SETTINGS,
    SHORTENED,
    STRAYS,
    TEMPORAL,
    WORKERS,
)
from proofs.loopback import LOOPBACK

READY_TIMEOUT_S: Final = 90.0
# -P: an `api` directory in the current directory must not shadow our `api` package.
PYTHON: Final = (sys.executable, "-P")
WEBHOOK_SECRET: Final = "chaos-webhook-secret"  # noqa: S105 -- of a server on loopback that lives for minutes
API_TOKEN: Final = "chaos-api-token"  # noqa: S105
BEARER: Final = {"Authorization": f"Bearer {API_TOKEN}"}
DAYTONA_KEY: Final = "chaos-daytona-key"


@dataclass(slots=True)
class Cluster:
    """All parts and links, by name, and direct clients for the watchers, which use no link."""

    run_dir: Path
    parts: dict[str, Part]
    links: dict[str, Link]
    ports: Mapping[str, int]
    binary: Path
    http: httpx.AsyncClient
    admin: AdminClient
    receiver: Receiver
    programs: Mapping[str, Program] = field(default_factory=dict)
    """The workers with a wrong setting, by name. `stray` makes a part of one."""
    strays: list[Part] = field(default_factory=list)
    _temporal: list[Client] = field(default_factory=list)

    @property
    def api_urls(self) -> list[str]:
        return [f"http://{LOOPBACK}:{self.ports[name]}" for name in API]

    @property
    def daytona_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports[DAYTONA]}"

    async def temporal(self) -> Client:
        """A client that connects to Temporal directly. Raises RuntimeError while Temporal is down."""
        if not self._temporal:
            self._temporal.append(await connect(environment=_temporal_environment(self.ports[TEMPORAL])))
        return self._temporal[0]

    async def start(self) -> None:
        """Start every part once the parts that it needs are ready. Raises `PartError`."""
        for name in (TEMPORAL, DAYTONA):
            self.parts[name].start()
        for name in (TEMPORAL, DAYTONA):
            await self.parts[name].ready(READY_TIMEOUT_S)
        await register(await self.temporal())
        await self.admin.config(**KNOBS, **CALM)
        for name in OURS:
            self.parts[name].start()
        await self.ready()

    async def ready(self) -> None:
        """Wait until every part serves. Raises `PartError`."""
        for name in PARTS:
            await self.parts[name].ready(READY_TIMEOUT_S)

    def stray(self, name: str) -> Part:
        """A new process of a worker with a wrong setting. It is not started yet."""
        self.strays.append(Part(self.programs[name]))
        return self.strays[-1]

    @property
    def ours(self) -> list[Part]:
        """The processes of issuebox itself, with the workers with wrong settings."""
        return [*(self.parts[name] for name in OURS), *self.strays]

    def heal(self) -> None:
        """Repair every link, and let every part run: none stays frozen or down."""
        for link in self.links.values():
            link.heal()
        for part in self.parts.values():
            part.thaw()

    async def end(self) -> None:
        """End our own processes for good, with a SIGTERM to all at once. `Part.endings` says which did not end."""
        await asyncio.gather(*(self.parts[name].stop() for name in OURS))

    async def stop(self) -> None:
        """End all processes, clients first."""
        for part in self.strays:
            await part.stop()
        for name in reversed(PARTS):
            await self.parts[name].stop()


@asynccontextmanager
async def prepared(
    run_dir: Path, settings: Mapping[str, str] = SETTINGS, constants: Mapping[str, float] = SHORTENED
) -> AsyncIterator[Cluster]:
    """A cluster whose links listen. `Cluster.start` starts its processes; all of them end with the block.

    `settings` are those of APIs and workers, `constants` the workers' (see `proofs.shortened`).
    """
    binary = await ensure_binary()
    (run_dir / "logs").mkdir(parents=True, exist_ok=True)
    ports = {name: free_port() for name in (TEMPORAL, DAYTONA, *API, "temporal-ui")}
    async with AsyncExitStack() as exits:
        links = {
            name: await exits.enter_async_context(Link(name, ports[name.partition(">")[2]]).serving()) for name in LINKS
        }
        http = await exits.enter_async_context(httpx.AsyncClient(timeout=10.0, trust_env=False))
        receiver = await exits.enter_async_context(receiving(str(run_dir)))
        admin = AdminClient(f"http://{LOOPBACK}:{ports[DAYTONA]}")
        exits.push_async_callback(admin.aclose)
        programs = [
            _temporal(run_dir, binary, ports),
            _daytona(run_dir, ports[DAYTONA], admin),
            *(_api(run_dir, name, ports[name], links, settings) for name in API),
            *(_worker(run_dir, name, links, {**settings, **receiver.settings}, constants) for name in WORKERS),
        ]
        parts = {program.name: Part(program) for program in programs}
        strays = {name: _stray(run_dir, name, ports, {**settings, **receiver.settings}) for name in STRAYS}
        cluster = Cluster(run_dir, parts, links, ports, binary, http, admin, receiver, strays)
        exits.push_async_callback(cluster.stop)
        yield cluster


def _temporal(run_dir: Path, binary: Path, ports: Mapping[str, int]) -> Program:
    server = DevServer(
        binary=binary,
        database=run_dir / "temporal.db",
        port=ports[TEMPORAL],
        ui_port=ports["temporal-ui"],
        search_attributes=needed(),
        log_level="error",
    )
    environment = _temporal_environment(ports[TEMPORAL])

    async def is_ready() -> bool:
        return await has_namespace(environment)

    return _program(run_dir, TEMPORAL, server.command(), _clean(), is_ready)


def _daytona(run_dir: Path, port: int, admin: AdminClient) -> Program:
    command = [
        *(*PYTHON, "-m", "localdaytona"),
        *("--host", LOOPBACK, "--port", str(port)),
        *("--data", str(run_dir / "localdaytona")),
        *("--api-key", DAYTONA_KEY),
    ]
    return _program(run_dir, DAYTONA, command, _clean(), admin.healthy)


def _api(run_dir: Path, name: str, port: int, links: Mapping[str, Link], settings: Mapping[str, str]) -> Program:
    environment = _clean() | dict(settings) | _temporal_environment(links[f"{name}>{TEMPORAL}"].port)
    environment |= {"ISSUEBOX_WEBHOOK_SECRETS": WEBHOOK_SECRET, "ISSUEBOX_API_TOKENS": API_TOKEN}
    command = [*PYTHON, "-m", "issuebox", "api", "--host", LOOPBACK, "--port", str(port)]

    async def is_ready() -> bool:
        return await answers(f"http://{LOOPBACK}:{port}/readyz")

    return _program(run_dir, name, command, environment, is_ready, is_narrow=True)


def _worker(
    run_dir: Path,
    name: str,
    links: Mapping[str, Link],
    settings: Mapping[str, str],
    constants: Mapping[str, float],
) -> Program:
    temporal_port, daytona_port = links[f"{name}>{TEMPORAL}"].port, links[f"{name}>{DAYTONA}"].port
    return _working(run_dir, name, worker_environment(temporal_port, daytona_port, settings), constants)


def _stray(run_dir: Path, name: str, ports: Mapping[str, int], settings: Mapping[str, str]) -> Program:
    """A worker with a wrong setting. It has no link: its setting is the disturbance."""
    environment = worker_environment(ports[TEMPORAL], ports[DAYTONA], {**settings, **STRAYS[name]})
    return _working(run_dir, name, environment, SHORTENED)


def worker_environment(temporal_port: int, daytona_port: int, settings: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a worker, and of an operator beside it."""
    return {
        **(_clean() | dict(settings) | _temporal_environment(temporal_port)),
        "DAYTONA_API_KEY": DAYTONA_KEY,
        "DAYTONA_API_URL": f"http://{LOOPBACK}:{daytona_port}/api",
    }


def _working(run_dir: Path, name: str, environment: Mapping[str, str], constants: Mapping[str, float]) -> Program:
    ready_file = run_dir / f"{name}.ready"

    async def is_ready() -> bool:
        return ready_file.exists()

    return Program(
        name=name,
        command=[*PYTHON, "-m", "proofs.shortened", "--ready-file", str(ready_file), json.dumps(constants)],
        environment=environment,
        log=run_dir / "logs" / f"{name}.log",
        is_ready=is_ready,
        before_start=lambda: ready_file.unlink(missing_ok=True),
        is_narrow=True,
    )


def _program(
    run_dir: Path,
    name: str,
    command: list[str],
    environment: Mapping[str, str],
    is_ready: Callable[[], Awaitable[bool]],
    *,
    is_narrow: bool = False,
) -> Program:
    log = run_dir / "logs" / f"{name}.log"
    return Program(name=name, command=command, environment=environment, log=log, is_ready=is_ready, is_narrow=is_narrow)


def _temporal_environment(port: int) -> dict[str, str]:
    return to_temporal(f"{LOOPBACK}:{port}")


def _clean() -> dict[str, str]:
    """Our environment without the caller's settings: the run depends on the seed alone."""
    return bare() | {"PYTHONUNBUFFERED": "1"}
