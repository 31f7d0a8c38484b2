"""How many requests a run costs Daytona in each minute in which its agent works, counted in localdaytona's journal."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict

from activities.runs import PAUSE_MAX_S, PAUSE_S
from bench.measure import charts, page
from bench.measure.frame import Context, Measurement, Target
from bench.measure.parts import WORKER
from bench.measure.run_overhead import kind_of
from bench.measure.run_work import installed, load, until_told
from localdaytona.journal import Entry

ISSUE = 1
MINUTE_S = 60.0
FIRST_MAX, LATER_MAX = 12, 6

LATE_SLICE_S = 90.0
"""After it the next follower begins, in place of ten minutes: in the second minute of three."""

JOB = until_told('read -r rate <~/rate; head -c "$rate" /dev/zero | tr "\\0" x; echo; sleep 1')
"""It writes as many bytes a second as a file says."""


@dataclass(frozen=True, slots=True)
class Kind:
    """An agent that is followed: what it writes, and by which worker. Only those with bounds have targets."""

    name: str
    bytes_a_second: int
    program: tuple[str, ...] = WORKER
    has_bounds: bool = True


KINDS = (
    Kind("2 KB a second", 2_000),
    Kind("2 KB a second, next follower after 90 s", 2_000, ("bench.measure.run_worker", str(LATE_SLICE_S))),
    Kind("20 KB a second", 20_000, has_bounds=False),
)


class Minutes(BaseModel):
    """One run: requests in each minute after its begin, and those before, by what they do."""

    model_config = ConfigDict(frozen=True)

    what: str
    to_begin: dict[str, int]
    minutes: list[dict[str, int]]
    at_s: list[float]
    """When each came, in seconds after the begin."""

    @property
    def counts(self) -> list[int]:
        """Requests in each minute."""
        return [sum(minute.values()) for minute in self.minutes]


class RunRequests(BaseModel):
    """One row for each job."""

    model_config = ConfigDict(frozen=True)

    rows: list[Minutes]
    pauses_s: list[float]
    """A follower's first pause between two probes, and its longest."""
    load: list[float]


async def run(context: Context) -> RunRequests:
    """One run of each kind at the same time, for three minutes, each on an installation of its own."""
    minutes, before = context.samples(full=3, quick=1), load()
    rows = await asyncio.gather(*(_row(context, kind, minutes) for kind in KINDS))
    return RunRequests(rows=list(rows), pauses_s=[PAUSE_S, PAUSE_MAX_S], load=[before, load()])


async def _row(context: Context, kind: Kind, minutes: int) -> Minutes:
    data_dir, settings = context.scratch / str(KINDS.index(kind)), {"ISSUEBOX_RUN_REPORT": "none"}
    async with installed(data_dir, JOB, program=kind.program, settings=settings) as at:
        sandbox_id = await at.opened(ISSUE)
        await at.execute(sandbox_id, f"echo {kind.bytes_a_second} >~/rate")
        mark = max(entry.seq for entry in await at.parts.admin.journal(sandbox_id=sandbox_id))
        await at.ask(ISSUE)
        await at.working(ISSUE)
        await asyncio.sleep(minutes * MINUTE_S + 1.0)
        entries = await at.requests(sandbox_id, after=mark)
        found = await at.run(ISSUE)
        if found is None or found.phase != "running" or found.first_begun_at is None:
            raise AssertionError(f"the agent does not work: {found}")
        context.say(f"{kind.name}: {len(entries)} requests")
        await at.tell(sandbox_id)
        await at.over(ISSUE)
        return summarize(kind.name, entries, found.first_begun_at.timestamp(), minutes)


def summarize(what: str, entries: Sequence[Entry], begun_at: float, minutes: int) -> Minutes:
    """Count the requests of each minute since the begin, and those before it."""
    at_s = [round(entry.at - begun_at, 2) for entry in entries]
    return Minutes(
        what=what,
        to_begin=dict(Counter(kind_of(entry) for entry in entries if entry.at < begun_at)),
        minutes=[
            dict(
                Counter(
                    kind_of(entry)
                    for entry in entries
                    if number * MINUTE_S <= entry.at - begun_at < (number + 1) * MINUTE_S
                )
            )
            for number in range(minutes)
        ],
        at_s=[each for each in at_s if 0 <= each < minutes * MINUTE_S],
    )


def targets(figures: RunRequests) -> Sequence[Target]:
    """The first minute, and the worst of those after it."""
    found = []
    for row in figures.rows:
        if row.what not in {kind.name for kind in KINDS if kind.has_bounds}:
            continue
        first, *later = row.counts
        found.append(Target(name=f"requests in the first minute, {row.what}", value=first, limit=FIRST_MAX))
        if later:
            found.append(Target(name=f"requests in any later minute, {row.what}", value=max(later), limit=LATER_MAX))
    return found


def render(figures: RunRequests) -> str:
    """One row for each job."""
    minutes = len(figures.rows[0].minutes)
    head = ("The agent writes", "to the begin", *(f"minute {number}" for number in range(1, minutes + 1)))
    rows = [(row.what, sum(row.to_begin.values()), *row.counts) for row in figures.rows]
    kinds = {name for row in figures.rows for minute in row.minutes for name in minute}
    return page.table(head, rows) + (
        f"\n\nThose of the minutes are all {' and '.join(sorted(kinds))}: one probe, by the toolbox's known address, "
        "says whether the agent lives and how it ended, brings what it wrote since, and puts Daytona's idle stop off. "
        f"Its pauses grow from {figures.pauses_s[0]:g} s to {figures.pauses_s[1]:g} s. It brings 64 KiB at most, and "
        "while the copy of the output is more than that behind, the next probe comes after 1 s. So an agent that "
        "writes more than 6.5 KB a second for long costs more requests, about one for each 64 KiB. After ten minutes "
        f"the next follower begins, here after {LATE_SLICE_S:g} s. "
        f"{page.loads(figures.load)}"
    )


def draw(figures: RunRequests) -> Mapping[str, Figure]:
    """All requests since the begin, over time."""
    figure, axes = charts.axes("Requests to Daytona since the begin", "seconds", "requests so far")
    for place, row in enumerate(figures.rows):
        counts = range(1, len(row.at_s) + 1)
        axes.step(row.at_s, counts, where="post", color=charts.COLOURS[place], label=row.what)
    bound_s = [number * MINUTE_S for number in range(len(figures.rows[0].minutes) + 1)]
    bound = [0, *(FIRST_MAX + LATER_MAX * number for number in range(len(bound_s) - 1))]
    axes.plot(bound_s, bound, "--", color=charts.COLOURS[4], label="bound")
    axes.set_ylim(bottom=0)
    axes.legend()
    return {"run_requests": figure}


RUN_REQUESTS = Measurement(
    name="run_requests",
    title="Runs: requests to Daytona while the agent works",
    sentence=(
        "Counted in localdaytona's journal in each minute since the begin, for agents that work for three minutes and "
        "write at different rates. The bounds are 12 requests in the first minute and 6 in any "
        "later one."
    ),
    figures=RunRequests,
    run=run,
    targets=targets,
    render=render,
    charts=draw,
    chart_captions={"run_requests": "Requests to Daytona since the begin of an attempt."},
)
