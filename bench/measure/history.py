"""Temporal's history events and billable actions per outcome, and what a month of a million issues costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict

from bench.measure import charts, page
from bench.measure.actions import billable
from bench.measure.cost import SOURCES, Bill, DaytonaPrices, Life, Month, TemporalPrices, Usage, month
from bench.measure.frame import Context, Measurement, Target
from bench.measure.outcomes import (
    ARCHIVED,
    CREATED,
    DELETED,
    REUSED,
    STARTED,
    STOPPED,
    WEBHOOK,
    Sample,
    event_name,
    lived,
    summarize,
)


class Row(BaseModel):
    """One outcome, requested in one way; means over the samples."""

    model_config = ConfigDict(frozen=True)

    outcome: str
    way: str
    samples: int
    events: float
    history_bytes: float
    actions: float
    kinds: dict[str, float]
    """Events by Temporal's name."""

    @property
    def usage(self) -> Usage:
        """The usage for the cost formula."""
        return Usage(actions=self.actions, history_bytes=self.history_bytes)


class History(BaseModel):
    """All outcomes, requested in each way."""

    model_config = ConfigDict(frozen=True)

    rows: list[Row]

    def usage(self, outcome: str) -> Usage:
        """The usage of an outcome that was requested by webhook."""
        return next(row for row in self.rows if (row.outcome, row.way) == (outcome, WEBHOOK)).usage


async def run(context: Context) -> History:
    """Run the lives of several issues, half of them over REST."""
    return History(rows=summarize(await lived(context, context.scratch / "data"), _row))


def bill(figures: History, inputs: Month) -> Bill:
    """The month's bill at list prices, for issues that come by webhook."""
    ladder = [figures.usage(step) for step in (STOPPED, ARCHIVED, DELETED)]
    closed = Usage(
        actions=sum(step.actions for step in ladder), history_bytes=sum(step.history_bytes for step in ladder)
    )
    life = Life(
        created=figures.usage(CREATED), reused=figures.usage(REUSED), started=figures.usage(STARTED), closed=closed
    )
    return month(life, inputs, TemporalPrices(), DaytonaPrices())


def targets(_: History) -> Sequence[Target]:
    """None: these are prices, not promises."""
    return []


def render(figures: History) -> str:
    """The counts, the bill, and the formula."""
    head = ("Outcome", "asked by", "n", "events", "bytes of history", "actions")
    rows = (
        (row.outcome, row.way, row.samples, f"{row.events:g}", f"{row.history_bytes:,.0f}", f"{row.actions:g}")
        for row in figures.rows
    )  # fmt: skip
    return "\n\n".join([page.table(head, rows), _COUNTED, _costs(figures)])


def draw(figures: History) -> Mapping[str, Figure]:
    """Bars of events and actions, by webhook."""
    rows = [row for row in figures.rows if row.way == WEBHOOK]
    figure, axes = charts.axes("History events and billable actions per outcome", "count", "")
    for offset, colour, label, values in (
        (-0.2, charts.COLOURS[0], "history events", [row.events for row in rows]),
        (0.2, charts.COLOURS[1], "actions", [row.usage.actions for row in rows]),
    ):
        axes.barh([place + offset for place in range(len(rows))], values, height=0.38, color=colour, label=label)
    axes.set_yticks(range(len(rows)), [row.outcome for row in rows])
    axes.invert_yaxis()
    axes.legend()
    return {"history": figure}


def _row(outcome: str, way: str, samples: Sequence[Sample]) -> Row:
    count = len(samples)
    kinds = Counter(event_name(event) for sample in samples for event in sample.events)
    return Row(
        outcome=outcome,
        way=way,
        samples=count,
        events=sum(len(sample.events) for sample in samples) / count,
        history_bytes=sum(event.ByteSize() for sample in samples for event in sample.events) / count,
        actions=sum(billable(sample.events) for sample in samples) / count,
        kinds={kind: number / count for kind, number in sorted(kinds.items())},
    )


_COUNTED = """\
Actions are counted from the history by Temporal Cloud's rules: a start, a signal (one action together with its start),
an update, an activity and each retry, a timer, a change of search attributes, and one for all markers of a workflow
task. No history shows heartbeats: an activity that waits for Daytona sends one after 2.5 s and then one every 8 s, so
that only creates, starts and the like that take longer cost more than is counted here."""


def _costs(figures: History) -> str:
    """A table of bills, with their inputs."""
    cases = {
        "as assumed": Month(),
        "twice the events": Month(reuses=8.0, starts=2.0),
        "running for 8 hours": Month(running_h=8.0),
        "open for a week of the month": Month(workflow_h=168.0),
    }
    head = ("A month of 1,000,000 issues, US $", "actions, millions", "Temporal", "of it actions", "Daytona", "total")
    rows = []
    for name, inputs in cases.items():
        made = bill(figures, inputs)
        costs = (made.temporal, made.action_cost, made.daytona, made.total)
        rows.append((name, f"{made.actions:,.1f}", *(f"{cost:,.0f}" for cost in costs)))
    given, sources = Month(), "\n".join(f"- {what}: {where}, read {day}" for what, where, day in SOURCES)
    return f"""\
### What a month costs

{page.table(head, rows)}

```
actions  = issues * (created + reuses * reused + starts * started + closed + reads_of_status)
temporal = tiers(actions - included) + 0.042 * active GBh + 0.00105 * retained GBh, and 10 % of that, 500 at least
daytona  = issues * running_h * (vcpus * 0.0504 + memory_gib * 0.0162)
         + issues * disk_gib * (running_h + stopped_h) * 0.000108 + issues * disk_gib * archived_h * 0
```

`bench.measure.cost.month` is the formula; its measured inputs are the webhook rows of the table above. The
assumptions: {given.reuses:g} reuses and {given.starts:g} start of each issue, {given.running_h:g} h running,
{given.stopped_h:g} h stopped, {given.archived_h:g} h archived, {given.vcpus:g} vCPU, {given.memory_gib:g} GiB of
memory, {given.disk_gib:g} GiB of disk, its workflow open for {given.workflow_h:g} h of the month, its status read
{given.reads_of_status:g} times. Beyond 200 million actions the last public price is used. This is the bill for the
issues of one month; [what accumulates](#what-accumulates) over the months is counted further below. Prices:

{sources}"""


HISTORY = Measurement(
    name="history",
    title="Temporal history, actions, and what a month costs",
    sentence="What each outcome adds to its workflow's history, on the whole stack.",
    figures=History,
    run=run,
    targets=targets,
    render=render,
    charts=draw,
    chart_captions={"history": "History events and billable actions per outcome, requested by webhook."},
)
