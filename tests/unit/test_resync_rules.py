"""What resync does about each combination of known and found, without any I/O."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from issuebox.domain.events import Intention
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.issue_source import Act, ActKind, Acts, ListedComment, ListedIssue, Presence, Reading
from issuebox.domain.known_issues import KnownIssue
from issuebox.domain.resync import (
    OVERLAP,
    RELISTED_MAX,
    SETTLED,
    TABLE,
    Answer,
    Mark,
    Reach,
    Standing,
    Window,
    authoritative,
    judge_absent,
    judge_comment,
    judge_comments,
    judge_issue,
)
from issuebox.domain.triggers import Association, Criteria

T0 = datetime(2026, 1, 1, tzinfo=UTC)
LATER = T0 + timedelta(minutes=5)
ISSUE = Issue(5, "octo/repo", 7, "A title", updated_at=LATER)
REOPENED = Acts((Act(8, ActKind.REOPENED, LATER, "octocat"),))
WINDOW = Window(T0)


def found(state: IssueState, created_at: datetime = LATER) -> ListedIssue:
    return ListedIssue(replace(ISSUE, state=state), created_at)


def known(standing: Standing) -> KnownIssue | None:
    if standing is Standing.UNKNOWN:
        return None
    if standing is Standing.UNREAD:
        return KnownIssue(Issue(5), is_published=False)
    return KnownIssue(replace(ISSUE, state=IssueState(standing.value), updated_at=T0))


EXPECTED = {
    (Standing.UNKNOWN, IssueState.OPEN): (Intention.ENSURE, "opened"),
    (Standing.UNREAD, IssueState.OPEN): (Intention.ENSURE, "opened"),
    (Standing.UNREAD, IssueState.CLOSED): (Intention.STOP, "closed"),
    (Standing.OPEN, IssueState.CLOSED): (Intention.STOP, "closed"),
    (Standing.CLOSED, IssueState.OPEN): (Intention.ENSURE, "reopened"),
}
"""Everything that is sent; every other combination is already known."""


@pytest.mark.parametrize("standing", Standing)
@pytest.mark.parametrize("state", [IssueState.OPEN, IssueState.CLOSED])
def test_each_row_of_the_table_sends_what_was_missed(standing: Standing, state: IssueState) -> None:
    """Every combination has its answer, and only a difference is sent."""
    judgement = judge_issue(found(state), known(standing), WINDOW, Criteria(), REOPENED)
    event = judgement.event
    assert (event and (event.intention, event.action)) == EXPECTED.get((standing, state))
    assert (judgement.answer is Answer.SENT) == (event is not None)
    assert event is None or (event.is_resync and not event.is_explicit and event.issue.state is state)


def test_table_is_total() -> None:
    """Every standing has a row, and every row has each state that GitHub lists."""
    assert set(TABLE) == set(Standing)
    assert all(set(row) == {IssueState.OPEN, IssueState.CLOSED} for row in TABLE.values())


@pytest.mark.parametrize(
    ("standing", "state"), [(Standing.OPEN, IssueState.CLOSED), (Standing.CLOSED, IssueState.OPEN)]
)
def test_state_older_than_the_known_one_is_not_sent(standing: Standing, state: IssueState) -> None:
    """A listing that lags behind brings nothing new."""
    newer = known(standing)
    assert newer is not None
    newer = replace(newer, issue=replace(newer.issue, updated_at=LATER + timedelta(seconds=1)))
    assert judge_issue(found(state), newer, WINDOW, Criteria()).answer is Answer.KNOWN


def test_delivery_names_issue_time_and_state() -> None:
    """The same find has the same ID; another state within the same second has another, and so has an act."""
    ids = {
        (judgement.event.delivery if judgement.event else "")
        for judgement in (
            judge_issue(found(IssueState.OPEN), None, WINDOW, Criteria()),
            judge_issue(found(IssueState.OPEN), known(Standing.CLOSED), WINDOW, Criteria()),
            judge_issue(found(IssueState.OPEN), known(Standing.CLOSED), WINDOW, Criteria(), REOPENED),
            judge_issue(found(IssueState.CLOSED), known(Standing.OPEN), WINDOW, Criteria()),
        )
    }
    stamp = int(LATER.timestamp())
    assert ids == {f"resync-5-{stamp}-open", f"resync-5-{stamp}-closed", "resync-event-8-open"}


ADMISSIONS: dict[str, tuple[Criteria, dict[str, object]]] = {
    "repository": (Criteria(allowed_repositories=("acme/*",)), {}),
    "association": (Criteria(min_association=Association.MEMBER), {"association": "CONTRIBUTOR"}),
    "required label": (Criteria(required_label="ready"), {}),
    "bot": (Criteria(), {"is_bot": True}),
}
"""Who may not ask, by the rule that says so."""


@pytest.mark.parametrize("rule", ADMISSIONS)
@pytest.mark.parametrize("standing", [Standing.UNKNOWN, Standing.CLOSED])
def test_whom_the_webhook_refuses_resync_refuses(rule: str, standing: Standing) -> None:
    """Waiting a quarter of an hour does not admit what was refused at once, nor do labels or reopening."""
    criteria, given = ADMISSIONS[rule]
    listed = replace(found(IssueState.OPEN), author="octocat", labels=("claude",), **given)
    judgement = judge_issue(listed, known(standing), WINDOW, criteria)
    assert judgement.answer is Answer.REFUSED
    # A workflow that knows the issue as closed still gets the snapshot that it is open.
    sent = judgement.event.intention if judgement.event else None
    assert sent is (Intention.IGNORE if standing is Standing.CLOSED else None)


@pytest.mark.parametrize(("edited_after_s", "answer"), [(1, Answer.SENT), (2, Answer.REFUSED), (60, Answer.REFUSED)])
def test_comment_that_was_edited_is_refused(edited_after_s: int, answer: Answer) -> None:
    """The webhook hears no edit. Within a second it is none: GitHub sometimes stamps a new comment so."""
    comment = replace(COMMENT, updated_at=LATER + timedelta(seconds=edited_after_s))
    assert judge_comment(comment, found(IssueState.OPEN), None, Criteria()).answer is answer


def test_comments_come_in_the_order_in_which_they_were_written() -> None:
    """GitHub lists them by their last update, and may stamp that of a new comment a second late."""
    second = timedelta(seconds=1)
    late = replace(COMMENT, id=10, updated_at=LATER + second)
    listed = [replace(COMMENT, id=12, created_at=LATER + second), replace(COMMENT, id=11), late]
    judged = judge_comments(listed, found(IssueState.OPEN), None, Criteria(run_on=("comment",)))
    assert [comment.id for comment, _ in judged] == [10, 11, 12]


@pytest.mark.parametrize("text", ["@claude", "@claude stop"])
def test_comment_on_a_pull_request_neither_asks_nor_stops(text: str) -> None:
    """GitHub tells with the issue, whatever the comment's address looks like."""
    comment, listed = replace(COMMENT, body=text, association="OWNER"), found(IssueState.OPEN)
    criteria, asked = Criteria(run_on=("comment",)), known(Standing.OPEN)
    assert judge_comment(comment, listed, asked, criteria).answer is Answer.SENT
    assert judge_comment(comment, replace(listed, is_pull_request=True), asked, criteria).answer is Answer.UNASKED


