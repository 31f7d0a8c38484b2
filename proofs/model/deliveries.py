"""What GitHub and people may send in a model: the history of one issue at GitHub, and orders.

Each delivery is a fixed snapshot with GitHub's times. Deliveries may arrive in any order, and more than once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.run import RequestKind, RunRequest
from proofs.model.runtime import EPOCH
from workflows.issue_sandbox import IssueSandboxWorkflow
from workflows.messages import DeleteRequest
from workflows.run_messages import CancelRun


def _moment(minute: float) -> datetime:
    return EPOCH - timedelta(days=1) + timedelta(minutes=minute)


def _event(
    action: str, minute: float, state: IssueState, intention: Intention, closed: int | None = None
) -> IssueEvent:
    is_comment = action == "created"
    return IssueEvent(
        Issue(
            1,
            state=state,
            updated_at=_moment(minute),
            closed_at=None if closed is None else _moment(closed),
        ),
        intention=intention,
        delivery=f"{action}@{minute}",
        event="issue_comment" if is_comment else "issues",
        action=action,
        is_explicit=is_comment,
        requested_at=_moment(minute) if is_comment else None,
    )


EVENTS: tuple[IssueEvent, ...] = (
    _event("opened", 1, IssueState.OPEN, Intention.ENSURE),
    _event("created", 1.5, IssueState.OPEN, Intention.ENSURE),
    _event("closed", 2, IssueState.CLOSED, Intention.STOP, 2),
    _event("created", 3, IssueState.CLOSED, Intention.ENSURE, 2),
    _event("reopened", 4, IssueState.OPEN, Intention.ENSURE),
    _event("closed", 5, IssueState.CLOSED, Intention.STOP, 5),
    _event("deleted", 6, IssueState.DELETED, Intention.DELETE),
)
"""In GitHub's order: the number of an event is its place in the issue's history."""

OPENED, ASKED, CLOSED, COMMENTED, REOPENED, CLOSED_AGAIN, DELETED = range(len(EVENTS))


def event(number: int, *, has_runs: bool) -> IssueEvent:
    """The delivery of this number. Where runs are set up, whatever asks for the sandbox also asks for work in it."""
    event = EVENTS[number]
    if not has_runs or event.intention is not Intention.ENSURE:
        return event
    if not event.is_explicit:
        return replace(event, request=RunRequest(RequestKind.START, at=event.issue.updated_at))
    request = RunRequest(RequestKind.COMMENT, f"comment-{number}", comment_id=number, at=event.requested_at)
    return replace(event, request=request)


START_KEY = "start-1"


def key_of(number: int) -> str:
    """The key of what this delivery asks. Another *start* joins the open one, so only the first has a sure key."""
    return f"comment-{number}" if EVENTS[number].is_explicit else START_KEY


@dataclass(frozen=True, slots=True)
class Order:
    """A person's signal. ``sets_goal``: it says what the sandbox should be. ``abandons``: its content may be lost."""

    name: str
    sets_goal: bool = True
    abandons: bool = False


ORDERS: tuple[Order, ...] = (
    Order("stop"),
    Order("delete"),
    Order("delete --force", abandons=True),
    Order("replace", abandons=True),
    Order("retry", sets_goal=False),
)
STANDING = frozenset({"stop", "delete", "delete --force"})
"""Orders that stand until somebody asks for the sandbox. They have a time."""
CANCEL = "cancel"
"""The signal that ends what an agent does."""
PAUSE, RESUME = "pause", "resume"
"""The signals that have an agent rest, and let it go on."""
LOOK = "look"
"""The audit's signal."""


def give(entity: IssueSandboxWorkflow, order: str) -> None:
    """Send the signal to the real workflow."""
    match order:
        case "stop":
            entity.stop()
        case "delete":
            entity.delete()
        case "delete --force":
            entity.delete(DeleteRequest(force=True))
        case "replace":
            entity.replace()
        case "retry":
            entity.retry()
        case "look":
            entity.look()
        case "cancel":
            entity.cancel_run(CancelRun())
        case "pause":
            entity.pause()
        case "resume":
            entity.resume()
        case _:
            raise ValueError(f"{order!r} is no order")
