"""Retirement: a workflow that ended too early or too late, and every delivery that may still come."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.goal import course
from issuebox.domain.intake import absorb
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.memory import Answer, Memory
from issuebox.domain.phase import Goal, Outcome, Phase
from issuebox.domain.policy import REDELIVERED_WITHIN_S, Closing, Policy
from issuebox.domain.retirement import LIGHT_EVENTS, LONG, lightens, retires_at, start_objection
from issuebox.domain.run import RequestKind, RunRequest, RunTerms
from issuebox.domain.sandbox import Sandbox

T0 = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
WITHIN = timedelta(seconds=REDELIVERED_WITHIN_S)
POLICY = Policy(runs=RunTerms(is_configured=True))
RUNNING = Sandbox("s1", "claude-issue-7", Phase.USABLE, "started")
FORGET = timedelta(seconds=POLICY.closing.forget_after_s)

KINDS: dict[str, tuple[Intention, IssueState | None, bool]] = {
    "opened": (Intention.ENSURE, IssueState.OPEN, False),
    "labeled": (Intention.ENSURE, None, True),
    "comment": (Intention.ENSURE, None, True),
    "edited": (Intention.IGNORE, None, False),
    "closed": (Intention.STOP, IssueState.CLOSED, False),
    "reopened": (Intention.ENSURE, IssueState.OPEN, False),
}
"""By action: what it asks for, the state that it leads to (None: as it was), whether a person asks by it."""


@dataclass(frozen=True, slots=True)
class Act:
    """Something that happened to the issue at GitHub, and when its delivery arrived, or was lost (None)."""

    action: str
    at: datetime
    arrives_at: datetime | None


SOON = replace(POLICY, closing=Closing(stop_after_s=0, archive_after_s=-1, delete_after_s=0, forget_after_s=0))
"""The sandbox goes with the close, so that nothing but the redelivery window keeps a workflow."""


def memory(policy: Policy = POLICY) -> Memory:
    return Memory(7, "claude-issue-7", policy=policy, policy_hash="set up")


@st.composite
def acts(draw: st.DrawFn) -> list[Act]:
    """Some weeks of an issue. Each delivery arrives within the time in which GitHub redelivers, or never."""
    at, found = T0, []
    for action in ["opened", *draw(st.lists(st.sampled_from(sorted(KINDS)), max_size=8))]:
        delay = draw(st.one_of(st.just(timedelta(0)), st.none(), st.integers(0, 72).map(lambda hours: hours * HOUR)))
        found.append(Act(action, at, None if delay is None else at + delay))
        at += draw(st.one_of(st.integers(1, 6), st.integers(1, 24 * 6))) * HOUR
    return found


def events(happened: list[Act]) -> list[tuple[datetime, IssueEvent]]:
    """The deliveries in the order of their arrival."""
    state, closed_at, found = IssueState.OPEN, None, []
    for number, act in enumerate(happened):
        intention, leads_to, is_explicit = KINDS[act.action]
        state = leads_to or state
        closed_at = act.at if act.action == "closed" else None if state is IssueState.OPEN else closed_at
        issue = Issue(7, "octo/repo", 1, state=state, updated_at=act.at, closed_at=closed_at)
        request = RunRequest(RequestKind.COMMENT, f"comment-{number}", "ann", "do it", at=act.at)
        event = IssueEvent(
            issue,
            intention,
            f"d{number}",
            action=act.action,
            is_explicit=is_explicit,
            requested_at=act.at,
            request=request if act.action == "comment" else None,
        )
        if act.arrives_at is not None:
            found.append((act.arrives_at, event))
    return sorted(found, key=lambda each: (each[0], each[1].delivery))


def serve(known: Memory, now: datetime) -> None:
    """What the workflow and Daytona do by then: requests are served, runs are over, and the ladder is walked."""
    if known.is_only_told:
        return  # Daytona is asked nothing.
    goal, _ = course(known, now)
    known.requests.serve(known.requests.asked, Answer(Outcome.REUSED, RUNNING))
    for request in known.runs.queue:
        known.runs.refuse(request, "served", now)
    known.runs.queue.clear()
    known.progress.goal = known.progress.reached = goal
    known.notices.pending = None
    known.seen.take(None if goal is Goal.DELETED else RUNNING, now)


def asks(known: Memory) -> tuple[bool, int]:
    """Whether a running sandbox is wanted of it now, and how many requests for work wait."""
    return known.requests.is_waiting, len(known.runs.queue)


@settings(max_examples=400, deadline=None)
@given(acts())
def test_who_retires_answers_every_late_delivery_as_who_stayed(happened: list[Act]) -> None:
    """One workflow stays for ever, and one ends as soon as it may. Whatever comes, in whatever order, is the same."""
    stays = memory(SOON)
    current: Memory | None = memory(SOON)
    for now, event in events(happened):
        due = retires_at(current) if current is not None else None
        if due is not None and due <= now:
            current = None
        if current is None and event.intention in {Intention.ENSURE, Intention.STOP}:
            current = None if start_objection(event.issue.updated_at, now) else memory(SOON)
        absorb(stays, event, now)
        if current is not None:
            absorb(current, event, now)
        wanted = asks(current) if current is not None else (False, 0)
        assert wanted == asks(stays), (now, event.action)
        serve(stays, now)
        if current is not None:
            serve(current, now)


def closed(*, gone_after: timedelta = 30 * timedelta(days=1)) -> Memory:
    """An issue that was opened, and closed an hour later, and whose sandbox is gone."""
    known = memory()
    for now, event in events([Act("opened", T0, T0), Act("closed", T0 + HOUR, T0 + HOUR)]):
        absorb(known, event, now)
    serve(known, T0 + HOUR + gone_after)
    return known


def test_it_ends_some_days_after_the_sandbox_is_gone() -> None:
    known = closed()
    assert known.seen.phase is Phase.MISSING
    assert retires_at(known) == T0 + HOUR + timedelta(days=30) + FORGET


def test_it_stays_as_long_as_github_redelivers_after_the_last_delivery() -> None:
    known = closed()
    last_at = T0 + timedelta(days=36)
    absorb(known, IssueEvent(Issue(7, state=IssueState.CLOSED, updated_at=last_at), Intention.IGNORE), last_at)
    assert retires_at(known) == last_at + WITHIN


@pytest.mark.parametrize("what", ["sandbox", "one 404", "request", "run", "notice", "never", "open"])
def test_it_stays_while_anything_is_left(what: str) -> None:
    known = closed()
    match what:
        case "sandbox":
            known.seen.take(replace(RUNNING, phase=Phase.ARCHIVED, state="archived"), T0)
        case "one 404":
            known.progress.reached, known.seen.sandbox_id = Goal.STOPPED, "s1"
        case "request":
            known.ask(T0)
        case "run":
            known.runs.queue.append(RunRequest(RequestKind.COMMENT, "comment-1", "ann", "do it", at=T0))
        case "notice":
            known.notices.pending = object()  # type: ignore[assignment]
        case "never":
            known.policy = replace(POLICY, closing=replace(POLICY.closing, forget_after_s=-1.0))
        case "open":
            known.told.ended_at = None
    assert retires_at(known) is None


@pytest.mark.parametrize(("age", "may"), [(WITHIN, True), (WITHIN + timedelta(seconds=1), False)])
def test_snapshot_from_before_the_redelivery_window_starts_nothing(age: timedelta, *, may: bool) -> None:
    assert (start_objection(T0 - age, T0) == "") is may
    assert start_objection(None, T0) == ""


def test_it_goes_on_in_a_light_run_before_a_long_rest_and_not_before_a_short_one() -> None:
    known, now = closed(), T0 + timedelta(days=31)
    assert lightens(known, LIGHT_EVENTS + 1, None, now)
    assert lightens(known, LIGHT_EVENTS + 1, now + LONG + HOUR, now)
    assert not lightens(known, LIGHT_EVENTS + 1, now + LONG, now)
    assert not lightens(known, LIGHT_EVENTS, None, now)
    known.progress.reached = Goal.RUNNING
    assert not lightens(known, LIGHT_EVENTS + 1, None, now)
