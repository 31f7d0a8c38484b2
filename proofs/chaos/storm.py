"""Carries out the plan's deeds at their times, and makes good weather again at the end. Judges nothing."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import httpx

from localdaytona.types import JSONObject
from proofs.chaos.cluster import Cluster
from proofs.chaos.deeds import Act, Command, Cut, Deed, Freeze, Kill, Knob, Slow, Stall, Timed, Wave, Work
from proofs.chaos.people import People
from proofs.chaos.plan import Plan
from proofs.chaos.tally import Tally
from proofs.chaos.terms import CALM, DAYTONA

RETRY_S: Final = 0.3
ADMIN_TRIES_MAX: Final = 60


class Storm:
    """The executor. `base` is the beginning of the load in epoch seconds."""

    def __init__(self, cluster: Cluster, plan: Plan, base: int, tally: Tally) -> None:
        self._cluster = cluster
        self._plan = plan
        self._base = base
        self._tally = tally
        self._people = People(cluster, base, tally)

    async def rage(self) -> None:
        """Do everything when it is due; returns when the last deed is done. Cancelled, it leaves things as they are."""
        async with asyncio.TaskGroup() as tasks:
            for timed in self._plan.deeds:
                await asyncio.sleep(max(0.0, self._base + timed.at_s - time.time()))
                tasks.create_task(self._do(timed))

    async def end(self) -> None:
        """No more faults, nothing held, nothing stuck: all processes up, all links whole, Daytona well."""
        self._cluster.heal()
        await self._cluster.ready()
        await self._cluster.admin.set_faults()
        await self._cluster.admin.config(**CALM)
        for row in await self._cluster.admin.sandboxes():
            if row.stuck:
                await self._cluster.admin.act(row.id, "release")
                self._tally.acts["release"] += 1

    async def _do(self, timed: Timed) -> None:
        deed = timed.deed
        match deed:
            case Kill() | Freeze():
                self._hit_part(deed)
            case Cut() | Stall() | Slow():
                self._hit_link(deed)
            case Knob():
                await self._turn(deed)
            case Wave():
                await self._raise_wave(deed)
            case Act() | Work() | Command():
                await self._send_people(deed)

    def _hit_part(self, deed: Kill | Freeze) -> None:
        part = self._cluster.parts[deed.part]
        match deed:
            case Kill() if part.kill(deed.down_s):
                self._tally.blow(deed.part, "kill", deed.down_s)
            case Freeze() if part.freeze(deed.seconds):
                self._tally.blow(deed.part, "freeze", deed.seconds)
            case _:  # It is down already.
                self._tally.refused_acts[f"hit {deed.part}"] += 1

    def _hit_link(self, deed: Cut | Stall | Slow) -> None:
        link = self._cluster.links[deed.link]
        match deed:
            case Cut():
                link.cut(deed.seconds)
            case Stall():
                link.stall(deed.seconds)
            case Slow():
                link.delay(deed.each_s, deed.seconds)
        self._tally.blow(deed.link, type(deed).__name__.lower(), deed.seconds)

    async def _turn(self, knob: Knob) -> None:
        """Change Daytona, and change it back. A Daytona that is down takes it when it is up again."""
        if not await self._configure(knob.changes):
            self._tally.refused_acts[f"knob {knob.name}"] += 1
            return
        self._tally.blow(DAYTONA, knob.name, knob.seconds)
        await asyncio.sleep(knob.seconds)
        await self._configure({name: CALM[name] for name in knob.changes})

    async def _configure(self, changes: JSONObject) -> bool:
        for _ in range(ADMIN_TRIES_MAX):
            try:
                await self._cluster.admin.config(**changes)
            except httpx.TransportError:
                await asyncio.sleep(RETRY_S)
            else:
                return True
        return False

    async def _raise_wave(self, wave: Wave) -> None:
        try:
            await self._cluster.admin.set_faults(*wave.rules, seed=self._plan.seed)
        except httpx.TransportError:
            self._tally.refused_acts["wave"] += 1

    async def _send_people(self, deed: Deed) -> None:
        match deed:
            case Act():
                await self._people.act(deed)
            case Work():
                await self._people.work(deed)
            case Command():
                await self._people.command(deed)
            case _:
                raise TypeError(f"people do not do {deed}")
