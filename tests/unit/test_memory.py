"""What the memory keeps: bounded, by ticket, and consistent with what lookups showed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.goal import give
from issuebox.domain.intake import Verdict, absorb
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.memory import (
    DELIVERIES_MAX,
    NOTES_MAX,
    Answer,
    Builds,
    Deliveries,
    Memory,
    Note,
    Order,
    Seen,
    Told,
)
from issuebox.domain.phase import REMEDIES, Cause, Goal, Outcome, Phase
from issuebox.domain.sandbox import LABEL_SET_UP, SET_UP_DONE, Sandbox
from issuebox.domain.unsaved_work import Inspection, LastInspection, WorkState

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


def test_goal_that_was_reached_is_work_again_when_it_is_blocked() -> None:
    """A later lookup shows a sandbox that the goal does not allow, and nothing can be done now: it is tried again."""
    known = memory()
    known.progress.goal = known.progress.reached = Goal.DELETED
    known.block(Cause.UNSAVED, "unsaved work", T0, 0, lambda: 1.0)
    assert known.has_work


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
    known.block(Cause.UNREACHABLE, "away", T0 + timedelta(seconds=60), 0, lambda: 1.0)
    assert (known.progress.blocked.next_try_at, known.progress.blocked.tries) == (T0 + timedelta(seconds=180), 2)
    assert (known.progress.blocked.since, known.notes[-1].what) == (T0, "blocked")
    known.block(Cause.RATE_LIMITED, "slow down", T0 + timedelta(seconds=62), 600, lambda: 1.0)
    assert known.progress.blocked.next_try_at == T0 + timedelta(seconds=662)
    for retry_after_s, next_s in ((5, 662), (900, 963)):
        # Daytona may ask for a longer pause, and cannot shorten one.
        known.block(Cause.RATE_LIMITED, "slow down", T0 + timedelta(seconds=63), retry_after_s, lambda: 1.0)
        assert known.progress.blocked.next_try_at == T0 + timedelta(seconds=next_s)
    known.block(Cause.CAPACITY, "full", T0 + timedelta(seconds=64), 0, lambda: 1.0)
    assert (known.progress.blocked.next_try_at, known.progress.blocked.tries) == (T0 + timedelta(seconds=544), 4)


@pytest.mark.parametrize("cause", [cause for cause in Cause if not REMEDIES[cause].passes])
def test_cause_that_does_not_pass_is_tried_on_request_alone(cause: Cause) -> None:
    """Each such try counts."""
    known = memory()
    for tries in (1, 2):
        known.block(cause, "why", T0, 0, lambda: 1.0)
        assert known.progress.blocked is not None
        assert (known.progress.blocked.next_try_at, known.progress.blocked.tries) == (None, tries)


def test_time_without_a_lookup_is_no_time_in_a_phase() -> None:
    """A phase that was seen a day ago and is seen again has lasted for as long as somebody looked."""
    seen = Seen()
    sandbox = Sandbox("a", "claude-issue-7", Phase.PENDING, "starting")
    seen.take(sandbox, T0)
    day = T0 + timedelta(days=1)
    seen.begin()
    seen.take(sandbox, day)
    assert seen.waited_s(day) == 0
    seen.take(sandbox, day + timedelta(seconds=9))
    assert seen.waited_s(day + timedelta(seconds=9)) == 9


def test_typed_memory_is_cut_to_its_limits() -> None:
    """Whoever starts a workflow by hand may type lists of any length; each new run carries them on."""
    texts = [str(number) for number in range(DELIVERIES_MAX + 1)]
    known = Deliveries(ids=list(texts), digests=list(texts))
    assert (known.ids, known.digests) == (texts[1:], texts[1:])
    notes = [Note(T0, str(number)) for number in range(NOTES_MAX + 1)]
    assert Memory(7, "claude-issue-7", notes=list(notes)).notes == notes[1:]


def test_newest_request_counts_whatever_arrives_last() -> None:
    """Deliveries come in any order; GitHub's times are in whole seconds."""
    told = Told()
    told.request(None)
    assert told.requested_at is None
    for at_s, newest_s in ((5.9, 5), (3, 5), (8, 8)):
        told.request(T0 + timedelta(seconds=at_s))
        assert told.requested_at == T0 + timedelta(seconds=newest_s)


@pytest.mark.parametrize(("closed_s", "requested_s"), [(None, 100), (50, 100), (120, 121)])
def test_request_made_now_comes_after_the_known_close(closed_s: int | None, requested_s: int) -> None:
    """Whatever GitHub's clock says: a close from its future does not win against it."""
    told = Told(closed_at=None if closed_s is None else T0 + timedelta(seconds=closed_s))
    told.request_now(T0 + timedelta(seconds=100))
    assert told.requested_at == T0 + timedelta(seconds=requested_s)
    assert told.is_requested_since_close == (closed_s is not None)


def test_requests_without_an_id_push_no_delivery_out() -> None:
    """People send them by hand; they are not taken for repetitions of each other."""
    known = Deliveries()
    known.remember("d1", "x1")
    for _ in range(DELIVERIES_MAX):
        assert not known.is_repeated("", "")
        known.remember("", "")
    assert known.is_repeated("d1", "")
    assert known.is_repeated("d2", "x1")


