"""Vercel's `getOrCreate` by name: get, on 404 create; a name that was taken meanwhile is an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from daytona import AsyncSandbox, DaytonaNotFoundError

from localdaytona.admin_models import SandboxView
from proofs.peers.peer import Event, Peer, named, state_of


class Vercel(Peer):
    """The simplest form of get-or-create."""

    title: ClassVar[str] = "vercel getOrCreate"
    notes: ClassVar[str] = (
        "made for another provider; inferred: what is found at rest is started, as that provider does by itself; "
        "its branch for a lost snapshot has no counterpart here"
    )

    async def on_delivery(self, event: Event) -> None:
        self.host.hand_over(event.issue, await self.ensure(event.issue))

    async def ensure(self, issue: int) -> AsyncSandbox:
        """Get, or create when it is not found."""
        try:
            sandbox = await self.host.get(f"vercel-{issue}")
        except DaytonaNotFoundError:
            return await self.host.create(issue, f"vercel-{issue}")
        if state_of(sandbox) != "started":
            await self.host.start(sandbox)
        return sandbox

    def finds(self, issue: int, live: Sequence[SandboxView]) -> str | None:
        return named(f"vercel-{issue}", live)
