"""What the memory keeps: bounded, by ticket, and consistent with what lookups showed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.goal import give
from issuebox.domain.intake import Verdict, absorb
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.memory import DELIVERIES_MAX, NOTES_MAX, Answer, Memory, Order, Seen
from issuebox.domain.phase import Cause, Goal, Outcome, Phase
from issuebox.domain.sandbox import Sandbox

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def memory() -> Memory:
    return Memory(7, "claude-issue-7")


REUSED = Answer(Outcome.REUSED, Sandbox("s1", "claude-issue-7", Phase.USABLE, "started"))


def asked(known: Memory) -> int:
    """The ticket of a request that waits for its answer."""
    ticket = known.ask(T0)
    known.requests.answers[ticket] = None
    return ticket


def event(at_s: float, *, delivery: str, digest: str = "") -> IssueEvent:
    moment = T0 + timedelta(seconds=at_s)
    return IssueEvent(Issue(id=7, updated_at=moment), delivery=delivery, digest=digest, requested_at=moment)


def test_memory_is_bounded() -> None:
    """A million deliveries do not grow the memory beyond its limits."""
    known = memory()
    for number in range(3 * DELIVERIES_MAX):
        absorb(known, event(number, delivery=f"d{number}", digest=f"x{number}"), T0)
    assert len(known.deliveries.ids) == len(known.deliveries.digests) == DELIVERIES_MAX
    assert len(known.notes) == NOTES_MAX
    assert absorb(known, event(1, delivery=f"d{3 * DELIVERIES_MAX - 1}"), T0) is Verdict.REPEATED


def test_serving_a_ticket_leaves_later_requests_waiting() -> None:
    """A handover serves the requests made before its observation began, not later ones."""
    known = memory()
    first = known.ask(T0, "a")
    known.ask(T0, "b")
    known.requests.serve(first, REUSED)
    assert known.has_work
    assert known.requests.delivery == "b"
    known.requests.serve(known.requests.asked, REUSED)
    assert not known.has_work
    assert known.requests.delivery == ""


def test_known_id_survives_a_not_found() -> None:
    """One 404 proves nothing, so the ID is kept for the next lookup."""
    known = memory()
    known.see(Sandbox("s1", known.name, Phase.USABLE, "started"), T0)
    known.see(None, T0)
    assert known.seen.sandbox_id == "s1"
    assert known.seen.sandbox is None


OLD, NEW = T0 - timedelta(seconds=9), T0 - timedelta(seconds=1)


def _sandbox(state: str, updated_at: datetime | None, *, sandbox_id: str = "s1") -> Sandbox:
    return Sandbox(sandbox_id, "claude-issue-7", Phase.USABLE, state, updated_at=updated_at)


@pytest.mark.parametrize(
    ("seen", "read", "after_s", "is_past"),
    [
        (_sandbox("stopped", NEW), _sandbox("started", OLD), 1.0, True),
        (_sandbox("stopped", NEW), _sandbox("started", OLD), 29.0, True),
        (_sandbox("stopped", NEW), _sandbox("started", OLD), 30.0, False),
        (_sandbox("stopped", NEW), _sandbox("started", NEW), 1.0, False),
        (_sandbox("stopped", OLD), _sandbox("started", NEW), 1.0, False),
        (_sandbox("stopped", NEW), _sandbox("stopped", OLD), 1.0, False),
        (_sandbox("stopped", None), _sandbox("started", OLD), 1.0, False),
        (_sandbox("stopped", NEW), _sandbox("started", None), 1.0, False),
        (_sandbox("stopped", NEW), _sandbox("started", OLD, sandbox_id="s2"), 1.0, False),
        (None, _sandbox("started", OLD), 1.0, False),
        (_sandbox("stopped", NEW), None, 1.0, False),
    ],
)
def test_read_is_of_the_past_when_a_newer_state_was_seen_just_before(
    seen: Sandbox | None, read: Sandbox | None, after_s: float, is_past: bool
) -> None:
    """By Daytona's clock, for the same sandbox, and for 30 s: no other read is rejected."""
    known = memory()
    known.see(seen, T0)
    assert known.seen.shows_past(read, T0 + timedelta(seconds=after_s)) is is_past


def test_time_in_a_phase_counts_from_its_first_sight() -> None:
    """Another lookup does not restart the budget of a wait; another sandbox or phase does."""
    known = memory()
    pending = Sandbox("s1", known.name, Phase.PENDING, "creating")
    known.see(pending, T0)
    known.see(pending, T0 + timedelta(seconds=5))
    assert known.seen.phase_since == T0
    known.see(Sandbox("s2", known.name, Phase.PENDING, "creating"), T0 + timedelta(seconds=9))
    assert known.seen.phase_since == T0 + timedelta(seconds=9)


