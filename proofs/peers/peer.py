"""The interface of a peer's algorithm to the harness."""

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
    """A delivery. It asks for the issue's sandbox, or reports that the issue was closed.

    `updated_at`: GitHub's time in its body, in epoch seconds.
    """

    delivery: str
    issue: int
    action: str = "comment"
    updated_at: float = 0.0

    @property
    def is_close(self) -> bool:
        """Whether it reports that the issue was closed."""
        return self.action == "closed"


class NoWorkerError(Exception):
    """The process of every attempt was killed."""


class Cloud(Protocol):
    """The services around a peer's processes, which survive their kills: a job queue, Temporal, durable objects."""

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run durable code, such as a workflow. It has effects only through `attempts`."""
        ...

    async def attempts(self, work: Callable[[Peer], Coroutine[Any, Any, None]], attempts_max: int) -> None:
        """Run on a live process, and again after a kill, `attempts_max` times at most. Raises an error of the work.

        Raises NoWorkerError when all attempts were killed. Cancelling it cancels the attempt under way.
        """
        ...

    async def pause(self, seconds: float) -> None:
        """A durable timer, in Daytona's seconds."""
        ...

    def home(self, issue: int) -> Peer:
        """The process that has the issue's durable object now."""
        ...


class Peer(ABC):
    """One peer's algorithm in one process. Attributes are its memory; tables survive a kill."""

    title: ClassVar[str]
    """Its name in the table."""
    notes: ClassVar[str]
    """What was inferred and not read, and how its best configuration was chosen."""

    def __init__(self, host: Host, cloud: Cloud) -> None:
        self.host = host
        self.cloud = cloud

    @abstractmethod
    async def on_delivery(self, event: Event) -> None:
        """Handle an event that asks for the sandbox. Returning is the 2xx; an error is what the caller sees."""

    async def on_close(self, event: Event) -> None:  # noqa: B027 -- most peers do nothing
        """Handle the close of an issue. Most peers do not."""

    async def sweep(self) -> None:  # noqa: B027 -- most peers do nothing
        """One pass of the peer's periodic reaper. The harness calls it when everything else is at rest."""

    @abstractmethod
    def finds(self, issue: int, live: Sequence[SandboxView]) -> str | None:
        """The ID of the live sandbox that the issue's next event would find."""


def named(name: str, live: Sequence[SandboxView]) -> str | None:
    """The ID of the sandbox that has this name."""
    return next((row.id for row in live if row.name == name), None)


def known(sandbox_id: str | None, live: Sequence[SandboxView]) -> str | None:
    """The ID, if that sandbox is live."""
    return sandbox_id if any(row.id == sandbox_id for row in live) else None


def state_of(sandbox: AsyncSandbox) -> str:
    """Daytona's word for its state."""
    return sandbox.state.value if sandbox.state is not None else "unknown"


def is_transient(error: DaytonaError) -> bool:
    """Whether the same call may succeed a moment later: connection, timeout, 429, 5xx."""
    status = error.status_code or 0
    is_unanswered = isinstance(error, DaytonaConnectionError | DaytonaTimeoutError)
    return is_unanswered or status == TOO_MANY_REQUESTS or status >= SERVER_ERROR_MIN
