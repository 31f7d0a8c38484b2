"""How events change what is known: duplicates, late deliveries, requests on closed issues."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.goal import course, give
from issuebox.domain.intake import Verdict, absorb, correct
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.memory import AHEAD_MAX, CLOCKS_APART_MAX, Answer, Memory, Order
from issuebox.domain.phase import Goal, Outcome
from issuebox.domain.policy import Policy
from issuebox.domain.run import RequestKind, RunOutcome, RunRequest, RunTerms

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
    """The same X-GitHub-Delivery counts as one request, however often it arrives."""
    known = memory()
    verdicts = [absorb(known, event(1, delivery="a"), T0) for _ in range(3)]
    assert verdicts == [Verdict.TAKEN, Verdict.REPEATED, Verdict.REPEATED]
    assert known.requests.asked == 1


def test_note_names_who_sent_the_delivery() -> None:
    """*Why* answers with a login where GitHub gives one, and without one where it gives none."""
    known = memory()
    absorb(known, replace(event(1, delivery="a"), sender="mona"), T0)
    absorb(known, event(2, delivery="b"), T0)
    assert [note.reason for note in known.notes] == ["ensure: taken, by mona", "ensure: taken"]


def test_hook_registered_twice_is_taken_once() -> None:
    """The same body under two delivery IDs counts as one request."""
    known = memory()
    absorb(known, event(1, delivery="a", digest="x"), T0)
    assert absorb(known, event(1, delivery="b", digest="x"), T0) is Verdict.REPEATED
    assert known.requests.asked == 1


def test_hand_sent_events_without_ids_are_never_taken_for_repetitions() -> None:
    """A signal from the `temporal` CLI has neither delivery ID nor digest; each one counts."""
    known = memory()
    for _ in range(2):
        absorb(known, event(1, delivery=""), T0)
    assert known.requests.asked == 2


def test_late_opened_does_not_wake_a_closed_issue() -> None:
    """An event older than the close changes nothing and starts nothing."""
    known = memory()
    absorb(known, closed(10), T0)
    assert absorb(known, event(5), T0) is Verdict.LATE
    assert known.told.issue is not None
    assert (known.requests.asked, later(known), known.told.issue.state) == (0, Goal.STOPPED, IssueState.CLOSED)


def test_late_closed_does_not_stop_a_reopened_issue() -> None:
    """A close older than the newest snapshot is recorded as late."""
    known = memory()
    absorb(known, event(20), T0)
    assert absorb(known, closed(10), T0) is Verdict.LATE
    assert known.progress.goal is Goal.RUNNING


def test_late_comment_on_an_open_issue_still_asks() -> None:
    """A late event's request is judged against the newest state."""
    known = memory()
    absorb(known, event(20), T0)
    assert absorb(known, event(5, explicit=True), T0) is Verdict.TAKEN


@pytest.mark.parametrize(("asked_at_s", "verdict"), [(9, Verdict.LATE), (10, Verdict.LATE), (11, Verdict.TAKEN)])
def test_explicit_request_on_a_closed_issue_is_served_when_newer(asked_at_s: int, verdict: Verdict) -> None:
    """A person's comment after the close starts the sandbox; one from before it, or one that closed it, does not."""
    known = memory()
    absorb(known, closed(10), T0)
    assert absorb(known, event(asked_at_s, state=IssueState.CLOSED, explicit=True), T0) is verdict


def test_nothing_wakes_a_deleted_issue() -> None:
    """An issue ID never comes back."""
    known = memory()
    absorb(known, event(5, Intention.DELETE, state=IssueState.DELETED), T0)
    assert absorb(known, event(9, explicit=True), T0) is Verdict.LATE
    assert known.progress.goal is Goal.DELETED


def later(known: Memory) -> Goal:
    """The goal after the first time of the ladder has passed."""
    return course(known, T0 + timedelta(seconds=known.policy.closing.stop_after_s))[0]


def closed_by(*, at_s: float, updated_s: float, explicit: bool = False) -> IssueEvent:
    """A delivery of a closed issue with the time of the close, as GitHub sends it."""
    given = event(updated_s, state=IssueState.CLOSED, explicit=explicit)
    return replace(given, issue=replace(given.issue, closed_at=T0 + timedelta(seconds=at_s)))


def test_request_that_overtakes_an_older_close_keeps_its_sandbox() -> None:
    """A comment on the closed issue arrives before the older close: the close undoes nothing."""
    known = memory()
    assert absorb(known, closed_by(at_s=10, updated_s=20, explicit=True), T0) is Verdict.TAKEN
    assert absorb(known, closed(10), T0) is Verdict.LATE
    assert known.requests.is_waiting


