"""What the API adds to a delivery: its acknowledgements against bare signal-with-starts, in turn.

No worker runs, on either side: an acknowledgement says that Temporal has stored the event, and so does the
reply to a signal-with-start. The rest of an event's way is measured by `bench.measure.burst`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from bench.measure import charts, page, usage
from bench.measure.deliveries import REPOSITORY
from bench.measure.floor import WORKFLOW_TYPE
from bench.measure.frame import Context, Measurement, Sense, Target
from bench.measure.load import Line, Window, drive, post_request
from bench.measure.parts import Parts, running
from bench.measure.quantiles import Spread, spread
from issuebox.dev.mock_delivery import MockIssue, build

PER_ISSUE = 10
"""Deliveries of each issue: the first starts the workflow, the others signal it, as in the burst."""
CALLERS = (1, 8, 32)
RATE_LIMIT = 0.7
QUEUE = "nobody-serves-this"
START_BYTES, SIGNAL_BYTES = 64, 466
"""Sizes of our start's and our signal's payload for a delivery of this load; a test compares."""


class Side(BaseModel):
    """One side at one level: rates of its windows, and all its latencies together."""

    model_config = ConfigDict(frozen=True)

    rates_per_s: list[float]
    latency_ms: Spread
    processor_ms: dict[str, float]
    """Of each process, for one call."""

    @property
    def rate_per_s(self) -> float:
        """The median window's."""
        return spread(self.rates_per_s).p50


class Level(BaseModel):
    """Both sides with so many callers at once."""

    model_config = ConfigDict(frozen=True)

    callers: int
    ours: Side
    bare: Side
    ratio: Spread
    """Our rate to the bare one, of each round by itself: what slows a round slows both."""


class Webhook(BaseModel):
    """All levels."""

    model_config = ConfigDict(frozen=True)

    levels: list[Level]

    @property
    def saturated(self) -> Level:
        """The level at which the bare side is fastest."""
        return max(self.levels, key=lambda level: level.bare.rate_per_s)


@dataclass(slots=True)
class _Taken:
    """What one side's windows gave so far."""

    windows: list[Window]
    processors_s: list[dict[str, float]]

    def side(self) -> Side:
        latencies_s = [latency for window in self.windows for latency in window.latencies_s]
        return Side(
            rates_per_s=[window.rate_per_s for window in self.windows],
            latency_ms=spread([latency * 1000 for latency in latencies_s]),
            processor_ms={
                name: 1000 * sum(each[name] for each in self.processors_s) / len(latencies_s)
                for name in self.processors_s[0]
            },
        )


async def run(context: Context) -> Webhook:
    """Both sides at each level, in rounds, each round with the other side first."""
    calls = {callers: context.samples(full=200 + 25 * callers, quick=40 + 10 * callers) for callers in CALLERS}
    rounds = context.samples(full=10, quick=2)
    taken = {(callers, who): _Taken([], []) for callers in CALLERS for who in ("ours", "bare")}
    async with running(context.scratch / "webhook", workers=0) as parts:
        for number in range(-1, rounds):
            for place, callers in enumerate(CALLERS):
                count = calls[callers] if number >= 0 else calls[callers] // 5
                for who in ("ours", "bare") if number % 2 else ("bare", "ours"):
                    block = (number + 1) * len(CALLERS) + place
                    window, processor_s = await _window(parts, who, block, count, callers)
                    if number < 0:  # The first calls of all pay for connections and imports.
                        continue
                    taken[callers, who].windows.append(window)
                    taken[callers, who].processors_s.append(processor_s)
            context.say(_progress(number + 1, rounds, taken))
    return Webhook(levels=[_level(callers, taken) for callers in CALLERS])


async def _window(parts: Parts, who: str, block: int, count: int, callers: int) -> tuple[Window, dict[str, float]]:
    """One window, and the processor time that each process spent in it."""
    work = requests(parts.around.webhook_secret, block, count) if who == "ours" else []
    before = usage.processors_s(parts.pids)
    window = await (
        post_all(parts.api_port, work, callers)
        if who == "ours"
        else signal_all(parts.client, f"bare-{block}", count, callers)
    )
    after = usage.processors_s(parts.pids)
    return window, {name: after[name] - before[name] for name in after}


def requests(secret: str, block: int, count: int) -> list[bytes]:
    """So many deliveries as they go over the wire, for issues of their own in each block."""
    base = datetime.now(UTC) - timedelta(hours=1)
    made = []
    for number in range(count):
        issue = 1_000_000 * (block + 1) + number // PER_ISSUE
        about = MockIssue(issue, REPOSITORY, title="Bench issue", updated_at=base + timedelta(seconds=number))
        mock = build("opened", about, secret)
        made.append(post_request("/webhooks/github", mock.headers, mock.body))
    return made


async def post_all(port: int, work: Sequence[bytes], callers: int) -> Window:
    """Post them all. Raises RuntimeError when one is not accepted."""
    lines = [Line(port) for _ in range(callers)]

    async def call(caller: int, number: int) -> None:
        status = await lines[caller].post(work[number])
        if status != 202:  # noqa: PLR2004 -- HTTP
            raise RuntimeError(f"the webhook answered {status}")

    try:
        return await drive(len(work), callers, call)
    finally:
        for line in lines:
            await line.close()


