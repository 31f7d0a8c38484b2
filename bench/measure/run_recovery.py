"""From kill -9 of the worker that follows an agent until the next one copies what the agent wrote since."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo

from bench.measure import charts, page
from bench.measure.frame import Context, Measurement, Target
from bench.measure.quantiles import Spread, spread
from bench.measure.recovery import ALONE, ANOTHER, Metronome
from bench.measure.run_work import FOLLOW, Installation, installed, load, until_told
from issuebox.dev.demo.stack import until
from issuebox.run_logs import LogName, RunLogs
from workflows.messages import Aside
from workflows.options import FOLLOW_RETRY, HEARTBEATS

ISSUE = 1
POLL_S = 0.01
RETRY_MAX = FOLLOW_RETRY.maximum_interval or FOLLOW_RETRY.initial_interval
SPREAD_S = 8.0
"""Within so much the kills are spread: the time between two heartbeats."""
WITHIN_S = 90.0

JOB = until_told('n=$((n + 1)); echo "line $n of the output"; sleep 0.05')
"""It writes all the time, each line once."""


class Case(BaseModel):
    """Who went on, and the seconds from the kill. ``lost`` and ``doubled`` count bytes of all copies."""

    model_config = ConfigDict(frozen=True)

    who: str
    copied_s: Spread
    each_s: list[float]
    out_bytes: int
    lost_bytes: int
    doubled_bytes: int
    is_same: bool


class RunRecovery(BaseModel):
    """Both cases."""

    model_config = ConfigDict(frozen=True)

    cases: list[Case]
    heartbeat_timeout_s: float
    heartbeat_s: float
    retry_s: list[float]
    """Temporal's first pause before it tries again, and its longest."""
    load: list[float]


@dataclass(frozen=True, slots=True)
class Kind:
    """Who goes on, and how often the follower of one run is killed."""

    who: str
    workers: int
    kills: int = 1


KINDS = (
    Kind(ANOTHER, workers=2),
    Kind(ALONE, workers=1),
    Kind("another worker, six kills in a row", workers=2, kills=6),
)


async def run(context: Context) -> RunRecovery:
    """All kinds at the same time, each on an installation of its own: most of the time is waiting."""
    before = load()
    cases = await asyncio.gather(*(_case(context, kind) for kind in KINDS))
    return RunRecovery(
        cases=list(cases),
        heartbeat_timeout_s=HEARTBEATS[Aside.RUNS].timeout.total_seconds(),
        heartbeat_s=HEARTBEATS[Aside.RUNS].every.total_seconds(),
        retry_s=[each.total_seconds() for each in (FOLLOW_RETRY.initial_interval, RETRY_MAX)],
        load=[before, load()],
    )


async def _case(context: Context, kind: Kind) -> Case:
    number, runs = KINDS.index(kind), context.samples(full=6, quick=1) if kind.kills == 1 else 1
    data_dir, dice, metronome = context.scratch / str(number), random.Random(context.seed + number), Metronome()
    each_s: list[float] = []
    copies: list[tuple[bytes, bytes]] = []
    async with installed(data_dir, JOB, workers=kind.workers, settings={"ISSUEBOX_RUN_REPORT": "none"}) as at:
        sandbox_id = await at.opened(ISSUE)
        for _ in range(runs):
            key = await at.ask(ISSUE)
            run = await at.working(ISSUE, key)
            copy = RunLogs(str(data_dir / "runs")).path(LogName(ISSUE, run.id, run.attempt))
            await _has_grown(copy, 0)
            for _ in range(kind.kills):
                await _all_are_up(at, kind.workers)
                await metronome.wait()
                await asyncio.sleep(dice.uniform(0, SPREAD_S))
                each_s.append(await _killed(at, copy))
                context.say(f"{kind.who}: copied again {each_s[-1]:.1f} s after a kill")
            await at.tell(sandbox_id)
            ended = await at.over(ISSUE, key)
            if (ended.outcome, ended.attempt) != ("done", 1):
                raise AssertionError(f"the kills were noticed: {ended}")
            written = await at.parts.admin.file(sandbox_id, f".issuebox/runs/{run.id}/1/out") or b""
            copies.append((written, copy.read_bytes()))
    return summarize(kind.who, each_s, copies)


async def _all_are_up(at: Installation, workers: int) -> None:
    """Wait until each worker polls, also one that was killed before."""

    async def are_up() -> bool:
        data_dir = at.parts.around.data_dir
        names = [f"worker-{number}" for number in range(1, workers + 1)]
        return all(name in at.parts.pids and (data_dir / name / "worker.ready").exists() for name in names)

    await until(are_up, bool, "all workers are up", WITHIN_S)


async def _killed(at: Installation, copy: Path) -> float:
    """Seconds from the kill of the worker that follows until the copy grows."""
    pid = await _follower(at)
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    await until(lambda: _is_gone(pid), bool, "the worker is dead", poll_s=POLL_S)
    await _has_grown(copy, _size(copy))
    return time.perf_counter() - began


