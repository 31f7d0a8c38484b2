"""issuebox under the same harness: two hosts, each with its own API and worker, on a real Temporal server.

All are processes, and a kill is a SIGKILL to both processes of a host. The settings are the defaults; durations that
wait for Daytona are divided by the speed of the run.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from issuebox.dev import child
from issuebox.dev.environment import bare, to_temporal
from issuebox.dev.mock_delivery import MockDelivery, MockIssue, build, post
from issuebox.dev.services import answers, has_namespace
from issuebox.dev.temporal_server import DevServer, ensure_binary
from issuebox.temporal.search_attributes import needed
from localdaytona.admin_models import SandboxView
from localdaytona.testing import Server, free_port
from proofs.peers.host import Handover
from proofs.peers.peer import Event, named
from proofs.peers.system import HOSTS, Crash, RefusedError

SECRET = "a webhook secret of the harness"  # noqa: S105 -- for loopback only
TOKEN = "an-API-token-of-the-harness"  # noqa: S105 -- for loopback only
REPOSITORY = "octo/repo"
READY_MAX_S = 180.0
"""A cold start takes 5 s on a quiet machine."""
STOP_MAX_S = 10.0
POLL_S = 0.1

DIVIDED_S: Mapping[str, float] = {
    # The constants in seconds; what is divided by the speed is what waits for Daytona.
    "daytona_command_timeout_s": 45,
    "daytona_settle_timeout_s": 60,
    "daytona_read_interval_s": 10,
    "backoff_initial_s": 0.5,
    "backoff_max_s": 30,
    "blocked_retry_initial_s": 60,
    "blocked_retry_max_s": 3600,
    "unreachable_after_s": 60,
    "confirm_gone_s": 75,
    "pending_budget_s": 20 * 60,
    "thaw_budget_s": 45 * 60,
}
FAR_OFF = timedelta(minutes=5)
"""Timers that are due later than this belong to no round, such as the archiving of a closed issue's sandbox."""
CLOSE_STOP_AFTER_S = 1.0
"""Its default of half an hour would outlast the round."""


