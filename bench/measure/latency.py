"""What issuebox adds to the same operation with the bare SDK, compared with the floor that Temporal sets.

The ways alternate within each round, so that a slow machine slows all of them: an update-with-start as the API
sends it, the same over REST, the bare SDK, the floor, and a floor of the same kind as the measured operation.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx
from daytona import AsyncDaytona, CreateSandboxFromSnapshotParams, DaytonaConfig
from daytona.common.errors import DaytonaNotFoundError
from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict

from bench.measure import charts, page
from bench.measure.bench_stack import BenchStack, measured
from bench.measure.floor import Kind, run_floor
from bench.measure.frame import Context, Measurement, Target
from bench.measure.processes import serving
from bench.measure.quantiles import Spread, spread
from issuebox.domain.issue import Issue
from issuebox.domain.phase import Outcome
from workflows import messages

FLOOR_QUEUE = "floor"
WARM_UP = 5
RATIO_MAX = 1.25
ACTIVITIES: Mapping[str, int] = {Outcome.REUSED: 1, Outcome.STARTED: 2, Outcome.CREATED: 2}
"""Activities of each outcome: a lookup, and a command where one is needed."""

WAIT_S = 0.1
"""What localdaytona takes for a create or a start."""

UPDATE_WAY, REST_WAY, BARE = SANDBOX_WAYS = ("issuebox, update", "issuebox, REST", "bare SDK")
FLOOR, ALIKE = "floor", "floor of the same kind"
WAYS = (*SANDBOX_WAYS, FLOOR, ALIKE)


def floor_kind(outcome: str, way: str) -> Kind:
    """The floor of an outcome: plain activities, or ones like ours, with a local lookup and a command as long."""
    activities = ACTIVITIES[outcome]
    if way == FLOOR:
        return Kind(activities)
    return Kind(activities, 0.0 if outcome == Outcome.REUSED else WAIT_S, is_first_local=True)


class Row(BaseModel):
    """One outcome, in milliseconds. `added` is our time minus that of the bare SDK in the same round."""

    model_config = ConfigDict(frozen=True)

    outcome: str
    activities: int
    times_ms: dict[str, Spread]
    added_ms: Spread
    added_rest_ms: Spread

    @property
    def ratio(self) -> float:
        """The added time as a multiple of the floor; medians."""
        return self.added_ms.p50 / self.times_ms[FLOOR].p50

    @property
    def ratio_alike(self) -> float:
        """The same for the floor of the same kind, minus its wait."""
        return self.added_ms.p50 / self.times_ms[ALIKE].p50

    @property
    def ratio_rest(self) -> float:
        """The same over REST."""
        return self.added_rest_ms.p50 / self.times_ms[FLOOR].p50


class Latency(BaseModel):
    """One row for each outcome."""

    model_config = ConfigDict(frozen=True)

    rows: list[Row]


@dataclass
class Bench:
    """The stack, the bare SDK, and unused numbers for issues and sandboxes."""

    bench: BenchStack
    sdk: AsyncDaytona
    next_issue: int = 1
    prepared: dict[str, int] = field(default_factory=dict)
    """The issue that each way uses in every round, for outcomes that need an existing sandbox."""

    async def ensure(self, issue: int) -> str:
        """Send an update-with-start and return the outcome."""
        about = Issue(issue, "octo/repo", issue, "A title")
        handover: messages.Handover = await self.bench.temporal.execute_update_with_start_workflow(
            messages.UPDATE_ENSURE,
            messages.EnsureRequest(about, "bench"),
            start_workflow_operation=self.bench.issues.start_operation(about),
            result_type=messages.Handover,
        )
        return handover.outcome

    async def put(self, issue: int) -> str:
        """The same over REST."""
        dev = self.bench.stack.stack
        reply = await self.bench.stack.http.put(
            f"{dev.api_url}/v1/issues/{issue}/sandbox",
            json={"repository": "octo/repo", "number": issue, "title": "A title"},
            headers={"Authorization": f"Bearer {dev.api_token}"},
        )
        if reply.status_code != httpx.codes.OK:
            raise AssertionError(f"PUT answered {reply.status_code}: {reply.text}")
        return str(reply.json()["outcome"])

    async def bare(self, name: str) -> str:
        """Get or create the sandbox, and start it if stopped, with the plain SDK, as a caller without issuebox does."""
        try:
            sandbox = await self.sdk.get(name)
        except DaytonaNotFoundError:
            await self.sdk.create(CreateSandboxFromSnapshotParams(name=name, labels={"bench": "bare"}))
            return Outcome.CREATED
        if sandbox.state == "started":
            return Outcome.REUSED
        await sandbox.start()
        return Outcome.STARTED

    async def floor(self, issue: int, kind: Kind) -> float:
        """Send an update-with-start to the empty workflow. Returns the seconds that it waited."""
        return await run_floor(self.bench.temporal, f"floor-{issue}", FLOOR_QUEUE, kind)

    def subject(self, outcome: str, way: str) -> int:
        """The issue for this way: a new one for each create, else the same in every round."""
        if outcome == Outcome.CREATED or way not in self.prepared:
            self.next_issue += 1
            if outcome == Outcome.CREATED:
                return self.next_issue
            self.prepared[way] = self.next_issue
        return self.prepared[way]

    async def begin(self, outcome: str) -> None:
        """Use new issues for this outcome, so that no workflow gets so long that it continues as new. Not measured."""
        self.prepared.clear()
        if outcome == Outcome.CREATED:
            return
        for way in SANDBOX_WAYS:
            await self.call(Outcome.CREATED, way, self.subject(outcome, way))

    async def prepare(self, outcome: str, way: str, issue: int) -> None:
        """Bring the sandbox of this way into the state in which the outcome begins. Not measured."""
        name = self.bench.stack.name(issue)
        if outcome == Outcome.CREATED or way not in SANDBOX_WAYS:
            return
        if outcome == Outcome.STARTED:
            await self.bench.stack.admin.act(name, "stop")
            await self.bench.stack.settled(issue, "stopped")

    async def call(self, outcome: str, way: str, issue: int) -> float:
        """Milliseconds of one call. Raises AssertionError when it had another outcome."""
        name = self.bench.stack.name(issue)
        calls: Mapping[str, Callable[[], Awaitable[str | float]]] = {
            UPDATE_WAY: lambda: self.ensure(issue),
            REST_WAY: lambda: self.put(issue),
            BARE: lambda: self.bare(name),
            FLOOR: lambda: self.floor(issue, floor_kind(outcome, FLOOR)),
            ALIKE: lambda: self.floor(issue, floor_kind(outcome, ALIKE)),
        }
        began = time.perf_counter()
        came_to = await calls[way]()
        took_s = time.perf_counter() - began
        if isinstance(came_to, float):
            return (took_s - came_to) * 1000
        if came_to != outcome:
            raise AssertionError(f"{way}: {came_to} instead of {outcome}")
        return took_s * 1000


async def run(context: Context) -> Latency:
    """Measure each outcome in rounds, with the ways in a random order in each round."""
    dice = random.Random(context.seed)
    rounds = context.samples(full=200, quick=20)
    rows = []
    async with AsyncExitStack() as exits:
        stack = await exits.enter_async_context(measured(context.scratch / "data"))
        ready = context.scratch / "floor.ready"
        await exits.enter_async_context(
            serving(("-m", "bench.measure.floor", FLOOR_QUEUE, str(ready)), stack.environment(), ready)
        )
        dev = stack.stack.stack
        config = DaytonaConfig(api_key=dev.daytona_api_key, api_url=dev.daytona_api_url, target="us")
        bench = Bench(stack, await exits.enter_async_context(AsyncDaytona(config)))
        for outcome in ACTIVITIES:
            await bench.begin(outcome)
            rows.append(await _measure(bench, outcome, rounds, dice))
            context.say(f"{outcome}: {rounds} rounds, added / floor {rows[-1].ratio:.2f}")
    return Latency(rows=rows)


async def _measure(bench: Bench, outcome: str, rounds: int, dice: random.Random) -> Row:
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(-WARM_UP, rounds):
        for way in dice.sample(list(times), len(times)):
            issue = bench.subject(outcome, way)
            await bench.prepare(outcome, way, issue)
            took_ms = await bench.call(outcome, way, issue)
            if number >= 0:
                times[way].append(took_ms)
    return summarize(outcome, times)


def summarize(outcome: str, times: Mapping[str, Sequence[float]]) -> Row:
    """The spreads, and the differences round by round."""

    def added(way: str) -> Spread:
        return spread([ours - bare for ours, bare in zip(times[way], times[BARE], strict=True)])

    return Row(
        outcome=outcome,
        activities=ACTIVITIES[outcome],
        times_ms={way: spread(taken) for way, taken in times.items()},
        added_ms=added(UPDATE_WAY),
        added_rest_ms=added(REST_WAY),
    )


def targets(figures: Latency) -> Sequence[Target]:
    """The added time is at most a quarter above the time that Temporal itself takes."""
    return [
        Target(name=f"{row.outcome}: added by issuebox / floor, p50", value=row.ratio, limit=RATIO_MAX)
        for row in figures.rows
    ]


def render(figures: Latency) -> str:
    """The times of all ways, then the added time."""
    by_way = page.table(
        ("Time of one call, ms", "n", "p50", "p99"),
        (
            (f"{row.outcome}, {way}", taken.count, f"{taken.p50:.1f}", f"{taken.p99:.1f}")
            for row in figures.rows
            for way, taken in row.times_ms.items()
        ),
    )
    head = (
        "Added, ms",
        "activities",
        "p50",
        "p99",
        "floor p50",
        "added / floor",
        "floor of the same kind p50",
        "added / it",
        "over REST p50",
        "p99",
        "REST / floor",
    )
    rows = (
        (
            row.outcome,
            row.activities,
            f"{row.added_ms.p50:.1f}",
            f"{row.added_ms.p99:.1f}",
            f"{row.times_ms[FLOOR].p50:.1f}",
            f"{row.ratio:.2f}",
            f"{row.times_ms[ALIKE].p50:.1f}",
            f"{row.ratio_alike:.2f}",
            f"{row.added_rest_ms.p50:.1f}",
            f"{row.added_rest_ms.p99:.1f}",
            f"{row.ratio_rest:.2f}",
        )
        for row in figures.rows
    )
    return f"{page.table(head, rows)}\n\n{by_way}\n\n{_EXPLANATION}"


_EXPLANATION = """\
The bare SDK does the same with the same requests: it gets the sandbox by its name, and creates or starts it if
needed. The added time is the difference within a round. The floor is an update-with-start of an empty workflow with as
many empty activities, on a worker with the same settings: new workflows for *created*, a running one otherwise.

