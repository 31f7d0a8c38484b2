"""Missed requests for the agent: each comes after all, once and in order, and what was called off does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.issue import Issue
from issuebox.domain.run import QUEUE_MAX, RequestKind, RunRequest, comment_key
from issuebox.domain.triggers import Criteria
from proofs.github_api import account
from tests.resync.conftest import REPOSITORY, Served, Stack, at

WITH_RUNS = Criteria(run_on=("label", "comment"))
MAINTAINER = account("maintainer")
NUMBER = 7
BODY = "It crashes on start."


@dataclass(frozen=True)
class Said:
    """A comment: its ID, the minute in which it was written, and by whom."""

    id: int
    minute: float
    text: str = "@claude go on"
    association: str = "COLLABORATOR"

    @property
    def kind(self) -> RequestKind:
        return RequestKind.CANCEL if self.text == STOP else RequestKind.COMMENT

    def delivery(self, issue_id: int) -> IssueEvent:
        """The event that its delivery makes: `api.payload`."""
        request = RunRequest(
            self.kind, comment_key(self.id), "maintainer", self.text, body=BODY, comment_id=self.id, at=at(self.minute)
        )
        return IssueEvent(
            Issue(issue_id, REPOSITORY, NUMBER, f"Issue {NUMBER}", updated_at=at(self.minute)),
            Intention.IGNORE if self.kind is RequestKind.CANCEL else Intention.ENSURE,
            f"guid-{self.id}", event="issue_comment", action="created",
            is_explicit=self.kind is RequestKind.COMMENT, requested_at=at(self.minute), request=request,
        )  # fmt: skip


STOP = "@claude stop"
FIRST, SECOND, THIRD = Said(501, 4), Said(503, 7), Said(504, 8)
STRANGER = Said(502, 5, association="NONE")
CALLED_OFF = Said(505, 6, STOP)
EARLIER, LATER = Said(506, 3), Said(507, 9)


@pytest.fixture
async def stack(serve: Served, issue_id: int) -> Stack:
    """An agent is set up, and the opening of the issue was delivered."""
    stack = await serve(WITH_RUNS)
    await stack.deliver(issue_id, NUMBER, updated_at=at(1))
    stack.github.issue(issue_id, NUMBER, at=at(1), body=BODY)
    return stack


def say(stack: Stack, *said: Said, **given: object) -> None:
    for one in said:
        given_by = {"user": MAINTAINER, "author_association": one.association} | given
        stack.github.comment(one.id, NUMBER, one.text, at=at(one.minute), **given_by)


async def deliver(stack: Stack, issue_id: int, *said: Said) -> None:
    for one in said:
        await stack.known.deliver(one.delivery(issue_id))


async def became(stack: Stack, issue_id: int) -> list[tuple[str, str]]:
    """The requests, and what became of them."""
    return [(receipt.key, receipt.state) for receipt in await stack.receipts(issue_id)]


def waiting(*said: Said) -> list[tuple[str, str]]:
    return [(comment_key(one.id), "waiting") for one in said]


async def sent(stack: Stack, issue_id: int) -> list[str]:
    return [event.delivery for event in await stack.events(issue_id) if event.is_resync]


async def test_each_missed_comment_is_a_request_of_its_own(stack: Stack, issue_id: int) -> None:
    """Also those before a request that was delivered; whoever may not ask for runs is not heard. Once, in order."""
    say(stack, FIRST, STRANGER, SECOND, THIRD, LATER)
    await deliver(stack, issue_id, LATER)
    report = await stack.run()
    assert await became(stack, issue_id) == waiting(LATER, FIRST, SECOND, THIRD)
    assert await sent(stack, issue_id) == [f"resync-comment-{one.id}" for one in (FIRST, SECOND, THIRD)]
    assert (report.counts.sent, report.counts.known) == (3, 3)
    assert (await stack.run()).counts.sent == 0
    await deliver(stack, issue_id, FIRST, THIRD)
    assert await became(stack, issue_id) == waiting(LATER, FIRST, SECOND, THIRD)


async def test_missed_comment_asks_what_its_delivery_would_have_asked(stack: Stack, issue_id: int) -> None:
    """With the text of the issue: the agent has no other."""
    say(stack, FIRST)
    await stack.run()
    [event] = [event for event in await stack.events(issue_id) if event.is_resync]
    assert event.request == FIRST.delivery(issue_id).request


async def test_what_was_delivered_costs_one_read_of_its_issue(stack: Stack, issue_id: int) -> None:
    """Nothing was missed: no event is sent, and an issue is read once, however many comments ask."""
    say(stack, FIRST, STRANGER, CALLED_OFF, SECOND, THIRD)
    await deliver(stack, issue_id, FIRST, CALLED_OFF, SECOND, THIRD)
    stack.github.forget()
    report = await stack.run()
    assert (report.counts.sent, report.counts.refused) == (0, 0)
    assert [asked.path.removeprefix("/repos/octo/repo") for asked in stack.github.asked] == [
        "/issues", "/issues/comments", "/issues/7"
    ]  # fmt: skip
    assert await sent(stack, issue_id) == []
    assert [key for key, state in await became(stack, issue_id) if state == "waiting"] == [
        comment_key(SECOND.id), comment_key(THIRD.id)
    ]  # fmt: skip


PARTS = {
    "none": (), "501": (FIRST,), "stop": (CALLED_OFF,), "503": (SECOND,), "501 and stop": (FIRST, CALLED_OFF),
    "501 and 503": (FIRST, SECOND), "stop and 503": (CALLED_OFF, SECOND), "503 and 501": (SECOND, FIRST),
}  # fmt: skip


@pytest.mark.parametrize("delivered", PARTS.values(), ids=PARTS)
async def test_stop_ends_what_was_asked_before_it_and_nothing_else(
    stack: Stack, issue_id: int, delivered: Sequence[Said]
) -> None:
    """Whichever of the three was delivered, and in whichever order it came."""
    say(stack, FIRST, CALLED_OFF, SECOND)
    await deliver(stack, issue_id, *delivered)
    await stack.run()
    assert dict(await became(stack, issue_id)) == {comment_key(FIRST.id): "refused", comment_key(SECOND.id): "waiting"}
    report = await stack.run()
    assert report.counts.sent == 0


async def test_requests_on_several_pages_come_in_order(stack: Stack, issue_id: int) -> None:
    """Each page is read when the one before it was sent. What it repeats of that one is not read again."""
    said = (EARLIER, FIRST, CALLED_OFF, SECOND, THIRD)
    say(stack, *said, Said(509, 10, "thanks"))
    stack.github.page_size_max = 2
    report = await stack.run()
    assert await sent(stack, issue_id) == [f"resync-comment-{one.id}" for one in said]
    pages, reads = (len(stack.github.requests(ending)) for ending in ("/comments", f"/issues/{NUMBER}"))
    assert (pages, reads) == (5, 4)
    assert [state for _, state in await became(stack, issue_id)] == ["refused", "refused", "waiting", "waiting"]
    assert report.counts.sent == len(said)


@pytest.mark.parametrize("edited", [FIRST, CALLED_OFF])
async def test_comment_that_was_edited_or_deleted_asks_for_nothing(stack: Stack, issue_id: int, edited: Said) -> None:
    """An edit may be anybody's, and GitHub shows no other text. The refusal is logged; what was delivered is known."""
    say(stack, EARLIER)
    say(stack, edited, updated_at="2026-01-01T00:30:00Z")
    say(stack, SECOND, updated_at="2026-01-01T00:30:00Z")
    say(stack, THIRD)
    del stack.github.repository().comments[-1]
    await deliver(stack, issue_id, SECOND)
    with capture_logs() as lines:
        report = await stack.run()
    assert await became(stack, issue_id) == waiting(SECOND, EARLIER)
    assert (report.counts.sent, report.counts.refused) == (1, 1)
    [line] = [line for line in lines if line["event"] == "resync_refused"]
    assert line["reason"] == "the comment was edited: what it said at first is not known"


