"""What a cap costs, and how its slots are handed on: a burst without a cap, and through a few slots.

Issues of several repositories are opened at once, and each sandbox is stopped by issuebox's own order when it was seen
started. *At once* shows how much the gate can do; *one by one*, how soon a slot is used again, and by whom.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict

from bench.measure import charts, page
from bench.measure.burst import first_started
from bench.measure.deliveries import opened, send
from bench.measure.frame import Context, Measurement, Target
from bench.measure.parts import Parts, running
from bench.measure.quantiles import quantile
from issuebox.dev.demo.stack import until
from issuebox.domain.issue import DEFAULT_NAME_PREFIX
from issuebox.domain.slot import Word
from issuebox.temporal.gate import gate_id
from localdaytona.journal import Entry
from workflows.messages import SIGNAL_STOP

REPOSITORIES = 5
CAP = 40
WORKERS = 2
CALLERS = 32
REUSED_WITHIN_S = 5.0
"""Of a slot that issuebox's own stop frees."""
TIMEOUT_S = 900.0
POLL_INTERVAL_S = 0.2


class Side(BaseModel):
    """One burst. `cap`: 0 for none. `paced`: whether the sandboxes were stopped one by one.

    `words` is how many the gate heard. `handed_on_s`: from each stop to the create that follows, in ascending order.
    `granted` slots went to issues that had waited; `overtaken` of them while one of the same repository waited that had
    asked earlier. `lead_max`: how many more slots one repository got at most than another one, while all waited.
    """

    model_config = ConfigDict(frozen=True)

    cap: int
    paced: bool
    took_s: float
    """From the first POST until every issue's sandbox was started once."""
    up_max: int
    """The most sandboxes that ran at once, by localdaytona's journal."""
    words: int
    handed_on_s: list[float]
    granted: int
    overtaken: int
    lead_max: int


class Slots(BaseModel):
    """All sides, in the order in which they ran."""

    model_config = ConfigDict(frozen=True)

    issues: int
    sides: list[Side]

    @property
    def paced(self) -> Side:
        """The one whose sandboxes were stopped one by one."""
        return next(side for side in self.sides if side.paced)


@dataclass(frozen=True, slots=True)
class Turn:
    """Something that the gate heard or said: who asked for a slot, since when, who got one, or who wants none."""

    holder: str
    repository: str = ""
    since: str = ""
    is_person: bool = False
    is_grant: bool = False
    is_over: bool = False


async def run(context: Context) -> Slots:
    """Each side on a fresh Temporal server and a fresh localdaytona."""
    issues, few, sides = context.samples(full=400, quick=40), CAP if not context.is_quick else 8, []
    for cap, paced in ((0, False), (few, False), (few, True)):
        scratch = context.scratch / f"cap-{cap}-{paced}"
        async with running(scratch, workers=WORKERS, ISSUEBOX_RUNNING_MAX=str(cap)) as parts:
            await parts.admin.config(durations={"create_s": 0.1, "stop_s": 0.1, "pickup_s": 0.0}, insert_delay_s=0.0)
            side = await _served(parts, issues, cap, paced=paced)
        context.say(f"cap {cap}, {_how(side)}: {issues / side.took_s:.1f} handovers a second")
        sides.append(side)
    return Slots(issues=issues, sides=sides)


async def _served(parts: Parts, issues: int, cap: int, *, paced: bool) -> Side:
    base, secret = datetime.now(UTC) - timedelta(hours=1), parts.around.webhook_secret
    posts = [opened(issue, _repository(issue), secret, base) for issue in range(1, issues + 1)]
    began_at = time.time()
    stopping = asyncio.create_task(_stop_each(parts, issues, cap, paced=paced))
    await send(parts.api_port, posts, CALLERS)
    await stopping
    journal = await parts.admin.journal()
    words, turns = await _turns(parts) if cap else (0, [])
    granted, out_of_turn, lead = judge(turns)
    return Side(
        cap=cap,
        paced=paced,
        took_s=max(first_started(journal).values()) - began_at,
        up_max=up_max(journal),
        words=words,
        handed_on_s=handed_on(journal, cap) if paced else [],
        granted=granted,
        overtaken=out_of_turn,
        lead_max=lead,
    )


def _repository(issue: int) -> str:
    return f"octo/repo-{issue % REPOSITORIES}"


async def _stop_each(parts: Parts, issues: int, cap: int, *, paced: bool) -> None:
    """Order each sandbox to be stopped once it is started, until every issue had its own."""
    stopped: set[str] = set()

    async def step() -> int:
        rows = [row for row in await parts.admin.sandboxes() if row.state == "started" and row.name not in stopped]
        if paced and len(rows) < min(cap, issues - len(stopped)):
            return len(stopped)
        for row in rows[:1] if paced else rows:
            stopped.add(row.name)
            await parts.client.get_workflow_handle(row.name).signal(SIGNAL_STOP)
        return len(stopped)

    await until(step, lambda count: count == issues, "each was started once", TIMEOUT_S, POLL_INTERVAL_S)


