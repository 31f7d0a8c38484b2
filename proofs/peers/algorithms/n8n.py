"""n8n's sandbox service: one name, one deadline, a table of states, and adoption of the sandbox that has the name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import ClassVar

from daytona import AsyncSandbox, DaytonaConflictError, DaytonaError, DaytonaNotFoundError

from localdaytona.admin_models import SandboxView
from proofs.peers.peer import Event, Peer, is_transient, named, state_of

DEADLINE_S = 300
TRIES_MAX = 3
ABSENT_MAX = 3
RETRY_PAUSE_S = 1
BACKOFF_S = (1, 2, 4, 5)
START_WAIT_MIN_S = 30


class NotReadyError(Exception):
    """The sandbox exists and did not become ready in time; it is kept."""


class Answer(Enum):
    """The result of a lookup without a ready sandbox."""

    PENDING = auto()
    ABSENT = auto()


_REST = frozenset({"stopped", "paused", "archived"})
_BUILDING = frozenset({"creating", "pending_build", "pulling_snapshot", "building_snapshot"})
_COMING = frozenset({"restoring", "starting", "forking", "resizing", "snapshotting"})
_BROKEN = frozenset({"error", "build_failed"})

Left = Callable[[], float]


class N8n(Peer):
    """The provider's unique name takes the place of a lock."""

    title: ClassVar[str] = "n8n"
    notes: ClassVar[str] = (
        "a library call: here the caller's answer waits for it (up to 300 s), where GitHub would give up after 10 s"
    )

    async def on_delivery(self, event: Event) -> None:
        left = self.host.deadline(DEADLINE_S)
        self.host.hand_over(event.issue, await self.ensure(event.issue, left))

    async def ensure(self, issue: int, left: Left) -> AsyncSandbox:
        """Look up, then create until that succeeds or another's is ready. Raises NotReadyError at the deadline."""
        found = await self.lookup(issue, left)
        absences = 0
        while isinstance(found, Answer):
            if left() <= 0:
                raise NotReadyError(f"issue {issue}: not within {DEADLINE_S} s")
            try:
                return await self.create(issue, left)
            except DaytonaConflictError as error:
                found = await self.settled(issue, left)
                absences += found is Answer.ABSENT
                if absences >= ABSENT_MAX:
                    raise NotReadyError(f"issue {issue}: its name is taken, and no sandbox has it") from error
        return found

    async def settled(self, issue: int, left: Left) -> AsyncSandbox | Answer:
        """Look up until the answer is not pending."""
        found, tries = await self.lookup(issue, left), 0
        while found is Answer.PENDING and left() > 0:
            await self.host.sleep(BACKOFF_S[min(tries, len(BACKOFF_S) - 1)])
            found, tries = await self.lookup(issue, left), tries + 1
        return found

    async def lookup(self, issue: int, left: Left) -> AsyncSandbox | Answer:
        """The sandbox with the name, started when its state allows it."""
        sandbox = await self.read(issue)
        if sandbox is None:
            return Answer.ABSENT
        state = state_of(sandbox)
        if state == "started":
            return sandbox
        if state in _BROKEN:
            await self.host.delete(sandbox)
        elif state in _REST:
            return await self.started(sandbox, max(left() / 2, START_WAIT_MIN_S))
        elif state in _COMING:
            return await self.awaited(sandbox, left())
        elif state in _BUILDING:
            return await self.built(sandbox, left())
        return Answer.PENDING

    async def started(self, sandbox: AsyncSandbox, wait_s: float) -> AsyncSandbox:
        """Start it. Raises NotReadyError when it takes too long."""
        try:
            await self.host.start(sandbox, wait_s)
        except DaytonaError as error:
            raise NotReadyError(str(error)) from error
        return sandbox

    async def awaited(self, sandbox: AsyncSandbox, wait_s: float) -> AsyncSandbox:
        """Wait for a sandbox that may hold work. Raises NotReadyError when it takes too long."""
        try:
            await self.host.wait_started(sandbox, wait_s)
        except DaytonaError as error:
            raise NotReadyError(str(error)) from error
        return sandbox

    async def built(self, sandbox: AsyncSandbox, wait_s: float) -> AsyncSandbox | Answer:
        """Wait for a sandbox that is being created, and delete it when it does not start."""
        try:
            await self.host.wait_started(sandbox, wait_s)
        except DaytonaError:
            await self.host.delete(sandbox)
            return Answer.PENDING
        return sandbox

    async def read(self, issue: int) -> AsyncSandbox | None:
        """Get by name, three tries; None for *not found*."""
        for attempt in range(TRIES_MAX):
            try:
                return await self.host.get(_name(issue))
            except DaytonaNotFoundError:
                return None
            except DaytonaError as error:
                if not is_transient(error) or attempt == TRIES_MAX - 1:
                    raise
            await self.host.sleep(RETRY_PAUSE_S)
        raise AssertionError("unreachable")

    async def create(self, issue: int, left: Left) -> AsyncSandbox:
        """Create by name, three tries on transient errors."""
        for _ in range(TRIES_MAX - 1):
            try:
                return await self.host.create(issue, _name(issue), timeout_s=left())
            except DaytonaError as error:
                if not is_transient(error):
                    raise
            await self.host.sleep(RETRY_PAUSE_S)
        return await self.host.create(issue, _name(issue), timeout_s=left())

    def finds(self, issue: int, live: Sequence[SandboxView]) -> str | None:
        return named(_name(issue), live)


def _name(issue: int) -> str:
    return f"n8n-{issue}"
