"""ColeMurray's background-agents: a durable object per session that owns the sandbox and its status."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from daytona import DaytonaError, DaytonaNotFoundError

from localdaytona.admin_models import SandboxView
from proofs.peers.host import Host
from proofs.peers.peer import Cloud, Event, Peer, known, state_of

SPAWNING_MAX_S = 120
FAILURES_MAX = 3
COOL_DOWN_S = 300


@dataclass(frozen=True, slots=True)
class Record:
    """The durable object's storage. Times are the host's clock in seconds of Daytona's time."""

    status: str = "none"
    sandbox_id: str = ""
    since_s: float = 0.0
    failures: int = 0
    spawns: int = 0


class BackgroundAgents(Peer):
    """One place for each session, with a flag in memory. Names are never reused, so that none is taken."""

    title: ClassVar[str] = "background-agents"
    notes: ClassVar[str] = (
        "inferred: the object lives on one process at a time; its web socket to a running sandbox is played by one "
        "read; the breaker opens at 3 failures for 300 s"
    )

    def __init__(self, host: Host, cloud: Cloud) -> None:
        super().__init__(host, cloud)
        self.records = host.table("objects", Record)
        self.spawning: set[int] = set()

    async def on_delivery(self, event: Event) -> None:
        """Route to the session's object, where the prompt waits for the sandbox."""
        home = self.cloud.home(event.issue)
        if not isinstance(home, BackgroundAgents):
            raise TypeError(home)
        await home.host.spawn(home.ensure(event.issue))

    async def ensure(self, issue: int) -> None:
        """Start the session's sandbox, unless that is under way."""
        if issue in self.spawning:
            return
        self.spawning.add(issue)
        try:
            await self.decide(issue, await self.records.read(issue) or Record())
        finally:
            self.spawning.discard(issue)

    async def decide(self, issue: int, record: Record) -> None:
        """Resume, skip or spawn, depending on the status."""
        age_s = self.host.now_s() - record.since_s
        if record.failures >= FAILURES_MAX and age_s < COOL_DOWN_S:
            raise RuntimeError("the breaker is open")
        if record.status == "spawning" and age_s < SPAWNING_MAX_S:
            return
        if record.sandbox_id and record.status == "ready" and await self.resumed(issue, record):
            return
        await self.spawn(issue, record)

    async def resumed(self, issue: int, record: Record) -> bool:
        """Use, start or recover the sandbox. Returns False when it is gone."""
        try:
            sandbox = await self.host.get(record.sandbox_id)
        except DaytonaNotFoundError:
            return False
        if state_of(sandbox) == "error" and sandbox.recoverable:
            await self.host.recover(sandbox)
        elif state_of(sandbox) != "started":
            await self.host.start(sandbox)
        self.host.hand_over(issue, sandbox)
        return True

    async def spawn(self, issue: int, record: Record) -> None:
        """Persist the intent, stop the one before, create under a new name, persist the ID."""
        await self.records.write(issue, replace(record, status="spawning", since_s=self.host.now_s()))
        await self.stop_prior(record)
        spawns = record.spawns + 1
        try:
            sandbox = await self.host.create(issue, f"session-{issue}-{spawns}-{self.host.rng.randrange(10**6)}")
        except DaytonaError:
            failures = record.failures + 1
            since_s = self.host.now_s()
            await self.records.write(issue, Record("failed", "", since_s, failures, spawns))
            raise
        await self.records.write(issue, Record("ready", sandbox.id, self.host.now_s(), 0, spawns))
        self.host.hand_over(issue, sandbox)

    async def stop_prior(self, record: Record) -> None:
        """Stop the recorded sandbox, as a best effort."""
        if record.sandbox_id:
            with contextlib.suppress(DaytonaError):
                await self.host.stop(await self.host.get(record.sandbox_id))

    def finds(self, issue: int, live: Sequence[SandboxView]) -> str | None:
        record = self.records.peek(issue)
        return known(record.sandbox_id if record else None, live)