def test_close_calls_off_the_requests_before_it() -> None:
    """Nothing is created for a request that was not served before the close."""
    known = memory()
    absorb(known, event(1), T0)
    known.requests.answers[1] = None
    absorb(known, closed(2), T0)
    assert not known.requests.is_waiting
    assert known.requests.answers[1] == Answer(Outcome.STOPPED)


def test_second_close_counts_its_timers_anew() -> None:
    """Closed, reopened, closed: the timers count from the last close, even if the reopening was missed."""
    known = memory()
    absorb(known, closed(10), T0)
    hour = timedelta(hours=1)
    absorb(known, closed(5000), T0 + hour)
    assert known.told.ended_at == T0 + hour


def test_redelivered_close_does_not_put_the_timers_off() -> None:
    """The same close under another delivery ID counts from its first arrival."""
    known = memory()
    absorb(known, closed(10), T0)
    absorb(known, replace(closed(10), delivery="again"), T0 + timedelta(hours=1))
    assert known.told.ended_at == T0


@pytest.mark.parametrize("state", [IssueState.TRANSFERRED, IssueState.DELETED])
@pytest.mark.parametrize("is_later", [True, False])
def test_issue_that_left_never_comes_back(state: IssueState, *, is_later: bool) -> None:
    """Whatever else arrives, and whenever: deleted and transferred are final."""
    known = memory()
    intention = Intention.DELETE if state is IssueState.DELETED else Intention.STOP
    absorb(known, event(10, intention, state=state), T0)
    absorb(known, event(20 if is_later else 5), T0)
    assert known.told.issue is not None
    assert (known.told.issue.state, known.requests.is_waiting) == (state, False)


def test_tie_goes_to_the_later_arrival_and_is_remembered() -> None:
    """Two snapshots of the same second disagree: the later arrival counts until GitHub has been asked."""
    known = memory()
    absorb(known, event(10), T0)
    absorb(known, closed(10), T0)
    assert known.told.issue is not None
    assert (known.told.issue.state, known.told.is_contradicted) == (IssueState.CLOSED, True)


@pytest.mark.parametrize("state", [IssueState.OPEN, IssueState.CLOSED])
def test_answer_of_github_settles_a_tie(state: IssueState) -> None:
    """GitHub's answer counts, in either direction."""
    known = memory()
    absorb(known, event(10), T0)
    absorb(known, closed(10), T0)
    correct(known, Issue(id=7, state=state, updated_at=T0 + timedelta(seconds=10)), T0)
    assert known.told.issue is not None
    assert (known.told.issue.state, known.told.is_contradicted) == (state, False)
    assert later(known) is (Goal.RUNNING if state is IssueState.OPEN else Goal.STOPPED)
    assert known.requests.is_waiting is (state is IssueState.OPEN)


@pytest.mark.parametrize(
    ("known_events", "found", "verdict"),
    [
        ([], event(1), Verdict.TAKEN),
        ([event(1)], event(1), Verdict.KNOWN),
        ([event(1)], event(2), Verdict.KNOWN),
        ([closed(1)], event(2), Verdict.TAKEN),
        ([closed(3)], event(2), Verdict.LATE),
        ([event(1)], closed(2), Verdict.RECORDED),
        ([closed(2)], closed(2), Verdict.KNOWN),
        ([event(1, explicit=True)], event(1, explicit=True), Verdict.KNOWN),
        ([event(1, explicit=True)], event(2, explicit=True), Verdict.TAKEN),
        ([event(1)], event(2, explicit=True), Verdict.TAKEN),
    ],
)
def test_resync_is_taken_only_where_it_is_news(
    known_events: list[IssueEvent], found: IssueEvent, verdict: Verdict
) -> None:
    """Resync uses delivery IDs of its own, so its events are compared with what is known, not with IDs."""
    known = memory()
    for each in known_events:
        absorb(known, each, T0)
    assert absorb(known, replace(found, delivery="resync", is_resync=True), T0) is verdict


