"""langchain-ai/open-swe: a run of the agent per event, the sandbox's ID in the thread's metadata, no name, no lock."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import ClassVar

from daytona import AsyncSandbox, DaytonaError

from localdaytona.admin_models import SandboxView
from proofs.peers.host import Host
from proofs.peers.peer import Cloud, Event, Peer, known, state_of

RUN_ATTEMPTS_MAX = 3


class OpenSwe(Peer):
    """The present form."""

    title: ClassVar[str] = "open-swe"
    notes: ClassVar[str] = (
        "read: reconnecting starts a stopped or archived sandbox; its Daytona factory does not tell a deleted one from "
        "one that cannot be reached, and either fails the run; "
        "inferred: a run whose process dies is run again by its queue (3 times), a failed run is not"
    )

    def __init__(self, host: Host, cloud: Cloud) -> None:
        super().__init__(host, cloud)
        self.sandbox_ids = host.table("metadata", str)
        self.cache: dict[int, AsyncSandbox] = {}

    async def on_delivery(self, event: Event) -> None:
        """Answer, and run in the background. A newer run of the thread interrupts the one before."""
        runs = self.host.table("runs", asyncio.Task)
        before = await runs.read(event.issue)
        if before is not None:
            before.cancel()
        work = self.cloud.attempts(lambda peer: _run(peer, event.issue), RUN_ATTEMPTS_MAX)
        await runs.write(event.issue, self.cloud.start(work))

    async def run(self, issue: int) -> None:
        """One run of the agent, until it has its sandbox."""
        sandbox_id = await self.sandbox_ids.read(issue)
        sandbox = await self.connect(issue, sandbox_id) if sandbox_id else await self.create(issue)
        await self.host.run_inside(sandbox)
        if sandbox_id != sandbox.id:
            await self.sandbox_ids.write(issue, sandbox.id)
        self.cache[issue] = sandbox
        self.host.hand_over(issue, sandbox)

    async def create(self, issue: int) -> AsyncSandbox:
        """Create in a thread: an interrupted run does not stop it."""
        return await asyncio.shield(self.host.spawn(self.host.create(issue)))

    async def connect(self, issue: int, sandbox_id: str) -> AsyncSandbox:
        """The sandbox in memory when it answers; else get it, and start it when it is at rest. None is replaced."""
        cached = self.cache.get(issue)
        if cached is not None:
            with contextlib.suppress(DaytonaError):
                await self.host.run_inside(cached)
                return cached
        sandbox = await self.host.get(sandbox_id)
        if state_of(sandbox) in {"stopped", "archived"}:
            await self.host.start(sandbox)
        return sandbox

    def finds(self, issue: int, live: Sequence[SandboxView]) -> str | None:
        return known(self.sandbox_ids.peek(issue), live)


class OpenSweMarker(OpenSwe):
    """Its earlier form, with a marker in the metadata while a sandbox is being created."""

    title: ClassVar[str] = "open-swe, marker"
    notes: ClassVar[str] = "the form before its change 1692; the rest as open-swe"
    marker: ClassVar[str] = "__creating__"
    marker_age_max_s: ClassVar[float] = 180

    async def run(self, issue: int) -> None:
        sandbox_id = await self.sandbox_ids.read(issue)
        left_s = self.host.deadline(self.marker_age_max_s)
        while sandbox_id == self.marker and left_s() > 0:
            await self.host.sleep(1)
            sandbox_id = await self.sandbox_ids.read(issue)
        if sandbox_id is None or sandbox_id == self.marker:
            await self.sandbox_ids.write(issue, self.marker)
            sandbox = await self.create(issue)
            await self.sandbox_ids.write(issue, sandbox.id)
        else:
            sandbox = await self.connect(issue, sandbox_id)
        await self.host.run_inside(sandbox)
        self.cache[issue] = sandbox
        self.host.hand_over(issue, sandbox)


class OpenSweNamed(OpenSwe):
    """Its later proposal: created under the thread's name, and a taken name is looked up and used as it is."""

    title: ClassVar[str] = "open-swe, named"
    notes: ClassVar[str] = "the proposal of its change 1958; the rest as open-swe"

    async def create(self, issue: int) -> AsyncSandbox:
        name = f"thread-{issue}"
        try:
            return await asyncio.shield(self.host.spawn(self.host.create(issue, name)))
        except DaytonaError as error:
            if "already exists" not in str(error):
                raise
            return await self.host.get(name)


async def _run(peer: Peer, issue: int) -> None:
    if not isinstance(peer, OpenSwe):
        raise TypeError(peer)
    await peer.run(issue)
