"""What a run adds to the same command, sent by the bare SDK to the same running sandbox."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from daytona import AsyncDaytona, AsyncSandbox, DaytonaConfig
from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from activities.runs import PAUSE_S
from bench.measure import charts, page
from bench.measure.frame import Context, Measurement, Target
from bench.measure.quantiles import Spread, spread
from bench.measure.run_work import Installation, activity_of, installed, load
from issuebox.dev.demo.stack import until
from localdaytona.journal import Entry

COMMAND = "true"
POLL_S = 0.02
"""Between two questions whether the run is over; that much may be in each of its times."""

WARM_UP = 2
PER_ISSUE = 10
"""Runs of one issue: few enough that its workflow does not continue as new."""

RUN, BARE = "a run", "bare SDK"
LOOKUPS = "lookups of the sandbox"
COMPLETED = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
IN_SANDBOX = {"/process/execute": "commands inside", "/files/bulk-upload": "uploads of files"}
"""Requests to the sandbox's toolbox, by their path."""


class Way(BaseModel):
    """Seconds from the request until its end is known, and requests to Daytona by what they do, means."""

    model_config = ConfigDict(frozen=True)

    took_s: Spread
    requests: dict[str, float]


class RunOverhead(BaseModel):
    """Both ways, what the run adds in each pair, and where its time goes: medians of the activities, in order."""

    model_config = ConfigDict(frozen=True)

    ways: dict[str, Way]
    added_s: Spread
    ratio: Spread
    """The quotient in each pair."""
    steps_s: dict[str, Spread]
    pause_s: float
    """A follower's first pause between two probes."""
    load: list[float]


@dataclass
class Taken:
    took_s: dict[str, list[float]] = field(default_factory=lambda: {RUN: [], BARE: []})
    requests: dict[str, list[Counter[str]]] = field(default_factory=lambda: {RUN: [], BARE: []})
    steps_s: dict[str, list[float]] = field(default_factory=dict)


