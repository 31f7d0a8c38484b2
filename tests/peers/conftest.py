"""One peer in front of its own fast localdaytona."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from localdaytona.admin_models import SandboxView
from localdaytona.testing import Server, running_inside
from proofs.checker.lives import issue_of
from proofs.peers.peer import Event, Peer
from proofs.peers.system import Crash, PeerSystem, peer_system

SPEED = 50.0
ISSUE = 7


@dataclass
class Stage:
    """A peer, its Daytona, and one issue."""

    system: PeerSystem
    daytona: Server
    sent: int = 0

    async def send(self, host: int = 0, crash: Crash | None = None) -> None:
        """Send a delivery for the issue, and wait for all its effects."""
        self.sent += 1
        await self.system.deliver(Event(f"delivery-{self.sent}", ISSUE), host, crash)
        await self.settle()

    async def settle(self) -> None:
        await self.system.rest([ISSUE], within_s=10)

    async def live(self) -> list[SandboxView]:
        """The issue's sandboxes whose delete was not accepted."""
        rows = await self.daytona.admin.sandboxes()
        return [row for row in rows if issue_of(row.name, row.labels) == ISSUE and row.desired_state != "destroyed"]

    async def found(self) -> SandboxView | None:
        """The sandbox that the next event would find."""
        live = await self.live()
        found = self.system.finds(ISSUE, live)
        return next((row for row in live if row.id == found), None)


Start = Callable[[type[Peer]], Awaitable[Stage]]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a peer."""
    async with AsyncExitStack() as exits:

        async def started(kind: type[Peer]) -> Stage:
            server = await exits.enter_async_context(running_inside(tmp_path, speed=SPEED))
            system = await exits.enter_async_context(peer_system(kind, server, SPEED, "test"))
            system.quiet_s = 0.06
            return Stage(system, server)

        yield started
