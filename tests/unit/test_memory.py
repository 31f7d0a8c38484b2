"""How events change what is known: duplicates, late deliveries, requests on closed issues."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.memory import DELIVERIES_MAX, NOTES_MAX, Memory, Verdict, absorb
from issuebox.domain.phase import Goal, Phase
from issuebox.domain.sandbox import Sandbox

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def event(
    at_s: float,
    intention: Intention = Intention.ENSURE,
    *,
    state: IssueState = IssueState.OPEN,
    delivery: str | None = None,
    digest: str = "",
    explicit: bool = False,
) -> IssueEvent:
    moment = T0 + timedelta(seconds=at_s)
    return IssueEvent(
        issue=Issue(id=7, repository="o/r", number=1, state=state, updated_at=moment),
        intention=intention,
        delivery=f"d{at_s}-{intention}" if delivery is None else delivery,
        digest=digest,
        event="issues",
        action="opened",
        is_explicit=explicit,
        requested_at=moment,
    )


def closed(at_s: float) -> IssueEvent:
    return event(at_s, Intention.STOP, state=IssueState.CLOSED)


def memory() -> Memory:
    return Memory(7, "claude-issue-7")


def test_redelivery_is_taken_once() -> None:
    """The same X-GitHub-Delivery asks once, however often it arrives."""
    known = memory()
    verdicts = [absorb(known, event(1, delivery="a"), T0) for _ in range(3)]
    assert verdicts == [Verdict.TAKEN, Verdict.REPEATED, Verdict.REPEATED]
    assert known.asked == 1


def test_hook_registered_twice_is_taken_once() -> None:
    """The same body under two delivery IDs asks once."""
    known = memory()
    absorb(known, event(1, delivery="a", digest="x"), T0)
    assert absorb(known, event(1, delivery="b", digest="x"), T0) is Verdict.REPEATED
    assert known.asked == 1


def test_hand_sent_events_without_ids_are_never_taken_for_repetitions() -> None:
    """A signal from the `temporal` CLI has neither delivery nor digest; each one counts."""
    known = memory()
    for _ in range(2):
        absorb(known, event(1, delivery=""), T0)
    assert known.asked == 2


def test_late_opened_does_not_wake_a_closed_issue() -> None:
    """An event older than the close changes nothing and starts nothing."""
    known = memory()
    absorb(known, closed(10), T0)
    assert absorb(known, event(5), T0) is Verdict.LATE
    assert known.issue is not None
    assert (known.asked, known.goal, known.issue.state) == (0, Goal.STOPPED, IssueState.CLOSED)


def test_late_closed_does_not_stop_a_reopened_issue() -> None:
    """A close older than the newest snapshot is recorded as late."""
    known = memory()
    absorb(known, event(20), T0)
    assert absorb(known, closed(10), T0) is Verdict.LATE
    assert known.goal is Goal.RUNNING


def test_late_comment_on_an_open_issue_still_asks() -> None:
    """What a late event asks for is judged against the newest state."""
    known = memory()
    absorb(known, event(20), T0)
    assert absorb(known, event(5, explicit=True), T0) is Verdict.TAKEN


@pytest.mark.parametrize(("asked_at_s", "verdict"), [(9, Verdict.LATE), (10, Verdict.TAKEN), (11, Verdict.TAKEN)])
def test_explicit_request_on_a_closed_issue_is_served_when_newer(asked_at_s: int, verdict: Verdict) -> None:
    """A person's comment after the close starts the sandbox; one from before it does not."""
    known = memory()
    absorb(known, closed(10), T0)
    assert absorb(known, event(asked_at_s, state=IssueState.CLOSED, explicit=True), T0) is verdict


def test_nothing_wakes_a_deleted_issue() -> None:
    """An issue ID never comes back."""
    known = memory()
    absorb(known, event(5, Intention.DELETE, state=IssueState.DELETED), T0)
    assert absorb(known, event(9, explicit=True), T0) is Verdict.LATE
    assert known.goal is Goal.DELETED


def test_any_order_of_deliveries_ends_with_the_newest_state() -> None:
    """Opened, closed, reopened in every permutation, each twice: the newest snapshot wins."""
    story = [event(1), closed(2), event(3)]
    for order in itertools.permutations(story * 2):
        known = memory()
        for delivery in order:
            absorb(known, delivery, T0)
        assert known.issue is not None
        assert known.issue.state is IssueState.OPEN
        assert known.goal is Goal.RUNNING, [e.delivery for e in order]


def test_any_order_that_ends_closed_ends_closed() -> None:
    """The same with the close as the newest event: nothing older undoes it."""
    for order in itertools.permutations([event(1), closed(2), event(3), closed(4)]):
        known = memory()
        for delivery in order:
            absorb(known, delivery, T0)
        assert known.goal is Goal.STOPPED, [e.delivery for e in order]


def test_memory_is_bounded() -> None:
    """A million deliveries do not grow the memory beyond its limits."""
    known = memory()
    for number in range(3 * DELIVERIES_MAX):
        absorb(known, event(number, delivery=f"d{number}", digest=f"x{number}"), T0)
    assert len(known.deliveries) == len(known.digests) == DELIVERIES_MAX
    assert len(known.notes) == NOTES_MAX
    assert len(known.waiting) <= 64
    assert absorb(known, event(1, delivery=f"d{3 * DELIVERIES_MAX - 1}"), T0) is Verdict.REPEATED


def test_serving_a_ticket_leaves_later_requests_waiting() -> None:
    """A handover counts for those who asked before it was observed, not for later ones."""
    known = memory()
    first = known.ask("a")
    known.ask("b")
    known.serve(first)
    assert known.has_work
    assert known.waiting_deliveries == ("b",)
    known.serve(known.asked)
    assert not known.has_work
    assert known.waiting_deliveries == ()


def test_known_id_survives_a_not_found() -> None:
    """One 404 proves nothing, so the ID is kept for the next look."""
    known = memory()
    known.see(Sandbox("s1", known.name, Phase.USABLE, "started"), Phase.USABLE, T0)
    known.see(None, Phase.MISSING, T0)
    assert known.sandbox_id == "s1"
    assert known.sandbox is None


def test_time_in_a_phase_counts_from_its_first_sight() -> None:
    """Looking again does not restart the budget of a wait; another sandbox or phase does."""
    known = memory()
    pending = Sandbox("s1", known.name, Phase.PENDING, "creating")
    known.see(pending, Phase.PENDING, T0)
    known.see(pending, Phase.PENDING, T0 + timedelta(seconds=5))
    assert known.phase_since == T0
    known.see(Sandbox("s2", known.name, Phase.PENDING, "creating"), Phase.PENDING, T0 + timedelta(seconds=9))
    assert known.phase_since == T0 + timedelta(seconds=9)