def test_answer_goes_to_nobody_who_asked_later() -> None:
    """Their own observation has not begun; and what was called off is not waited for again."""
    known = memory()
    first, second = asked(known), asked(known)
    known.requests.serve(first, REUSED)
    assert known.requests.answers == {first: REUSED, second: None}
    known.requests.serve(second, REUSED)
    known.requests.serve(first, REUSED)
    assert not known.requests.is_waiting


def test_log_names_the_last_delivery_that_waits() -> None:
    """A request from elsewhere has none, and does not hide it."""
    known = memory()
    known.ask(T0, "d1")
    known.ask(T0)
    assert known.requests.delivery == "d1"
    known.requests.serve(1, REUSED)
    assert known.requests.delivery == "d1"
    known.requests.serve(2, REUSED)
    assert known.requests.delivery == ""


def test_phase_is_known_after_the_first_lookup() -> None:
    """Before it, *missing* would be a guess."""
    seen = Seen()
    assert seen.waited_s(T0) == 0
    phases = [seen.phase]
    for found in (None, REUSED.sandbox):
        seen.take(found, T0)
        phases.append(seen.phase)
    assert phases == [None, Phase.MISSING, Phase.USABLE]


def test_failed_builds_in_a_row_are_counted_once_each() -> None:
    """Its delete may be sent again and again; the first sandbox that runs ends the count."""
    builds = Builds()
    for sandbox_id, failed in (("a", 1), ("a", 1), ("b", 2), ("b", 2)):
        builds.fail(sandbox_id)
        assert builds.failed == failed
    builds.unbuilt_id = "b"
    builds.see(RUNS)
    assert builds.unbuilt_id == "b", "another one"
    builds.succeed()
    assert (builds.failed, builds.unbuilt_id) == (0, "")
    builds.fail("c")
    assert builds.failed == 1


def test_create_is_open_until_its_sandbox_is_seen() -> None:
    """Daytona may execute it late: *not found* does not close it."""
    known = memory()
    known.builds.is_create_open = True
    known.see(None, T0)
    assert known.builds.is_create_open
    known.see(REUSED.sandbox, T0)
    assert not known.builds.is_create_open


@pytest.mark.parametrize(("outcome", "left"), [(Outcome.BLOCKED, None), (Outcome.CREATED, Outcome.CREATED)])
def test_end_of_a_block_leaves_no_trace_of_it(outcome: Outcome, left: Outcome | None) -> None:
    """An outcome from before the block stays true."""
    known = memory()
    known.block(Cause.QUOTA, "full", T0, 0, lambda: 1.0)
    known.progress.outcome = outcome
    known.progress.unblock()
    assert (known.progress.blocked, known.progress.outcome) == (None, left)


def test_order_to_look_is_work() -> None:
    """Also on an issue of which nothing is known but its end: an audit asks, and wants an answer."""
    known = memory()
    known.progress.reached = known.progress.goal
    assert not known.has_work
    known.orders.is_lookup_asked = True
    assert known.has_work
    known.told.ended_at = T0
    assert not known.is_only_told


def test_sandbox_that_was_seen_is_not_forgotten_with_the_issue() -> None:
    """The workflow of an issue that only ended asks Daytona nothing. Of this one a sandbox is known."""
    known = memory()
    known.told.ended_at = T0
    assert known.is_only_told
    known.see(REUSED.sandbox, T0)
    assert not known.is_only_told


RUNS = Sandbox("s1", "claude-issue-7", Phase.USABLE, "started")
MARKED = replace(RUNS, labels={LABEL_SET_UP: SET_UP_DONE})


@pytest.mark.parametrize(
    ("is_configured", "sandbox", "set_up_id", "is_set_up"),
    [
        (False, RUNS, "", True),
        (False, None, "", True),
        (True, None, "", True),
        (True, RUNS, "", False),
        (True, RUNS, "another", False),
        (True, RUNS, "s1", True),
        (True, MARKED, "", True),
        (True, replace(RUNS, labels={LABEL_SET_UP: "half"}), "", False),
    ],
)
def test_set_up_is_known_from_its_label_or_from_having_been_done(
    is_configured: bool, sandbox: Sandbox | None, set_up_id: str, is_set_up: bool
) -> None:
    """Of another sandbox neither says anything; where no set-up is configured, none is needed."""
    known = memory()
    known.policy = replace(known.policy, is_setup_configured=is_configured)
    known.seen.set_up_id = set_up_id
    assert known.is_set_up(sandbox) == is_set_up


@pytest.mark.parametrize(
    ("seen", "is_settled"),
    [
        (None, False),
        (RUNS, False),
        (replace(RUNS, phase=Phase.STOPPED), True),
        (replace(RUNS, phase=Phase.ARCHIVED), True),
        (replace(RUNS, phase=Phase.STOPPED, id="another"), False),
    ],
)
def test_inspection_is_settled_when_its_sandbox_is_first_seen_asleep(seen: Sandbox | None, is_settled: bool) -> None:
    """Activity in it after that moment makes the verdict stale; the moment does not move."""
    known = memory()
    known.settle_inspection(T0)
    known.last_inspection = LastInspection(Inspection(WorkState.CLEAN), "s1", is_quiet=False)
    known.see(seen, T0)
    for later_s in (1, 2):
        known.settle_inspection(T0 + timedelta(seconds=later_s))
        assert known.last_inspection.stopped_at == (T0 + timedelta(seconds=1) if is_settled else None)