async def _turns(parts: Parts) -> tuple[int, list[Turn]]:
    """How many words the gate heard, in all its runs; who asked, and who got a slot, in order."""
    name = gate_id(DEFAULT_NAME_PREFIX, "issuebox")
    runs = [each async for each in parts.client.list_workflows(f"WorkflowId = '{name}'")]
    words, turns = 0, []
    for execution in sorted(runs, key=lambda each: each.start_time):
        handle = parts.client.get_workflow_handle(name, run_id=execution.run_id)
        async for event in handle.fetch_history_events():
            heard, said = (
                event.workflow_execution_signaled_event_attributes,
                event.signal_external_workflow_execution_initiated_event_attributes,
            )
            if heard.signal_name:
                words += 1
                word = json.loads(heard.input.payloads[0].data)["said"]
                asker, since = word["asker"], word["since"] or word["asked_at"]
                is_over = word["word"] != Word.ASK
                turns.append(Turn(word["holder"], asker["repository"], since, asker["is_person"], is_over=is_over))
            elif said.signal_name and json.loads(said.input.payloads[0].data)["is_granted"]:
                turns.append(Turn(said.workflow_execution.workflow_id, is_grant=True))
    return words, turns


def judge(turns: Iterable[Turn]) -> tuple[int, int, int]:
    """How many slots went to issues that waited, how many of them out of turn, and the greatest lead of a repository.

    Who gets its slot at its asking has not waited.
    """
    waiting: dict[str, Turn] = {}
    granted = overtaken = lead = 0
    served: Counter[str] = Counter()
    for turn in turns:
        if turn.is_over:
            waiting.pop(turn.holder, None)
            continue
        if not turn.is_grant:
            waiting[turn.holder] = turn
            continue
        asked = waiting.pop(turn.holder, None)
        if asked is None or not waiting:
            continue
        granted += 1
        overtaken += any(
            (each.repository, each.is_person) == (asked.repository, asked.is_person) and each.since < asked.since
            for each in waiting.values()
        )
        left = {each.repository for each in waiting.values()}
        served[asked.repository] += 1
        if len(left) == REPOSITORIES:
            lead = max(lead, max(served.values()) - min(served[each] for each in left))
        else:
            served.clear()
    return granted, overtaken, lead


def up_max(journal: Iterable[Entry]) -> int:
    """The most sandboxes at once that were in a state between their create and their stop."""
    up, most = set[str](), 0
    for entry in journal:
        if entry.kind == "state" and entry.sandbox_id:
            (up.discard if entry.detail.get("new") in {"stopped", "destroyed"} else up.add)(entry.sandbox_id)
            most = max(most, len(up))
    return most


def handed_on(journal: Iterable[Entry], cap: int) -> list[float]:
    """From each stop to the create that came `cap` places after the one before it, in ascending order."""
    entries = list(journal)
    stops = [entry.at for entry in entries if entry.kind == "state" and entry.detail.get("new") == "stopped"]
    creates = [entry.at for entry in entries if entry.kind == "request" and entry.operation == "create"][cap:]
    return sorted(round(at - stop, 3) for stop, at in zip(sorted(stops), creates, strict=False))


def targets(figures: Slots) -> Sequence[Target]:
    """Never beyond the cap; and with stops one by one, how soon and in which order slots are used again."""
    paced = figures.paced
    used_again = quantile(paced.handed_on_s, 0.95)
    return [
        Target(name="sandboxes up at once", value=max(s.up_max for s in figures.sides if s.cap), limit=paced.cap),
        Target(name="from a stop to the next create, p95", value=used_again, limit=REUSED_WITHIN_S, unit="s"),
        Target(name="slots given out of turn", value=paced.overtaken, limit=0),
        Target(name="lead of a repository", value=paced.lead_max, limit=1),
    ]


def _how(side: Side) -> str:
    return "one by one" if side.paced else "at once"


def render(figures: Slots) -> str:
    """One row for each side."""
    head = ("Cap", "stopped", "handovers a second", "up at once", "words to the gate a second")
    rows = [
        (
            side.cap or "none",
            _how(side),
            f"{figures.issues / side.took_s:.1f}",
            side.up_max,
            f"{side.words / side.took_s:.0f}" if side.cap else "",
        )
        for side in figures.sides
    ]
    side = figures.paced
    half, most = (f"{quantile(side.handed_on_s, share):.2f} s" for share in (0.5, 0.95))
    return page.table(head, rows) + (
        f"\n\n{figures.issues:,} issues of {REPOSITORIES} repositories are opened at once by {CALLERS} callers, for "
        f"{WORKERS} workers. At once, each sandbox is stopped as soon as it is seen started: each handover then waits "
        "for an inspection, a stop, its word to the gate and the gate's answer. One by one, the next is stopped when "
        f"all slots are in use again: from a stop to the next create it took {half} at the median and {most} at the "
        f"95th percentile. Of {side.granted} slots {side.overtaken} went to an issue before one of its repository that "
        f"had asked earlier, and while all repositories waited none got more than {side.lead_max} more than another."
    )


def draw(figures: Slots) -> Mapping[str, Figure]:
    """How soon a slot is used again."""
    figure, axes = charts.axes("From a stop to the start that gets its slot", "seconds", "share of the slots")
    samples = figures.paced.handed_on_s
    shares = [number / len(samples) for number in range(1, len(samples) + 1)]
    axes.step(samples, shares, where="post", color=charts.COLOURS[0])
    return {"slots": figure}


SLOTS = Measurement(
    name="slots",
    title="Slots: what a cap costs, and how soon one is used again",
    sentence="The same burst without a cap, and through a few slots that issuebox's own stops free one by one.",
    figures=Slots,
    run=run,
    targets=targets,
    render=render,
    charts=draw,
    chart_captions={"slots": "How soon a slot is used again."},
)
