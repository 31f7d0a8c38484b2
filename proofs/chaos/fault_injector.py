"""Carries out the plan's fault schedule, and ends all faults afterwards. Judges nothing."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Final

import httpx

from localdaytona.types import JSONObject
from proofs.chaos.agents import Agents
from proofs.chaos.cluster import Cluster
from proofs.chaos.fault_schedule import (
    Act,
    Burst,
    ByOperator,
    ByPerson,
    Command,
    Cut,
    Freeze,
    Kill,
    Knob,
    Meddle,
    OnLink,
    OnPart,
    OrderRuns,
    RollingRestart,
    Slow,
    Stall,
    StallReader,
    Stray,
    StrikeRun,
    Terminate,
    TimedStep,
    Wave,
    Work,
)
from proofs.chaos.faults import DELAY_MAX_S
from proofs.chaos.operators import Operators
from proofs.chaos.parts import Ending, PartError
from proofs.chaos.people import People
from proofs.chaos.plan import Plan
from proofs.chaos.strangers import Strangers
from proofs.chaos.tally import Tally
from proofs.chaos.terms import CALM, DAYTONA, ROLLED

RETRY_S: Final = 0.3
ADMIN_TRIES_MAX: Final = 60
AT_WORK_S: Final = 2.0
"""A deploy ends processes that serve: the SIGTERM waits until a part has been up for this long."""
UP_TIMEOUT_S: Final = 12.0
ROLL_TIMEOUT_S: Final = 60.0
"""A rolling restart stops when a part does not come up within this time."""


class FaultInjector:
    """Plays the fault schedule. `base`: the beginning of the load in epoch seconds."""

    def __init__(self, cluster: Cluster, plan: Plan, base: int, tally: Tally) -> None:
        self._cluster = cluster
        self._plan = plan
        self._base = base
        self._tally = tally
        self._people = People(cluster, base, tally)
        self._agents = Agents(cluster, tally)
        self._operators = Operators(cluster, tally)
        self._turned: Counter[str] = Counter()
        """How many knobs change a setting of Daytona now."""

    async def run(self) -> None:
        """Do each step when it is due. Returns after the last step. A cancellation leaves everything as it is."""
        async with asyncio.TaskGroup() as tasks:
            for timed in self._plan.schedule:
                await asyncio.sleep(max(0.0, self._base + timed.at_s - time.time()))
                tasks.create_task(self._do(timed))

    async def end(self) -> None:
        """End all faults: start every process, repair every link and Daytona, release every stuck sandbox."""
        self._cluster.heal()
        await self._cluster.ready()
        await self._cluster.admin.set_faults()
        await self._cluster.admin.config(**CALM)
        # A delayed delete may be about a stuck sandbox, which would start to run when it is released too early.
        await asyncio.sleep(DELAY_MAX_S)
        for row in await self._cluster.admin.sandboxes():
            if row.stuck:
                await self._cluster.admin.act(row.id, "release")
                self._tally.acts["release"] += 1

    async def _do(self, timed: TimedStep) -> None:
        step = timed.step
        match step:
            case Kill() | Freeze() | StallReader() | Terminate() | RollingRestart():
                await self._hit_part(step)
            case Cut() | Stall() | Slow():
                self._hit_link(step)
            case Knob():
                await self._turn(step)
            case Wave():
                await self._raise_wave(step)
            case Act() | Work() | Command():
                await self._send_people(step)
            case StrikeRun():
                await self._agents.strike(step)
            case OrderRuns():
                await self._agents.order(step)
            case Meddle() | Stray():
                await self._send_operators(step)
            case Burst():
                await Strangers(self._cluster, self._tally).send(step)

    async def _hit_part(self, step: OnPart) -> None:
        match step:
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
                await self._roll(step)

    def _note_hit(self, name: str, kind: str, seconds: float, *, is_done: bool) -> None:
        if is_done:
            self._tally.note_disturbance(name, kind, seconds)
        else:  # It is down already.
            self._tally.refused_acts[f"hit {name}"] += 1

    async def _terminate(self, name: str, down_s: float, timeout_s: float) -> bool:
        """SIGTERM once it is up. Returns whether it got one. The disturbance lasts until the process is gone."""
        part = self._cluster.parts[name]
        is_at_work = await part.at_work(AT_WORK_S, timeout_s)
        began = time.time()
        ending = await part.end(down_s) if is_at_work else Ending.ALREADY_DOWN
        if ending is Ending.ALREADY_DOWN:
            self._tally.refused_acts[f"hit {name}"] += 1
            return False
        self._tally.note_past_disturbance(
            began, name, "terminate" if ending is not Ending.DID_NOT_END else "did not end"
        )
        return True

    async def _roll(self, step: RollingRestart) -> None:
        """Restart one part after the other. Stops at a part that does not come up, as a deployment does."""
        began = time.time()
        for name in step.parts:
            await self._terminate(name, step.down_s, ROLL_TIMEOUT_S)
            if not await self._serves(name, ROLL_TIMEOUT_S):
                self._tally.refused_acts["roll on"] += 1
                break
        self._tally.note_past_disturbance(began, ROLLED, "rolling restart")

    async def _serves(self, name: str, timeout_s: float) -> bool:
        """Whether the part serves within this time."""
        try:
            await self._cluster.parts[name].ready(timeout_s)
        except PartError:
            return False
        return True

    def _hit_link(self, step: OnLink) -> None:
        link = self._cluster.links[step.link]
        match step:
            case Cut():
                link.cut(step.seconds)
            case Stall():
                link.stall(step.seconds)
            case Slow():
                link.delay(step.each_s, step.seconds)
        self._tally.note_disturbance(step.link, type(step).__name__.lower(), step.seconds)

    async def _turn(self, knob: Knob) -> None:
        """Change Daytona, and change it back. A Daytona that is down is changed once it is up.

        Of two changes that overlap, the later end counts.
        """
        self._turned.update(knob.changes.keys())
        if not await self._configure(knob.changes):
            self._tally.refused_acts[f"knob {knob.name}"] += 1
            self._turned.subtract(knob.changes.keys())
            return
        self._tally.note_disturbance(DAYTONA, knob.name, knob.seconds)
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

    async def _send_people(self, step: ByPerson) -> None:
        match step:
            case Act():
                await self._people.act(step)
            case Work():
                await self._people.work(step)
            case Command():
                await self._people.command(step)

    async def _send_operators(self, step: ByOperator) -> None:
        match step:
            case Meddle():
                await self._operators.meddle(step)
            case Stray():
                await self._operators.stray(step)
