"""Whether a deleted sandbox may have held work (rule d), as far as this shows from outside the sandbox.

The service may delete a sandbox that ran when a person abandoned it, or when the service inspected it while nobody was
at work: started for the inspection alone, inspected, stopped, deleted.
"""

from __future__ import annotations

from localdaytona.journal import Entry
from proofs.checker.cases import REFUSED_MIN, Case, Message
from proofs.checker.evidence import Expectation
from proofs.checker.expectations import is_on_closed, may_be_before, sandbox_requests
from proofs.checker.lives import BY_PERSON, Moment, Period, SandboxLife

RELEASED_WITHIN_S = 5.0
"""Between the read that shows a stuck sandbox and the delete that follows it."""

STARTED_BY = frozenset({"start", "recover"})
"""The service's operations that start a sandbox for an inspection."""


def objection(case: Case, life: SandboxLife) -> str:
    """Why the delete of this sandbox was wrong; '' when it was right, or did not happen."""
    deletion = life.deletion
    if deletion is None or not deletion.ever_started or (deletion.operation or "").startswith(BY_PERSON):
        return ""
    if is_abandoned(case, life, deletion):
        return ""
    if life.id in (case.evidence.worked_in or ()):
        return "held unsaved work and nobody abandoned it"
    if _was_released(life, deletion):
        return ""
    if deletion.operation != "delete":
        return f"was deleted by the timer {deletion.operation} without an inspection"
    periods = life.periods
    return _objection_to_last(case, life, periods[-1]) if periods else ""


def _was_released(life: SandboxLife, deletion: Moment) -> bool:
    """Whether a person released it from a creation that was stuck just before: the delete was decided by what was read
    before that, and nobody had worked in it.
    """
    has_worked = any(entry.seq < deletion.seq for entry in life.toolbox)
    return not has_worked and life.was_acted_on("release", deletion.at - RELEASED_WITHIN_S, deletion.at)


def is_abandoned(case: Case, life: SandboxLife, deletion: Moment) -> bool:
    """Whether a person abandoned this very sandbox, and not one before or after it."""
    forced = [each for each in case.messages if each.is_forced and each.lo <= deletion.at]
    return any(_is_meant(case, life, order) for order in forced)


def _is_meant(case: Case, life: SandboxLife, order: Message) -> bool:
    """Whether the order is about this sandbox: the one that existed then, else the next, whose create was under way."""
    there = [other for other in case.lives if _was_there(other, order)]
    if there:
        return life in there
    later = [other for other in case.lives if other.born.at > order.hi]
    return life in later[:1]


def _was_there(life: SandboxLife, order: Message) -> bool:
    gone = life.gone
    return life.born.at <= order.hi and (gone is None or gone.at >= order.lo)


def _objection_to_last(case: Case, life: SandboxLife, period: Period) -> str:
    """Why its last period was not an inspection and nothing else; '' when it was."""
    if period.begin.operation not in STARTED_BY:
        return f"was last started by {period.begin.operation}, and not inspected since"
    if period.end is None or period.end.is_delete_accepted:
        return "was deleted while it ran"
    begun = _accepted(life, period.begin)
    if not any(entry.seq > period.begin.seq and _is_answered(entry) for entry in life.toolbox):
        return "was started and stopped without an inspection in between"
    if not any(_is_end(case, message) and _stood(case, message, begun.at) for message in case.messages):
        return "was last started for somebody's work, and not for an inspection alone"
    return ""


def _accepted(life: SandboxLife, moment: Moment) -> Moment:
    """When Daytona accepted the call that led to this moment."""
    same = (each for each in life.moments if each.request_id is not None and each.request_id == moment.request_id)
    return next(same, moment)


def _is_answered(entry: Entry) -> bool:
    """Whether the call inside the sandbox was carried out and answered."""
    status = entry.detail.get("status")
    return isinstance(status, int) and status < REFUSED_MIN


def _stood(case: Case, end: Message, at: float) -> bool:
    """Whether an end may have counted at this time: it had arrived, and no request had lifted it yet.

    A request that a workflow had taken which was ended since is forgotten with it.
    """
    is_final = end.expects is Expectation.GONE and not end.is_order
    known = [each for each in case.messages if each.lo <= at]
    # On a closed issue, a request delays the steps of the close and does not call them off.
    lifting = [request for request in sandbox_requests(known) if end.is_order or not is_on_closed(request, known)]
    is_lifted = any(
        request.lo > end.hi
        and request.hi <= at
        and not (end.is_order and may_be_before(request, end))
        and not case.has_end(request.lo, at)
        for request in lifting
    )
    return end.lo <= at and (is_final or not is_lifted)


def _is_end(case: Case, message: Message) -> bool:
    """Whether it lets the service delete the sandbox: only then does the service start one for an inspection."""
    if message.expects is Expectation.STOPPED and not message.is_order:
        return "destroyed" in case.evidence.closed_rests_at
    return message.expects is Expectation.GONE