async def _follower(at: Installation) -> int:
    """The process of the worker that follows: Temporal knows it by `pid@host`."""

    async def seen() -> list[str]:
        described = await at.workflow(ISSUE).describe()
        pending = described.raw_description.pending_activities
        return [each.last_worker_identity for each in pending if each.activity_type.name == FOLLOW and _is_begun(each)]

    (identity,) = await until(seen, lambda found: len(found) == 1, "one worker follows")
    pid, _, host = identity.partition("@")
    if host != socket.gethostname():
        raise AssertionError(f"the worker is on {host}")
    return int(pid)


def _is_begun(pending: PendingActivityInfo) -> bool:
    return pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED


async def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def _has_grown(copy: Path, size: int) -> None:
    async def grown() -> int:
        return _size(copy) - size

    await until(grown, lambda more: more > 0, "more is copied", WITHIN_S, poll_s=POLL_S)


def _size(copy: Path) -> int:
    return copy.stat().st_size if copy.exists() else 0


def summarize(who: str, each_s: Sequence[float], copies: Sequence[tuple[bytes, bytes]]) -> Case:
    """The times, and what is missing in the copies or stands in them too often, line by line.

    ``copies`` holds what each run has written, and the copy of that.
    """
    lines = [(Counter(written.splitlines(keepends=True)), Counter(copied.splitlines(keepends=True)))
             for written, copied in copies]  # fmt: skip
    return Case(
        who=who,
        copied_s=spread(each_s),
        each_s=[round(took_s, 2) for took_s in each_s],
        out_bytes=sum(len(written) for written, _ in copies),
        lost_bytes=sum(_bytes(wanted - found) for wanted, found in lines),
        doubled_bytes=sum(_bytes(found - wanted) for wanted, found in lines),
        is_same=all(written == copied for written, copied in copies),
    )


def _bytes(lines: Counter[bytes]) -> int:
    return sum(len(line) * count for line, count in lines.items())


def targets(figures: RunRecovery) -> Sequence[Target]:
    """Nothing is lost or doubled."""
    found = []
    for case in figures.cases:
        counts = {
            "bytes lost": case.lost_bytes,
            "bytes doubled": case.doubled_bytes,
            "copies that differ": not case.is_same,
        }
        found += [Target(name=f"{what}, {case.who}", value=value, limit=0) for what, value in counts.items()]
    return found


def render(figures: RunRecovery) -> str:
    """One row for each case."""
    rows = (
        (
            case.who,
            case.copied_s.count,
            *(page.number(value, "s") for value in (case.copied_s.least, case.copied_s.p50, case.copied_s.most)),
            f"{case.out_bytes:,}",
        )
        for case in figures.cases
    )
    head = ("Gone on with by", "kills", "fastest", "p50", "slowest", "bytes of output")
    in_a_row = ", ".join(page.number(each_s) for each_s in figures.cases[-1].each_s)
    return page.table(head, rows) + (
        "\n\nThe kills come at moments spread at random, and at each run's end the copy is compared with the file on "
        "the sandbox's disk byte for byte. Temporal notices a dead follower when its heartbeats have been missing for "
        f"{figures.heartbeat_timeout_s:g} s; the SDK sends one every {figures.heartbeat_s:g} s at most, and Temporal "
        f"tries again after {figures.retry_s[0]:g} s. The next follower asks at once. Kills in a row, within the ten "
        f"minutes of one follower, count as failures of one activity: its pauses double up to {figures.retry_s[1]:g} s "
        f"({in_a_row} s here, in order). The agent notices nothing of all that. {page.loads(figures.load)}"
    )


def draw(figures: RunRecovery) -> Mapping[str, Figure]:
    """One point for each kill."""
    figure, axes = charts.axes("From the kill to the first output copied again", "seconds", "", height_in=2.2)
    for place, case in enumerate(figures.cases):
        axes.plot(case.each_s, [place] * len(case.each_s), "o", color=charts.COLOURS[place], alpha=0.6)
    axes.axvline(figures.heartbeat_timeout_s, color=charts.COLOURS[4], linestyle="--", label="heartbeat timeout")
    axes.set_yticks(range(len(figures.cases)), [case.who for case in figures.cases])
    axes.set_ylim(-0.6, len(figures.cases) - 0.4)
    axes.set_xlim(left=0)
    axes.legend()
    return {"run_recovery": figure}


RUN_RECOVERY = Measurement(
    name="run_recovery",
    title="Runs: attaching again after kill -9",
    sentence=(
        "An agent writes a line every 50 ms. The worker that follows it gets kill -9, and the time runs until more of "
        "the output stands in the copy under `ISSUEBOX_RUN_LOG_DIR`."
    ),
    figures=RunRecovery,
    run=run,
    targets=targets,
    render=render,
    charts=draw,
    chart_captions={"run_recovery": "Seconds from the kill to the first output copied again, one point per kill."},
)
