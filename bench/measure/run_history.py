"""What a run that works for an hour adds to its workflow's history, with the issue told of it and without."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict
from temporalio.api.history.v1 import HistoryEvent

from bench.measure import charts, page
from bench.measure.actions import billable
from bench.measure.comments import serving_comments
from bench.measure.frame import Context, Measurement, Target
from bench.measure.run_work import FOLLOW, Installation, activity_of, installed, load, until_told
from issuebox.dev.demo.stack import until
from issuebox.domain.run import FOLLOW_SLICE

HOUR_S = 3600.0
SLICES_AN_HOUR = int(HOUR_S / FOLLOW_SLICE.total_seconds())
EVENTS_MAX = 60

SHORT_SLICE_S = 65.0
"""More than the minute after which a workflow publishes again what has only a newer time, as a real slice is."""

JOB = until_told('n=$((n + 1)); echo "line $n"; echo "at line $n" >>"$ISSUEBOX_RUN_DIR/progress"; sleep 1')
"""It writes a line a second, and says what it works on."""

OPENING, SLICE, ENDING = "request to first follower", "a slice of ten minutes", "last slice and end"
TOLD, UNTOLD = "with reports", "without"


class Part(BaseModel):
    """What a part of a run adds: events, their bytes, and billable actions."""

    model_config = ConfigDict(frozen=True)

    events: float
    history_bytes: float
    actions: float

    def times(self, count: float) -> Part:
        """As much so many times."""
        return Part(events=self.events * count, history_bytes=self.history_bytes * count, actions=self.actions * count)

    def plus(self, other: Part) -> Part:
        """Both together."""
        return Part(
            events=self.events + other.events,
            history_bytes=self.history_bytes + other.history_bytes,
            actions=self.actions + other.actions,
        )

    @property
    def shown(self) -> tuple[str, str, str]:
        """The cells of a table."""
        return f"{self.events:g}", f"{self.history_bytes:,.0f}", f"{self.actions:g}"


class Case(BaseModel):
    """A run in its parts. The end includes its last slice. ``activities`` counts those of the whole run."""

    model_config = ConfigDict(frozen=True)

    how: str
    slices: int
    opening: Part
    slice: Part
    ending: Part
    activities: dict[str, int]
    to_github: dict[str, int]

    @property
    def parts(self) -> dict[str, Part]:
        """What was measured, and the hours that it makes."""
        return {
            OPENING: self.opening,
            SLICE: self.slice,
            ENDING: self.ending,
            "an hour of work": self.working_hour,
            "a run of one hour": self.whole_hour,
        }

    @property
    def working_hour(self) -> Part:
        """An hour in the middle of a run."""
        return self.slice.times(SLICES_AN_HOUR)

    @property
    def whole_hour(self) -> Part:
        """A run of an hour from its request to the last report."""
        return self.opening.plus(self.slice.times(SLICES_AN_HOUR - 1)).plus(self.ending)

    @property
    def once(self) -> Part:
        """What comes once in a run, however long it works."""
        return self.opening.plus(self.ending).plus(self.slice.times(-1))

    def hours_within(self, events_an_hour: float) -> float:
        """How long a run has to be, so that it has no more events an hour than this."""
        return self.once.events / (events_an_hour - self.working_hour.events)


class RunHistory(BaseModel):
    """Both cases, and how long a slice was in place of ten minutes."""

    model_config = ConfigDict(frozen=True)

    cases: list[Case]
    slice_s: float
    load: list[float]

    def case(self, how: str) -> Case:
        """The one of this name."""
        return next(case for case in self.cases if case.how == how)

    @property
    def reports(self) -> Part:
        """What a run costs more because its issue is told of it: once, however long it works."""
        return self.case(TOLD).once.plus(self.case(UNTOLD).once.times(-1))


async def run(context: Context) -> RunHistory:
    """Both cases at once, each on an installation of its own."""
    slice_s, slices = (SHORT_SLICE_S, 4) if not context.is_quick else (3.0, 2)
    return await measure(context, slice_s, slices)


async def measure(context: Context, slice_s: float, slices: int) -> RunHistory:
    """Follow a run for so many slices of this length."""
    before = load()
    cases = await asyncio.gather(*(_case(context, how, slice_s, slices) for how in (UNTOLD, TOLD)))
    return RunHistory(cases=list(cases), slice_s=slice_s, load=[before, load()])


async def _case(context: Context, how: str, slice_s: float, slices: int) -> Case:
    async with AsyncExitStack() as exits:
        comments = await exits.enter_async_context(serving_comments())
        settings = comments.settings if how == TOLD else {"ISSUEBOX_RUN_REPORT": "none"}
        data_dir, program = context.scratch / how.replace(" ", "-"), ("bench.measure.run_worker", str(slice_s))
        work = installed(data_dir, JOB, program=program, settings=settings)
        at = await exits.enter_async_context(work)
        sandbox_id = await at.opened(1)
        before = len(await at.history(1))
        await at.comment(1)
        await at.working(1)
        await until(lambda: _followers(at), lambda seen: seen > slices, f"{slices} slices", slices * slice_s + 60.0)
        await at.tell(sandbox_id)
        await at.over(1)
        events = await _at_rest(at)
        context.say(f"{how}: {slices} slices, {len(events) - before} events")
        return summarize(how, events[before:], Counter(comments.asked))


async def _followers(at: Installation) -> int:
    return sum(activity_of(event) == FOLLOW for event in await at.history(1))


async def _at_rest(at: Installation) -> list[HistoryEvent]:
    """The history once nothing is under way any more: the last report looks after itself for some seconds."""

    async def pending() -> int:
        described = await at.workflow(1).describe()
        return len(described.raw_description.pending_activities)

    await until(pending, lambda count: count == 0, "the last report is written")
    return await at.history(1)


def summarize(how: str, events: Sequence[HistoryEvent], to_github: Mapping[str, int]) -> Case:
    """Divide the events of a run at its followers' beginnings. Raises ValueError without a whole slice."""
    begins = [place for place, event in enumerate(events) if activity_of(event) == FOLLOW]
    slices = len(begins) - 1
    if slices < 1:
        raise ValueError("no whole slice")
    return Case(
        how=how,
        slices=slices,
        opening=_part(events[: begins[0]]),
        slice=_part(events[begins[0] : begins[-1]]).times(1 / slices),
        ending=_part(events[begins[-1] :]),
        activities=dict(Counter(name for event in events if (name := activity_of(event)))),
        to_github=dict(to_github),
    )


