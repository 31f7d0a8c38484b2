"""What the snapshot in a delivery changes, whatever the delivery asks for: the state, the times, the notes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.goal import give
from issuebox.domain.intake import Verdict, absorb, correct
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.memory import Memory, Order
from issuebox.domain.phase import Goal
from issuebox.domain.policy import Closing, Policy

T0 = datetime(2026, 1, 1, tzinfo=UTC)
AT_ONCE = Policy(closing=Closing(stop_after_s=0, archive_after_s=-1, delete_after_s=-1))


def memory() -> Memory:
    return Memory(7, "claude-issue-7", policy=AT_ONCE)


def event(
    at_s: float | None,
    intention: Intention = Intention.IGNORE,
    *,
    state: IssueState = IssueState.OPEN,
    action: str = "edited",
    **issue: object,
) -> IssueEvent:
    moment = None if at_s is None else T0 + timedelta(seconds=at_s)
    known = {"id": 7, "state": state, "updated_at": moment, "title": "A title"} | issue
    return IssueEvent(
        Issue(**known),  # type: ignore[arg-type]
        intention=intention,
        delivery=f"d{at_s}-{action}",
        event="issues",
        action=action,
    )


def test_only_a_change_of_state_is_noted_of_what_asks_for_nothing() -> None:
    """The memory holds forty notes: comments must not push out the decisions."""
    known = memory()
    changes = [
        (event(1), Verdict.RECORDED),
        (event(2), Verdict.UNCHANGED),
        (event(3, title="Another title"), Verdict.RECORDED),
        (event(4, state=IssueState.CLOSED, action="closed"), Verdict.RECORDED),
        (event(3, action="reopened"), Verdict.LATE),
    ]
    for given, verdict in changes:
        assert absorb(known, given, T0) is verdict
    assert [(note.what, note.reason, note.deliveries) for note in known.notes] == [
        ("issues.edited", "the issue is open", ("d1-edited",)),
        ("issues.closed", "the issue is closed", ("d4-closed",)),
    ]
    assert known.deliveries.seen == len(changes)


def test_snapshot_of_a_refused_close_moves_the_goal() -> None:
    """Whoever closed it: its sandbox goes down the ladder from that moment."""
    known = memory()
    absorb(known, event(1, Intention.ENSURE, action="opened"), T0)
    absorb(known, event(2, state=IssueState.CLOSED, action="closed"), T0)
    assert (known.progress.goal, known.requests.is_waiting) == (Goal.STOPPED, False)


def test_note_names_the_event_or_what_was_asked_by_hand() -> None:
    """A signal from the `temporal` CLI has no event."""
    known = memory()
    absorb(known, event(1, Intention.ENSURE, action="opened"), T0)
    absorb(known, replace(event(2, Intention.ENSURE), event="", action=""), T0)
    assert [(note.what, note.reason) for note in known.notes] == [
        ("issues.opened", "ensure: taken"),
        ("ensure", "ensure: taken"),
    ]


def test_request_without_a_time_ends_an_order() -> None:
    """Nobody knows that it came before: what is sent by hand is meant now."""
    known = memory()
    give(known, Order.STOP, T0)
    assert absorb(known, event(None, Intention.ENSURE), T0 + timedelta(seconds=60)) is Verdict.TAKEN
    assert known.orders.standing is None


@pytest.mark.parametrize(
    ("requested_s", "updated_s", "verdict"),
    [(None, 50, Verdict.LATE), (None, 150, Verdict.TAKEN), (50, 150, Verdict.LATE), (150, 150, Verdict.TAKEN)],
)
def test_request_is_as_old_as_its_snapshot_when_it_has_no_time(
    requested_s: int | None, updated_s: int, verdict: Verdict
) -> None:
    """A late opening does not undo what a person ordered since; nor does a comment from before, in a newer snapshot."""
    known = memory()
    give(known, Order.STOP, T0 + timedelta(seconds=100))
    requested_at = None if requested_s is None else T0 + timedelta(seconds=requested_s)
    late = replace(event(updated_s, Intention.ENSURE, action="opened"), requested_at=requested_at)
    assert absorb(known, late, T0 + timedelta(seconds=200)) is verdict


@pytest.mark.parametrize("requested_at", [None, T0 + timedelta(seconds=9)])
def test_opening_is_no_persons_request(requested_at: datetime | None) -> None:
    """It wakes no closed issue: the close that it comes before, or after, calls it off."""
    known = memory()
    absorb(known, replace(event(1, Intention.ENSURE, action="opened"), requested_at=requested_at), T0)
    assert known.told.requested_at is None
    assert known.requests.is_waiting


def test_time_of_an_hour_ahead_is_the_last_that_is_believed() -> None:
    """Of a later one only the arrival counts."""
    for ahead_s, believed in ((3600, T0 + timedelta(hours=1)), (3601, T0)):
        known = memory()
        absorb(known, event(ahead_s), T0)
        assert known.told.issue is not None
        assert known.told.issue.updated_at == believed


def test_closed_snapshot_without_a_time_comes_after_every_known_request() -> None:
    """A comment that only carries the state along says nothing about when the issue was closed."""
    known = memory()
    known.told.request_now(T0)
    assert absorb(known, event(5, state=IssueState.CLOSED), T0) is Verdict.RECORDED
    assert (known.told.ended_at, known.told.closed_at) == (T0, None)
    assert not known.told.is_requested_since_close


@pytest.mark.parametrize("field", ["repository", "number", "title", "url", "updated_at"])
def test_what_a_hand_sent_event_leaves_out_stays_known(field: str) -> None:
    """Lists show it; a snapshot without a time would count as older than any."""
    full = Issue(7, "octo/repo", 5, "A title", "https://github.com/octo/repo/issues/5", updated_at=T0)
    known = memory()
    absorb(known, IssueEvent(full, delivery="d1"), T0)
    absorb(known, IssueEvent(replace(full, **{field: getattr(Issue(7), field)}), delivery="d2"), T0)
    assert known.told.issue == full


def test_snapshot_of_a_deleted_issue_ends_it_anew() -> None:
    """Its times count from there, and whoever asked since the close gets nothing any more."""
    known = memory()
    absorb(known, event(1, Intention.STOP, state=IssueState.CLOSED, action="closed"), T0)
    known.ask(T0)
    later = T0 + timedelta(seconds=60)
    assert absorb(known, event(2, state=IssueState.DELETED, action="deleted"), later) is Verdict.RECORDED
    assert (known.told.ended_at, known.requests.is_waiting, known.progress.goal) == (later, False, Goal.DELETED)


@pytest.mark.parametrize("intention", [Intention.IGNORE, Intention.STOP])
@pytest.mark.parametrize(("closed_s", "is_waiting"), [(5, True), (15, False)])
def test_close_calls_off_what_was_requested_before_it_and_nothing_else(
    intention: Intention, closed_s: int, is_waiting: bool
) -> None:
    """Its delivery may be late or lost, but every snapshot carries its time."""
    known = memory()
    request = replace(event(1, Intention.ENSURE), is_explicit=True, requested_at=T0 + timedelta(seconds=10))
    absorb(known, request, T0)
    closed = event(20, intention, state=IssueState.CLOSED, closed_at=T0 + timedelta(seconds=closed_s))
    absorb(known, closed, T0)
    assert known.requests.is_waiting == is_waiting


@pytest.mark.parametrize(
    ("believed", "goal", "asked"),
    [(IssueState.OPEN, Goal.RUNNING, 1), (IssueState.CLOSED, Goal.RUNNING, 2)],
)
def test_answer_that_the_issue_is_open_asks_again_only_if_it_was_taken_for_closed(
    believed: IssueState, goal: Goal, asked: int
) -> None:
    """The close had called the requests off. Whatever was believed, the tie is settled."""
    known = memory()
    absorb(known, event(1, Intention.ENSURE, action="opened"), T0)
    if believed is IssueState.CLOSED:
        absorb(known, event(1, Intention.STOP, state=IssueState.CLOSED, action="closed"), T0)
        assert (known.told.is_contradicted, known.progress.goal) == (True, Goal.STOPPED)
    correct(known, event(1).issue, T0)
    assert (known.progress.goal, known.requests.asked, known.told.is_contradicted) == (goal, asked, False)


def test_answer_that_the_issue_is_closed_moves_the_goal() -> None:
    """A reopening of the same second had been believed."""
    known = memory()
    absorb(known, event(1, Intention.ENSURE, action="opened"), T0)
    correct(known, event(1, state=IssueState.CLOSED, closed_at=T0).issue, T0)
    assert (known.progress.goal, known.requests.is_waiting) == (Goal.STOPPED, False)


@pytest.mark.parametrize(
    ("first", "second", "is_contradicted"),
    [
        (event(1), event(1, state=IssueState.CLOSED, action="closed"), True),
        (event(1), event(2, state=IssueState.CLOSED, action="closed"), False),
        (event(1), event(1, action="commented"), False),
        (event(1), event(1, state=IssueState.DELETED, action="deleted"), False),
        (event(None), event(None, state=IssueState.CLOSED, action="closed"), False),
    ],
    ids=["tie", "later", "same state", "final", "without a time"],
)
def test_only_two_states_of_the_same_second_contradict_each_other(
    first: IssueEvent, second: IssueEvent, is_contradicted: bool
) -> None:
    """GitHub is asked then, which costs a request. A final state needs no answer."""
    known = memory()
    absorb(known, first, T0)
    assert absorb(known, second, T0) is not Verdict.LATE
    assert known.told.is_contradicted == is_contradicted


def test_newer_snapshot_replaces_every_field() -> None:
    """An issue is renamed, and its repository too."""
    known, new = memory(), Issue(7, "octo/new", 6, "Another", "https://github.com/octo/new/issues/6", updated_at=T0)
    absorb(known, IssueEvent(Issue(7, "octo/repo", 5, "A title", "https://github.com/octo/repo/issues/5")), T0)
    absorb(known, IssueEvent(new), T0)
    assert known.told.issue == new


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (event(1, Intention.STOP, state=IssueState.CLOSED), Verdict.RECORDED),
        (replace(event(1, Intention.ENSURE), is_explicit=True), Verdict.TAKEN),
        (event(1, Intention.ENSURE), Verdict.TAKEN),
    ],
    ids=["close", "request", "opening"],
)
def test_resync_of_an_unknown_issue_is_news_once(found: IssueEvent, verdict: Verdict) -> None:
    """It sends the same again at its next run, under another ID."""
    known = memory()
    assert absorb(known, replace(found, is_resync=True), T0) is verdict
    assert absorb(known, replace(found, is_resync=True, delivery="again"), T0) is Verdict.KNOWN
