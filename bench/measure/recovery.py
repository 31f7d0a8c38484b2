"""From the end of a worker during a create, by kill -9 or SIGTERM, until the caller has the sandbox."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict
from temporalio.client import WorkflowUpdateStage

from bench.measure import charts, page
from bench.measure.bench_stack import BenchStack, measured
from bench.measure.frame import Context, Measurement, Target
from bench.measure.processes import serving
from bench.measure.quantiles import Spread, spread
from issuebox.dev.demo.stack import until
from issuebox.dev.dev_stack import DevStack
from issuebox.dev.supervisor import DEATHS_MAX, DEATHS_WINDOW_S
from issuebox.domain.issue import Issue
from workflows import messages
from workflows.options import HEARTBEATS, LOOK_AFTER

CREATE_S = 1.0
"""How long Daytona takes for the create during which the worker ends; it is part of the measured time."""

LONG_CREATE_S = 8.0
"""A create that takes longer than a stopping worker waits for it (`ISSUEBOX_GRACE_S`)."""

ALONE, ANOTHER = "the same worker, restarted", "another worker"


@dataclass(frozen=True, slots=True)
class End:
    """How the worker ends, and how long the interrupted create takes."""

    signal: signal.Signals
    create_s: float

    def __str__(self) -> str:
        how = "kill -9" if self.signal is signal.SIGKILL else self.signal.name
        return f"{how} in a create of {self.create_s:g} s"


ENDS = (End(signal.SIGKILL, CREATE_S), End(signal.SIGTERM, CREATE_S), End(signal.SIGTERM, LONG_CREATE_S))


class Metronome:
    """Spaces the ends of the worker out: `issuebox dev` gives up on a worker that ends too often."""

    def __init__(self) -> None:
        self._ended_at: deque[float] = deque(maxlen=DEATHS_MAX - 2)

    async def wait(self) -> None:
        """Return when the worker may be ended again."""
        if len(self._ended_at) == self._ended_at.maxlen:
            await asyncio.sleep(max(0.0, self._ended_at[0] + DEATHS_WINDOW_S - time.monotonic()))
        self._ended_at.append(time.monotonic())


_metronome = Metronome()


KILLED_MAX_S = 8.0
"""From a kill -9 in a create to the handover of the sandbox, which is there long before."""


class Case(BaseModel):
    """How the worker ended, which worker continues, and the seconds from the signal to the handover."""

    model_config = ConfigDict(frozen=True)

    end: str
    who: str
    handover_s: Spread
    each_s: list[float]
    outcomes: dict[str, int]


class Recovery(BaseModel):
    """All cases."""

    model_config = ConfigDict(frozen=True)

    cases: list[Case]
    heartbeat_timeout_s: float


async def run(context: Context) -> Recovery:
    """End the worker several times with only its restart to continue, and as often with another worker beside it."""
    count, issues = context.samples(full=8, quick=1), itertools.count(100)
    alone: dict[End, list[tuple[float, str]]] = {end: [] for end in ENDS}
    another: dict[End, list[tuple[float, str]]] = {end: [] for end in ENDS}
    async with measured(context.scratch / "data") as bench:
        for end in ENDS * count:
            await bench.stack.admin.config(durations={"create_s": end.create_s})
            alone[end].append(await _end_in_a_create(bench, next(issues), end, context))
            another[end].append(await _beside_another(bench, next(issues), end, context))
    cases = [_case(end, who, taken[end]) for end in ENDS for who, taken in ((ALONE, alone), (ANOTHER, another))]
    return Recovery(cases=cases, heartbeat_timeout_s=HEARTBEATS[None].timeout.total_seconds())


async def _beside_another(bench: BenchStack, issue: int, end: End, context: Context) -> tuple[float, str]:
    """The same with two workers, of which the one that creates is ended."""
    ready = context.scratch / f"worker-{issue}.ready"
    async with serving(("-m", "issuebox", "worker", "--ready-file", str(ready)), bench.environment(), ready):
        return await _end_in_a_create(bench, issue, end, context)


async def _end_in_a_create(bench: BenchStack, issue: int, end: End, context: Context) -> tuple[float, str]:
    """Seconds from the signal to the handover, and its outcome."""
    await _workers_are_up(bench)
    await _metronome.wait()
    name = bench.stack.name(issue)
    asked = asyncio.create_task(_ensure(bench, issue))
    try:
        await until(lambda: bench.stack.creates(issue), lambda creates: creates == 1, "the create has begun")
        pid = await _creator(bench, issue)
        os.kill(pid, end.signal)
        began = time.perf_counter()
        handover = await asked
        took_s = time.perf_counter() - began
    finally:
        asked.cancel()
    if await bench.stack.creates(issue) != 1:
        raise AssertionError(f"{name} was created more than once")
    context.say(f"issue {issue}: handed over {took_s:.1f} s after {end}, {handover.outcome}")
    return took_s, str(handover.outcome)


async def _ensure(bench: BenchStack, issue: int) -> messages.Handover:
    """Request by update, and wait for the answer for as long as it takes."""
    about = Issue(issue, "octo/repo", issue, "A title")
    handle = await bench.temporal.start_update_with_start_workflow(
        messages.UPDATE_ENSURE,
        messages.EnsureRequest(about, "bench"),
        start_workflow_operation=bench.issues.start_operation(about),
        wait_for_stage=WorkflowUpdateStage.ACCEPTED,
        result_type=messages.Handover,
    )
    result: messages.Handover = await handle.result()
    return result


async def _creator(bench: BenchStack, issue: int) -> int:
    """The process of the worker that runs the create: Temporal knows it by `pid@host`."""
    described = await bench.workflow(issue).describe()
    pending = described.raw_description.pending_activities
    if len(pending) != 1:
        raise AssertionError(f"issue {issue} has {len(pending)} pending activities")
    pid, _, host = pending[0].last_worker_identity.partition("@")
    if host != socket.gethostname():
        raise AssertionError(f"the worker is on {host}")
    return int(pid)


async def _workers_are_up(bench: BenchStack) -> None:
    """Wait until the worker of the stack, which an earlier signal may have ended, polls again."""
    ready = Path(bench.stack.data_dir) / "worker.ready"
    killed = DevStack.lookup(bench.stack.data_dir)

    async def is_up() -> bool:
        now = DevStack.lookup(bench.stack.data_dir)
        return now is not None and "worker" in now.processes and ready.exists()

    await until(is_up, bool, f"the worker of {killed.pid if killed else 'no'} stack is up", 60.0)


def _case(end: End, who: str, samples: Sequence[tuple[float, str]]) -> Case:
    seconds = [took_s for took_s, _ in samples]
    outcomes = [outcome for _, outcome in samples]
    return Case(
        end=str(end),
        who=who,
        handover_s=spread(seconds),
        each_s=[round(took_s, 2) for took_s in seconds],
        outcomes={outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))},
    )


def targets(figures: Recovery) -> Sequence[Target]:
    """For kill -9. A run fails unless each case ends with one sandbox."""
    return [
        Target(name=f"{case.end}, {case.who}: slowest", value=case.handover_s.most, limit=KILLED_MAX_S, unit="s")
        for case in figures.cases
        if case.end.startswith("kill")
    ]


def render(figures: Recovery) -> str:
    """One row for each case."""
    rows = (
        (
            case.end,
            case.who,
            case.handover_s.count,
            page.number(case.handover_s.p50, "s"),
            page.number(case.handover_s.most, "s"),
            ", ".join(f"{count} {outcome}" for outcome, count in case.outcomes.items()),
        )
        for case in figures.cases
    )
    return page.table(("How it ended", "continued by", "times", "p50", "slowest", "handed over as"), rows) + (
        f"\n\nWithout a reply after {LOOK_AFTER.total_seconds():g} s any worker looks at the sandbox and hands it over "
        "if it runs. Temporal itself notices a dead worker when heartbeats have been missing for "
        f"{figures.heartbeat_timeout_s:g} s. A worker that gets SIGTERM, as in a deploy, finishes what ends within "
        "its grace period of 5 s, and leaves the rest to the next worker. The journal confirms that each sandbox was "
        "created once."
    )


def draw(figures: Recovery) -> Mapping[str, Figure]:
    """One point for each sample."""
    figure, axes = charts.axes("From the signal to the handover", "seconds", "", height_in=3.6)
    for place, case in enumerate(figures.cases):
        axes.plot(case.each_s, [place] * len(case.each_s), "o", color=charts.COLOURS[place % 2], alpha=0.6)
    axes.axvline(figures.heartbeat_timeout_s, color=charts.COLOURS[4], linestyle="--", label="heartbeat timeout")
    axes.set_yticks(range(len(figures.cases)), [f"{case.end}\n{case.who}" for case in figures.cases])
    axes.set_ylim(-0.6, len(figures.cases) - 0.4)
    axes.set_xlim(left=0)
    axes.legend()
    return {"recovery": figure}


RECOVERY = Measurement(
    name="recovery",
    title="Recovery from a worker's end",
    sentence=(
        "A caller requests a sandbox and waits. While Daytona creates it, the worker that sent the create gets kill -9 "
        "or SIGTERM."
    ),
    figures=Recovery,
    run=run,
    targets=targets,
    render=render,
    charts=draw,
    chart_captions={"recovery": "Seconds from the signal to the handover, one point per sample."},
)
