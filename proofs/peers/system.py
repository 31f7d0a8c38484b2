"""The systems that the harness drives: issuebox, or a peer with its two processes and its durable services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from daytona import AsyncDaytona, DaytonaConfig

from localdaytona.admin_models import SandboxView
from localdaytona.testing import Server
from proofs.peers.host import CRASH, CrashPoint, Handover, Host, KilledError, Notebook
from proofs.peers.peer import Event, NoWorkerError, Peer
from proofs.peers.store import Tables

HOSTS = 2
HEARTBEAT_S = 10.0
"""How long a durable service waits, in Daytona's seconds, until a silent process counts as dead."""
QUIET_S = 0.3
"""How long no process may have had a task, so that a peer counts as at rest."""
POLL_S = 0.02


class RefusedError(Exception):
    """The sender of a delivery got an error, or no answer."""


@dataclass(frozen=True, slots=True)
class Crash:
    """When a delivery's process is killed: at a step of its handling, or at a time after it was sent."""

    step: int
    after_s: float


class System(Protocol):
    """One system under test."""

    async def deliver(self, event: Event, host: int, crash: Crash | None) -> None:
        """Send a delivery to one of the two hosts and wait for its 2xx. Raises RefusedError."""
        ...

    async def whole(self) -> None:
        """Wait until both hosts are up."""
        ...

    async def rest(self, issues: Sequence[int], within_s: float) -> None:
        """Wait until it has nothing more to do for these issues, for `within_s` at most."""
        ...

    def finds(self, issue: int, live: Sequence[SandboxView]) -> str | None:
        """The ID of the sandbox that the next event of the issue would find."""
        ...

    @property
    def handovers(self) -> list[Handover] | None:
        """When sandboxes were handed over; None when only Daytona's journal shows it."""
        ...

    @property
    def saved(self) -> set[str]:
        """Sandboxes whose content is in a snapshot."""
        ...


class PeerSystem:
    """A peer on two processes, with its durable store and its cloud. Implements `System` and `Cloud`."""

    quiet_s = QUIET_S

    def __init__(self, kind: type[Peer], clients: Sequence[AsyncDaytona], speed: float, seed: str) -> None:
        self._kind = kind
        self._clients = clients
        self._speed = speed
        self._seed = seed
        self._tables = Tables()
        self._notebook = Notebook()
        self._lives = 0
        self._is_closed = False
        self._durable: set[asyncio.Task[None]] = set()
        self._peers = [self._born(index) for index in range(HOSTS)]

    @property
    def handovers(self) -> list[Handover] | None:
        return self._notebook.handovers

    @property
    def saved(self) -> set[str]:
        return self._notebook.saved

    def finds(self, issue: int, live: Sequence[SandboxView]) -> str | None:
        return self._peer(0).finds(issue, live)

    async def deliver(self, event: Event, host: int, crash: Crash | None) -> None:
        CRASH.set(CrashPoint(crash.step) if crash is not None else None)
        peer = self._peer(host)
        work = peer.on_close(event) if event.is_close else peer.on_delivery(event)
        task = peer.host.spawn(work)
        await _finished(task)
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or isinstance(error, KilledError):
            raise RefusedError("the process was killed") from error
        if error is not None:
            raise RefusedError(f"{type(error).__name__}: {error}") from error

    async def whole(self) -> None:
        """Nothing to wait for: the next delivery restarts a killed process."""

    async def rest(self, issues: Sequence[int], within_s: float) -> None:  # noqa: ARG002 -- all of them
        """Wait for its tasks, run its reaper once, and wait again."""
        CRASH.set(None)
        await self._quiet(within_s)
        await _finished(self._peer(0).host.spawn(self._peer(0).sweep()))
        await self._quiet(within_s)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        if self._is_closed:
            work.close()
            raise KilledError
        task = asyncio.create_task(work)
        self._durable.add(task)
        task.add_done_callback(self._ended)
        return task

    async def attempts(self, work: Callable[[Peer], Coroutine[Any, Any, None]], attempts_max: int) -> None:
        for _ in range(attempts_max):
            peer = self._peer(self._lives % HOSTS)
            task = peer.host.spawn(work(peer))
            await _finished(task)
            if peer.host.is_alive:
                return task.result()
            await asyncio.sleep(HEARTBEAT_S / self._speed)
        raise NoWorkerError

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._speed)

    def home(self, issue: int) -> Peer:
        return self._peer(issue % HOSTS)

    @property
    def is_idle(self) -> bool:
        """Whether no process has a task."""
        return all(peer.host.is_idle for peer in self._peers)

    @property
    def has_durable_work(self) -> bool:
        """Whether durable code is under way."""
        return bool(self._durable)

    async def kill(self, host: int) -> None:
        """Kill one of the two processes. The next one who needs it restarts it."""
        self._peers[host].host.kill()

    async def close(self) -> None:
        """End all tasks and processes."""
        self._is_closed = True
        for task in self._durable:
            task.cancel()
        for peer in self._peers:
            peer.host.kill()
        await asyncio.gather(*self._durable, return_exceptions=True)

    def _peer(self, index: int) -> Peer:
        """The process of this number, restarted when it was killed."""
        if not self._peers[index].host.is_alive:
            self._peers[index] = self._born(index)
        return self._peers[index]

    def _born(self, index: int) -> Peer:
        self._lives += 1
        seed = f"{self._seed}/{index}/{self._lives}"
        return self._kind(Host(self._clients[index], self._tables, self._notebook, self._speed, seed), self)

    async def _quiet(self, within_s: float) -> None:
        """Return when no process has had a task for a moment."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + within_s
        quiet_since_s = loop.time()
        while loop.time() < deadline_s and loop.time() - quiet_since_s < self.quiet_s:
            await asyncio.sleep(POLL_S)
            if not self.is_idle:
                quiet_since_s = loop.time()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._durable.discard(task)
        # Retrieved here, as nobody awaits a durable task.
        if not task.cancelled():
            task.exception()


async def _finished(task: asyncio.Task[Any]) -> None:
    """Wait for its end, without raising its error. A cancellation also cancels the task."""
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        raise


S = TypeVar("S", bound=PeerSystem)


def peer_system(kind: type[Peer], server: Server, speed: float, seed: str) -> AbstractAsyncContextManager[PeerSystem]:
    """A peer in front of this Daytona, with an SDK client for each of its processes."""
    return in_front_of(server, lambda clients: PeerSystem(kind, clients, speed, seed))


@asynccontextmanager
async def in_front_of(server: Server, made: Callable[[Sequence[AsyncDaytona]], S]) -> AsyncIterator[S]:
    """What is made of an SDK client for each process. It is closed with the block."""
    config = DaytonaConfig(api_key=server.api_key, api_url=server.api_url, target="us")
    async with AsyncDaytona(config) as first, AsyncDaytona(config) as second:
        system = made((first, second))
        try:
            yield system
        finally:
            await system.close()
