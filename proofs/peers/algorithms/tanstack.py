"""TanStack's sandbox package on Daytona: a lock and a store by key, resume, snapshot, else create by name."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from daytona import AsyncSandbox, DaytonaError

from localdaytona.admin_models import SandboxView
from proofs.peers.host import Host
from proofs.peers.peer import Cloud, Event, Peer, known, state_of


@dataclass(frozen=True, slots=True)
class Stored:
    """What its store keeps of a key."""

    sandbox_id: str
    has_snapshot: bool


class TanStack(Peer):
    """A failed resume, for any cause, leads to a restore without a name; a taken name is an error."""

    title: ClassVar[str] = "TanStack"
    notes: ClassVar[str] = (
        "best configuration: a durable store in the place of the default one in memory; the lock is the default one "
        "in memory; taking the snapshot is a step that never fails here and restarts nothing"
    )

    def __init__(self, host: Host, cloud: Cloud) -> None:
        super().__init__(host, cloud)
        self.store = host.table("store", Stored)
        self.locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def on_delivery(self, event: Event) -> None:
        async with self.locks[event.issue]:
            self.host.hand_over(event.issue, await self.ensure(event.issue))

    async def ensure(self, issue: int) -> AsyncSandbox:
        """Resume, else restore, else create."""
        stored = await self.store.read(issue)
        if stored is not None:
            sandbox = await self.resumed(stored)
            if sandbox is None and stored.has_snapshot:
                sandbox = await self.host.create(issue)
            if sandbox is not None:
                await self.store.write(issue, Stored(sandbox.id, has_snapshot=stored.has_snapshot))
                return sandbox
        sandbox = await self.host.create(issue, name=f"tanstack-{issue}")
        await self.bootstrap(sandbox)
        await self.store.write(issue, Stored(sandbox.id, has_snapshot=True))
        return sandbox

    async def resumed(self, stored: Stored) -> AsyncSandbox | None:
        """The stored sandbox, started when it was at rest; None on any error."""
        try:
            sandbox = await self.host.get(stored.sandbox_id)
            if state_of(sandbox) in {"stopped", "archived"}:
                await self.host.start(sandbox)
        except DaytonaError:
            return None
        return sandbox

    async def bootstrap(self, sandbox: AsyncSandbox) -> None:
        """Set it up, or destroy it and raise."""
        try:
            await self.host.run_inside(sandbox)
        except DaytonaError:
            await self.host.delete(sandbox)
            raise

    def finds(self, issue: int, live: Sequence[SandboxView]) -> str | None:
        stored = self.store.peek(issue)
        return known(stored.sandbox_id if stored else None, live)