def _part(events: Sequence[HistoryEvent]) -> Part:
    return Part(events=len(events), history_bytes=sum(event.ByteSize() for event in events), actions=billable(events))


def targets(figures: RunHistory) -> Sequence[Target]:
    """An hour of work, and with it all that the issue is told of a run."""
    told = figures.case(TOLD).working_hour.events + figures.reports.events
    return [
        Target(name="events of an hour of work", value=figures.case(UNTOLD).working_hour.events, limit=EVENTS_MAX),
        Target(name="events of an hour of work, reports included", value=told, limit=EVENTS_MAX),
    ]


def render(figures: RunHistory) -> str:
    """A table of the parts, and of the hour that they make."""
    head = ("A run", "", "events", "bytes of history", "actions")
    rows = [(name, case.how, *part.shown) for case in figures.cases for name, part in case.parts.items()]
    told, reports = figures.case(TOLD), figures.reports
    rows.append(("reports of a run", "", *reports.shown))
    return "\n\n".join(
        [
            page.table(head, rows),
            EXPLANATION.format(
                slices=told.slices,
                slice_s=figures.slice_s,
                whole=told.whole_hour.events,
                limit=EVENTS_MAX,
                hours=page.number(told.hours_within(EVENTS_MAX)),
                load=page.loads(figures.load),
            ),
        ]
    )


EXPLANATION = """\
Measured over {slices} slices of {slice_s:g} s in place of ten minutes, in a run from its request by a comment to its
last report; nothing else was changed. An hour is computed from that: six slices, and beginning and end. What the issue
is told while the agent works is written by its follower and costs no event; 👀, the first and the last report are
activities, once in a run. All in all, a run of one hour has {whole:g} events with its reports; from {hours} hours on, a
run stays within {limit} an hour. {load}"""


def draw(figures: RunHistory) -> Mapping[str, Figure]:
    """Bars of the parts that make a run of an hour."""
    figure, axes = charts.axes("History events of a run that works for an hour", "events", "", height_in=2.2)
    left = [0.0] * len(figures.cases)
    for number, label in enumerate((OPENING, SLICE, ENDING)):
        count = SLICES_AN_HOUR - 1 if label == SLICE else 1
        widths = [case.parts[label].events * count for case in figures.cases]
        shown = "five slices" if label == SLICE else label
        axes.barh(range(len(widths)), widths, left=left, color=charts.COLOURS[number], label=shown, height=0.6)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(figures.cases)), [case.how for case in figures.cases])
    axes.set_ylim(len(figures.cases), -0.5)  # Room for the legend below the bars.
    axes.legend(ncols=3, fontsize=8, loc="lower right")
    return {"run_history": figure}


RUN_HISTORY = Measurement(
    name="run_history",
    title="Runs: workflow history of an hour of work",
    sentence="What an agent that works for an hour adds to its issue's workflow. The bound is 60 events an hour.",
    figures=RunHistory,
    run=run,
    targets=targets,
    render=render,
    charts=draw,
    chart_captions={"run_history": "Events of a run of one hour, in its parts."},
)
