"""Whether a sandbox at rest is what is wished (rule e), with the exceptions that follow from the journal alone."""

from __future__ import annotations

from localdaytona.journal import Entry
from proofs.checker.cases import Case
from proofs.checker.evidence import Wish
from proofs.checker.lives import BY_PERSON, ERRORED, Moment, SandboxLife, is_outside
from proofs.checker.wishes import DOWN, asks, standing

BUILDS_MAX = 3
"""So many sandboxes in a row that failed before they ran: then somebody has to look at the snapshot."""

ASLEEP = frozenset({"stopped", "paused", "archived"})
OTHERS_LABELS = ("managed-by", "issue-id")


def objection(case: Case) -> str:
    """Why the issue's sandbox is not what its newest event asks for; '' when it is."""
    wishes = standing(case.heard)
    found = [CHECKS[wish](case) for wish in sorted(wishes)]
    return "" if "" in found else "; ".join(found)


def _running(case: Case) -> str:
    """Started; or started since it was asked for and then taken away by a person or a timer; or beyond help."""
    life = case.lives[-1] if case.lives else None
    if life is None:
        return "should run, and none was made"
    if life.last.is_started:
        return ""
    asked_at = last_ask_at(case)
    if is_beyond_help(case, since=asked_at) or was_taken_away(case, life) or is_held_up(case, life):
        return ""
    if was_shown_past(case, life, since=asked_at):
        return ""
    return f"should run, and is {life.last.state if life.exists else 'gone'}"


def _stopped(case: Case) -> str:
    """At rest on a rung of the ladder, or not there; or started by a person at Daytona since."""
    rests = set(case.evidence.closed_rests_at)
    if any(each.is_order and each.wish is Wish.STOPPED for each in case.heard):
        rests |= ASLEEP
    elif "stopped" in rests:
        rests.add("paused")
    may_be_held = "destroyed" in rests
    wrong = [
        life
        for life in _existing(case)
        if life.last.state not in rests and not (may_be_held and is_held(case, life)) and not _is_excused(case, life)
    ]
    return f"should be at rest, and is {wrong[0].last.state}" if wrong else ""


def _gone(case: Case) -> str:
    """Gone, or held because it may hold work."""
    wrong = [life for life in _existing(case) if not is_held(case, life) and not _is_excused(case, life)]
    return f"should be gone, and is {wrong[0].last.state}" if wrong else ""


def _nothing(_case: Case) -> str:
    return ""


CHECKS = {Wish.RUNNING: _running, Wish.STOPPED: _stopped, Wish.GONE: _gone, Wish.NOTHING: _nothing}


def _existing(case: Case) -> list[SandboxLife]:
    return [life for life in case.lives if life.exists]


def _is_excused(case: Case, life: SandboxLife) -> bool:
    """Errored (nobody can look into it, or nothing runs), another's, held by a fault, or raised by a person."""
    ended_at = max((each.lo for each in case.heard if each.wish in DOWN and each.is_certain), default=0.0)
    raised = life.periods[-1].begin if life.periods else None
    is_raised_by_person = (
        raised is not None and (raised.operation or "").startswith(BY_PERSON) and raised.at >= ended_at
    )
    is_excused = life.last.state in ERRORED or is_raised_by_person or is_held_up(case, life)
    return is_excused or was_shown_past(case, life, since=ended_at)


def is_held(case: Case, life: SandboxLife) -> bool:
    """Asleep, with work in it; where the run noted no work, whatever ran may hold some."""
    worked_in = case.evidence.worked_in
    may_hold = life.ever_started if worked_in is None else life.id in worked_in
    return may_hold and life.last.state in ASLEEP


def is_held_up(case: Case, life: SandboxLife) -> bool:
    """Whether an injected fault, a person's hand or another's labels keep it where it is."""
    is_stuck = case.effects.get(life.last.request_id or "") == "stuck" and life.last.is_passing
    is_set = life.last.operation == f"{BY_PERSON}set-state"
    return is_stuck or is_set or _is_anothers(case, life)


def _is_anothers(case: Case, life: SandboxLife) -> bool:
    """Labels that name another manager or another issue: it is never touched."""
    manager, issue = (life.labels.get(key) for key in OTHERS_LABELS)
    return life.is_by_hand and (manager not in {None, "issuebox"} or issue not in {None, str(case.issue)})


def last_ask_at(case: Case) -> float:
    """When the last certain request arrived at the earliest; 0 when there was none."""
    return max((ask.lo for ask in asks(case.heard)), default=0.0)


def was_taken_away(case: Case, life: SandboxLife) -> bool:
    """Whether it was started after the last request, and left `started` by a person's hand or a timer."""
    asked_at, periods = last_ask_at(case), life.periods
    if not periods or not periods[-1].reaches(asked_at):
        return False
    end = periods[-1].end
    return end is None or all(is_outside(moment.operation) for moment in life.moments if moment.seq >= end.seq)


def was_shown_past(case: Case, life: SandboxLife, since: float) -> bool:
    """A documented limit: changed past the service, and looked up since, in a read that showed it as it had been.

    One read that showed anything of the change, before or after, and the service had to know.
    """
    unseen = [moment for moment in life.moments if moment.seq > case.shown.get(life.id, 0)]
    if not unseen or not all(is_outside(moment.operation) for moment in unseen):
        return False
    replies = (reply for reply in case.past.get(life.id, ()) if reply.seq > unseen[0].seq and reply.at >= since)
    return any(_as_of(reply) < unseen[0].at for reply in replies)


def _as_of(reply: Entry) -> float:
    """The moment that the reply showed, in epoch seconds."""
    moment = reply.detail["as_of"]
    return float(moment) if isinstance(moment, int | float) else reply.at


def is_beyond_help(case: Case, since: float) -> bool:
    """Whether the issue was blocked after `since`: by an error that Daytona does not repair, or by its builds."""
    return any(_was_broken(case, life, since) for life in case.lives) or _has_no_builds_left(case)


def _was_broken(case: Case, life: SandboxLife, since: float) -> bool:
    """Broken then or later, and after that nobody but a person changed it."""
    broken = [moment for moment in life.moments if _is_broken(case, moment)]
    if not broken:
        return False
    after = [moment for moment in life.moments if moment.seq > broken[-1].seq]
    is_later = not after or after[0].at >= since
    successors = [other for other in case.lives if other.born.seq > broken[-1].seq]
    return is_later and not successors and all(is_outside(moment.operation) for moment in after)


def _is_broken(case: Case, moment: Moment) -> bool:
    """Not recoverable; or recoverable, and the repair was tried and ended in an error again."""
    failed = moment.operation == "recover" and case.effects.get(moment.request_id or "") == "fail_transition"
    return moment.is_broken or failed


def _has_no_builds_left(case: Case) -> bool:
    last = [life for life in case.lives if not life.is_by_hand][-BUILDS_MAX:]
    return len(last) == BUILDS_MAX and all(_never_ran(life) for life in last)


def _never_ran(life: SandboxLife) -> bool:
    return not life.ever_started and any(moment.state in ERRORED for moment in life.moments)