@dataclass(frozen=True)
class Story:
    """What really happened to an issue, and its deliveries in the order of their arrival."""

    happened: tuple[IssueEvent, ...]
    arrived: tuple[IssueEvent, ...]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Up to eight things that happen to an issue, each delivered once or twice, in any order."""
    has_closed_at = draw(st.booleans())
    state, closed_at, happened = IssueState.OPEN, None, [event(0, delivery="0")]
    for at_s in range(1, draw(st.integers(1, 8))):
        moment = T0 + timedelta(seconds=at_s)
        flip = "close" if state is IssueState.OPEN else "reopen"
        what = draw(st.sampled_from([flip, flip, "comment", "comment", "transfer", "delete"]))
        if what == "close":
            state, closed_at = IssueState.CLOSED, moment
        elif what == "reopen":
            state, closed_at = IssueState.OPEN, None
        left = {"transfer": IssueState.TRANSFERRED, "delete": IssueState.DELETED}.get(what)
        intention = {"close": Intention.STOP, "transfer": Intention.STOP, "delete": Intention.DELETE}.get(what)
        given = event(
            at_s,
            intention or Intention.ENSURE,
            state=left or state,
            delivery=str(at_s),
            explicit=what == "comment",
        )
        shown = closed_at if has_closed_at else None
        happened.append(replace(given, issue=replace(given.issue, closed_at=shown)))
        if left:
            break
    twice = [each for each in happened for _ in range(draw(st.integers(1, 2)))]
    return Story(tuple(happened), tuple(draw(st.permutations(twice))))


def _wanted(happened: tuple[IssueEvent, ...]) -> tuple[IssueState, bool]:
    """The right end, from the whole story in order: the issue's state, and whether a request waits."""
    last = happened[-1].issue.state
    if last is not IssueState.CLOSED:
        return last, last is IssueState.OPEN
    close = max(index for index, each in enumerate(happened) if each.intention is Intention.STOP)
    return last, any(each.is_explicit for each in happened[close + 1 :])


@settings(max_examples=200, deadline=None)
@given(stories())
def test_any_order_of_deliveries_ends_as_the_newest_snapshot_wants(story: Story) -> None:
    """Duplicates and permutations change nothing: the end is the one of the story read in order."""
    known = memory()
    for delivery in story.arrived:
        absorb(known, delivery, T0)
    assert known.told.issue is not None
    assert (known.told.issue.state, known.requests.is_waiting) == _wanted(story.happened)
    if known.told.ended_at is not None and known.requests.is_waiting:
        assert later(known) is Goal.RUNNING  # No timer ends what is not handed over yet.
        known.hand_over(known.requests.asked, Answer(Outcome.STARTED), T0)
    goals = {IssueState.OPEN: Goal.RUNNING, IssueState.DELETED: Goal.DELETED}
    assert later(known) is goals.get(known.told.issue.state, Goal.STOPPED)


def facts(at_s: float, state: IssueState = IssueState.OPEN, action: str = "edited") -> IssueEvent:
    return replace(event(at_s, Intention.IGNORE, state=state), action=action)


@pytest.mark.parametrize("action", ["reopened", "edited", "created"])
def test_snapshot_alone_ends_the_close_and_asks_for_nothing(action: str) -> None:
    """Whoever sent the event, a newer *open* snapshot ends the timers of the close."""
    known = memory()
    for arrived in (event(1), closed(2)):
        absorb(known, arrived, T0)
    assert absorb(known, facts(3, action=action), T0) is Verdict.RECORDED
    assert (known.told.issue and known.told.issue.state, known.told.ended_at, known.progress.goal) == (
        IssueState.OPEN,
        None,
        Goal.RUNNING,
    )
    assert course(known, T0 + timedelta(days=400)) == (Goal.RUNNING, None)
    assert not known.requests.is_waiting


def test_snapshot_alone_reports_a_close_that_was_missed() -> None:
    """A comment on a closed issue starts the timers of the close and calls off waiting requests."""
    known = memory()
    absorb(known, event(1), T0)
    assert absorb(known, facts(2, IssueState.CLOSED), T0) is Verdict.RECORDED
    assert (known.told.ended_at, known.requests.is_waiting) == (T0, False)


@pytest.mark.parametrize(("at_s", "verdict"), [(1, Verdict.LATE), (2, Verdict.LATE), (3, Verdict.RECORDED)])
def test_snapshot_of_the_second_of_a_change_does_not_contradict_it(at_s: float, verdict: Verdict) -> None:
    """A comment in the second of the close may still carry the issue as open: the close counts."""
    known = memory()
    for arrived in (event(1), closed(2)):
        absorb(known, arrived, T0)
    assert absorb(known, facts(at_s), T0) is verdict
    assert (known.told.ended_at is None) == (verdict is Verdict.RECORDED)


def test_refused_reopening_of_the_second_of_the_close_counts() -> None:
    """The delivery of the change itself wins a tie by arriving later, even when its request is refused."""
    known = memory()
    for arrived in (event(1), closed(2)):
        absorb(known, arrived, T0)
    assert absorb(known, facts(2, action="reopened"), T0) is Verdict.RECORDED
    assert (known.told.ended_at, known.told.is_contradicted) == (None, True)


