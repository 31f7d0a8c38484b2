"""Who labelled, assigned or reopened: resync decides by the person who acted, as the webhook does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.issue import IssueState
from issuebox.domain.triggers import Association, Criteria
from proofs.github_api import Mishap, account
from tests.resync.conftest import Served, Stack, at

BOT = account("helper[bot]", "Bot")
MAINTAINER = account("maintainer")
STRICT = Criteria(min_association=Association.COLLABORATOR, login="claude-bot")
"""The issue's author, who has the association NONE, may not ask."""

Person = dict[str, Any]


async def requested(stack: Stack, issue_id: int) -> IssueEvent:
    """The one event that resync sent."""
    (event,) = [event for event in await stack.events(issue_id) if event.is_resync]
    assert event.intention is Intention.ENSURE
    return event


async def test_label_by_a_bot_is_no_request(stack: Stack, issue_id: int) -> None:
    """The webhook says that bots cannot ask, and the next resync says the same."""
    stack.github.issue(issue_id, 7, at=at(-9000))
    stack.github.label(7, "claude", at=at(5), by=BOT)
    with capture_logs() as lines:
        report = await stack.run()
    assert (report.counts.sent, report.counts.refused) == (0, 1)
    assert await stack.events(issue_id) == []
    (line,) = [line for line in lines if line["event"] == "resync_refused"]
    assert (line["number"], line["reason"]) == (7, "bots cannot ask for a sandbox")


async def test_label_by_a_maintainer_asks_for_the_issue_of_a_stranger(serve: Served, issue_id: int) -> None:
    """The lost delivery would have been taken, so resync takes it: as explicit, made when the label was put on."""
    stack = await serve(STRICT)
    stack.github.issue(issue_id, 7, at=at(5))
    stack.github.label(7, "claude", at=at(6), by=MAINTAINER)
    assert (await stack.run()).counts.sent == 1
    event = await requested(stack, issue_id)
    assert (event.action, event.is_explicit, event.requested_at) == ("labeled", True, at(6))
    assert event.delivery == f"resync-event-{stack.github.last_event_id}-open"
    assert (await stack.run()).counts.sent == 0


@pytest.mark.parametrize(("by", "intention"), [(MAINTAINER, Intention.ENSURE), (BOT, None), (None, None)])
async def test_assignment_counts_by_who_assigned(
    serve: Served, issue_id: int, by: Person | None, intention: Intention | None
) -> None:
    """GitHub names the assignee as the actor of an assignment. The one who assigned it counts, if he is known."""
    stack = await serve(STRICT)
    stack.github.issue(issue_id, 7, at=at(5))
    stack.github.assign(7, "claude-bot", at=at(6), by=by)
    report = await stack.run()
    assert await stack.missed(issue_id) == ([(intention, "assigned")] if intention else [])
    assert report.counts.refused == (0 if intention else 1)


REOPENINGS = [
    ("a bot", Criteria(), BOT, Intention.IGNORE),
    ("the author", Criteria(), None, Intention.ENSURE),
    ("an author who may not ask", STRICT, None, Intention.IGNORE),
    ("a maintainer", STRICT, MAINTAINER, Intention.ENSURE),
]


@pytest.mark.parametrize(
    ("criteria", "by", "intention"), [row[1:] for row in REOPENINGS], ids=[row[0] for row in REOPENINGS]
)
async def test_reopening_counts_by_who_reopened(
    serve: Served, issue_id: int, criteria: Criteria, by: Person | None, intention: Intention
) -> None:
    """The request is taken or refused as by the webhook. Either way the workflow learns that the issue is open."""
    stack = await serve(criteria)
    stack.github.issue(issue_id, 7, at=at(-9000))
    stack.github.change(7, at=at(1), state="closed")
    await stack.deliver(issue_id, 7, IssueState.CLOSED, updated_at=at(1))
    stack.github.change(7, at=at(5), state="open", by=by)
    report = await stack.run()
    assert await stack.missed(issue_id) == [(intention, "reopened")]
    assert report.counts.refused == (1 if intention is Intention.IGNORE else 0)
    assert (await stack.events(issue_id))[-1].issue.state is IssueState.OPEN
    assert (await stack.run()).counts.sent == 0


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize(("by", "is_taken"), [(MAINTAINER, True), (BOT, False)], ids=["maintainer", "bot"])
async def test_label_on_a_closed_issue_asks(
    stack: Stack, issue_id: int, by: Person, *, is_known: bool, is_taken: bool
) -> None:
    """A person's label after the close is an explicit request. The event carries the closed issue."""
    stack.github.issue(issue_id, 7, at=at(-9000))
    stack.github.change(7, at=at(1), state="closed")
    if is_known:
        await stack.deliver(issue_id, 7, IssueState.CLOSED, updated_at=at(1))
    stack.github.label(7, "claude", at=at(5), by=by)
    report = await stack.run()
    assert (report.counts.sent, report.counts.refused) == ((1, 0) if is_taken else (0, 1))
    if is_taken:
        event = await requested(stack, issue_id)
        assert (event.is_explicit, event.requested_at, event.issue.state) == (True, at(5), IssueState.CLOSED)
        assert event.issue.closed_at == at(1)
    assert (await stack.run()).counts.sent == 0


