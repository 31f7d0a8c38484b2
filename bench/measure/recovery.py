"""From the kill -9 of a worker in the middle of a create until whoever asked has the sandbox."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
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
from issuebox.domain.issue import Issue
from workflows import messages
from workflows.options import HEARTBEAT_TIMEOUT

CREATE_S = 1.0
"""How long Daytona takes for the create that the worker dies in; part of what is measured."""

ALONE, ANOTHER = "the same worker, restarted", "another worker"


class Case(BaseModel):
    """Who goes on, and the seconds from the kill to the handover."""

    model_config = ConfigDict(frozen=True)

    who: str
    handover_s: Spread
    each_s: list[float]
    outcomes: dict[str, int]


class Recovery(BaseModel):
    """Both cases."""

    model_config = ConfigDict(frozen=True)

    cases: list[Case]
    heartbeat_timeout_s: float


async def run(context: Context) -> Recovery:
    """Kill so many times with only the restarted worker, and as often with another one beside it."""
    count = context.samples(full=12, quick=1)
    async with measured(context.scratch / "data") as bench:
        await bench.stack.admin.config(durations={"create_s": CREATE_S})
        alone = [await _kill_in_a_create(bench, 100 + number, context) for number in range(count)]
        another = [await _beside_another(bench, 200 + number, context) for number in range(count)]
    return Recovery(
        cases=[_case(ALONE, alone), _case(ANOTHER, another)], heartbeat_timeout_s=HEARTBEAT_TIMEOUT.total_seconds()
    )


async def _beside_another(bench: BenchStack, issue: int, context: Context) -> tuple[float, str]:
    """The same with a second worker, of which one is killed: the one that creates."""
    ready = context.scratch / f"worker-{issue}.ready"
    async with serving(("-m", "issuebox", "worker", "--ready-file", str(ready)), bench.environment(), ready):
        return await _kill_in_a_create(bench, issue, context)


async def _kill_in_a_create(bench: BenchStack, issue: int, context: Context) -> tuple[float, str]:
    """Seconds from the kill to the handover, and its outcome."""
    await _workers_are_up(bench)
    name = bench.stack.name(issue)
    asked = asyncio.create_task(_ensure(bench, issue))
    try:
        await until(lambda: bench.stack.creates(issue), lambda creates: creates == 1, "the create has begun")
        pid = await _creator(bench, issue)
        os.kill(pid, signal.SIGKILL)
        began = time.perf_counter()
        handover = await asked
        took_s = time.perf_counter() - began
    finally:
        asked.cancel()
    if await bench.stack.creates(issue) != 1:
        raise AssertionError(f"{name} was created more than once")
    context.say(f"issue {issue}: handed over {took_s:.1f} s after the kill, {handover.outcome}")
    return took_s, str(handover.outcome)


async def _ensure(bench: BenchStack, issue: int) -> messages.Handover:
    """Ask by update, and wait for the answer for as long as it takes."""
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
    """Wait until the worker of the stack, which an earlier kill may have ended, polls again."""
    ready = Path(bench.stack.data_dir) / "worker.ready"
    killed = DevStack.lookup(bench.stack.data_dir)

    async def is_up() -> bool:
        now = DevStack.lookup(bench.stack.data_dir)
        return now is not None and "worker" in now.processes and ready.exists()

    await until(is_up, bool, f"the worker of {killed.pid if killed else 'no'} stack is up", 60.0)


def _case(who: str, samples: Sequence[tuple[float, str]]) -> Case:
    seconds = [took_s for took_s, _ in samples]
    outcomes = [outcome for _, outcome in samples]
    return Case(
        who=who,
        handover_s=spread(seconds),
        each_s=[round(took_s, 2) for took_s in seconds],
        outcomes={outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))},
    )


def targets(_: Recovery) -> Sequence[Target]:
    """None is promised but that it ends, with one sandbox: a run in which it does not fails."""
    return []


def render(figures: Recovery) -> str:
    """One row for each case."""
    rows = (
        (
            case.who,
            case.handover_s.count,
            page.number(case.handover_s.p50, "s"),
            page.number(case.handover_s.most, "s"),
            ", ".join(f"{count} {outcome}" for outcome, count in case.outcomes.items()),
        )
        for case in figures.cases
    )
    return page.table(("Who goes on", "kills", "p50", "slowest", "handed over as"), rows) + (
        f"\n\nA dead worker is noticed when its heartbeats have been missing for {figures.heartbeat_timeout_s:g} s; "
        "then the sandbox is looked up, found, and handed over. It is counted in the journal that each was created "
        "once."
    )


def draw(figures: Recovery) -> Mapping[str, Figure]:
    """One point for each kill."""
    figure, axes = charts.axes("From the kill -9 to the handover", "seconds", "", height_in=2.2)
    for place, case in enumerate(figures.cases):
        axes.plot(case.each_s, [place] * len(case.each_s), "o", color=charts.COLOURS[place], alpha=0.6)
    axes.axvline(figures.heartbeat_timeout_s, color=charts.COLOURS[4], linestyle="--", label="heartbeat timeout")
    axes.set_yticks(range(len(figures.cases)), [case.who for case in figures.cases])
    axes.set_ylim(-0.6, len(figures.cases) - 0.4)
    axes.set_xlim(left=0)
    axes.legend()
    return {"recovery": figure}


RECOVERY = Measurement(
    name="recovery",
    title="Recovery from a worker's death",
    sentence=(
        "A caller asks for a sandbox and waits; while Daytona creates it, for one second, the worker that sent the "
        "create is killed with -9."
    ),
    figures=Recovery,
    run=run,
    targets=targets,
    render=render,
    charts=draw,
    chart_captions={"recovery": "Seconds from the kill to the handover, each kill a point."},
)
