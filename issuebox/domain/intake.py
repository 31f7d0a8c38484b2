"""How an event changes what is known: `absorb` is the only function that judges deliveries.

It changes nothing but the memory that it is given. Deliveries come twice, late, and in any order, so nothing here
depends on the order of arrival: the newest snapshot of the issue counts, deleted and transferred are final, and
a request on a closed issue is compared with the time of the close. The one exception is a tie, two snapshots
of the same second that disagree: the later arrival counts until GitHub itself has been asked. The delivery of a
close or a reopening wins a tie against one that only carries the state along, such as a comment.

A delivery carries a snapshot of the issue and perhaps a request. If its sender may not ask, only the request is
refused: the event then has the intention *ignore*, and its snapshot still counts.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum

from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.goal import call_off, steer
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.memory import AHEAD_MAX, CLOCKS_APART_MAX, Memory, Note
from issuebox.domain.run import CALLED_OFF, RequestKind, RunGoal, RunPhase, RunRequest
from issuebox.domain.run_pause import Pause

RANK = {IssueState.OPEN: 0, IssueState.CLOSED: 0, IssueState.TRANSFERRED: 1, IssueState.DELETED: 2}
"""A state of a higher rank is final against those of a lower one, whatever their times: the issue left for good."""


ENDS = frozenset({Intention.STOP, Intention.DELETE})
"""Intentions of the events that end an issue, at all or in this repository."""

STATE_ACTIONS = frozenset({"opened", "reopened", "closed", "transferred", "deleted"})
"""GitHub's actions that change the state of an issue; every other delivery only carries it along."""


class Verdict(StrEnum):
    """What became of a delivery. Completes "the event was …"."""

    TAKEN = "taken"
    RECORDED = "recorded"
    UNCHANGED = "unchanged"
    LATE = "late"
    REPEATED = "repeated"
    KNOWN = "known"


def absorb(memory: Memory, event: IssueEvent, now: datetime) -> Verdict:
    """Take one delivery into the memory and return what became of it. Safe to repeat: a repetition changes nothing."""
    memory.deliveries.seen += 1
    memory.deliveries.last_at = now
    event = _believable(event, now)
    if event.request is not None and event.request.kind is RequestKind.CANCEL:
        cancel_runs(memory, event.request, now)
    if event.intention is Intention.IGNORE:
        return _take_snapshot(memory, event, now)
    if memory.deliveries.is_repeated(event.delivery, event.digest):
        return Verdict.REPEATED
    memory.deliveries.remember(event.delivery, event.digest)
    is_known = event.is_resync and not _is_news(memory, event)
    is_learned = learn(memory, event.issue, now, is_end=event.intention in ENDS)
    verdict = Verdict.KNOWN if is_known else _judge(memory, event, now, is_learned=is_learned)
    if verdict is Verdict.TAKEN and event.request is not None:
        take_request(memory, event.request, now)
    elif verdict is Verdict.LATE and event.request is not None and _may_have_agent(memory):
        memory.runs.refuse_once(event.request, _overtaken_by(memory, event), now)
    what = f"{event.event}.{event.action}" if event.event else str(event.intention)
    by = f", by {event.sender}" if event.sender else ""
    memory.note(Note(now, what, f"{event.intention}: {verdict}{by}", deliveries=(event.delivery,)))
    steer(memory, now)
    return verdict


def _take_snapshot(memory: Memory, event: IssueEvent, now: datetime) -> Verdict:
    """Take the snapshot of a delivery that asks for nothing.

    Its ID is not remembered: a repetition is harmless, and a busy issue must not push out the IDs that keep a
    request from being taken twice. It is noted only when it changes the issue's state.
    """
    before = memory.told.issue
    if not learn(memory, event.issue, now, is_witness=event.action not in STATE_ACTIONS):
        return Verdict.LATE
    steer(memory, now)
    if before is not None and memory.told.issue is not None and _differ_in_time_alone(before, memory.told.issue):
        return Verdict.UNCHANGED
    if before is None or before.state is not event.issue.state:
        what = f"{event.event}.{event.action}"
        memory.note(Note(now, what, f"the issue is {event.issue.state}", deliveries=(event.delivery,)))
    return Verdict.RECORDED