async def test_label_on_an_issue_that_is_known_as_open_asks(stack: Stack, issue_id: int) -> None:
    """The sandbox may rest: a later delivery told the issue's newest state, but the label asks for the sandbox."""
    stack.github.issue(issue_id, 7, at=at(-9000))
    stack.github.label(7, "claude", at=at(5), by=MAINTAINER)
    stack.github.change(7, at=at(6))
    await stack.deliver(issue_id, 7, updated_at=at(6), requested_at=at(1), is_explicit=True)
    assert (await stack.run()).counts.sent == 1
    event = await requested(stack, issue_id)
    assert (event.action, event.is_explicit, event.requested_at) == ("labeled", True, at(5))
    assert (await stack.run()).counts.sent == 0


async def test_label_of_long_ago_asks_no_known_issue_again(stack: Stack, issue_id: int) -> None:
    """A comment about something else does not make the label on the issue a new request."""
    stack.github.issue(issue_id, 7, at=at(-9000), labels=[{"name": "claude"}])
    stack.github.comment(501, 7, "thanks", at=at(5))
    await stack.deliver(issue_id, 7, updated_at=at(-9000))
    assert (await stack.run()).counts.sent == 0


async def test_comment_that_was_edited_asks_for_nothing(stack: Stack, issue_id: int) -> None:
    """What a comment said when it was posted is not known, and the webhook hears no edits."""
    await stack.deliver(issue_id, 7, updated_at=at(6))
    stack.github.issue(issue_id, 7, at=at(0))
    stack.github.comment(501, 7, "please @claude", at=at(5), updated_at="2026-01-01T00:06:00Z")
    report = await stack.run()
    assert (report.counts.sent, report.counts.refused) == (0, 1)
    # GitHub sometimes stamps a new comment a second later: that is no edit.
    stack.github.comment(502, 7, "please @claude", at=at(7), updated_at="2026-01-01T00:07:01Z")
    assert (await stack.run()).counts.sent == 1


async def test_label_before_a_close_asks_for_nothing(stack: Stack, issue_id: int) -> None:
    """The close called that request off; the bot that reopened the issue may not ask."""
    stack.github.issue(issue_id, 7, at=at(-9000))
    stack.github.label(7, "claude", at=at(5), by=MAINTAINER)
    stack.github.change(7, at=at(6), state="closed")
    stack.github.change(7, at=at(7), state="open", by=BOT)
    report = await stack.run()
    assert (report.counts.sent, report.counts.refused) == (0, 1)


async def test_reopening_of_an_unknown_issue_asks(serve: Served, issue_id: int) -> None:
    """A maintainer reopens a stranger's issue: the webhook would have started its workflow."""
    stack = await serve(STRICT)
    stack.github.issue(issue_id, 7, at=at(-9000))
    stack.github.change(7, at=at(-8000), state="closed")
    stack.github.change(7, at=at(5), state="open", by=MAINTAINER)
    await stack.run()
    assert await stack.missed(issue_id) == [(Intention.ENSURE, "reopened")]


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_events_that_github_does_not_show_are_no_request(stack: Stack, issue_id: int, status: int) -> None:
    """Nothing is taken that the webhook might have refused; what is known of the issue is still sent."""
    stack.github.issue(issue_id, 7, at=at(-9000))
    stack.github.label(7, "claude", at=at(5), by=MAINTAINER)
    closed_id = issue_id + 1_000_000
    stack.github.issue(closed_id, 8, at=at(6))
    await stack.deliver(closed_id, 8, IssueState.CLOSED)
    stack.github.mishaps = [Mishap("/events", status, times=99)]
    report = await stack.run()
    assert (report.error, report.counts.sent, report.counts.refused) == ("", 0, 2)
    assert await stack.events(issue_id) == []
    assert await stack.missed(closed_id) == [(Intention.IGNORE, "reopened")]