def test_who_may_ask_is_let_in() -> None:
    """The criteria that refuse others admit the right one: by repository, association and label."""
    criteria = Criteria(allowed_repositories=("octo/*",), min_association=Association.MEMBER, required_label="ready")
    listed = replace(found(IssueState.OPEN), author="octocat", association="MEMBER", labels=("ready",))
    assert judge_issue(listed, None, WINDOW, criteria).answer is Answer.SENT
    comment = replace(COMMENT, author="octocat", association="OWNER")
    assert judge_comment(comment, listed, None, criteria).answer is Answer.SENT
    for changed, issue in (
        (replace(comment, association="NONE"), listed),
        (replace(comment, is_bot=True), listed),
        (comment, replace(listed, labels=())),
        (comment, replace(listed, issue=replace(listed.issue, repository="acme/repo"))),
    ):
        assert judge_comment(changed, issue, None, criteria).answer is Answer.REFUSED


COMMENT = ListedComment(9, 7, "@claude go", LATER, LATER)


@pytest.mark.parametrize(
    ("closed_after_s", "answer"), [(None, Answer.SENT), (-1, Answer.SENT), (0, Answer.UNASKED), (1, Answer.UNASKED)]
)
def test_comment_counts_when_it_is_newer_than_the_close(closed_after_s: int | None, answer: Answer) -> None:
    """As the workflow judges it: closing with a comment creates both in the same second."""
    listed = found(IssueState.OPEN)
    if closed_after_s is not None:
        closed_at = LATER + timedelta(seconds=closed_after_s)
        listed = replace(listed, issue=replace(ISSUE, state=IssueState.CLOSED, closed_at=closed_at))
    assert judge_comment(COMMENT, listed, None, Criteria()).answer is answer


