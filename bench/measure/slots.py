"""What a cap costs, and how its slots are handed on: the same burst without a cap, and through a few slots.

Issues of several repositories are opened at once. Each sandbox is stopped by issuebox's own order as soon as it is seen
started, so that its slot is free for the next one.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict
from temporalio.api.enums.v1 import EventType

from bench.measure import charts, page
from bench.measure.burst import first_started
from bench.measure.deliveries import Post, opened, send
from bench.measure.frame import Context, Measurement, Target
from bench.measure.parts import Parts, running
from bench.measure.quantiles import quantile
from issuebox.dev.demo.stack import until
from issuebox.domain.issue import DEFAULT_NAME_PREFIX, sandbox_name
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
    """One burst. `handed_on_s`: from each stop to the start that got its slot, in ascending order.

    `words` is how many the gate heard. `ahead_max`: by how many places a repository's issue was served at most before
    one of the same repository that had asked earlier. `lead_max`: how many more slots one repository got at most than
    another one, while both had issues that waited.
    """

    model_config = ConfigDict(frozen=True)

    cap: int
    took_s: float
    """From the first POST until every issue's sandbox was started once."""
    up_max: int
    """The most sandboxes that ran at once, by localdaytona's journal."""
    words: int
    handed_on_s: list[float]
    ahead_max: int
    lead_max: int


class Slots(BaseModel):
    """Both sides, in the order in which they ran."""

    model_config = ConfigDict(frozen=True)

    issues: int
    sides: list[Side]

    @property
    def capped(self) -> Side:
        """The one with a cap."""
        return next(side for side in self.sides if side.cap)


async def run(context: Context) -> Slots:
    """Without a cap first, then with it; each on a fresh Temporal server and a fresh localdaytona."""
    issues, sides = context.samples(full=600, quick=60), []
    for cap in (0, CAP if not context.is_quick else 8):
        async with running(context.scratch / f"cap-{cap}", workers=WORKERS, ISSUEBOX_RUNNING_MAX=str(cap)) as parts:
            await parts.admin.config(durations={"create_s": 0.1, "stop_s": 0.1, "pickup_s": 0.0}, insert_delay_s=0.0)
            side = await _served(parts, issues, cap)
        rate = issues / side.took_s
        context.say(f"cap {cap}: {rate:.1f} handovers and {side.words / side.took_s:.0f} words a second")
        sides.append(side)
    return Slots(issues=issues, sides=sides)


async def _served(parts: Parts, issues: int, cap: int) -> Side:
    base, secret = datetime.now(UTC) - timedelta(hours=1), parts.around.webhook_secret
    posts = [opened(issue, _repository(issue), secret, base) for issue in range(1, issues + 1)]
    began_at = time.time()
    stopping = asyncio.create_task(_stop_each(parts, issues))
    await send(parts.api_port, posts, CALLERS)
    await stopping
    journal = await parts.admin.journal()
    asked = await _asked(parts, posts)
    raised = _creates(journal)
    return Side(
        cap=cap,
        took_s=max(first_started(journal).values()) - began_at,
        up_max=up_max(journal),
        words=await _words(parts) if cap else 0,
        handed_on_s=handed_on(journal, cap) if cap else [],
        ahead_max=ahead_max(raised, asked),
        lead_max=lead_max(raised),
    )


def _repository(issue: int) -> str:
    return f"octo/repo-{issue % REPOSITORIES}"


async def _stop_each(parts: Parts, issues: int) -> None:
    """Order each sandbox to be stopped once it is started, until every issue had its own."""
    stopped: set[str] = set()

    async def step() -> int:
        for row in await parts.admin.sandboxes():
            if row.state == "started" and row.name not in stopped:
                stopped.add(row.name)
                await parts.client.get_workflow_handle(row.name).signal(SIGNAL_STOP)
        return len(stopped)

    await until(step, lambda count: count == issues, "each was started once", TIMEOUT_S, POLL_INTERVAL_S)