def test_busy_issue_crowds_out_no_request() -> None:
    """Comments are not remembered by ID: a redelivered request is recognized after any number of them."""
    known = memory()
    absorb(known, event(1, delivery="a"), T0)
    verdicts = {absorb(known, facts(2 + number), T0) for number in range(1000)}
    assert verdicts == {Verdict.UNCHANGED}
    assert (len(known.notes), known.deliveries.ids) == (1, ["a"])
    assert absorb(known, event(1, delivery="a"), T0) is Verdict.REPEATED


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize(
    ("asked_at_s", "taken_at_s", "verdict"),
    [
        (10, 200, Verdict.LATE),
        (97, 200, Verdict.LATE),
        # The clocks of GitHub and Temporal may be apart by so much: within it the request counts.
        (98, 200, Verdict.TAKEN),
        (101, 200, Verdict.TAKEN),
        # It waited for a worker together with the order, whose own time is not known then.
        (10, 100, Verdict.TAKEN),
    ],
)
def test_what_came_before_an_order_cannot_undo_it(
    order: Order, asked_at_s: int, taken_at_s: int, verdict: Verdict
) -> None:
    """A late delivery, or what resync finds, was already overruled by the person."""
    known = memory()
    absorb(known, event(1), T0)
    give(known, order, T0 + timedelta(seconds=100))
    asked = event(asked_at_s, explicit=True, delivery="late")
    assert absorb(known, asked, T0 + timedelta(seconds=taken_at_s)) is verdict
    is_undone = verdict is Verdict.TAKEN
    assert (known.orders.standing is None, known.progress.goal is Goal.RUNNING) == (is_undone, is_undone)


def test_time_far_ahead_makes_no_later_delivery_late() -> None:
    """One delivery with a wrong clock counts as of its arrival; the true ones after it count as well."""
    known = memory()
    ahead = event(400 * 86400)
    absorb(known, ahead, T0)
    now = T0 + timedelta(seconds=60)
    assert absorb(known, closed(60), now) is Verdict.RECORDED
    assert known.told.issue is not None
    assert (known.told.issue.state, known.progress.goal) == (IssueState.CLOSED, Goal.RUNNING)
    assert known.told.ended_at == now


def test_request_by_an_update_is_after_the_close_that_is_known() -> None:
    """Temporal's clock may be behind GitHub's: who asks on a closed issue is not called off by the same close."""
    known = memory()
    absorb(known, closed(100), T0)
    known.told.request_now(T0)
    assert known.told.is_requested_since_close


def test_request_of_a_person_here_counts_from_its_arrival() -> None:
    """REST and the command line give no time of GitHub's: their own clock may lag behind it."""
    known = memory()
    absorb(known, closed(10), T0 + timedelta(seconds=8))
    asked = IssueEvent(Issue(7), delivery="cli-1", event="cli", action="ensure", is_explicit=True)
    assert absorb(known, asked, T0 + timedelta(seconds=9)) is Verdict.TAKEN
    assert known.told.is_requested_since_close
    assert course(known, T0 + timedelta(seconds=9))[0] is Goal.RUNNING


def test_request_of_a_person_here_leaves_the_facts_alone() -> None:
    """Whoever asks by REST or the command line tells nothing of the issue's state: it stays closed."""
    known = memory()
    absorb(known, closed(10), T0)
    absorb(known, IssueEvent(Issue(7), delivery="cli-1", event="cli", action="ensure", is_explicit=True), T0)
    assert known.told.issue is not None
    assert known.told.issue.state is IssueState.CLOSED


def worked_on() -> Memory:
    """With an agent set up."""
    return Memory(7, "claude-issue-7", policy=Policy(runs=RunTerms(is_configured=True)), policy_hash="set up")


def asking(at_s: float, kind: RequestKind = RequestKind.COMMENT, *, is_resync: bool = False) -> IssueEvent:
    """A comment, or a label for a *start*, which has no key, as its delivery brings it or resync finds it."""
    key = "" if kind is RequestKind.START else f"comment-{at_s}"
    asked = event(at_s, Intention.IGNORE if kind is RequestKind.CANCEL else Intention.ENSURE, explicit=True)
    request = RunRequest(kind, key, "ann", "@claude", at=asked.requested_at)
    return replace(asked, delivery=f"{kind}-{at_s}-{is_resync}", request=request, is_resync=is_resync)


def keys(known: Memory) -> list[str]:
    return [request.key for request in known.runs.queue]


