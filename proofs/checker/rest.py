"""Whether a sandbox at rest is as expected (rule e), with the exceptions that follow from the journal alone."""

from __future__ import annotations

from localdaytona.journal import Entry
from proofs.checker import whose
from proofs.checker.cases import Case
from proofs.checker.census import ASLEEP
from proofs.checker.evidence import Expectation
from proofs.checker.expectations import DOWN, sandbox_requests, standing
from proofs.checker.lives import BY_PERSON, ERRORED, Moment, SandboxLife, is_outside

BUILDS_MAX = 3
"""After this many sandboxes in a row that failed before they ran, a person must examine Daytona's snapshot."""


def objection(case: Case) -> str:
    """Why the issue's sandbox is not as its newest event asks; '' when it is."""
    expectations = standing(case.messages)
    found = [CHECKS[expects](case) for expects in sorted(expectations)]
    return "" if "" in found else "; ".join(found)


def _running(case: Case) -> str:
    """Started; or started since the request, and then taken away by a person or a timer; or beyond help."""
    life = case.lives[-1] if case.lives else None
    if (life is not None and life.last.is_started) or is_queued(case):
        return ""
    if life is None:
        return "should run, and none was created"
    requested_at = last_request_at(case)
    if is_beyond_help(case, since=requested_at) or was_taken_away(case, life) or is_held_up(case, life):
        return ""
    if was_shown_past(case, life, since=requested_at):
        return ""
    return f"should run, and is {life.last.state if life.exists else 'gone'}"


def _stopped(case: Case) -> str:
    """At rest in a state of the close's ladder, or gone; or started since by a person at Daytona."""
    rests = set(case.evidence.closed_rests_at)
    if any(each.is_order and each.expects is Expectation.STOPPED for each in case.messages):
        rests |= ASLEEP
    elif "stopped" in rests:
        rests.add("paused")
    if "archived" in rests:
        rests.add("archiving")
    may_be_held = "destroyed" in rests
    wrong = [
        life
        for life in _existing(case)
        if life.last.state not in rests and not (may_be_held and is_held(case, life)) and not _is_excused(case, life)
    ]
    return f"should be at rest, and is {wrong[0].last.state}" if wrong else ""


def _gone(case: Case) -> str:
    """Gone, or kept because it may hold work; or asleep, while it waits for a slot in which it is inspected."""
    wrong = [
        life
        for life in _existing(case)
        if not is_held(case, life) and not _is_excused(case, life) and not (is_queued(case) and _is_asleep(life))
    ]
    return f"should be gone, and is {wrong[0].last.state}" if wrong else ""


def _nothing(_case: Case) -> str:
    return ""


CHECKS = {
    Expectation.RUNNING: _running,
    Expectation.STOPPED: _stopped,
    Expectation.GONE: _gone,
    Expectation.KEPT: _nothing,
    Expectation.NOTHING: _nothing,
}


def _existing(case: Case) -> list[SandboxLife]:
    return [life for life in case.lives if life.exists]


def _is_excused(case: Case, life: SandboxLife) -> bool:
    """Errored (it cannot be inspected, or does not run), another's, held up by a fault, or started by a person."""
    ended_at = max((each.lo for each in case.messages if each.expects in DOWN and each.is_certain), default=0.0)
    started = life.periods[-1].begin if life.periods else None
    is_started_by_person = (
        started is not None and (started.operation or "").startswith(BY_PERSON) and started.at >= ended_at
    )
    is_excused = life.last.state in ERRORED or is_started_by_person or is_held_up(case, life)
    return is_excused or was_shown_past(case, life, since=ended_at)


def is_queued(case: Case) -> bool:
    """Whether the issue waits until fewer sandboxes are up, as the service says, and as many as the cap really are."""
    most = case.evidence.running_max
    return case.issue in case.evidence.queued and 0 < most <= case.census.up


def _is_asleep(life: SandboxLife) -> bool:
    return life.last.state in ASLEEP


def is_held(case: Case, life: SandboxLife) -> bool:
    """Asleep, with work in it. When the run did not note its work, any sandbox that ran may hold some."""
    worked_in = case.evidence.worked_in
    may_hold = life.ever_started if worked_in is None else life.id in worked_in
    return may_hold and _is_asleep(life)


def is_held_up(case: Case, life: SandboxLife) -> bool:
    """Whether an injected fault, a person's `set-state` or another's labels keep it in its state."""
    is_stuck = case.effects.get(life.last.request_id or "") == "stuck" and life.last.is_passing
    is_set = life.last.operation == f"{BY_PERSON}set-state"
    return is_stuck or is_set or whose.is_anothers(case, life)


def last_request_at(case: Case) -> float:
    """The earliest time at which the last certain request can have arrived; 0 without one."""
    return max((request.lo for request in sandbox_requests(case.messages)), default=0.0)


def was_taken_away(case: Case, life: SandboxLife) -> bool:
    """Whether it was started after the last request, and then a person or a timer ended that."""
    requested_at, periods = last_request_at(case), life.periods
    if not periods or not periods[-1].reaches(requested_at):
        return False
    end = periods[-1].end
    return end is None or all(is_outside(moment.operation) for moment in life.moments if moment.seq >= end.seq)


def was_shown_past(case: Case, life: SandboxLife, since: float) -> bool:
    """A documented limit: it was changed without the service, and then a lookup showed its state before the change.

    It does not hold once a read has shown anything of the change, before that lookup or after it.
    """
    unseen = [moment for moment in life.moments if moment.seq > case.shown.get(life.id, 0)]
    if not unseen or not all(is_outside(moment.operation) for moment in unseen):
        return False
    replies = (reply for reply in case.past.get(life.id, ()) if reply.seq > unseen[0].seq and reply.at >= since)
    return any(as_of(reply) < unseen[0].at for reply in replies)


def as_of(reply: Entry) -> float:
    """The time whose state the reply showed, in epoch seconds."""
    moment = reply.detail["as_of"]
    return float(moment) if isinstance(moment, int | float) else reply.at


def is_beyond_help(case: Case, since: float) -> bool:
    """Whether the issue was blocked after `since`: by an error that Daytona does not repair, or by failed builds."""
    return any(_was_broken(case, life, since) for life in case.lives) or _has_no_builds_left(case)


def _was_broken(case: Case, life: SandboxLife, since: float) -> bool:
    """Whether it broke then or later, and only a person or a timer has changed it since."""
    broken = [moment for moment in life.moments if _is_broken(case, moment)]
    if not broken:
        return False
    after = [moment for moment in life.moments if moment.seq > broken[-1].seq]
    is_later = not after or after[0].at >= since
    successors = [other for other in case.lives if other.born.seq > broken[-1].seq]
    return is_later and not successors and all(is_outside(moment.operation) for moment in after)


def _is_broken(case: Case, moment: Moment) -> bool:
    """Not recoverable; or recoverable, and its repair ended in an error again."""
    failed = moment.operation == "recover" and case.effects.get(moment.request_id or "") == "fail_transition"
    return moment.is_broken or failed


def _has_no_builds_left(case: Case) -> bool:
    last = [life for life in case.lives if not life.is_by_hand][-BUILDS_MAX:]
    return len(last) == BUILDS_MAX and all(_never_ran(life) for life in last)


def _never_ran(life: SandboxLife) -> bool:
    return not life.ever_started and any(moment.state in ERRORED for moment in life.moments)
