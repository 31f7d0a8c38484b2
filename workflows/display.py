"""What people see of an issue's workflow: sentences for the Web UI, the memo, and the search attributes. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from temporalio.common import SearchAttributeUpdate

from issuebox.domain.goal import course
from issuebox.domain.memory import Memory
from issuebox.domain.phase import Goal, Outcome
from issuebox.domain.unsaved_work import WorkState
from workflows import search_attributes
from workflows.messages import Handover, Published, Status

CALLED_OFF = {
    # A closed issue keeps its running sandbox for a while, and gives it to nobody who asked before the close.
    Goal.RUNNING: Outcome.STOPPED,
    Goal.STOPPED: Outcome.STOPPED,
    Goal.ARCHIVED: Outcome.ARCHIVED,
    Goal.DELETED: Outcome.DELETED,
}
"""What a request is answered that a close or an order called off."""


def sentence(memory: Memory) -> str:
    """What is known of the sandbox, and why it is so."""
    about = f"**{memory.name}**"
    issue = memory.issue
    if issue is not None and issue.repository:
        about += f" for {issue.repository}#{issue.number}"
    if memory.blocked is not None:
        reason = memory.blocked.reason.rstrip(".")
        return f"{about} is blocked ({memory.blocked.cause}): {reason}. {memory.blocked.advice}"
    if memory.sandbox is None:
        return f"{about} does not exist at Daytona, as far as is known." if memory.seen_at else f"{about} is new."
    is_said = memory.outcome is None or memory.outcome == memory.sandbox.state
    outcome = "" if is_said else f" and was {memory.outcome}"
    return f"{about} is {memory.sandbox.state}{outcome}."


def outlook(memory: Memory) -> str:
    """What the sandbox should be, and what happens to it next if nobody does anything."""
    goal = f"Goal: {memory.goal}"
    if memory.issue is not None:
        goal += f" (the issue is {memory.issue.state})"
    if memory.goal_due_at is not None:
        goal += f"; {following(memory)} at {memory.goal_due_at:%Y-%m-%d %H:%M:%S} UTC unless somebody asks for it"
    return f"{goal}."


def following(memory: Memory) -> str:
    """The goal that time alone brings next; '' when it brings none."""
    return str(course(memory, memory.goal_due_at)[0]) if memory.goal_due_at else ""


def details(memory: Memory, doing: str) -> str:
    """The current details of the Web UI, in Markdown: state, reason, next step, links."""
    parts = [sentence(memory), outlook(memory), f"Now: {doing}."]
    evidence = memory.evidence
    if evidence is not None and evidence.inspection.state is not WorkState.CLEAN:
        found = "; ".join(evidence.inspection.findings).replace("`", "'")
        parts.insert(2, f"Work in it is {evidence.inspection.state}: `{found}`")
    if memory.issue is not None and memory.issue.url:
        parts.append(f"[The issue]({memory.issue.url})")
    return "\n\n".join(parts)


def published(memory: Memory) -> Published:
    """What lists and sweeps read."""
    issue = memory.issue
    return Published(
        phase=str(memory.phase or ""),
        state=memory.sandbox.state if memory.sandbox else "",
        sandbox_id=memory.sandbox.id if memory.sandbox else "",
        outcome=str(memory.outcome or ""),
        blocked=str(memory.blocked.cause) if memory.blocked else "",
        goal=str(memory.goal),
        goal_due_at=_iso(memory.goal_due_at),
        work=str(memory.evidence.inspection.state) if memory.evidence else "",
        repository=issue.repository if issue else "",
        number=issue.number if issue else 0,
        title=issue.title if issue else "",
        issue_state=str(issue.state) if issue else "",
        issue_updated_at=_iso(issue.updated_at if issue else None),
        requested_at=_iso(memory.requested_at),
    )


def is_news(shown: Published, published: Published, republish_after_s: float) -> bool:
    """Whether lists should read `shown` now, which costs a write to Temporal's index.

    A later request alone is told of when what was published is so many seconds older.
    """
    if shown == published or not shown.requested_at or not published.requested_at:
        return shown != published
    if shown != replace(published, requested_at=shown.requested_at):
        return True
    later = datetime.fromisoformat(shown.requested_at) - datetime.fromisoformat(published.requested_at)
    return later.total_seconds() >= republish_after_s


def searchable(shown: Published) -> list[SearchAttributeUpdate[Any]]:
    """The search attributes; one without a value is unset."""
    texts = {
        search_attributes.REPOSITORY: shown.repository,
        search_attributes.ISSUE_STATE: shown.issue_state,
        search_attributes.PHASE: shown.phase,
        search_attributes.BLOCKED: shown.blocked,
    }
    updates: list[SearchAttributeUpdate[Any]] = [
        key.value_set(text) if text else key.value_unset() for key, text in texts.items()
    ]
    number = search_attributes.NUMBER
    return [*updates, number.value_set(shown.number) if shown.number else number.value_unset()]


def status(memory: Memory, doing: str) -> Status:
    """The answer to the query ``status``."""
    return Status(
        issue_id=memory.issue_id,
        name=memory.name,
        goal=memory.goal,
        doing=doing,
        phase=memory.phase,
        outcome=memory.outcome,
        issue=memory.issue,
        sandbox=memory.sandbox,
        seen_at=memory.seen_at,
        blocked=memory.blocked,
        requests_waiting=memory.asked - memory.served,
        deliveries_seen=memory.deliveries_seen,
        goal_due_at=memory.goal_due_at,
        inspection=memory.evidence.inspection if memory.evidence else None,
    )


def handover(memory: Memory, ticket: int, *, is_rolling: bool) -> Handover:
    """The answer to the request with this ticket."""
    if memory.is_called_off(ticket):
        return Handover(memory.issue_id, memory.name, CALLED_OFF[memory.goal], memory.sandbox)
    if memory.served >= ticket:
        return Handover(memory.issue_id, memory.name, memory.outcome or Outcome.REUSED, memory.sandbox)
    outcome_now = Outcome.BLOCKED if memory.blocked and not is_rolling else Outcome.PENDING
    return Handover(memory.issue_id, memory.name, outcome_now, memory.sandbox, memory.blocked)


def _iso(moment: datetime | None) -> str:
    return moment.isoformat() if moment else ""