async def signal_all(client: Client, name: str, count: int, callers: int, task_queue: str = QUEUE) -> Window:
    """As many bare signal-with-starts, with payloads of the same size, by the same kind of client."""
    start, signal = "s" * (START_BYTES - 2), "e" * (SIGNAL_BYTES - 2)

    async def call(_caller: int, number: int) -> None:
        await client.start_workflow(
            WORKFLOW_TYPE,
            start,
            id=f"{name}-{number // PER_ISSUE}",
            task_queue=task_queue,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            start_signal="event",
            start_signal_args=[signal],
        )

    return await drive(count, callers, call)


def _level(callers: int, taken: Mapping[tuple[int, str], _Taken]) -> Level:
    ours, bare = taken[callers, "ours"].side(), taken[callers, "bare"].side()
    ratios = [mine / other for mine, other in zip(ours.rates_per_s, bare.rates_per_s, strict=True)]
    return Level(callers=callers, ours=ours, bare=bare, ratio=spread(ratios))


def _progress(done: int, rounds: int, taken: Mapping[tuple[int, str], _Taken]) -> str:
    if not done:
        return "warmed up"
    rates = ", ".join(
        f"{callers}: {taken[callers, 'ours'].windows[-1].rate_per_s:.0f}"
        f" to {taken[callers, 'bare'].windows[-1].rate_per_s:.0f}"
        for callers in CALLERS
    )
    return f"round {done} of {rounds}; a second, ours to bare, by callers: {rates}"


MENDED = (
    "What it was: with h11 and asyncio's own loop a call took the API 1.39 ms of processor time and not 1.05 ms, and "
    "the rate at 8 callers was 0.62 of the bare one (same machine). httptools and uvloop made the difference. Of the "
    "rest about half is the SDK's own call, which the bare side pays as well, in the sender."
)


def targets(figures: Webhook) -> Sequence[Target]:
    """At saturation."""
    ratio = figures.saturated.ratio.p50
    return [Target(name="rate, to that of bare signal-with-start", value=ratio, limit=RATE_LIMIT, sense=Sense.AT_LEAST)]


def render(figures: Webhook) -> str:
    """One row for each level and side, and where the processor time went at saturation."""
    rows: list[tuple[object, ...]] = []
    for level in figures.levels:
        for who, side in (("webhook", level.ours), ("bare", level.bare)):
            latency = side.latency_ms
            times = (page.number(latency.p50, "ms"), page.number(latency.p99, "ms"), page.number(side.rate_per_s))
            ratio = page.number(level.ratio.p50) if who == "webhook" else ""
            rows.append((f"{who}, {level.callers} at once", latency.count, *times, ratio))
    head = ("Acknowledgement", "n", "p50", "p99", "rate, a second", "rate to bare")
    return f"{page.table(head, rows)}\n\n{_processors(figures.saturated)}\n\n{MENDED}"


def _processors(level: Level) -> str:
    """Processor time by process, for one call."""
    names = [name for name in level.ours.processor_ms if name != "localdaytona"]
    rows = [
        (who, *(page.number(side.processor_ms[name], "ms") for name in names))
        for who, side in (("webhook", level.ours), ("bare", level.bare))
    ]
    return page.table((f"Processor time of one call, {level.callers} at once", *names), rows)


def draw(figures: Webhook) -> Mapping[str, Figure]:
    """Bars of both rates at each level."""
    figure, axes = charts.axes("Deliveries stored in a second", "callers at once", "a second, median window")
    places = range(len(figures.levels))
    for offset, colour, label, rates in (
        (-0.2, charts.COLOURS[0], "webhook (API)", [level.ours.rate_per_s for level in figures.levels]),
        (0.2, charts.COLOURS[4], "bare signal-with-start", [level.bare.rate_per_s for level in figures.levels]),
    ):
        bars = axes.bar([place + offset for place in places], rates, width=0.38, color=colour, label=label)
        axes.bar_label(bars, fmt="%.0f")
    axes.set_xticks(list(places), [str(level.callers) for level in figures.levels])
    axes.set_ylim(top=1.35 * axes.get_ylim()[1])  # Room for the legend.
    axes.legend(loc="upper left")
    return {"webhook": figure}


WEBHOOK = Measurement(
    name="webhook",
    title="Webhook acknowledgement",
    sentence=(
        "A signed delivery over a kept HTTP connection to the API's own process, until its 202, against a bare "
        "signal-with-start of an empty workflow by the same Temporal client, with payloads of the same size, as many "
        f"at once and as often to the same workflow ({PER_ISSUE} times). Both sides share one Temporal server, in "
        "alternate windows, and no worker runs. Temporal's dev server on SQLite sets the pace of both."
    ),
    figures=Webhook,
    run=run,
    targets=targets,
    render=render,
    charts=draw,
    chart_captions={"webhook": "Acknowledged deliveries a second, beside bare signal-with-starts of the same run."},
)
