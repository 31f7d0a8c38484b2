"""Carries out the plan's deeds at their times, and makes good weather again at the end. Judges nothing."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Final

import httpx

from localdaytona.types import JSONObject
from proofs.chaos.cluster import Cluster
from proofs.chaos.deeds import (
    Act,
    Command,
    Cut,
    Deed,
    Freeze,
    Kill,
    Knob,
    OnLink,
    OnPart,
    RollingRestart,
    Slow,
    Stall,
    StallReader,
    Terminate,
    Timed,
    Wave,
    Work,
)
from proofs.chaos.faults import DELAY_MAX_S
from proofs.chaos.parts import Ending, PartError
from proofs.chaos.people import People
from proofs.chaos.plan import Plan
from proofs.chaos.tally import Tally
from proofs.chaos.terms import CALM, DAYTONA, ROLLED

RETRY_S: Final = 0.3
ADMIN_TRIES_MAX: Final = 60
AT_WORK_S: Final = 2.0
"""A deploy ends what serves: one that is just being started is left alone until it has been up for so long."""
UP_TIMEOUT_S: Final = 12.0
ROLL_TIMEOUT_S: Final = 60.0
"""A rolling restart stops where a part does not come up again."""


class Storm:
    """The executor. `base` is the beginning of the load in epoch seconds."""

    def __init__(self, cluster: Cluster, plan: Plan, base: int, tally: Tally) -> None:
        self._cluster = cluster
        self._plan = plan
        self._base = base
        self._tally = tally
        self._people = People(cluster, base, tally)
        self._turned: Counter[str] = Counter()
        """How many knobs hold a setting of Daytona's now."""

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
        # A delete that is held back may be for one that never came up: released, it would have begun to run.
        await asyncio.sleep(DELAY_MAX_S)
        for row in await self._cluster.admin.sandboxes():
            if row.stuck:
                await self._cluster.admin.act(row.id, "release")
                self._tally.acts["release"] += 1

    async def _do(self, timed: Timed) -> None:
        deed = timed.deed
        match deed:
            case Kill() | Freeze() | StallReader() | Terminate() | RollingRestart():
                await self._hit_part(deed)
            case Cut() | Stall() | Slow():
                self._hit_link(deed)
            case Knob():
                await self._turn(deed)
            case Wave():
                await self._raise_wave(deed)
            case Act() | Work() | Command():
                await self._send_people(deed)

    async def _hit_part(self, deed: OnPart) -> None:
        match deed:
            case Kill(name, seconds):
                self._note_hit(name, "kill", seconds, is_done=self._cluster.parts[name].kill(seconds))
            case Freeze(name, seconds):
                self._note_hit(name, "freeze", seconds, is_done=self._cluster.parts[name].freeze(seconds))
            case StallReader(name, seconds):
                is_done = self._cluster.parts[name].stall_reader(seconds)
                self._note_hit(name, "stall reader", seconds, is_done=is_done)
            case Terminate(name, down_s):
                await self._terminate(name, down_s, UP_TIMEOUT_S)
            case RollingRestart():
                await self._roll(deed)

    def _note_hit(self, name: str, kind: str, seconds: float, *, is_done: bool) -> None:
        if is_done:
            self._tally.blow(name, kind, seconds)
        else:  # It is down already.
            self._tally.refused_acts[f"hit {name}"] += 1

    async def _terminate(self, name: str, down_s: float, timeout_s: float) -> bool:
        """SIGTERM once it is at work; whether it got one. The blow lasts until the process is gone."""
        part = self._cluster.parts[name]
        is_at_work = await part.at_work(AT_WORK_S, timeout_s)
        began = time.time()
        ending = await part.end(down_s) if is_at_work else Ending.REFUSED
        if ending is Ending.REFUSED:
            self._tally.refused_acts[f"hit {name}"] += 1
            return False
        self._tally.past_blow(began, name, "terminate" if ending is not Ending.STUBBORN else "did not end")
        return True

    async def _roll(self, deed: RollingRestart) -> None:
        """One after the other. It stops at a part that does not come up again, as a deployment does."""
        began = time.time()
        for name in deed.parts:
            await self._terminate(name, deed.down_s, ROLL_TIMEOUT_S)
            if not await self._serves(name, ROLL_TIMEOUT_S):
                self._tally.refused_acts["roll on"] += 1
                break
        self._tally.past_blow(began, ROLLED, "rolling restart")

    async def _serves(self, name: str, timeout_s: float) -> bool:
        """Whether it serves within so long."""
        try:
            await self._cluster.parts[name].ready(timeout_s)
        except PartError:
            return False
        return True

    def _hit_link(self, deed: OnLink) -> None:
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
        """Change Daytona, and change it back. A Daytona that is down takes it when it is up again.

        Of two turns that overlap, the later end counts.
        """
        self._turned.update(knob.changes.keys())
        if not await self._configure(knob.changes):
            self._tally.refused_acts[f"knob {knob.name}"] += 1
            self._turned.subtract(knob.changes.keys())
            return
        self._tally.blow(DAYTONA, knob.name, knob.seconds)
        await asyncio.sleep(knob.seconds)
        self._turned.subtract(knob.changes.keys())
        await self._configure({name: CALM[name] for name in knob.changes if not self._turned[name]})

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