def learn(memory: Memory, issue: Issue, now: datetime, *, is_end: bool = False, is_witness: bool = False) -> bool:
    """Take a snapshot of the issue if it is newer than the known one. Returns whether it was taken.

    `is_end`: the issue ended at the moment of the snapshot. `is_witness`: the delivery is about something else and
    only carries the state along. In the second of a change it may carry the old or the new state.
    """
    told, known = memory.told, memory.told.issue
    if known is not None and not _supersedes(issue, known):
        return False
    if known is not None and _contradicts(issue, known):
        told.is_contradicted = True
        if is_witness:
            return False
    told.issue = _merged(known, issue)
    if issue.state is IssueState.OPEN:
        told.ended_at = told.closed_at = None
        return True
    closed_at = _ended_at(issue, is_end=is_end)
    is_newer_close = closed_at is not None and (told.closed_at is None or closed_at > told.closed_at)
    if is_newer_close:
        told.closed_at = closed_at
    if is_newer_close or told.ended_at is None or known is None or RANK[known.state] < RANK[issue.state]:
        told.ended_at = now
        if not told.is_requested_since_close:
            call_off(memory, now)
            _end_runs(memory, issue, now)
    return True


def take_request(memory: Memory, request: RunRequest, now: datetime) -> str:
    """Take what the agent is asked. Returns the key of the request that serves it; '' when nothing will run."""
    if not _may_have_agent(memory):
        return ""
    key = memory.runs.take(request, now)
    active = memory.runs.active
    is_at_work = active is not None and active.phase is RunPhase.RUNNING and memory.runs.pause is None
    if key and memory.policy.runs.interrupts_for_follow_up and is_at_work:
        memory.runs.want(RunGoal.CANCEL)
    if key:
        memory.note(Note(now, f"run request {key}", f"by {request.author}" if request.author else ""))
    return key


def _may_have_agent(memory: Memory) -> bool:
    """Whether an agent is set up here. Before the first lookup nobody knows: `RunSteps` drops what waits then."""
    return not memory.policy_hash or memory.policy.runs.is_configured


def cancel_runs(memory: Memory, request: RunRequest, now: datetime) -> None:
    """Take the wish that nothing more be done. Its time says what it is about, so a repetition changes nothing."""
    known_at = memory.runs.called_off_at
    if request.at is not None and known_at is not None and request.at <= known_at:
        return
    if memory.runs.is_open:
        memory.note(Note(now, "cancel of the runs", f"by {request.author}" if request.author else ""))
        memory.progress.is_woken = True
    memory.runs.call_off(CALLED_OFF, now, asked_at=request.at)


def pause_runs(memory: Memory, pause: Pause, now: datetime) -> None:
    """Take a person's order that the agent rests. The sandbox's goal stands. Safe to repeat."""
    if memory.runs.hold(replace(pause, at=min(pause.at, now))):
        memory.note(Note(now, "pause of the runs", f"by {pause.by}"))
        memory.progress.is_woken = True


def resume_runs(memory: Memory, by: str, now: datetime) -> None:
    """Take a person's order that the agent goes on. Safe to repeat: where nothing is paused, it changes nothing.

    It asks for the sandbox if there is something to go on with, and so it ends an order to stop it.
    """
    if not memory.runs.is_paused:
        return
    memory.note(Note(now, "resume of the runs", f"by {by}"))
    if memory.runs.release():
        memory.told.request_now(now)
        memory.ask(now, is_person=True)
        memory.progress.may_unblock = True
        steer(memory, now)
    memory.progress.is_woken = True


def _end_runs(memory: Memory, issue: Issue, now: datetime) -> None:
    """The issue ended. What has begun is finished, as far as the settings have it so; what waits is refused."""
    active = memory.runs.active
    memory.runs.refuse_waiting(f"the issue was {issue.state}", now)
    has_begun = active is not None and active.first_begun_at is not None
    if not (has_begun and issue.state is IssueState.CLOSED and not memory.policy.runs.is_cancelled_on_close):
        memory.runs.want(RunGoal.CANCEL)


def correct(memory: Memory, issue: Issue, now: datetime) -> None:
    """Take GitHub's own answer about the issue, which settles a tie.

    If the issue is open after all, ask for its sandbox again: the close had called off the requests.
    """
    was_ended = memory.told.ended_at is not None
    learn(memory, issue, now)
    if was_ended and memory.told.ended_at is None:
        memory.ask(now)
    memory.told.is_contradicted = False
    steer(memory, now)


