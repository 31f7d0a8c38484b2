"""The audit with few and with many live issues: how fast it is, what it leaves of Daytona's limit, what it misses.

Every issue has its workflow and its started sandbox, as in the growth. There is one worker.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from activities.audit_messages import AUDIT_SHARE
from bench.measure import page
from bench.measure.frame import Context, Measurement, Sense, Target
from bench.measure.growth import Live
from bench.measure.load import Line
from bench.measure.parts import Parts, running
from workflows.audit_messages import AUDIT_TYPE, AuditInput, AuditReport
from workflows.messages import TASK_QUEUE, WORKFLOW_TYPE

READS_A_SECOND = 111.0
LINEAR = 1.3
"""Growth of the time for each sandbox that still counts as linear."""
LIMIT_A_MINUTE = 20_000
"""Reads that the limited Daytona lets in: a plan's."""
HISTORY_MAX = 12
"""Events after which a workflow continues as new here: the first comment of most issues makes it."""
COMMENTS_APART_S = 0.02
SETTLED_S = 5.0


class Audited(BaseModel):
    """One audit of so many issues."""

    model_config = ConfigDict(frozen=True)

    what: str
    issues: int
    took_s: float
    reads: int
    """Reads of a sandbox by its ID."""
    requests: int
    """All that Daytona got in this time, also those of events."""
    found_issues: int
    """Those that the report counts."""
    is_complete: bool
    promise_holds: bool
    ranges: int
    limit_a_minute: int = 0
    """0: none."""
    rolled: int = 0
    """Workflows that continued as new meanwhile."""

    @property
    def reads_per_s(self) -> float:
        """The reads by ID over the time of the whole audit."""
        return self.reads / self.took_s

    @property
    def share(self) -> float:
        """What the reads took of the limit in this time."""
        return self.reads_per_s * 60 / self.limit_a_minute


class Audits(BaseModel):
    """All audits: one of each size, then one on a limited Daytona, then one among workflows that continue as new."""

    model_config = ConfigDict(frozen=True)

    sizes: list[Audited]
    limited: Audited
    busy: Audited


async def run(context: Context) -> Audits:
    """Grow, audit, grow, audit; then the two others at the greatest size."""
    sizes = (1000, 5000) if not context.is_quick else (100, 500)
    async with running(
        context.scratch / "audit", workers=1, dynamic_config={"limit.historyCount.suggestContinueAsNew": HISTORY_MAX}
    ) as parts:
        await parts.admin.config(durations={"create_s": 0.0, "pickup_s": 0.0}, insert_delay_s=0.0)
        live = Live(parts, Line(parts.api_port))
        found = []
        for size in sizes:
            await live.grow(size)
            await asyncio.sleep(SETTLED_S)
            found.append(await _audit(parts, size, f"{size:,} issues"))
            context.say(f"{size} issues: {found[-1].took_s:.1f} s, {found[-1].reads_per_s:.0f} reads a second")
        await parts.admin.config(rate_limits={"authenticated": LIMIT_A_MINUTE})
        limited = await _audit(parts, sizes[-1], f"the same, {LIMIT_A_MINUTE:,} reads a minute allowed")
        limited = limited.model_copy(update={"limit_a_minute": LIMIT_A_MINUTE})
        context.say(f"limited: {limited.took_s:.1f} s, {limited.share:.0%} of the limit")
        await parts.admin.config(rate_limits={"authenticated": None})
        busy = await _audit_among_events(parts, live, random.Random(context.seed))
        context.say(f"busy: {busy.rolled} workflows continued as new, {busy.found_issues} of {busy.issues} issues seen")
        await live.line.close()
    return Audits(sizes=found, limited=limited, busy=busy)


async def _audit(parts: Parts, issues: int, what: str) -> Audited:
    journal = await parts.admin.journal(kind="request")
    last = journal[-1].seq
    began = time.perf_counter()
    report: AuditReport = await parts.client.execute_workflow(
        AUDIT_TYPE,
        AuditInput(mend=False),
        id=f"bench-audit-{uuid.uuid4().hex[:8]}",
        task_queue=TASK_QUEUE,
        result_type=AuditReport,
    )
    took_s = time.perf_counter() - began
    requests = await parts.admin.journal(last, kind="request")
    return Audited(
        what=what,
        issues=issues,
        took_s=round(took_s, 2),
        reads=report.issues_compared,
        requests=len(requests),
        found_issues=report.issues,
        is_complete=report.is_complete,
        promise_holds=report.promise_holds,
        ranges=report.ranges,
    )


async def _audit_among_events(parts: Parts, live: Live, dice: random.Random) -> Audited:
    """An audit while people comment on random issues, so that their workflows continue as new."""
    before = await _rolled(parts)
    auditing = asyncio.create_task(_audit(parts, live.size, "the same, among comments"))
    while not auditing.done():
        await live.deliver(live.line, "comment", dice.randint(1, live.size))
        await asyncio.sleep(COMMENTS_APART_S)
    return (await auditing).model_copy(update={"rolled": await _rolled(parts) - before})


async def _rolled(parts: Parts) -> int:
    query = f"WorkflowType = '{WORKFLOW_TYPE}' AND ExecutionStatus = 'ContinuedAsNew'"
    return (await parts.client.count_workflows(query)).count


def targets(figures: Audits) -> Sequence[Target]:
    """Fast enough, linear, within its share, and complete."""
    few, many = figures.sizes[0], figures.sizes[-1]
    each = (many.took_s / many.issues) / (few.took_s / few.issues)
    busy = figures.busy
    return [
        Target(
            name=f"reads a second, {many.issues} issues",
            value=many.reads_per_s,
            limit=READS_A_SECOND,
            sense=Sense.AT_LEAST,
        ),
        Target(name=f"time for an issue, {many.issues} to {few.issues} issues", value=each, limit=LINEAR),
        Target(name="share of Daytona's limit", value=figures.limited.share, limit=AUDIT_SHARE),
        Target(
            name=f"issues missed while {busy.rolled} workflows continued as new",
            value=abs(busy.issues - busy.found_issues) if busy.is_complete else busy.issues,
            limit=0,
        ),
    ]


def render(figures: Audits) -> str:
    """One row for each audit."""
    head = ("Audit", "time", "reads by ID", "reads a second", "requests to Daytona", "issues seen", "complete")
    rows = [
        (
            each.what,
            f"{each.took_s:.1f} s",
            f"{each.reads:,}",
            f"{each.reads_per_s:.0f}",
            f"{each.requests:,}",
            f"{each.found_issues:,}",
            "yes" if each.is_complete else "no",
        )
        for each in (*figures.sizes, figures.limited, figures.busy)
    ]
    return page.table(head, rows) + (
        f"\n\nWhere Daytona says what is left of its limit, an audit takes at most {AUDIT_SHARE:.0%} of it: the rest "
        f"is for the issues. Among comments, {figures.busy.rolled:,} workflows continued as new: each of them moves "
        "to the front of Temporal's list."
    )


AUDIT = Measurement(
    name="audit",
    title="The audit",
    sentence=(
        "An audit of live issues that have their sandboxes, from its start to its report. It describes each workflow "
        "at Temporal twice and reads each sandbox by its ID once. There is one worker, on the cores on which Temporal "
        "and localdaytona run as well."
    ),
    figures=Audits,
    run=run,
    targets=targets,
    render=render,
)