@dataclass(slots=True)
class Program:
    """One process that can be killed and restarted."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    is_ready: Callable[[], Awaitable[bool]]
    log: Path
    ready_file: Path | None = None
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and return when it is ready. Raises RuntimeError when it ends instead, TimeoutError when late."""
        if self.ready_file is not None:
            self.ready_file.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                # It cannot outlive this process.
                *(sys.executable, "-I", str(child.__file__), str(os.getpid())),
                *self.command,
                env=dict(self.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(READY_MAX_S):
            while not await self.is_ready():
                if self.process.returncode is not None:
                    raise RuntimeError(f"{self.name} ended with {self.process.returncode}; see {self.log}")
                await asyncio.sleep(POLL_S)

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when that does not help."""
        try:
            async with asyncio.timeout(STOP_MAX_S):
                await self._end(signal.SIGTERM)
        except TimeoutError:
            await self.kill()

    async def _end(self, how: signal.Signals) -> None:
        if self.process is not None:
            if self.process.returncode is None:
                self.process.send_signal(how)
            await self.process.wait()


@dataclass(slots=True)
class Pair:
    """A host: an API and a worker."""

    api: Program
    worker: Program
    url: str
    is_up: bool = False

    async def start(self) -> None:
        """Start both, and return when both are ready."""
        await asyncio.gather(self.api.start(), self.worker.start())
        self.is_up = True

    async def crash(self) -> None:
        """kill -9 both, and start them again."""
        self.is_up = False
        await asyncio.gather(self.api.kill(), self.worker.kill())
        await self.start()


@dataclass(slots=True)
class IssueboxSystem:
    """Implements `System`. Handovers are not noted: Daytona's journal shows each start."""

    pairs: Sequence[Pair]
    http: httpx.AsyncClient
    address: str = ""
    """Of the Temporal server."""
    handovers: list[Handover] | None = None
    saved: set[str] = field(default_factory=set)
    kills: int = 0
    _crashes: set[asyncio.Task[None]] = field(default_factory=set)

    async def deliver(self, event: Event, host: int, crash: Crash | None) -> None:
        """POST it, signed. A host that is down is skipped, as by a load balancer; nothing is sent twice."""
        if crash is not None:
            self._crashes.add(asyncio.create_task(self._crash(host, crash.after_s)))
        mock = self.built(event)
        for pair in (self.pairs[host], self.pairs[1 - host]):
            try:
                reply = await post(self.http, pair.url, mock)
            except httpx.ConnectError:
                continue
            except httpx.TransportError as error:
                raise RefusedError(f"no answer: {type(error).__name__}") from error
            if reply.is_success:
                return
            raise RefusedError(f"{reply.status_code}: {reply.text}")
        raise RefusedError("both hosts are down")

    def built(self, event: Event) -> MockDelivery:
        """The signed request."""
        at = datetime.fromtimestamp(event.updated_at, UTC)
        return build(event.action, MockIssue(event.issue, REPOSITORY, updated_at=at), SECRET, delivery=event.delivery)

    async def kill(self, host: int) -> None:
        """kill -9 both processes of a host, and begin to start them again."""
        self._crashes.add(asyncio.create_task(self._crash(host, 0.0)))

    async def whole(self) -> None:
        await _wait_for(self._is_whole, READY_MAX_S)

    async def rest(self, issues: Sequence[int], within_s: float) -> None:
        """Wait until the workflow of each issue reports rest, without a waiting request."""
        await self.rest_until(issues, within_s, self._is_at_rest)

    async def rest_until(
        self, issues: Sequence[int], within_s: float, is_at_rest: Callable[[int], Awaitable[bool]]
    ) -> None:
        """Wait until that holds for each issue, for `within_s` at most."""
        await self.whole()
        deadline_s = asyncio.get_running_loop().time() + within_s
        for issue in issues:
            left_s = max(0.1, deadline_s - asyncio.get_running_loop().time())
            await _wait_for(lambda each=issue: is_at_rest(each), left_s, must=False)  # type: ignore[misc]

    def finds(self, issue: int, live: Sequence[SandboxView]) -> str | None:
        return named(f"claude-issue-{issue}", live)

    async def _is_whole(self) -> bool:
        """Whether all crashes are over and both hosts are up. Raises the error of a host that did not restart."""
        for task in [each for each in self._crashes if each.done()]:
            self._crashes.discard(task)
            task.result()
        return not self._crashes and all(pair.is_up for pair in self.pairs)

    async def _is_at_rest(self, issue: int) -> bool:
        url = f"{self.pairs[0].url}/v1/issues/{issue}/sandbox"
        reply = await self.http.get(url, headers={"Authorization": f"Bearer {TOKEN}"})
        if reply.status_code == httpx.codes.NOT_FOUND:
            return True  # None of its deliveries was accepted.
        if not reply.is_success:
            return False
        status = reply.json()
        if status["requests_waiting"] or not str(status["doing"]).startswith("resting"):
            return False
        due = status["goal_due_at"]
        return due is None or datetime.fromisoformat(due) - datetime.now(UTC) > FAR_OFF

    async def _crash(self, host: int, after_s: float) -> None:
        """Kill the host, unless it is already down."""
        await asyncio.sleep(after_s)
        if self.pairs[host].is_up:
            self.kills += 1
            await self.pairs[host].crash()


@asynccontextmanager
async def issuebox_system(server: Server, scratch: Path, speed: float) -> AsyncIterator[IssueboxSystem]:
    """Temporal, two hosts, and the client that plays GitHub."""
    async with deployment(server, scratch, speed, {}, {}) as (pairs, http, address):
        yield IssueboxSystem(pairs, http, address)


@asynccontextmanager
async def deployment(
    server: Server, scratch: Path, speed: float, settings: Mapping[str, str], seconds: Mapping[str, float]
) -> AsyncIterator[tuple[Sequence[Pair], httpx.AsyncClient, str]]:
    """The hosts, an HTTP client, and Temporal's address. The settings and constants are added to the usual ones."""
    temporal = await _temporal(scratch)
    address = temporal.environment["TEMPORAL_ADDRESS"]
    environment = {**_environment(address), **settings}
    divided = {name: value / speed for name, value in {**DIVIDED_S, **seconds}.items()}
    pairs = [_pair(index, environment, server, scratch, divided) for index in range(HOSTS)]
    programs = [temporal, *(program for pair in pairs for program in (pair.api, pair.worker))]
    try:
        await temporal.start()
        await asyncio.gather(*(pair.start() for pair in pairs))
        async with httpx.AsyncClient(timeout=10.0, trust_env=False) as http:
            yield pairs, http, address
    finally:
        for program in reversed(programs):
            await program.stop()


async def _temporal(scratch: Path) -> Program:
    server = DevServer(
        binary=await ensure_binary(),
        database=scratch / "temporal.db",
        port=free_port(),
        ui_port=free_port(),
        search_attributes=needed(),
        log_level="error",
    )
    environment = _environment(server.address)

    async def is_ready() -> bool:
        return await has_namespace(environment)

    return Program("temporal", server.command(), environment, is_ready, scratch / "temporal.log")


def _environment(address: str) -> dict[str, str]:
    """The common environment, without the caller's configuration of the three services."""
    return bare() | to_temporal(address) | {"ISSUEBOX_LOG_LEVEL": "warning"}


def _pair(
    index: int, environment: Mapping[str, str], server: Server, scratch: Path, divided: Mapping[str, float]
) -> Pair:
    port, ready_file = free_port(), scratch / f"worker-{index}.ready"
    url = f"http://127.0.0.1:{port}"
    settings = {"ISSUEBOX_CLOSE_STOP_AFTER_S": str(CLOSE_STOP_AFTER_S), "ISSUEBOX_AUDIT_INTERVAL_S": "0"}
    daytona = {"DAYTONA_API_KEY": server.api_key, "DAYTONA_API_URL": server.api_url, "DAYTONA_TARGET": "us"}
    secrets = {"ISSUEBOX_WEBHOOK_SECRETS": SECRET, "ISSUEBOX_API_TOKENS": TOKEN}
    python = (sys.executable, "-P", "-m")

    async def is_api_ready() -> bool:
        return await answers(f"{url}/readyz")

    async def is_worker_ready() -> bool:
        return ready_file.exists()

    return Pair(
        Program(
            f"api-{index}",
            (*python, "issuebox", "api", "--port", str(port)),
            {**environment, **secrets},
            is_api_ready,
            scratch / f"api-{index}.log",
        ),
        Program(
            f"worker-{index}",
            (*python, "proofs.shortened", "--ready-file", str(ready_file), json.dumps(divided)),
            {**environment, **settings, **daytona},
            is_worker_ready,
            scratch / f"worker-{index}.log",
            ready_file,
        ),
        url,
    )


async def _wait_for(holds: Callable[[], Awaitable[bool]], within_s: float, *, must: bool = True) -> None:
    """Wait until it holds. With `must`, raises TimeoutError when it does not in time."""
    try:
        async with asyncio.timeout(within_s):
            while not await holds():  # noqa: ASYNC110 -- another process sets no event of ours
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        if must:
            raise
