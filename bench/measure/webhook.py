"""What the API adds to a delivery: its acknowledgements alternate with bare signal-with-starts.

No worker runs on either side: an acknowledgement means that Temporal has stored the event, and so does the
reply to a signal-with-start. `bench.measure.burst` measures the rest of an event's path.
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
"""How many deliveries each issue gets: the first starts the workflow, the others signal it, as in the burst."""
CALLERS = (1, 8, 32)
RATE_LIMIT = 0.7
QUEUE = "nobody-serves-this"
START_BYTES, SIGNAL_BYTES = 64, 537
"""Payload sizes of our start and our signal for a delivery of this load; a test compares them."""


class Side(BaseModel):
    """One side at one level: the rates of its windows, and the latencies of all of them."""

    model_config = ConfigDict(frozen=True)

    rates_per_s: list[float]
    latency_ms: Spread
    processor_ms: dict[str, float]
    """Processor time of each process for one call."""

    @property
    def rate_per_s(self) -> float:
        """The rate of the median window."""
        return spread(self.rates_per_s).p50


class Level(BaseModel):
    """Both sides with this many concurrent callers."""

    model_config = ConfigDict(frozen=True)

    callers: int
    ours: Side
    bare: Side
    ratio: Spread
    """Our rate over the bare one, round by round: what slows a round slows both."""


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
    """The results of one side's windows so far."""

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
    """Measure both sides at each level in rounds. The sides alternate in going first."""
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
                    if number < 0:  # The very first calls pay for connections and imports.
                        continue
                    taken[callers, who].windows.append(window)
                    taken[callers, who].processors_s.append(processor_s)
            context.say(_progress(number + 1, rounds, taken))
    return Webhook(levels=[_level(callers, taken) for callers in CALLERS])


async def _window(parts: Parts, who: str, block: int, count: int, callers: int) -> tuple[Window, dict[str, float]]:
    """Run one window. Returns it with the processor time that each process spent in it."""
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
    """The bytes of `count` deliveries. Each block has its own issues."""
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
    """Send as many bare signal-with-starts, with payloads of the same size, by the same kind of client."""
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
    "Before: with h11 and asyncio's own loop a call took 1.39 ms of the API's processor time instead of 1.05 ms, and "
    "the rate at 8 callers was 0.62 of the bare one (same machine). httptools and uvloop made the difference. About "
    "half of the rest is the SDK's own call, for which the bare side pays, too, in the sender."
)


def targets(figures: Webhook) -> Sequence[Target]:
    """At saturation."""
    ratio = figures.saturated.ratio.p50
    return [Target(name="rate, to that of bare signal-with-start", value=ratio, limit=RATE_LIMIT, sense=Sense.AT_LEAST)]


def render(figures: Webhook) -> str:
    """A table with one row for each level and side, and the processor time at saturation."""
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
        "A signed delivery over a kept HTTP connection to the API's own process, until its 202, compared with a bare "
        "signal-with-start of an empty workflow by the same Temporal client, with payloads of the same size, as many "
        f"at once and as often to the same workflow ({PER_ISSUE} times). Both sides use one Temporal server in "
        "alternating windows, and no worker runs. Temporal's dev server on SQLite limits both."
    ),
    figures=Webhook,
    run=run,
    targets=targets,
    render=render,
    charts=draw,
    chart_captions={"webhook": "Acknowledged deliveries per second, beside bare signal-with-starts of the same run."},
)