async def test_stop_by_a_stranger_stops_nothing(stack: Stack, issue_id: int) -> None:
    """Whoever may not ask for runs may not call them off."""
    say(stack, FIRST, Said(508, 10, STOP, "NONE"))
    with capture_logs() as lines:
        report = await stack.run()
    assert await became(stack, issue_id) == waiting(FIRST)
    assert (report.counts.sent, report.counts.refused) == (1, 1)
    [line] = [line for line in lines if line["event"] == "resync_refused"]
    assert "ISSUEBOX_RUN_MIN_ASSOCIATION" in line["reason"]


async def test_stop_makes_no_workflow(serve: Served, issue_id: int) -> None:
    """Nothing was asked before it. What it is about is sent before it, in the order of time."""
    stack = await serve(WITH_RUNS)
    stack.github.issue(issue_id, NUMBER, at=at(-9000))
    say(stack, CALLED_OFF)
    report = await stack.run()
    assert (report.counts.sent, report.counts.unasked) == (0, 2)
    assert await stack.events(issue_id) == []
    say(stack, FIRST, SECOND)
    await stack.run()
    assert await sent(stack, issue_id) == [f"resync-comment-{one.id}" for one in (FIRST, CALLED_OFF, SECOND)]
    assert dict(await became(stack, issue_id)) == {comment_key(FIRST.id): "refused", comment_key(SECOND.id): "waiting"}