def _judge(memory: Memory, event: IssueEvent, now: datetime, *, is_learned: bool) -> Verdict:
    """Whether the event asks for work, given the newest known state of the issue."""
    match event.intention:
        case Intention.ENSURE:
            if not _may_run(memory, event) or memory.orders.is_after(event.requested_at or event.issue.updated_at, now):
                return Verdict.LATE
            if event.is_explicit and event.requested_at is None:
                memory.told.request_now(now)
            elif event.is_explicit:
                memory.told.request(event.requested_at)
            is_person = event.is_explicit and event.requested_at is None
            memory.ask(now, event.delivery, is_person=is_person, is_trusted=event.is_trusted)
            return Verdict.TAKEN
        case Intention.STOP | Intention.DELETE:
            return Verdict.RECORDED if is_learned else Verdict.LATE
        case Intention.IGNORE | Intention.PONG:
            return Verdict.RECORDED


def _believable(event: IssueEvent, now: datetime) -> IssueEvent:
    """The event with the time of its arrival, by Temporal's clock, for times that are far ahead of it."""
    issue, request = event.issue, event.request
    told = (issue.updated_at, issue.closed_at, event.requested_at, request.at if request else None)
    believed = tuple(now if moment is not None and moment > now + AHEAD_MAX else moment for moment in told)
    if believed == told:
        return event
    updated_at, closed_at, requested_at, asked_at = believed
    return replace(
        event,
        issue=replace(issue, updated_at=updated_at, closed_at=closed_at),
        requested_at=requested_at,
        request=replace(request, at=asked_at) if request else None,
    )


def _may_run(memory: Memory, event: IssueEvent) -> bool:
    """A late `opened` cannot wake a closed issue; a person's newer request on a closed issue can."""
    state = memory.told.issue.state if memory.told.issue else IssueState.OPEN
    if state is IssueState.OPEN:
        return True
    if state is IssueState.DELETED or not event.is_explicit:
        return False
    if memory.told.closed_at is None or event.requested_at is None:
        return True
    # Strictly later: closing with a comment creates both in the same second.
    return event.requested_at > memory.told.closed_at


def _overtaken_by(memory: Memory, event: IssueEvent) -> str:
    """Why a late request for work is not taken."""
    if _may_run(memory, event):
        return f"an order to {memory.orders.standing} the sandbox came after that"
    state = memory.told.issue.state if memory.told.issue else IssueState.CLOSED
    return f"the issue was {state} after that"


def _is_news(memory: Memory, event: IssueEvent) -> bool:
    """Whether resync found something new. It sends again what was delivered already, under its own delivery IDs."""
    if event.intention is not Intention.ENSURE:
        return memory.told.issue is None or event.issue.state is not memory.told.issue.state
    if event.request is not None and event.request.key:
        return event.request.key not in memory.runs.keys
    if event.is_explicit:
        # GitHub's events may be a second apart from the snapshots of their deliveries. A run is not begun for that.
        known_at, apart = memory.told.requested_at, CLOCKS_APART_MAX if event.request else timedelta(0)
        return known_at is None or (event.requested_at is not None and event.requested_at > known_at + apart)
    return memory.told.issue is None or memory.told.issue.state is not IssueState.OPEN


def _supersedes(issue: Issue, known: Issue) -> bool:
    """Whether `issue` is the newer of two snapshots."""
    if RANK[issue.state] != RANK[known.state]:
        return RANK[issue.state] > RANK[known.state]
    return not issue.is_older_than(known)


def _contradicts(issue: Issue, known: Issue) -> bool:
    return (
        issue.updated_at is not None
        and issue.updated_at == known.updated_at
        and issue.state is not known.state
        and RANK[issue.state] == RANK[known.state]
    )


def _differ_in_time_alone(one: Issue, other: Issue) -> bool:
    return replace(one, updated_at=None) == replace(other, updated_at=None)


def _ended_at(issue: Issue, *, is_end: bool) -> datetime | None:
    """When the issue ended in this repository, by GitHub's clock; None when the snapshot does not contain it."""
    if issue.state is IssueState.CLOSED and issue.closed_at is not None:
        return issue.closed_at
    return issue.updated_at if is_end else None


def _merged(known: Issue | None, newer: Issue) -> Issue:
    """The newer snapshot, completed from the known one where a hand-sent event left fields empty."""
    if known is None:
        return newer
    return replace(
        newer,
        repository=newer.repository or known.repository,
        number=newer.number or known.number,
        title=newer.title or known.title,
        url=newer.url or known.url,
        author=newer.author or known.author,
        updated_at=newer.updated_at or known.updated_at,
    )
