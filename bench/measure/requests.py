"""How many requests each outcome sends to Daytona, counted in localdaytona's journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict

from bench.measure import charts, page
from bench.measure.bench_stack import measured
from bench.measure.frame import Context, Measurement, Target
from bench.measure.outcomes import CREATED, REUSED, STARTED, WEBHOOK, Player, Sample, lived, summarize

COMMANDS = frozenset({"create", "start", "stop", "archive", "delete", "recover"})
EXTRAS = frozenset({"last_activity", "labels"})
"""Not needed for the outcome: postponing the idle stop, and labels for people."""

SET_UP = "created and set up"
"""With ISSUEBOX_SETUP_COMMAND, which adds the set-up's own requests and those to the sandbox's toolbox."""

LIMITS: Mapping[str, tuple[float, float]] = {REUSED: (1, 0), STARTED: (1, 1), CREATED: (1, 1)}
"""How many lookups before the command, and how many commands, an outcome may take."""


class Count(BaseModel):
    """Requests of one kind: least, most and mean of the samples."""

    model_config = ConfigDict(frozen=True)

    least: int
    most: int
    mean: float


class Row(BaseModel):
    """One outcome, requested in one way. `lookups` come before its first command, `reads` after it."""

    model_config = ConfigDict(frozen=True)

    outcome: str
    way: str
    samples: int
    lookups: Count
    commands: Count
    reads: Count
    extras: Count
    toolbox: Count


class Requests(BaseModel):
    """All outcomes, requested in each way."""

    model_config = ConfigDict(frozen=True)

    rows: list[Row]


async def run(context: Context) -> Requests:
    """Run the lives of issues by webhook and as many over REST, then some with a set-up command."""
    samples = await lived(context, context.scratch / "plain")
    async with measured(context.scratch / "set-up", ISSUEBOX_SETUP_COMMAND="true") as bench:
        for issue in range(1, context.samples(full=10, quick=1) + 1):
            player = Player(bench, issue, WEBHOOK)
            await player.open(SET_UP)
            samples += player.samples
    return Requests(rows=summarize(samples, _row))


def targets(figures: Requests) -> Sequence[Target]:
    """One lookup for each outcome, and one command where one is needed: the worst sample counts."""
    found = []
    for row in figures.rows:
        if row.outcome not in LIMITS:
            continue
        lookups, commands = LIMITS[row.outcome]
        about = f"{row.outcome} ({row.way})"
        found.append(Target(name=f"{about}: lookups before the command", value=row.lookups.most, limit=lookups))
        found.append(Target(name=f"{about}: commands", value=row.commands.most, limit=commands))
    return found


def render(figures: Requests) -> str:
    """A table with one row for each outcome and way."""
    head = ("Outcome", "asked by", "n", "lookups", "commands", "reads after it", "labels, activity", "toolbox")
    rows = [
        (
            row.outcome,
            row.way,
            row.samples,
            *(_shown(count) for count in (row.lookups, row.commands, row.reads, row.extras, row.toolbox)),
        )
        for row in figures.rows
    ]
    return page.table(head, rows) + (
        "\n\nA lookup is a read of the sandbox before the first command. Reads after the command wait for the end of "
        "the state change, which the event stream announces; Daytona answers a start when it is done, so that needs "
        "none. The last two columns are counted separately: postponing the idle stop, labels for people, and what runs "
        "inside the sandbox (set-up, and the inspection for unsaved work before a stop or a delete)."
    )


def draw(figures: Requests) -> Mapping[str, Figure]:
    """Stacked bars of the mean, by webhook."""
    rows = [row for row in figures.rows if row.way == WEBHOOK]
    figure, axes = charts.axes("Requests to Daytona per outcome, mean", "requests", "")
    left = [0.0] * len(rows)
    for number, (label, counts) in enumerate(
        {
            "lookup": [row.lookups for row in rows],
            "command": [row.commands for row in rows],
            "read after it": [row.reads for row in rows],
            "labels, activity": [row.extras for row in rows],
            "toolbox": [row.toolbox for row in rows],
        }.items()
    ):
        widths = [count.mean for count in counts]
        axes.barh(range(len(rows)), widths, left=left, color=charts.COLOURS[number], label=label, height=0.6)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(rows)), [row.outcome for row in rows])
    axes.invert_yaxis()
    axes.legend()
    return {"requests": figure}


def _row(outcome: str, way: str, samples: Sequence[Sample]) -> Row:
    parts = [split(sample.operations) for sample in samples]
    return Row(
        outcome=outcome,
        way=way,
        samples=len(samples),
        lookups=_count([part[0] for part in parts]),
        commands=_count([part[1] for part in parts]),
        reads=_count([part[2] for part in parts]),
        extras=_count([part[3] for part in parts]),
        toolbox=_count([sample.toolbox for sample in samples]),
    )


def split(operations: Sequence[str]) -> tuple[int, int, int, int]:
    """How many lookups, commands, reads after the first command, and extras these are."""
    first = next((place for place, operation in enumerate(operations) if operation in COMMANDS), len(operations))
    commands = sum(operation in COMMANDS for operation in operations)
    extras = sum(operation in EXTRAS for operation in operations)
    lookups = sum(operation not in EXTRAS for operation in operations[:first])
    return lookups, commands, len(operations) - commands - extras - lookups, extras


def _count(values: Sequence[int]) -> Count:
    return Count(least=min(values), most=max(values), mean=sum(values) / len(values))


def _shown(count: Count) -> str:
    return str(count.most) if count.least == count.most else f"{count.least} to {count.most} ({count.mean:.2g})"


REQUESTS = Measurement(
    name="requests",
    title="Daytona requests per outcome",
    sentence=(
        "Counted in localdaytona's journal, on the whole stack, for issues that are opened, commented on, stopped by "
        "hand, commented on again, and closed."
    ),
    figures=Requests,
    run=run,
    targets=targets,
    render=render,
    charts=draw,
    chart_captions={"requests": "Requests to Daytona per outcome, requested by webhook."},
)
