"""What most people would write first: a lock in the process around lookup and create, and the ID in a database."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar

from daytona import AsyncSandbox, DaytonaNotFoundError

from localdaytona.admin_models import SandboxView
from proofs.peers.host import Host
from proofs.peers.peer import Cloud, Event, Peer, known, state_of


class InProcessLock(Peer):
    """A lock for each issue. It serialises one process and does not know the other."""

    title: ClassVar[str] = "in-process lock"
    notes: ClassVar[str] = "nobody's in particular; the ID is in a shared database, a 404 is taken for gone"

    def __init__(self, host: Host, cloud: Cloud) -> None:
        super().__init__(host, cloud)
        self.sandbox_ids = host.table("sandboxes", str)
        self.locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def on_delivery(self, event: Event) -> None:
        async with self.locks[event.issue]:
            self.host.hand_over(event.issue, await self.ensure(event.issue))

    async def ensure(self, issue: int) -> AsyncSandbox:
        """Return the known sandbox, started; else a new one."""
        sandbox_id = await self.sandbox_ids.read(issue)
        if sandbox_id is not None:
            try:
                sandbox = await self.host.get(sandbox_id)
            except DaytonaNotFoundError:
                pass
            else:
                if state_of(sandbox) != "started":
                    await self.host.start(sandbox)
                return sandbox
        sandbox = await self.host.create(issue)
        await self.sandbox_ids.write(issue, sandbox.id)
        return sandbox

    def finds(self, issue: int, live: Sequence[SandboxView]) -> str | None:
        return known(self.sandbox_ids.peek(issue), live)