def test_missed_request_for_work_is_news_whatever_came_since() -> None:
    """Its key says what it is. A newer request hides none, and nothing is taken twice."""
    known = worked_on()
    absorb(known, asking(9), T0)
    verdicts = [absorb(known, asking(at_s, is_resync=True), T0) for at_s in (5, 7, 5, 9)]
    assert verdicts == [Verdict.TAKEN, Verdict.TAKEN, Verdict.REPEATED, Verdict.KNOWN]
    absorb(known, asking(7), T0)
    assert keys(known) == ["comment-9", "comment-5", "comment-7"]


def test_missed_request_from_before_the_close_is_late() -> None:
    """The close called it off, as it would have done."""
    known = worked_on()
    absorb(known, closed(6), T0)
    assert absorb(known, asking(5, is_resync=True), T0) is Verdict.LATE
    assert absorb(known, asking(7, is_resync=True), T0) is Verdict.TAKEN
    assert keys(known) == ["comment-7"]


@pytest.mark.parametrize(("later_s", "verdict"), [(0, Verdict.KNOWN), (2, Verdict.KNOWN), (3, Verdict.TAKEN)])
def test_label_that_resync_dates_a_moment_later_begins_no_second_run(later_s: float, verdict: Verdict) -> None:
    """It has no key, and GitHub's list of events may be a second apart from what the delivery said."""
    known = worked_on()
    absorb(known, asking(5, RequestKind.START), T0)
    run = known.runs.next_run(7, "s", T0)
    run.close(RunOutcome.DONE, "", T0)
    assert timedelta(seconds=2) == CLOCKS_APART_MAX
    assert absorb(known, asking(5 + later_s, RequestKind.START, is_resync=True), T0) is verdict
    assert len(keys(known)) == (verdict is Verdict.TAKEN)


def test_stop_counts_before_and_after_what_it_is_about() -> None:
    """It may come first, late, and again: with the request that it calls off nothing begins."""
    known = worked_on()
    for _ in range(2):
        absorb(known, asking(6, RequestKind.CANCEL), T0)
        absorb(known, asking(5), T0)
        absorb(known, asking(7), T0)
    assert keys(known) == ["comment-7"]
    assert [(each.key, each.reason) for each in known.runs.refused] == [("comment-5", "somebody called it off")]
    assert [note.what for note in known.notes].count("cancel of the runs") == 0
    absorb(known, asking(8, RequestKind.CANCEL, is_resync=True), T0)
    assert keys(known) == []
    assert [note.what for note in known.notes].count("cancel of the runs") == 1


def test_stop_from_far_ahead_counts_from_its_arrival() -> None:
    """A wrong clock would call all requests off for as long as it is ahead."""
    known, now = worked_on(), T0 + timedelta(minutes=1)
    absorb(known, asking(AHEAD_MAX.total_seconds() + 61, RequestKind.CANCEL), now)
    assert known.runs.called_off_at == now
    absorb(known, asking(61), now)
    assert keys(known) == ["comment-61"]


LATE_FOR: dict[str, tuple[Callable[[Memory], object], str]] = {
    "a close": (lambda known: absorb(known, closed(6), T0), "the issue was closed after that"),
    "a delete of the issue": (
        lambda known: absorb(known, event(6, Intention.DELETE, state=IssueState.DELETED), T0),
        "the issue was deleted after that",
    ),
    "an order": (
        lambda known: give(known, Order.STOP, T0 + timedelta(seconds=8)),
        "an order to stop the sandbox came after that",
    ),
}


@pytest.mark.parametrize("what", LATE_FOR)
def test_request_that_comes_after_what_ended_it_is_refused_with_the_reason(what: str) -> None:
    """Each request has a receipt, once, and what brings it again changes nothing, even when the issue is open again."""
    ends, reason = LATE_FOR[what]
    known = worked_on()
    absorb(known, event(1), T0)
    ends(known)
    late = T0 + timedelta(seconds=20)
    assert absorb(known, asking(5), late) is Verdict.LATE
    absorb(known, asking(5, is_resync=True), late)
    absorb(known, replace(asking(5), delivery="by another hook"), late)
    assert [(each.key, each.reason) for each in known.runs.refused] == [("comment-5", reason)]
    absorb(known, event(30), late)
    absorb(known, replace(asking(5), delivery="once more"), late)
    assert keys(known) == []
    assert len(known.runs.refused) == 1


def test_late_request_leaves_nothing_where_no_agent_is_set_up() -> None:
    known = memory()
    known.policy_hash = "set up"
    absorb(known, closed(6), T0)
    absorb(known, asking(5), T0)
    assert known.runs.refused == []
