"""Whether a deleted sandbox may have held work (rule d): what can be decided from outside of it.

A sandbox that ran may be deleted by the service when a person gave it up, or when the service looked into it
while nobody was at work: started for the look alone, looked into, stopped, deleted.
"""

from __future__ import annotations

from localdaytona.journal import Entry
from proofs.checker.cases import REFUSED_MIN, Case, Heard
from proofs.checker.evidence import Wish
from proofs.checker.lives import BY_PERSON, Moment, Period, SandboxLife
from proofs.checker.wishes import asks, is_on_closed

RAISED_BY = frozenset({"start", "recover"})


def objection(case: Case, life: SandboxLife) -> str:
    """Why this sandbox must not have been deleted; '' when it was not, or when it may."""
    doomed = life.doomed
    if doomed is None or not doomed.ever_started or (doomed.operation or "").startswith(BY_PERSON):
        return ""
    if is_given_up(case, life, doomed):
        return ""
    if life.id in (case.evidence.worked_in or ()):
        return "held unsaved work and nobody gave it up"
    if doomed.operation != "delete":
        return f"was deleted by the timer {doomed.operation} and nobody looked for work in it"
    periods = life.periods
    return _objection_to_last(case, life, periods[-1]) if periods else ""


def is_given_up(case: Case, life: SandboxLife, doomed: Moment) -> bool:
    """Whether a person gave up this very sandbox, and not one before or after it."""
    forced = [each for each in case.heard if each.is_forced and each.lo <= doomed.at]
    return any(_is_meant(case, life, order) for order in forced)


def _is_meant(case: Case, life: SandboxLife, order: Heard) -> bool:
    """The sandbox of the moment when the order arrived, else the next one, whose create was under way."""
    there = [other for other in case.lives if _was_there(other, order)]
    if there:
        return life in there
    later = [other for other in case.lives if other.born.at > order.hi]
    return life in later[:1]


def _was_there(life: SandboxLife, order: Heard) -> bool:
    gone = life.gone
    return life.born.at <= order.hi and (gone is None or gone.at >= order.lo)


def _objection_to_last(case: Case, life: SandboxLife, period: Period) -> str:
    """The last time that it ran has to have been a look and nothing else."""
    if period.begin.operation not in RAISED_BY:
        return f"was last started by {period.begin.operation}, and not looked into since"
    if period.end is None or period.end.is_doomed:
        return "was deleted while it ran"
    begun = _accepted(life, period.begin)
    if not any(entry.seq > period.begin.seq and _is_answered(entry) for entry in life.toolbox):
        return "was started and stopped, and nobody looked into it in between"
    if not any(_is_end(case, heard) and _stood(case, heard, begun.at) for heard in case.heard):
        return "was last started for somebody's work, and not for a look alone"
    return ""


def _accepted(life: SandboxLife, moment: Moment) -> Moment:
    """When the call was accepted that brought a moment about."""
    same = (each for each in life.moments if each.request_id is not None and each.request_id == moment.request_id)
    return next(same, moment)


def _is_answered(entry: Entry) -> bool:
    """Whether what was asked inside was carried out and answered."""
    status = entry.detail.get("status")
    return isinstance(status, int) and status < REFUSED_MIN


def _stood(case: Case, end: Heard, at: float) -> bool:
    """Whether an end may have been what counted at a time: said, and not yet lifted by a request."""
    is_final = end.wish is Wish.GONE and not end.is_order
    known = [each for each in case.heard if each.lo <= at]
    # On a closed issue a request puts off what the close brings, and does not call it off.
    lifting = [ask for ask in asks(known) if end.is_order or not is_on_closed(ask, known)]
    is_lifted = any(ask.lo > end.hi and ask.hi <= at for ask in lifting)
    return end.lo <= at and (is_final or not is_lifted)


def _is_end(case: Case, heard: Heard) -> bool:
    """Whether it lets the service delete the sandbox: only then is one started for a look."""
    if heard.wish is Wish.STOPPED and not heard.is_order:
        return "destroyed" in case.evidence.closed_rests_at
    return heard.wish is Wish.GONE