async def _words(parts: Parts) -> int:
    """How many signals the gate has got, in all its runs."""
    name, count = gate_id(DEFAULT_NAME_PREFIX, "issuebox"), 0
    async for execution in parts.client.list_workflows(f"WorkflowId = '{name}'"):
        handle = parts.client.get_workflow_handle(name, run_id=execution.run_id)
        async for event in handle.fetch_history_events():
            count += event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
    return count


async def _asked(parts: Parts, posts: Iterable[Post]) -> dict[str, float]:
    """When each issue's workflow began, which asks at once."""
    names = [sandbox_name(post.issue, DEFAULT_NAME_PREFIX) for post in posts]
    found = await asyncio.gather(*(parts.client.get_workflow_handle(name).describe() for name in names))
    return {each.id: each.start_time.timestamp() for each in found}


def _creates(journal: Iterable[Entry]) -> list[str]:
    """The names in the order in which their sandboxes were created."""
    asked = [entry.name for entry in journal if entry.kind == "request" and entry.operation == "create"]
    return list(dict.fromkeys(name for name in asked if name))


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


def ahead_max(raised: Sequence[str], asked: Mapping[str, float]) -> int:
    """By how many places an issue was served at most before one of its repository that had asked earlier."""
    worst = 0
    for repository in range(REPOSITORIES):
        served = [name for name in raised if int(name.rpartition("-")[2]) % REPOSITORIES == repository]
        in_order = sorted(served, key=asked.__getitem__)
        worst = max([worst, *(place - in_order.index(name) for place, name in enumerate(served))])
    return worst


def lead_max(raised: Sequence[str]) -> int:
    """How many more slots one repository got at most than another one, until the first had none left to serve."""
    totals = Counter(int(name.rpartition("-")[2]) % REPOSITORIES for name in raised)
    served: Counter[int] = Counter()
    worst = 0
    for name in raised:
        served[int(name.rpartition("-")[2]) % REPOSITORIES] += 1
        if any(served[each] == totals[each] for each in totals):
            break
        worst = max(worst, max(served[each] for each in totals) - min(served[each] for each in totals))
    return worst


def targets(figures: Slots) -> Sequence[Target]:
    """Of the side with a cap."""
    side = figures.capped
    return [
        Target(name="sandboxes up at once", value=side.up_max, limit=side.cap),
        Target(
            name="from a stop to the next start, p95",
            value=quantile(side.handed_on_s, 0.95),
            limit=REUSED_WITHIN_S,
            unit="s",
        ),
    ]


def render(figures: Slots) -> str:
    """One row for each side."""
    head = ("Cap", "handovers a second", "up at once", "words to the gate a second", "stop to next start, p50", "p95")
    rows = [
        (
            side.cap or "none",
            f"{figures.issues / side.took_s:.1f}",
            side.up_max,
            f"{side.words / side.took_s:.0f}" if side.cap else "",
            *(f"{quantile(side.handed_on_s, share):.2f} s" if side.cap else "" for share in (0.5, 0.95)),
        )
        for side in figures.sides
    ]
    side = figures.capped
    return page.table(head, rows) + (
        f"\n\n{figures.issues:,} issues of {REPOSITORIES} repositories are opened at once by {CALLERS} callers, for "
        f"{WORKERS} workers. Each sandbox is stopped by order as soon as it is seen started. With the cap each "
        "handover waits for a stop, its word to the gate, and the gate's answer. While all repositories waited, none "
        f"got more than {side.lead_max} slots more than another one; within one nobody was served more than "
        f"{side.ahead_max} places before somebody whose workflow had begun earlier."
    )


def draw(figures: Slots) -> Mapping[str, Figure]:
    """How soon a slot is used again."""
    figure, axes = charts.axes("From a stop to the start that gets its slot", "seconds", "share of the slots")
    samples = figures.capped.handed_on_s
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