@pytest.mark.parametrize(
    ("newer_s", "answer"), [(None, Answer.SENT), (-1, Answer.SENT), (0, Answer.KNOWN), (1, Answer.KNOWN)]
)
def test_comment_counts_when_it_is_newer_than_the_known_request(newer_s: int | None, answer: Answer) -> None:
    """A newer request has already been served."""
    requested_at = None if newer_s is None else LATER + timedelta(seconds=newer_s)
    asked = KnownIssue(ISSUE, requested_at=requested_at)
    assert judge_comment(COMMENT, found(IssueState.OPEN), asked, Criteria()).answer is answer


@pytest.mark.parametrize("presence", Presence)
def test_absent_issue_ends_by_githubs_words_alone(presence: Presence) -> None:
    """Only GitHub's own answers mean deleted or transferred; *not found* proves nothing."""
    listed = found(IssueState.CLOSED) if presence is Presence.FOUND else None
    judgement = judge_absent(KnownIssue(ISSUE), Reading(presence, listed))
    expected = {
        Presence.FOUND: (Intention.STOP, IssueState.CLOSED),
        Presence.GONE: (Intention.DELETE, IssueState.DELETED),
        Presence.MOVED: (Intention.STOP, IssueState.TRANSFERRED),
    }
    event = judgement.event
    assert (event and (event.intention, event.issue.state)) == expected.get(presence)
    assert (judgement.answer is Answer.UNREADABLE) == (presence is Presence.UNKNOWN)
    issue = authoritative(ISSUE, Reading(presence, listed))
    assert (issue and issue.state) == (expected[presence][1] if presence in expected else None)


def test_another_issue_under_the_number_proves_nothing() -> None:
    """The number does not identify an issue."""
    reading = Reading(Presence.FOUND, replace(found(IssueState.CLOSED), issue=replace(ISSUE, id=6)))
    assert judge_absent(KnownIssue(ISSUE), reading).answer is Answer.UNREADABLE
    assert authoritative(ISSUE, reading) is None


def test_reach_keeps_its_etag_only_while_the_listing_stays_the_same_page() -> None:
    """A short listing is read again from the same time, with its ETag; a long one from its end, with overlap."""
    reach = Reach(T0, T0)
    assert reach.moved(LATER, RELISTED_MAX, "e", is_one_page=True) == Reach(LATER, T0, "e")
    assert reach.moved(LATER, RELISTED_MAX + 1, "e", is_one_page=True) == Reach(LATER, LATER - OVERLAP)
    assert reach.moved(LATER, 2, "e", is_one_page=False) == Reach(LATER, LATER - OVERLAP)
    assert reach.moved(LATER, 2, "", is_one_page=True) == Reach(LATER, LATER - OVERLAP)
    assert reach.moved(None, 0, "e", is_one_page=True) == Reach(T0, T0, "e")
    assert Reach(LATER, T0).moved(T0, 1, "e", is_one_page=True).to == LATER


def test_comments_are_covered_once_they_were_read_after_the_last_update() -> None:
    """Until a minute after an issue's update, its comment may be missing from the listing of comments."""
    mark = Mark(Reach(LATER, T0), Reach(T0, T0))
    assert not mark.covers_comments
    assert not replace(mark, comments_read_at=LATER + SETTLED - timedelta(seconds=1)).covers_comments
    assert replace(mark, comments_read_at=LATER + SETTLED).covers_comments