async def run(context: Context) -> RunOverhead:
    """Pairs in a random order, on a new issue after every few."""
    dice, pairs, taken, before = random.Random(context.seed), context.samples(full=40, quick=2), Taken(), load()
    async with installed(context.scratch / "data", COMMAND, settings={"ISSUEBOX_RUN_REPORT": "none"}) as at:
        around = at.parts.around
        config = DaytonaConfig(
            api_key=around.secrets.daytona_api_key, api_url=f"{around.daytona_page_url}/api", target="us"
        )
        async with AsyncDaytona(config) as sdk:
            for issue in range(1, -(-pairs // PER_ISSUE) + 1):
                sandbox = await sdk.get(await at.opened(issue))
                count = min(PER_ISSUE, pairs - (issue - 1) * PER_ISSUE)
                for number in range(-WARM_UP, count):
                    await _pair(at, issue, sandbox, dice, taken if number >= 0 else Taken())
                context.say(f"{(issue - 1) * PER_ISSUE + count} pairs")
    return summarize(taken, [before, load()])


async def _pair(at: Installation, issue: int, sandbox: AsyncSandbox, dice: random.Random, taken: Taken) -> None:
    for way in dice.sample((RUN, BARE), 2):
        mark = await _last(at, sandbox.id)
        took_s = await (_run(at, issue, taken) if way == RUN else _bare(sandbox))
        taken.took_s[way].append(took_s)
        taken.requests[way].append(Counter(map(kind_of, await at.requests(sandbox.id, after=mark))))


async def _last(at: Installation, sandbox_id: str) -> int:
    return max((entry.seq for entry in await at.parts.admin.journal(sandbox_id=sandbox_id)), default=0)


async def _bare(sandbox: AsyncSandbox) -> float:
    began = time.perf_counter()
    reply = await sandbox.process.exec(COMMAND)
    took_s = time.perf_counter() - began
    if reply.exit_code != 0:
        raise AssertionError(f"the command ended with {reply.exit_code}")
    return took_s


async def _run(at: Installation, issue: int, taken: Taken) -> float:
    seen = len(await at.history(issue))
    began = time.perf_counter()
    key = await at.ask(issue)
    found = await until(
        lambda: at.run(issue, key), lambda run: run is not None and run.outcome is not None, "it is over", poll_s=POLL_S
    )
    took_s = time.perf_counter() - began
    if found is None or found.outcome != "done" or found.attempt != 1:
        raise AssertionError(f"the run is {found}")
    for name, step_s in steps_of((await at.history(issue))[seen:]):
        taken.steps_s.setdefault(name, []).append(step_s)
    return took_s


def kind_of(entry: Entry) -> str:
    """What a request to Daytona does: an operation on the sandbox, or something inside of it."""
    if entry.kind == "toolbox":
        return IN_SANDBOX.get(str(entry.detail["path"]), str(entry.detail["path"]))
    return LOOKUPS if entry.operation == "get" else str(entry.operation)


def steps_of(events: Sequence[HistoryEvent]) -> list[tuple[str, float]]:
    """The activities of these events with their seconds from schedule to end, in order."""
    begun = {event.event_id: event for event in events if activity_of(event)}
    ends = [event for event in events if event.event_type == COMPLETED]
    return [
        (activity_of(begun[first]), _seconds(begun[first], end))
        for end in ends
        if (first := end.activity_task_completed_event_attributes.scheduled_event_id) in begun
    ]


def _seconds(first: HistoryEvent, second: HistoryEvent) -> float:
    return float((second.event_time.ToNanoseconds() - first.event_time.ToNanoseconds()) / 1e9)


def summarize(taken: Taken, loads: list[float]) -> RunOverhead:
    """The spreads, and difference and quotient pair by pair."""
    pairs = list(zip(taken.took_s[RUN], taken.took_s[BARE], strict=True))
    return RunOverhead(
        ways={way: Way(took_s=spread(taken.took_s[way]), requests=_means(taken.requests[way])) for way in (RUN, BARE)},
        added_s=spread([ours - bare for ours, bare in pairs]),
        ratio=spread([ours / bare for ours, bare in pairs]),
        steps_s={name: spread(each) for name, each in taken.steps_s.items()},
        pause_s=PAUSE_S,
        load=loads,
    )


def _means(counts: Sequence[Counter[str]]) -> dict[str, float]:
    total = sum(counts, Counter[str]())
    return {name: count / len(counts) for name, count in sorted(total.items())}


def targets(_: RunOverhead) -> Sequence[Target]:
    """None: nobody promised a figure. What a run must do that a bare command does not is said beside it."""
    return []


def render(figures: RunOverhead) -> str:
    """The times, then the activities, then the requests."""
    whole = page.table(
        ("From the request until its end is known", "n", "p50", "p90", "slowest"),
        [
            *(_times(name, way.took_s) for name, way in figures.ways.items()),
            _times("added in a pair", figures.added_s),
            _times("ratio in a pair", figures.ratio, ""),
        ],
    )
    rest_s = figures.ways[RUN].took_s.p50 - sum(each.p50 for each in figures.steps_s.values())
    steps = [*((f"`{name}`", each.p50) for name, each in figures.steps_s.items()), ("all else", rest_s)]
    where = page.table(
        ("Where a run's time goes, p50", "time", "of it"),
        [(name, page.number(s, "s"), f"{100 * s / figures.ways[RUN].took_s.p50:.0f} %") for name, s in steps],
    )
    names = dict.fromkeys(name for way in figures.ways.values() for name in way.requests)
    rows = [(name, *(page.number(way.requests.get(name, 0.0)) for way in figures.ways.values())) for name in names]
    total = ("all", *(page.number(sum(way.requests.values())) for way in figures.ways.values()))
    asked = page.table(("Requests to Daytona, mean", *figures.ways), [*rows, total])
    return "\n\n".join(
        [whole, where, asked, EXPLANATION.format(pause_s=figures.pause_s, load=page.loads(figures.load))]
    )


def _times(name: str, times: Spread, unit: str = "s") -> tuple[object, ...]:
    return (name, times.count, *(page.number(value, unit) for value in (times.p50, times.p90, times.most)))


EXPLANATION = """\
Both send `true`. The bare SDK waits for its answer and then forgets it. A run puts its files in place (`prepare_run`),
claims and begins the command (`begin_run`), reads from the sandbox's disk whether it works (`follow_run`), and reads
how it ended (`collect_run`); each of them is an activity, so that no crash in between loses or doubles the command.
The caller asks every 20 ms whether the run is over. {load}

A command that takes no time is the worst case: it ends some 0.2 s after its begin, and the follower, whose first
question comes before that, asks again after {pause_s:g} s. One lookup of the sandbox comes from the issue's loop;
each of the others precedes a request to the sandbox's toolbox, whose address it brings. A follower keeps the address
and does without them."""


def draw(figures: RunOverhead) -> Mapping[str, Figure]:
    """One bar of the activities, and one for the bare SDK."""
    figure, axes = charts.axes("From the request until its end is known, medians", "seconds", "", height_in=2.2)
    left, steps = 0.0, {name: each.p50 for name, each in figures.steps_s.items()}
    steps["all else"] = figures.ways[RUN].took_s.p50 - sum(steps.values())
    for number, (name, took_s) in enumerate(steps.items()):
        axes.barh([0], [took_s], left=left, color=charts.COLOURS[number % 5], label=name, height=0.6)
        left += took_s
    bare_s = figures.ways[BARE].took_s.p50
    axes.barh([1], [bare_s], color="#24292f", height=0.6)
    axes.annotate(page.number(bare_s, "s"), (bare_s, 1), xytext=(4, -3), textcoords="offset points", fontsize=8)
    axes.set_yticks([0, 1], [RUN, BARE])
    axes.set_ylim(2, -0.5)  # Room for the legend below the bars.
    axes.legend(ncols=len(steps), fontsize=8, loc="lower right")
    return {"run_overhead": figure}


RUN_OVERHEAD = Measurement(
    name="run_overhead",
    title="Runs: what one adds to its command",
    sentence=(
        "An empty command as a run, and the same command by the bare SDK's `sandbox.process.exec`, in the same running "
        "sandbox, in pairs of random order."
    ),
    figures=RunOverhead,
    run=run,
    targets=targets,
    render=render,
    charts=draw,
    chart_captions={"run_overhead": "Where the time of a run with an empty command goes, beside the bare SDK."},
)
