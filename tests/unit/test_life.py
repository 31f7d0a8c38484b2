"""The ladder of a closed issue, orders, and what ends them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from issuebox.domain.goal import course, give, steer
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.memory import Answer, Blocked, Memory, Order, Requests, Told
from issuebox.domain.phase import Cause, Goal, Outcome
from issuebox.domain.policy import Closing, Policy

T0 = datetime(2026, 1, 1, tzinfo=UTC)
CLOSING = Closing(stop_after_s=10, archive_after_s=100, delete_after_s=1000)


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def memory(state: IssueState = IssueState.OPEN, closing: Closing = CLOSING) -> Memory:
    ended_at = None if state is IssueState.OPEN else T0
    issue = Issue(7, state=state)
    told, served = Told(issue=issue, ended_at=ended_at), Requests(asked=1, served=1)
    return Memory(7, "claude-issue-7", told=told, requests=served, policy=Policy(closing=closing))


def asked(known: Memory, now: datetime) -> int:
    """The ticket of a request that waits for its answer."""
    ticket = known.ask(now)
    known.requests.answers[ticket] = None
    return ticket


RUNGS = [
    (0, Goal.RUNNING, 10),
    (9.9, Goal.RUNNING, 10),
    (10, Goal.STOPPED, 100),
    (99, Goal.STOPPED, 100),
    (100, Goal.ARCHIVED, 1000),
    (1000, Goal.DELETED, None),
    (9e6, Goal.DELETED, None),
]


@pytest.mark.parametrize("state", [IssueState.CLOSED, IssueState.TRANSFERRED])
@pytest.mark.parametrize(("at_s", "goal", "due_s"), RUNGS)
def test_closed_issue_goes_down_the_ladder(state: IssueState, at_s: float, goal: Goal, due_s: float | None) -> None:
    """Stopped, archived and deleted, each after its time; each step knows when the next one is due."""
    assert course(memory(state), after(at_s)) == (goal, None if due_s is None else after(due_s))


@pytest.mark.parametrize(
    ("closing", "goal", "due_at"),
    [
        (replace(CLOSING, stop_after_s=-1), Goal.RUNNING, after(100)),
        (replace(CLOSING, archive_after_s=-1), Goal.STOPPED, after(1000)),
        (replace(CLOSING, delete_after_s=-1), Goal.STOPPED, after(100)),
        (Closing(-1, -1, -1), Goal.RUNNING, None),
        (replace(CLOSING, stop_after_s=0), Goal.STOPPED, after(100)),
    ],
)
def test_negative_time_takes_its_rung_out(closing: Closing, goal: Goal, due_at: datetime | None) -> None:
    """A negative time switches its rung off; 0 takes effect at once."""
    assert course(memory(IssueState.CLOSED, closing), after(20)) == (goal, due_at)


def test_open_issue_has_no_timer() -> None:
    """Daytona's own idle stop takes care of an open issue's sandbox."""
    known = memory()
    assert course(known, after(9e9)) == (Goal.RUNNING, None)
    known.ask(T0)
    known.progress.blocked = Blocked(Cause.QUOTA, "why", "advice", T0)
    assert course(known, after(9e9)) == (Goal.RUNNING, None)


def test_deleted_issue_needs_no_ladder() -> None:
    """The sandbox of an issue that GitHub deleted is deleted at once."""
    assert course(memory(IssueState.DELETED), T0) == (Goal.DELETED, None)


@pytest.mark.parametrize(("at_s", "goal"), [(0, Goal.STOPPED), (100, Goal.ARCHIVED), (1000, Goal.DELETED)])
def test_order_to_stop_never_stands_above_the_ladder(at_s: float, goal: Goal) -> None:
    """A closed issue's sandbox is archived and deleted even if a person ordered a stop."""
    known = memory(IssueState.CLOSED)
    give(known, Order.STOP, T0)
    assert course(known, after(at_s))[0] is goal


def test_order_holds_on_an_open_issue_until_somebody_asks() -> None:
    """Time does not undo a person's stop or delete; a request ends it."""
    for order, goal in ((Order.STOP, Goal.STOPPED), (Order.DELETE, Goal.DELETED)):
        known = memory()
        give(known, order, T0)
        assert course(known, after(9e9)) == (goal, None)
        known.ask(T0)
        assert course(known, after(9e9)) == (Goal.RUNNING, None)


def test_request_on_a_closed_issue_counts_the_ladder_anew() -> None:
    """The times count from its handover: a thaw that takes longer than the stop's time does not end in a stop."""
    known = memory(IssueState.CLOSED)
    ticket = known.ask(after(500))
    assert course(known, after(5000)) == (Goal.RUNNING, None)
    known.hand_over(ticket, Answer(Outcome.STARTED), after(5000))
    assert course(known, after(5005)) == (Goal.RUNNING, after(5010))
    assert course(known, after(5010)) == (Goal.STOPPED, after(5100))


def test_request_is_handed_over_before_an_immediate_stop() -> None:
    """With no time between close and stop, a request on a closed issue still gets its sandbox."""
    known = memory(IssueState.CLOSED, Closing(0, -1, -1))
    steer(known, after(1))
    ticket = asked(known, after(2))
    steer(known, after(2))
    assert (known.progress.goal, known.requests.is_waiting) == (Goal.RUNNING, True)
    known.hand_over(ticket, Answer(Outcome.STARTED), after(3))
    assert known.requests.answers[ticket] == Answer(Outcome.STARTED)
    steer(known, after(3))
    assert known.progress.goal is Goal.STOPPED