async def test_more_than_the_queue_holds_is_left_out_and_said(stack: Stack, issue_id: int) -> None:
    """The oldest are sent. A stop frees the queue."""
    many = [Said(600 + number, 10 + number / 60) for number in range(QUEUE_MAX + 1)]
    say(stack, *many)
    await deliver(stack, issue_id, FIRST)
    with capture_logs() as lines:
        report = await stack.run()
    assert (report.counts.sent, report.counts.left_out) == (QUEUE_MAX - 1, 2)
    assert await became(stack, issue_id) == waiting(FIRST, *many[:-2])
    left = [(line["number"], line["reason"]) for line in lines if line["event"] == "resync_left_out"]
    reason = "more than 50 requests would wait for this issue's agent: comment"
    assert left == [(NUMBER, f"{reason} {one.id}") for one in many[-2:]]
    [done] = [line for line in lines if line["event"] == "resync_done"]
    assert done["left_out"] == 2
    say(stack, Said(700, 12, STOP), Said(701, 13))
    assert (await stack.run()).counts.sent == 2
    assert [key for key, state in await became(stack, issue_id) if state == "waiting"] == [comment_key(701)]


async def test_old_comments_and_labels_start_no_run(serve: Served, issue_id: int) -> None:
    """An installation that is connected to an old repository wakes nobody's work of last year: a label has its sandbox,
    as ever, and what is as new as the window its run.
    """
    stack = await serve(WITH_RUNS)
    year, other = -365 * 24 * 60, issue_id + 1_000_000
    stack.github.issue(issue_id, NUMBER, at=at(year), labels=[{"name": "claude"}])
    for number in range(3):
        say(stack, Said(600 + number, year + number), updated_at="2026-01-01T00:05:00Z")
    stack.github.issue(other, 8, at=at(year))
    stack.github.label(8, "claude", at=at(5), by=MAINTAINER)
    report = await stack.run(is_full=True)
    assert report.counts.sent == 2
    [old], [new] = await stack.events(issue_id), await stack.events(other)
    assert (old.action, old.request) == ("opened", None)
    assert await became(stack, issue_id) == []
    assert new.request == RunRequest(RequestKind.START, author="maintainer", at=at(5))
    say(stack, Said(603, 6))
    await stack.run(is_full=True)
    assert await became(stack, issue_id) == [(comment_key(603), "waiting")]


@pytest.mark.parametrize(("by", "association", "is_asked"), [("octocat", "NONE", False), ("octocat", "OWNER", True)])
async def test_label_that_came_with_the_opening_asks(
    serve: Served, issue_id: int, by: str, association: str, *, is_asked: bool
) -> None:
    """Both deliveries were lost, and they are one request. Its author may have asked by a template."""
    stack = await serve(WITH_RUNS)
    stack.github.issue(
        issue_id, NUMBER, at=at(5), body=BODY, labels=[{"name": "claude"}], author_association=association
    )
    assert (await stack.run()).counts.sent == 1
    [event] = await stack.events(issue_id)
    asked = RunRequest(RequestKind.START, author=by, body=BODY, at=at(5))
    assert (event.action, event.request) == (("labeled", asked) if is_asked else ("opened", None))
    assert (await stack.run()).counts.sent == 0
    assert len(await became(stack, issue_id)) == is_asked


async def test_missed_label_hides_no_missed_comment(stack: Stack, issue_id: int) -> None:
    """Issues are read before comments, so the newer label is sent first."""
    say(stack, FIRST)
    stack.github.label(NUMBER, "claude", at=at(9), by=MAINTAINER)
    await stack.run()
    assert await became(stack, issue_id) == [("start-1", "waiting"), *waiting(FIRST)]
    assert (await stack.run()).counts.sent == 0