async def test_outage_while_events_are_read_loses_nothing(stack: Stack, issue_id: int) -> None:
    """An outage is no answer: the issue is judged when GitHub answers again."""
    stack.github.issue(issue_id, 7, at=at(-9000))
    stack.github.label(7, "claude", at=at(5), by=MAINTAINER)
    stack.github.mishaps = [Mishap("/events", 503)]
    report = await stack.run()
    assert (report.error, report.counts.sent, report.counts.listed) == ("", 1, 1)


async def test_ordinary_resync_reads_no_events(stack: Stack, issue_id: int) -> None:
    """Only a row whose answer depends on who acted costs a request more."""
    ids = [issue_id + n * 1_000_000 for n in range(7)]
    github = stack.github
    # Opened by somebody who may ask, whatever it carries; old and plain; a bot's; closed; known as open, and served.
    github.issue(ids[0], 1, at=at(5), labels=[{"name": "claude"}])
    github.issue(ids[1], 2, at=at(-9000), labels=[{"name": "bug"}], updated_at="2026-01-01T00:05:00Z")
    github.issue(ids[2], 3, at=at(6), user=BOT)
    github.issue(ids[3], 4, at=at(-9000), labels=[{"name": "claude"}])
    github.change(4, at=at(7), state="closed")
    github.issue(ids[4], 5, at=at(-9000), updated_at="2026-01-01T00:08:00Z")
    await stack.deliver(ids[4], 5)
    github.issue(ids[5], 6, at=at(-9000))
    github.label(6, "claude", at=at(9), by=MAINTAINER)
    await stack.deliver(ids[5], 6, updated_at=at(9), requested_at=at(9), is_explicit=True)
    github.issue(ids[6], 7, at=at(-9000))
    github.change(7, at=at(10), state="closed")
    await stack.deliver(ids[6], 7)
    report = await stack.run()
    assert github.requests("/events") == []
    assert (report.counts.requests, report.counts.listed) == (2, 7)
    # Somebody opened the old, plain issue to a bot's label: this row alone costs a request.
    github.label(2, "claude", at=at(20), by=BOT)
    assert (await stack.run()).counts.requests == 3
    assert [asked.path for asked in github.requests("/events")] == ["/repos/octo/repo/issues/2/events"]


async def test_newest_pages_of_a_long_history_are_read(stack: Stack, issue_id: int) -> None:
    """The newest events matter: the last pages are read, and no more than three of them."""
    github = stack.github
    github.page_size_max = 2
    github.issue(issue_id, 7, at=at(-9000))
    github.mention(7, at=at(-9000), times=20)
    github.label(7, "claude", at=at(5), by=MAINTAINER)
    other_id = issue_id + 1_000_000
    github.issue(other_id, 8, at=at(-9000), labels=[{"name": "claude"}])
    github.mention(8, at=at(-9000), times=20)
    github.change(8, at=at(6))
    report = await stack.run()
    assert await stack.missed(issue_id) == [(Intention.ENSURE, "labeled")]
    # Who put the label on the other one is too long ago to be read.
    assert (report.counts.sent, report.counts.refused) == (1, 1)
    pages = [asked.query.get("page", "1") for asked in github.requests("/8/events")]
    assert pages == ["1", "11", "10", "9"]


async def test_reading_back_ends_at_what_is_known(stack: Stack, issue_id: int) -> None:
    """Only acts after the known close can have reopened the issue, so no older page is read."""
    github = stack.github
    github.page_size_max = 2
    github.issue(issue_id, 7, at=at(-9000))
    github.mention(7, at=at(-9000), times=20)
    github.change(7, at=at(1), state="closed")
    await stack.deliver(issue_id, 7, IssueState.CLOSED, updated_at=at(1) + timedelta(seconds=1))
    github.change(7, at=at(5), state="open")
    await stack.run()
    assert await stack.missed(issue_id) == [(Intention.ENSURE, "reopened")]
    assert [asked.query.get("page", "1") for asked in github.requests("/events")] == ["1", "11"]