def test_blocked_request_on_a_closed_issue_is_called_off_in_the_end() -> None:
    """It cannot be handed over: the times count from the block, and the sandbox goes down the ladder."""
    known = memory(IssueState.CLOSED)
    ticket = asked(known, after(20))
    steer(known, after(20))
    known.block(Cause.UNREACHABLE, "away", after(50), 0, lambda: 1.0)
    assert course(known, after(59)) == (Goal.RUNNING, after(60))
    steer(known, after(60))
    assert (known.progress.goal, known.progress.may_unblock, known.progress.blocked) == (Goal.STOPPED, True, None)
    assert known.requests.answers[ticket] == Answer(Outcome.STOPPED)


@pytest.mark.parametrize(
    ("closing", "ladder"),
    [
        (Closing(10, 100, 1000), [(Goal.STOPPED, 10), (Goal.ARCHIVED, 100), (Goal.DELETED, 1000)]),
        (Closing(10, 100, 50), [(Goal.STOPPED, 10), (Goal.DELETED, 50)]),
        (Closing(10, 5, -1), [(Goal.ARCHIVED, 5)]),
        (Closing(10, 100, 5), [(Goal.DELETED, 5)]),
        (Closing(0, 0, 0), [(Goal.STOPPED, 0), (Goal.ARCHIVED, 0), (Goal.DELETED, 0)]),
        (Closing(-1, -1, -1), []),
    ],
)
def test_ladder_never_climbs(closing: Closing, ladder: list[tuple[Goal, float]]) -> None:
    """What would come after a later goal is left out, whatever the settings say."""
    assert list(closing.ladder) == ladder
    known = memory(IssueState.CLOSED, closing)
    order = list(Goal)
    seen = [order.index(course(known, after(second))[0]) for second in range(1200)]
    assert seen == sorted(seen)


def test_new_goal_unblocks_and_calls_requests_off() -> None:
    """When the goal changes, a block is tried again at once; reached is only what was reached since."""
    known = memory(IssueState.CLOSED)
    steer(known, after(10))
    assert (known.progress.goal, known.progress.may_unblock) == (Goal.STOPPED, True)
    known.progress.may_unblock, known.progress.reached = False, Goal.STOPPED
    steer(known, after(20))
    assert not known.progress.may_unblock
    assert known.progress.reached is Goal.STOPPED
    steer(known, after(100))
    assert (known.progress.goal, known.progress.reached) == (Goal.ARCHIVED, None)


def test_new_goal_ends_a_block_with_its_count_of_tries() -> None:
    """The tries of a block do not count for the next goal."""
    known = memory(IssueState.CLOSED)
    known.progress.blocked = Blocked(Cause.QUOTA, "why", "advice", T0, tries=500)
    steer(known, after(10))
    assert (known.progress.goal, known.progress.blocked) == (Goal.STOPPED, None)


def test_new_request_of_a_blocked_closed_issue_counts_the_ladder_anew() -> None:
    """The block is older than the request: by its time alone the request would be called off in the same instant."""
    known = memory(IssueState.CLOSED)
    known.progress.blocked = Blocked(Cause.QUOTA, "why", "advice", T0)
    known.ask(after(500))
    assert course(known, after(505)) == (Goal.RUNNING, after(510))


@pytest.mark.parametrize(("state", "goal"), [(IssueState.CLOSED, Goal.STOPPED), (IssueState.DELETED, Goal.DELETED)])
def test_issue_that_only_ended_asks_daytona_nothing(state: IssueState, goal: Goal) -> None:
    """Nobody asked for its sandbox, so that there is nothing to stop; a request or an order is another matter."""
    known = Memory(7, "claude-issue-7", told=Told(issue=Issue(7, state=state), ended_at=T0))
    steer(known, after(9e6))
    assert (course(known, after(9e6)), known.progress.goal, known.has_work) == ((goal, None), goal, False)
    known.orders.is_lookup_asked = True
    assert known.has_work
    known.orders.is_lookup_asked = False
    give(known, Order.STOP, after(9e6))
    assert known.has_work


def test_order_counts_from_when_it_was_given_and_never_from_the_future() -> None:
    """The clock of the API may be ahead; a signal from the `temporal` CLI has no time."""
    for ordered_at, counts_from in ((None, after(50)), (after(20), after(20)), (after(80), after(50))):
        known = memory()
        give(known, Order.STOP, after(50), ordered_at=ordered_at)
        assert known.orders.ordered_at == counts_from


def test_order_that_is_given_again_is_carried_out_again() -> None:
    """Somebody may have started the sandbox by hand since."""
    known = memory()
    give(known, Order.STOP, T0)
    known.progress.reached = Goal.STOPPED
    assert not known.has_work
    give(known, Order.STOP, after(60))
    assert known.has_work


def test_called_off_request_hears_what_becomes_of_the_sandbox() -> None:
    """It is the goal without that request: this issue's sandbox goes to the archive at once."""
    known = memory(IssueState.CLOSED, Closing(0, 0, -1))
    ticket = asked(known, after(1))
    give(known, Order.STOP, after(2))
    assert known.requests.answers[ticket] == Answer(Outcome.ARCHIVED)
