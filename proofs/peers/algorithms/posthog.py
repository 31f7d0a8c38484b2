"""PostHog's `execute-sandbox`: a Temporal workflow per run that owns a sandbox with a name nobody can know."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from daytona import AsyncSandbox, DaytonaError, DaytonaNotFoundError

from localdaytona.admin_models import SandboxView
from proofs.peers.host import Host
from proofs.peers.peer import Cloud, Event, NoWorkerError, Peer, known, state_of

log = logging.getLogger(__name__)

ACTIVITY_ATTEMPTS_MAX = 3
CREATE_TIMEOUT_S = 300


@dataclass(slots=True)
class Execution:
    """One open workflow: its signals, in order. None asks it to complete."""

    inbox: asyncio.Queue[Event | None] = field(default_factory=asyncio.Queue)


class PostHog(Peer):
    """One workflow at a time for an issue. Its create is an activity that may run again."""

    title: ClassVar[str] = "PostHog execute-sandbox"
    notes: ClassVar[str] = (
        "made for another provider; Temporal is played by the harness (activities: 3 attempts; the workflow itself "
        "cannot die); inferred: an issue is a run, a close completes it, a sandbox that is found at rest counts as "
        "gone and the parent asks for a new session; what is destroyed while it runs was put into a snapshot"
    )

    def __init__(self, host: Host, cloud: Cloud) -> None:
        super().__init__(host, cloud)
        self.sandbox_ids = host.table("run_state", str)
        self.executions = host.table("executions", Execution)

    async def on_delivery(self, event: Event) -> None:
        """Signal with start: only one workflow has the ID at a time."""
        await self.host.step()
        execution = self.executions.peek(event.issue)
        if execution is None:
            execution = Execution()
            self.executions.put(event.issue, execution)
            self.cloud.start(_workflow(self.cloud, event.issue, execution))
        execution.inbox.put_nowait(event)

    async def on_close(self, event: Event) -> None:
        """Complete the run."""
        await self.host.step()
        execution = self.executions.peek(event.issue)
        if execution is not None:
            execution.inbox.put_nowait(None)

    async def reap(self, issue: int) -> None:
        """Destroy the sandbox that an earlier session of the run left, as a best effort."""
        sandbox_id = await self.sandbox_ids.read(issue)
        if sandbox_id:
            # Best effort, as in theirs: the row is cleared either way.
            with contextlib.suppress(DaytonaError):
                await self.host.delete(await self.host.get(sandbox_id))
            await self.sandbox_ids.write(issue, "")

    async def create(self, issue: int) -> None:
        """The activity. It is not safe to repeat, and repeated when it fails."""
        name = f"task-sandbox-{issue}-{self.host.rng.randrange(16**6):06x}"
        sandbox = await self.host.create(issue, name, timeout_s=CREATE_TIMEOUT_S)
        await self.sandbox_ids.write(issue, sandbox.id)
        self.host.hand_over(issue, sandbox)

    async def serve(self, issue: int) -> None:
        """Serve a signal from the session's running sandbox. Raises GoneError when it is gone or at rest."""
        try:
            sandbox = await self.host.get(await self.sandbox_ids.read(issue) or "none")
        except DaytonaNotFoundError as error:
            raise GoneError(issue) from error
        if state_of(sandbox) != "started":
            raise GoneError(issue)
        self.host.hand_over(issue, sandbox)

    async def clean_up(self, issue: int) -> None:
        """Snapshot, destroy, forget."""
        sandbox = await self.owned(issue)
        if sandbox is not None:
            if state_of(sandbox) == "started":
                self.host.save(sandbox.id)
            await self.host.delete(sandbox)
        await self.sandbox_ids.write(issue, "")

    async def owned(self, issue: int) -> AsyncSandbox | None:
        """The session's sandbox, if it has one."""
        sandbox_id = await self.sandbox_ids.read(issue)
        return await self.host.get(sandbox_id) if sandbox_id else None

    def finds(self, issue: int, live: Sequence[SandboxView]) -> str | None:
        return known(self.sandbox_ids.peek(issue) or None, live)


class GoneError(Exception):
    """The session's sandbox does not run any more."""


async def _workflow(cloud: Cloud, issue: int, execution: Execution) -> None:
    """The sessions of one issue, one after the other, for ever. Deterministic: every effect is an activity."""
    while True:
        await _session(cloud, issue, execution)


async def _session(cloud: Cloud, issue: int, execution: Execution) -> None:
    """One session: reap, create, serve signals, clean up."""
    if await execution.inbox.get() is None:
        return
    try:
        await _activity(cloud, issue, "reap")
        await _activity(cloud, issue, "create")
        while (await execution.inbox.get()) is not None:
            await _serve(cloud, issue)
    except GoneError:
        # The parent learns that the session ended, and asks for a new one with the unserved event.
        execution.inbox.put_nowait(Event("again", issue))
    except (DaytonaError, NoWorkerError) as error:
        log.debug("the session of issue %s failed, the next event begins another: %s", issue, error)
    await _clean_up(cloud, issue)


async def _serve(cloud: Cloud, issue: int) -> None:
    """One signal. An unreachable sandbox does not count as gone: the session goes on without the event."""
    try:
        await _activity(cloud, issue, "serve")
    except (DaytonaError, NoWorkerError) as error:
        log.debug("an event of issue %s was not served: %s", issue, error)


async def _clean_up(cloud: Cloud, issue: int) -> None:
    # After an error, the next session's reaper still knows its ID.
    with contextlib.suppress(DaytonaError, NoWorkerError):
        await _activity(cloud, issue, "clean_up")


async def _activity(cloud: Cloud, issue: int, name: str) -> None:
    """Three attempts, each after an error or the death of its worker."""

    async def attempt(peer: Peer) -> None:
        if not isinstance(peer, PostHog):
            raise TypeError(peer)
        await {"reap": peer.reap, "create": peer.create, "serve": peer.serve, "clean_up": peer.clean_up}[name](issue)

    for left in range(ACTIVITY_ATTEMPTS_MAX - 1, -1, -1):
        try:
            await cloud.attempts(attempt, ACTIVITY_ATTEMPTS_MAX)
        except DaytonaError:
            if not left:
                raise
        else:
            return