def test_order_calls_off_waiting_requests_and_a_request_ends_it() -> None:
    """A person's stop answers the requests before it; a request after it counts again."""
    known = memory()
    before = asked(known)
    give(known, Order.STOP, T0)
    assert (known.requests.is_waiting, known.requests.answers[before]) == (False, Answer(Outcome.STOPPED))
    after = asked(known)
    assert (known.orders.standing, known.requests.answers[after]) == (None, None)


def test_close_in_the_second_of_a_request_wins() -> None:
    """GitHub's times are whole seconds: a request half a second later cannot be told from an earlier one."""
    known = memory()
    known.told.request(T0 + timedelta(milliseconds=500))
    known.ask(T0)
    closed = Issue(id=7, state=IssueState.CLOSED, updated_at=T0, closed_at=T0)
    absorb(known, IssueEvent(closed, Intention.STOP), T0)
    assert not known.requests.is_waiting


def test_answer_is_given_once() -> None:
    """A caller that got the sandbox is not answered later that it was called off, nor the other way round.

    A stop, an event and a delete in one task once ended as *reused* without a sandbox.
    """
    known = memory()
    first, second = asked(known), 2
    known.requests.serve(first, REUSED)
    assert asked(known) == second
    give(known, Order.STOP, T0)
    third = asked(known)
    give(known, Order.DELETE, T0)
    assert list(known.requests.answers.values()) == [REUSED, Answer(Outcome.STOPPED), Answer(Outcome.DELETED)]
    known.requests.serve(third, REUSED)
    assert known.requests.answers[third] == Answer(Outcome.DELETED)


def test_blocked_request_is_answered_and_goes_on_waiting() -> None:
    """The caller gets the reason; the request itself is served when the block ends."""
    known = memory()
    ticket = asked(known)
    known.requests.answer(ticket, Answer(Outcome.BLOCKED))
    assert (known.requests.is_waiting, known.requests.answers[ticket]) == (True, Answer(Outcome.BLOCKED))


def test_goal_that_is_not_reached_is_work_and_a_reached_one_is_not() -> None:
    """The workflow sleeps exactly when there is nothing to do."""
    known = memory()
    assert not known.has_work
    known.progress.goal = Goal.STOPPED
    assert known.has_work
    known.progress.reached = Goal.STOPPED
    assert not known.has_work


def test_proof_that_it_never_ran_ends_when_it_is_seen_to_have_run() -> None:
    """Somebody started it by hand: an error after that may hide work."""
    known = memory()
    known.see(Sandbox("s1", known.name, Phase.UNBUILT, "error"), T0)
    known.see(Sandbox("s1", known.name, Phase.BROKEN, "error"), T0)
    assert known.builds.unbuilt_id == "s1"
    known.see(Sandbox("s1", known.name, Phase.USABLE, "started"), T0)
    assert known.builds.unbuilt_id == ""


def test_event_does_not_put_off_the_next_try_of_a_blocked_issue() -> None:
    """Eight comments on a blocked issue try it eight times; its own try comes when it would have come without them."""
    known = Memory(7, "claude-issue-7")
    known.block(Cause.UNREACHABLE, "away", T0, 0, lambda: 1.0)
    assert known.progress.blocked is not None
    first = known.progress.blocked
    for second in range(1, 9):
        known.block(Cause.UNREACHABLE, "away", T0 + timedelta(seconds=second), 0, lambda: 1.0)
        assert (known.progress.blocked.next_try_at, known.progress.blocked.tries) == (first.next_try_at, 1)
    known.block(Cause.UNREACHABLE, "away", T0 + timedelta(seconds=61), 0, lambda: 1.0)
    assert (known.progress.blocked.next_try_at, known.progress.blocked.tries) == (T0 + timedelta(seconds=181), 2)
    known.block(Cause.RATE_LIMITED, "slow down", T0 + timedelta(seconds=62), 600, lambda: 1.0)
    assert known.progress.blocked.next_try_at == T0 + timedelta(seconds=662)


def test_time_without_a_lookup_is_no_time_in_a_phase() -> None:
    """A phase that was seen a day ago and is seen again has lasted for as long as somebody looked."""
    seen = Seen()
    sandbox = Sandbox("a", "claude-issue-7", "starting", Phase.PENDING)
    seen.take(sandbox, T0)
    day = T0 + timedelta(days=1)
    seen.begin()
    seen.take(sandbox, day)
    assert seen.waited_s(day) == 0
    seen.take(sandbox, day + timedelta(seconds=9))
    assert seen.waited_s(day + timedelta(seconds=9)) == 9