*Floor of the same kind*: the first activity is local, like our lookup, and the last one waits for 100 ms, which are
subtracted: after a pause, processors and caches need time to wake up. The limit applies to the floor of plain
activities."""


def draw(figures: Latency) -> Mapping[str, Figure]:
    """Bars of the added time beside the floor."""
    figure, axes = charts.axes("Added to the bare SDK, and the floor that Temporal sets", "", "milliseconds")
    series = {
        "floor, p50": [row.times_ms[FLOOR].p50 for row in figures.rows],
        "added by issuebox, p50": [row.added_ms.p50 for row in figures.rows],
        "added over REST, p50": [row.added_rest_ms.p50 for row in figures.rows],
    }
    for number, (label, values) in enumerate(series.items()):
        places = [place + (number - 1) * 0.26 for place in range(len(values))]
        axes.bar(places, values, width=0.24, label=label, color=charts.COLOURS[(4, 0, 1)[number]])
    axes.set_xticks(
        range(len(figures.rows)),
        [
            f"{row.outcome}\n({row.activities} {'activity' if row.activities == 1 else 'activities'})"
            for row in figures.rows
        ],
    )
    axes.legend()
    return {"latency": figure}


LATENCY = Measurement(
    name="latency",
    title="Latency added to the bare SDK",
    sentence=(
        "From the call to the usable sandbox, one caller at a time. localdaytona's creates and starts take 100 ms in "
        "every way."
    ),
    figures=Latency,
    run=run,
    targets=targets,
    render=render,
    charts=draw,
    chart_captions={"latency": "Milliseconds added to the bare SDK, beside the floor; medians."},
)
