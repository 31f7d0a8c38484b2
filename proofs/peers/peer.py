"""What a peer's algorithm is to the harness."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from daytona import AsyncSandbox, DaytonaConnectionError, DaytonaError, DaytonaTimeoutError

from localdaytona.admin_models import SandboxView
from proofs.peers.host import Host

TOO_MANY_REQUESTS = 429
SERVER_ERROR_MIN = 500


@dataclass(frozen=True, slots=True)
class Event:
    """A delivery. Peers understand that it asks for the issue's sandbox, or that the issue was closed.

    `updated_at` is GitHub's time in its body, in epoch seconds.
    """

    delivery: str
    issue: int
    action: str = "comment"
    updated_at: float = 0.0

    @property
    def is_close(self) -> bool:
        """Whether it says that the issue was closed."""
        return self.action == "closed"


class NoWorkerError(Exception):
    """Every attempt ended with the death of the process that made it."""


class Cloud(Protocol):
    """What a peer has beside its processes, and what survives their kills: a job queue, Temporal, durable objects."""

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run durable code, such as a workflow. It has no effects but through `attempts`."""
        ...

    async def attempts(self, work: Callable[[Peer], Coroutine[Any, Any, None]], attempts_max: int) -> None:
        """Run on a process that lives; again after a kill, up to so many times. An error of the work is raised.

        Raises NoWorkerError when all were killed. Cancelling it cancels the attempt that runs.
        """
        ...

    def home(self, issue: int) -> Peer:
        """The process on which the issue's durable object lives now."""
        ...


class Peer(ABC):
    """One peer's algorithm in one life of one process: attributes are its memory, tables are what lasts."""

    title: ClassVar[str]
    """As the table calls it."""
    notes: ClassVar[str]
    """What was concluded and not read, and how its best configuration was chosen."""

    def __init__(self, host: Host, cloud: Cloud) -> None:
        self.host = host
        self.cloud = cloud

    @abstractmethod
    async def on_delivery(self, event: Event) -> None:
        """Handle an event that asks for the sandbox. Returning is the 2xx; an error is what the caller sees."""

    async def on_close(self, event: Event) -> None:  # noqa: B027 -- most peers do nothing
        """The issue was closed. Most peers do not listen."""

    async def sweep(self) -> None:  # noqa: B027 -- most peers do nothing
        """One pass of the peer's periodic reaper; the harness calls it when all else is at rest."""

    @abstractmethod
    def finds(self, issue: int, live: Sequence[SandboxView]) -> str | None:
        """The ID of the sandbox that the next event of the issue would find, among those that live."""


def named(name: str, live: Sequence[SandboxView]) -> str | None:
    """The ID of the sandbox that has this name."""
    return next((row.id for row in live if row.name == name), None)


def known(sandbox_id: str | None, live: Sequence[SandboxView]) -> str | None:
    """The same ID when that sandbox lives."""
    return sandbox_id if any(row.id == sandbox_id for row in live) else None


def state_of(sandbox: AsyncSandbox) -> str:
    """Daytona's word for its state."""
    return sandbox.state.value if sandbox.state is not None else "unknown"


def is_transient(error: DaytonaError) -> bool:
    """Whether the same call may work a moment later: connection, time-out, 429, 5xx."""
    status = error.status_code or 0
    is_unanswered = isinstance(error, DaytonaConnectionError | DaytonaTimeoutError)
    return is_unanswered or status == TOO_MANY_REQUESTS or status >= SERVER_ERROR_MIN
