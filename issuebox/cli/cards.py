"""Renders what people see of an issue: the handover, the status, the decisions, the list. Sends no request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from issuebox.cli.screen import fields_table, plain, when
from issuebox.domain.memory import Blocked
from issuebox.domain.phase import GATED, READY, Cause, Goal, Outcome
from issuebox.domain.sandbox import Sandbox
from issuebox.temporal.index import Row
from issuebox.temporal.waits import WaitEnd
from workflows.messages import Handover, Status, Why
from workflows.run_messages import RunState, RunView

NOTHING_YET = (
    "There are no issues yet. Open one in a connected repository, or try `issuebox send opened`, which sends to a "
    "running `issuebox dev` what GitHub would send."
)

NEVER_FOLDED = frozenset({"id", "phase", "age", "time (UTC)", "run", "took"})

UNTIMED = "on `issuebox retry`, or with the next event"
"""The next try of what time alone does not bring."""

TABLE_WIDTH_MIN = 72
"""In a narrower terminal columns would fold into single letters: each issue gets several lines instead."""


def handover_card(handover: Handover, wait_s: float) -> RenderableType:
    """The sandbox with its address, or why there is none, or that the request is still pending."""
    name = handover.name
    if handover.blocked is not None:
        return _blocked_card(name, handover.issue_id, handover.blocked)
    if handover.outcome is Outcome.PENDING:
        waited = f"is not ready after {wait_s:g} s" if wait_s else "was asked for"
        return Text(f"{name} {waited}; the work continues. Follow it with: issuebox show {handover.issue_id}")
    if handover.outcome not in READY:
        called_off = f"{name} was {handover.outcome}: the request was called off by a later close or order."
        return Text(f"{called_off} Details: issuebox why {handover.issue_id}")
    return Group(
        Text(f"{name} was {handover.outcome}.", style="bold green"), fields_table(sandbox_fields(handover.sandbox))
    )


def wait_card(end: WaitEnd, status: Status, waited_s: float) -> RenderableType:
    """The sandbox with its address, or why it cannot be used, and what helps."""
    if end is WaitEnd.USABLE:
        heading = Text(f"{status.name} can be used.", style="bold green")
        return Group(heading, fields_table(sandbox_fields(status.sandbox)))
    if status.blocked is not None:
        return _blocked_card(status.name, status.issue_id, status.blocked)
    if status.goal is not Goal.RUNNING:
        still = f"Nobody wants it to run now (goal: {status.goal}); `issuebox ensure {status.issue_id}` asks for it."
    else:
        still = f"The work continues. Follow it with: issuebox show {status.issue_id}"
    return Text(f"{status.name} cannot be used after {waited_s:g} s: {status.phase or 'not looked up yet'}. {still}")


def _blocked_card(name: str, issue_id: int, blocked: Blocked) -> RenderableType:
    """Why there is no sandbox now, and what helps."""
    if blocked.cause is not Cause.QUEUED:
        return Group(Text(f"{name} is blocked.", style="bold red"), fields_table(_block(blocked)))
    heading = Text(f"{name} is queued.", style="bold")
    return Group(heading, fields_table(_block(blocked)), Text(f"Wait for it with: issuebox wait {issue_id}"))


def status_card(status: Status, now: datetime) -> RenderableType:
    """All that the workflow knows and does, with what people need most at the top."""
    issue = status.issue
    place = f"{issue.repository}#{issue.number}" if issue and issue.repository else ""
    heading = " · ".join(part for part in (status.name, place, issue.title if issue else "") if part)
    rows = [
        ("Phase", str(status.phase or "not looked up yet")),
        *sandbox_fields(status.sandbox),
        ("Seen", f"{when(status.seen_at)} ({age(now, status.seen_at)} ago)" if status.seen_at else ""),
        ("Last outcome", str(status.outcome or "")),
        *(_block(status.blocked) if status.blocked else []),
        ("Goal", _goal(status)),
        ("Now", status.doing),
        ("Run", _run(status.run)),
        ("Paused", f"{status.run_pause.words}; issuebox resume {status.issue_id}" if status.run_pause else ""),
        (
            "Work waits",
            f"{status.run_requests_waiting} request(s) for the next run" if status.run_requests_waiting else "",
        ),
        ("Unsaved work", _work(status)),
        ("Issue", f"{issue.state}, updated {when(issue.updated_at) or 'at an unknown time'}" if issue else ""),
        ("Link", issue.url if issue else ""),
        ("Waiting", f"{status.requests_waiting} request(s)" if status.requests_waiting else ""),
        ("Deliveries", str(status.deliveries_seen)),
    ]
    return Group(Text(plain(heading), style="bold"), fields_table(rows))


def why_card(why: Why, width: int) -> RenderableType:
    """The summary and the decisions, the latest at the bottom, next to the prompt."""
    if not why.notes:
        return Markdown(plain(why.summary))
    if width < TABLE_WIDTH_MIN:
        lines = [
            fields_table(
                [(f"{note.at:%m-%d %H:%M:%S}", note.what), ("", _seen(note.phase, note.state)), ("", note.reason)]
            )
            for note in why.notes
        ]
        return Group(Markdown(plain(why.summary)), Text(), *lines)
    table = columns(("time (UTC)", "what", "phase", "state", "reason"))
    for note in why.notes:
        at = f"{note.at:%Y-%m-%d %H:%M:%S}"
        table.add_row(at, plain(note.what), str(note.phase or ""), plain(note.state), Text(plain(note.reason)))
    return Group(Markdown(plain(why.summary)), table)


@dataclass(frozen=True, slots=True)
class IssueList:
    """What `issuebox list --json` prints. ``is_more``: the limit left issues out.

    ``is_filtered``, which is not printed: options may have left some out.
    """

    issues: tuple[Row, ...]
    is_more: bool
    is_filtered: Annotated[bool, Field(exclude=True)] = False


def list_card(found: IssueList, width: int) -> RenderableType:
    """The issues, or that none fits."""
    if not found.issues:
        return Text("No issue fits." if found.is_filtered else NOTHING_YET)
    table = issues_card(found.issues, width, datetime.now(UTC))
    if not found.is_more:
        return table
    return Group(table, Text(f"These are the newest {len(found.issues)}; there are more: raise --limit."))


def issues_card(rows: Sequence[Row], width: int, now: datetime) -> RenderableType:
    """One line per issue, or several in a narrow terminal."""
    if width < TABLE_WIDTH_MIN:
        return Group(*(_narrow(row, now) for row in rows))
    is_troubled, is_queued = (any(of(row) for row in rows) for of in (_trouble, _queued))
    has_runs = any(row.published.run for row in rows)
    names = (
        *("issue", "id", "phase", "state"),
        *(["blocked"] if is_troubled else []),
        *(["waits"] if is_queued else []),
        *(["run"] if has_runs else []),
        *("age", "title"),
    )
    table = columns(names)
    for row in rows:
        known = row.published
        table.add_row(
            *(Text(place(row)), str(row.issue_id), known.phase, plain(known.state)),
            *([_trouble(row)] if is_troubled else []),
            *([_queued(row)] if is_queued else []),
            *([known.run.replace("_", " ")] if has_runs else []),
            *(age(now, row.started_at), Text(plain(known.title))),
        )
    return table


def columns(names: Sequence[str]) -> Table:
    """An empty table with these columns."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=name in NEVER_FOLDED)
    return table


