"""Targets, tables and chart of what issues leave behind. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from bench.measure import charts, page
from bench.measure.cost import Held, Steady, TemporalPrices, held
from bench.measure.frame import Measurement, Target
from bench.measure.retirement import (
    AFTER,
    ASKED,
    BEFORE,
    ENDED,
    OPEN,
    OURS,
    REUSES,
    STAGES,
    Retirement,
    run,
)
from bench.measure.store import WORKFLOWS

BYTES_MAX = 1_000_000
"""What may be left, however many issues there were: rows of the queues that served them."""
PARTS = ("opened to archived", "from there to the retirement", "all")


def targets(figures: Retirement) -> Sequence[Target]:
    """No workflow, no row of one, and no bytes are left."""
    left = figures.left()
    return [
        Target(name="open workflows in the end", value=figures.stage(AFTER).open_workflows, limit=0),
        Target(
            name="rows of workflows in the end, more than before",
            value=sum(left.get(name, 0) for name in WORKFLOWS),
            limit=0,
        ),
        Target(
            name="bytes after VACUUM in the end, more than before",
            value=figures.stage(AFTER).compact_bytes - figures.stage(BEFORE).compact_bytes,
            limit=BYTES_MAX,
        ),
    ]


def render(figures: Retirement) -> str:
    """One life, then the many, then what a million issues a month come to."""
    return "\n\n".join([_life(figures), _stages(figures), accumulation(figures)])


def _life(figures: Retirement) -> str:
    rows = [
        (name, *(page.number(value) for value in (run.runs, run.events, run.history_bytes, run.actions)))
        for name, run in zip(PARTS, [*figures.runs, figures.whole], strict=True)
    ]
    table = page.table(("A life", "workflow runs", "events", "bytes of history", "actions"), rows)
    return f"""\
{table}

Means of {figures.lives} lives: opened, {REUSES} comments, the sandbox stopped by Daytona, one more comment, closed,
stopped, archived, deleted, retired. Seconds stand for days. The workflow continues as new where it does so with the
default times: before the rest as archived."""


def _stages(figures: Retirement) -> str:
    rows: list[tuple[object, ...]] = [
        ("issues' open workflows", *(f"{stage.open_workflows:,}" for stage in figures.stages))
    ]
    tables = sorted({name for stage in figures.stages for name in stage.rows})
    rows += [
        (f"rows of `{name}`", *(f"{stage.rows.get(name, 0):,}" for stage in figures.stages))
        for name in tables
        if len({stage.rows.get(name, 0) for stage in figures.stages}) > 1
    ]
    rows.append(("bytes of all histories", *(f"{stage.history_bytes:,}" for stage in figures.stages)))
    rows.append(("bytes of the file after VACUUM", *(f"{stage.compact_bytes:,}" for stage in figures.stages)))
    rows.append(("seconds since the first look", *(f"{stage.after_s:.0f}" for stage in figures.stages)))
    adds = ", ".join(
        f"{figures.bytes_each(name) / 1000:.1f} kB {word}, {figures.history_each(name) / 1000:.1f} kB of it history"
        for name, word in ((OPEN, "while its sandbox runs"), (ENDED, "once it has retired"))
    )
    put_off = f" The API answered 503 {figures.put_off:,} times, and got the delivery again." if figures.put_off else ""
    left = ", ".join(f"{count:+} in `{name}`" for name, count in figures.left().items()) or "none"
    return f"""\
{page.table((f"{figures.issues:,} issues", *STAGES), rows)}

A delivery opens one issue of {ASKED}, which gets its sandbox. Then a person deletes {OURS - 1} of {OURS} sandboxes at
Daytona, and another delivery closes each issue, those included of which issuebox had not heard: it inspects and deletes
the sandboxes that are left, and every workflow retires. Temporal keeps what has ended for {figures.retention_s} s. (A
namespace's least is an hour, so the bench writes that into the server's file.) So the first are forgotten before the
last retire. Each workflow adds to the file {adds}.
In the end the file as it is has {figures.file_bytes:,} bytes: SQLite keeps the room for new rows.{put_off}

