"""opengeni: a lease row with an epoch; one spawner, everybody else waits; a superseded spawner destroys its sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from daytona import DaytonaError, DaytonaNotFoundError

from localdaytona.admin_models import SandboxView
from proofs.peers.host import Host
from proofs.peers.peer import Cloud, Event, Peer, known, state_of

WARMING_TTL_S = 90
WAIT_MAX_S = 180
POLL_S = 1
ACQUIRES_MAX = 3
COLD = "cold"
WARMING = "warming"
WARM = "warm"


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease row. `expires_s` is the host's clock in seconds of Daytona's time."""

    liveness: str = COLD
    epoch: int = 0
    spawner: int = 0
    sandbox_id: str = ""
    expires_s: float = 0.0


class NotWarmError(Exception):
    """The lease did not become warm in time."""


class OpenGeni(Peer):
    """Its holder stays while the issue is open, so that its drain never begins."""

    title: ClassVar[str] = "opengeni"
    notes: ClassVar[str] = (
        "inferred: the holder stays attached, so draining never begins; a sandbox at rest is started when it is "
        "resumed; the lease of a dead spawner expires after 90 s; its sweep is run once at rest; the caller's answer "
        "waits for the lease"
    )

    def __init__(self, host: Host, cloud: Cloud) -> None:
        super().__init__(host, cloud)
        self.leases = host.table("leases", Lease)

    async def on_delivery(self, event: Event) -> None:
        for _ in range(ACQUIRES_MAX):
            if await self.acquired(event.issue):
                return
        raise NotWarmError(event.issue)

    async def acquired(self, issue: int) -> bool:
        """Become the spawner of a cold lease, or wait for a warm one. Returns False when it must be acquired anew."""
        await self.leases.insert(issue, Lease())
        lease = await self.leases.read(issue) or Lease()
        if lease.liveness == WARMING and lease.expires_s < self.host.now_s():
            await self.leases.swap(issue, lease, Lease(COLD, lease.epoch))
            return False
        if lease.liveness == COLD:
            mine = Lease(WARMING, lease.epoch, self.host.rng.getrandbits(32), "", self.host.now_s() + WARMING_TTL_S)
            if await self.leases.swap(issue, lease, mine):
                return await self.spawned(issue, mine)
        return await self.resumed(issue, await self.warmed(issue))

    async def spawned(self, issue: int, lease: Lease) -> bool:
        """Create, and commit under the same epoch; a superseded sandbox is destroyed."""
        try:
            sandbox = await self.host.create(issue)
        except DaytonaError:
            await self.leases.swap(issue, lease, Lease(COLD, lease.epoch))
            raise
        if await self.leases.swap(issue, lease, Lease(WARM, lease.epoch + 1, 0, sandbox.id)):
            self.host.hand_over(issue, sandbox)
            return True
        await self.host.delete(sandbox)
        return False

    async def warmed(self, issue: int) -> Lease:
        """Poll until the lease is no longer warming. Raises NotWarmError when it takes too long."""
        left_s = self.host.deadline(WAIT_MAX_S)
        while left_s() > 0:
            lease = await self.leases.read(issue)
            if lease is not None and (lease.liveness != WARMING or lease.expires_s < self.host.now_s()):
                return lease
            await self.host.sleep(POLL_S)
        raise NotWarmError(issue)

    async def resumed(self, issue: int, lease: Lease) -> bool:
        """Attach to the lease's sandbox; one that is gone retires the epoch."""
        if lease.liveness != WARM:
            return False
        try:
            sandbox = await self.host.get(lease.sandbox_id)
        except DaytonaNotFoundError:
            await self.leases.swap(issue, lease, Lease(COLD, lease.epoch + 1))
            return False
        if state_of(sandbox) != "started":
            await self.host.start(sandbox)
        self.host.hand_over(issue, sandbox)
        return True

    async def sweep(self) -> None:
        """Make each lease cold whose spawner is dead."""
        for issue, lease in (await self.leases.all()).items():
            if lease.liveness == WARMING:
                await self.leases.swap(issue, lease, Lease(COLD, lease.epoch))

    def finds(self, issue: int, live: Sequence[SandboxView]) -> str | None:
        lease = self.leases.peek(issue)
        return known(lease.sandbox_id if lease else None, live)