def _narrow(row: Row, now: datetime) -> RenderableType:
    known = row.published
    rows = [
        ("Issue", place(row)),
        ("ID", str(row.issue_id)),
        ("Phase", _seen(known.phase, known.state)),
        ("Blocked", _trouble(row)),
        ("Waits", _queued(row)),
        ("Run", known.run.replace("_", " ")),
        ("Age", age(now, row.started_at)),
        ("Title", known.title),
    ]
    return Group(fields_table(rows), Text())


def _trouble(row: Row) -> str:
    """Why nobody serves the issue now: how its workflow ended, *stuck*, or the cause of the block."""
    if row.ended is not None:
        return row.ended.end
    return "stuck" if row.stuck is not None else "" if _queued(row) else row.published.blocked


def _queued(row: Row) -> str:
    """The word for an issue that waits for its turn, and for nothing else."""
    is_queued = row.ended is None and row.stuck is None and row.published.blocked == Cause.QUEUED
    return row.published.blocked if is_queued else ""


def place(row: Row) -> str:
    """The issue as people call it, or its sandbox's name."""
    known = row.published
    return plain(f"{known.repository}#{known.number}") if known.repository else row.name


def _seen(phase: object, state: str) -> str:
    """Our phase and Daytona's state, such as ``usable (started)``."""
    return f"{phase} ({state})" if phase and state else str(phase or state or "")


def sandbox_fields(sandbox: Sandbox | None) -> list[tuple[str, str]]:
    """What is needed to use the sandbox."""
    if sandbox is None:
        return []
    return [
        ("State", sandbox.state),
        ("Reason", sandbox.error_reason),
        ("Region", sandbox.region),
        ("Sandbox ID", sandbox.id),
        ("Toolbox", sandbox.toolbox_url),
    ]


def _block(blocked: Blocked) -> list[tuple[str, str]]:
    if blocked.cause is Cause.QUEUED:
        return [("Queued", blocked.reason), ("Since", when(blocked.since)), ("What helps", blocked.advice)]
    since = f"{when(blocked.since)}, {blocked.tries} {'try' if blocked.tries == 1 else 'tries'} so far"
    untimed = "when its turn comes, see `issuebox queue`" if blocked.cause in GATED else UNTIMED
    return [
        ("Blocked", f"{blocked.cause}: {blocked.reason}"),
        ("What helps", blocked.advice),
        ("Since", since),
        ("Next try", when(blocked.next_try_at) or untimed),
    ]


def _run(run: RunView | None) -> str:
    """The agent's newest run in a line."""
    if run is None:
        return ""
    said = run.progress if run.state is RunState.WORKING else run.reason or run.trouble
    return f"{run.id}, {run.state.replace('_', ' ')}{f': {said}' if said else ''}"


def _goal(status: Status) -> str:
    due = f", which changes at {when(status.goal_due_at)}" if status.goal_due_at else ""
    return f"{status.goal}{due}"


def _work(status: Status) -> str:
    seen = status.inspection
    if seen is None:
        return ""
    return f"{seen.state}: {'; '.join(seen.findings)}" if seen.findings else str(seen.state)


def age(now: datetime, moment: datetime) -> str:
    """How long ago that was, in the largest unit of which it is at least two, such as ``5 min``."""
    seconds = max(0, round((now - moment).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