Rows that were not there before: {left}. They are no issue's. A task queue keeps its last tasks, a hundred at most,
however many went through it, and a timeout that nobody waits for any more goes when its time comes."""


def accumulation(figures: Retirement) -> str:
    """What is held and what it costs, when every month is like the one before."""
    cases = {
        "as assumed": Steady(),
        "closed after 30 days": Steady(open_d=30.0),
        "deleted a week after the close": Steady(delete_after_d=7.0),
        "kept for 30 days after the end": Steady(retention_d=30.0),
    }
    head = (
        "A million issues a month, at any moment",
        "open workflows",
        "their histories",
        "ended runs",
        "their histories",
        "US $ a month, open",
        "ended",
    )
    rows = [
        (
            name,
            *(f"{made.open_workflows:,.0f}", f"{made.active_gb:.1f} GB"),
            *(f"{made.retained_runs:,.0f}", f"{made.retained_gb:.1f} GB"),
            *(f"{made.active_cost:,.0f}", f"{made.retained_cost:,.0f}"),
        )
        for name, made in ((name, _held(figures, inputs)) for name, inputs in cases.items())
    ]
    given, made = Steady(), _held(figures, Steady())
    beside = figures.bytes_each(ENDED) - figures.history_each(ENDED)
    in_file_gb = made.active_gb + made.retained_gb + (made.open_workflows + made.retained_runs) * beside / 1e9
    return f"""\
### What accumulates

{page.table(head, rows)}

```
open workflows = issues a day * (open + delete_after + forget_after)
their bytes    = issues a day * (first * (open + archive_after) + later * (delete_after - archive_after + forget_after))
ended, bytes   = issues a day * (first + later) * retention
US $ a month   = 744 h * (0.042 * GB open + 0.00105 * GB ended)
```

All times are in days; *first* and *later* are the bytes of history in the table of a life. Nothing grows with the
issues ever seen: the open workflows are those of the last weeks, and the ended ones go with the retention. Assumed are
{given.open_d:g} days until the close, the default times after it, and {given.retention_d:g} days of retention; a
history counts with its whole length from its beginning, and what a plan includes is not deducted.

If no workflow ended, each month would add a million open ones for ever, with {made.added_gb:.1f} GB, and
US $ {made.added_cost:,.0f} to the bill of each later month.

In a database of one's own a workflow takes its history and {beside / 1000:.1f} kB (rows, indexes, what lists and
searches read), by the dev server's SQLite after VACUUM: as assumed, {in_file_gb:,.0f} GB. `bench.measure.cost.held` is
the formula."""


def _held(figures: Retirement, inputs: Steady) -> Held:
    first, later = figures.runs
    return held(first.history_bytes, later.history_bytes, inputs, TemporalPrices())


def draw(figures: Retirement) -> Mapping[str, Figure]:
    """Bars of the file's size in each stage."""
    figure, axes = charts.axes(f"Temporal's file with {figures.issues:,} issues, after VACUUM", "", "MB")
    sizes = [stage.compact_bytes / 1e6 for stage in figures.stages]
    bars = axes.bar(range(len(sizes)), sizes, width=0.6, color=charts.COLOURS[0])
    axes.bar_label(bars, fmt="%.1f")
    axes.set_xticks(range(len(sizes)), [stage.name for stage in figures.stages])
    return {"retirement": figure}


RETIREMENT = Measurement(
    name="retirement",
    title="What an issue leaves behind",
    sentence=(
        "The history, actions and workflow runs of a whole life, from the opening of an issue to the retirement of its "
        "workflow; and Temporal's file before, with, and after ten thousand issues that were opened, closed and "
        "forgotten."
    ),
    figures=Retirement,
    run=run,
    targets=targets,
    render=render,
    charts=draw,
    chart_captions={"retirement": "The file of Temporal's dev server before, at the height, and afterwards."},
)
