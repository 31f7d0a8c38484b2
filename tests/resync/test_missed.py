"""Each kind of missed delivery is found and sent once, and what is known already is not sent."""

from __future__ import annotations

from datetime import timedelta

import pytest

from issuebox.domain.events import Intention
from issuebox.domain.issue import IssueState
from issuebox.domain.triggers import Criteria
from tests.resync.conftest import REPOSITORY, Served, Stack, at
from tests.waiting import until


async def test_missed_opened_is_sent_once(stack: Stack, issue_id: int) -> None:
    """A lost `opened` starts the workflow, with the issue as GitHub has it; a second run sends nothing."""
    stack.github.issue(issue_id, 7, at=at(5), title="Crash\x00 on\nstart")
    report = await stack.run()
    assert [(sent.issue_id, sent.number, sent.action) for sent in report.sent] == [(issue_id, 7, "opened")]
    (event,) = await stack.events(issue_id)
    assert (event.intention, event.event, event.action, event.is_resync) == (Intention.ENSURE, "issues", "opened", True)
    assert event.issue.repository == REPOSITORY
    assert (event.issue.number, event.issue.title, event.issue.updated_at) == (7, "Crash on start", at(5))
    again = await stack.run()
    assert (again.counts.sent, again.counts.known) == (0, 1)


async def test_missed_closed_is_sent_once(stack: Stack, issue_id: int) -> None:
    """A lost `closed` stops the issue, and a second run sends nothing."""
    await stack.deliver(issue_id, 7)
    stack.github.issue(issue_id, 7, at=at(0))
    stack.github.change(7, at=at(5), state="closed")
    assert (await stack.run()).counts.sent == 1
    assert await stack.missed(issue_id) == [(Intention.STOP, "closed")]
    assert (await stack.events(issue_id))[-1].issue.closed_at == at(5)
    assert (await stack.run()).counts.sent == 0


async def test_missed_reopened_is_sent_once(stack: Stack, issue_id: int) -> None:
    """A lost `reopened` asks for the sandbox again, and a second run sends nothing."""
    await stack.deliver(issue_id, 7, IssueState.CLOSED)
    stack.github.issue(issue_id, 7, at=at(-9000))
    stack.github.change(7, at=at(0), state="closed")
    stack.github.change(7, at=at(5), state="open")
    assert (await stack.run()).counts.sent == 1
    assert await stack.missed(issue_id) == [(Intention.ENSURE, "reopened")]
    assert (await stack.run()).counts.sent == 0


async def test_missed_comment_is_sent_once(stack: Stack, issue_id: int) -> None:
    """A lost comment with the trigger phrase is a person's explicit request, made when it was written."""
    await stack.deliver(issue_id, 7, updated_at=at(6))
    stack.github.issue(issue_id, 7, at=at(0))
    stack.github.comment(501, 7, "please @claude", at=at(5))
    assert (await stack.run()).counts.sent == 1
    event = (await stack.events(issue_id))[-1]
    assert (event.delivery, event.is_explicit, event.requested_at) == ("resync-comment-501", True, at(5))
    assert (await stack.run()).counts.sent == 0


@pytest.mark.parametrize("text", ["no phrase", "> @claude quoted", "`@claude`"])
async def test_comment_without_the_phrase_costs_no_read(stack: Stack, issue_id: int, text: str) -> None:
    """A comment that does not ask costs no request."""
    await stack.deliver(issue_id, 7, updated_at=at(6))
    stack.github.issue(issue_id, 7, at=at(0))
    stack.github.comment(501, 7, text, at=at(5))
    assert (await stack.run()).counts.sent == 0
    assert stack.github.requests("/issues/7") == []


async def test_comment_that_was_answered_already_is_not_sent(stack: Stack, issue_id: int) -> None:
    """A request older than the newest known one is not new."""
    await stack.deliver(issue_id, 7, updated_at=at(6), requested_at=at(5), is_explicit=True)
    stack.github.issue(issue_id, 7, at=at(0))
    stack.github.comment(501, 7, "@claude", at=at(5))
    assert (await stack.run()).counts.sent == 0


async def test_comment_before_the_close_wakes_nobody(stack: Stack, issue_id: int) -> None:
    """The issue was closed after the comment: no sandbox is started for it."""
    stack.github.issue(issue_id, 7, at=at(-9000))
    stack.github.comment(501, 7, "@claude", at=at(5))
    stack.github.change(7, at=at(6), state="closed")
    assert (await stack.run()).counts.sent == 0
    assert await stack.events(issue_id) == []


@pytest.mark.parametrize(
    "given", [{"user": {"login": "a-bot", "type": "Bot"}}, {"html_url": "https://github.com/octo/repo/pull/7#c"}]
)
async def test_comment_by_a_bot_or_on_a_pull_request_is_not_sent(
    stack: Stack, issue_id: int, given: dict[str, object]
) -> None:
    """The triggers and criteria are the same as for a delivery."""
    await stack.deliver(issue_id, 7, updated_at=at(6))
    stack.github.issue(issue_id, 7, at=at(0))
    stack.github.comment(501, 7, "@claude", at=at(5), **given)
    assert (await stack.run()).counts.sent == 0


async def test_edited_old_comment_is_not_sent(stack: Stack, issue_id: int) -> None:
    """Editing a comment is no request, even though the edited comment appears in the listing."""
    await stack.deliver(issue_id, 7, updated_at=at(6))
    stack.github.issue(issue_id, 7, at=at(0))
    stack.github.comment(501, 7, "@claude", at=at(5), created_at="2025-12-01T00:00:00Z")
    assert (await stack.run()).counts.sent == 0


async def test_unknown_closed_issue_gets_no_workflow(stack: Stack, issue_id: int) -> None:
    """An issue that was opened and closed unseen needs no sandbox."""
    stack.github.issue(issue_id, 7, at=at(5), state="closed", closed_at="2026-01-01T00:05:00Z")
    report = await stack.run()
    assert (report.counts.listed, report.counts.unasked, report.counts.sent) == (1, 1, 0)
    assert await stack.events(issue_id) == []


async def test_unknown_old_issue_is_left_alone_unless_it_asks(stack: Stack, issue_id: int) -> None:
    """An old issue that was only updated gets no sandbox; with the trigger label, or in a full run, it does."""
    updated = {"updated_at": "2026-01-01T00:05:00Z"}
    stack.github.issue(issue_id, 7, at=at(-9000), **updated)
    stack.github.issue(issue_id + 1_000_000, 8, at=at(-9000), labels=[{"name": "bug"}, {"name": "claude"}], **updated)
    assert [sent.number for sent in (await stack.run()).sent] == [8]
    assert await stack.missed(issue_id + 1_000_000) == [(Intention.ENSURE, "labeled")]
    assert [sent.number for sent in (await stack.run(is_full=True)).sent] == [7]


async def test_full_run_reaches_issues_that_nobody_touched(stack: Stack, issue_id: int) -> None:
    """`--full` reads every open issue, however long ago it was updated."""
    stack.github.issue(issue_id, 7, at=at(-9000))
    assert (await stack.run()).counts.listed == 0
    assert [sent.number for sent in (await stack.run(is_full=True)).sent] == [7]


async def test_sweep_by_schedule_starts_nothing_for_old_issues(stack: Stack, issue_id: int) -> None:
    """The regular sweep compares what is known; it creates no sandboxes for old issues."""
    stack.github.issue(issue_id, 7, at=at(-9000))
    report = await stack.run(sweep_interval_s=3600.0)
    assert (report.counts.sent, report.counts.listed) == (0, 1)


async def test_assignment_to_the_trigger_login_asks(serve: Served, issue_id: int) -> None:
    """A lost `assigned` counts as in the table of triggers."""
    stack = await serve(Criteria(login="claude-bot"))
    stack.github.issue(
        issue_id, 7, at=at(-9000), updated_at="2026-01-01T00:05:00Z", assignees=[{"login": "Claude-Bot"}]
    )
    await stack.run()
    assert await stack.missed(issue_id) == [(Intention.ENSURE, "assigned")]


async def test_bot_and_pull_request_start_nothing(stack: Stack, issue_id: int) -> None:
    """A bot's issue is refused and counted, even with the label; a pull request is no issue."""
    bot = {"login": "renovate[bot]", "type": "Bot"}
    stack.github.issue(issue_id, 7, at=at(5), user=bot, labels=[{"name": "claude"}])
    stack.github.issue(issue_id + 1_000_000, 8, at=at(6), pull_request={"url": "x"})
    report = await stack.run()
    assert (report.counts.listed, report.counts.refused, report.counts.sent) == (1, 1, 0)
    assert await stack.events(issue_id) == []


async def test_older_state_at_github_is_no_news(stack: Stack, issue_id: int) -> None:
    """A listing that lags behind a delivery changes nothing."""
    await stack.deliver(issue_id, 7, IssueState.CLOSED, updated_at=at(9))
    stack.github.issue(issue_id, 7, at=at(5))
    assert (await stack.run()).counts.known == 1
    assert await stack.missed(issue_id) == []


async def test_contradiction_within_one_second_is_sent(stack: Stack, issue_id: int) -> None:
    """GitHub settles a tie: a close in the second of the last delivery is sent for the workflow to judge."""
    await stack.deliver(issue_id, 7, updated_at=at(5))
    stack.github.issue(issue_id, 7, at=at(5), state="closed", closed_at="2026-01-01T00:05:00Z")
    await stack.run()
    assert await stack.missed(issue_id) == [(Intention.STOP, "closed")]


async def _listed_open(stack: Stack, *issue_ids: int) -> None:
    """The visibility index lags a moment behind what was published."""

    async def numbers() -> set[int]:
        page = await stack.known.list_open((REPOSITORY, "octo/renamed"))
        return {known.issue.id for known in page.issues}

    await until(numbers, set(issue_ids).__le__, "the index shows the open issues")


async def test_full_run_finds_what_is_gone(stack: Stack, issue_id: int) -> None:
    """Deleted, transferred, closed, hidden and still open: only GitHub's answer ends an issue, each its own."""
    ids = [issue_id + n * 1_000_000 for n in range(5)]
    for number, known_id in enumerate(ids, start=1):
        await stack.deliver(known_id, number, updated_at=at(-9000))
        stack.github.issue(known_id, number, at=at(-9000))
    stack.github.delete(1)
    stack.github.transfer(2, new_id=issue_id + 99_000_000)
    stack.github.change(3, at=at(-5000), state="closed")
    del stack.github.repository().issues[4]
    await _listed_open(stack, *ids)
    report = await stack.run(sweep_interval_s=3600.0)
    assert await stack.missed(ids[0]) == [(Intention.DELETE, "deleted")]
    assert await stack.missed(ids[1]) == [(Intention.STOP, "transferred")]
    assert await stack.missed(ids[2]) == [(Intention.STOP, "closed")]
    assert await stack.missed(ids[3]) == []
    assert await stack.missed(ids[4]) == []
    assert (report.counts.sent, report.counts.unreadable) == (3, 1)
    states = [(await stack.events(known_id))[-1].issue.state for known_id in ids]
    assert states == ["deleted", "transferred", "closed", "open", "open"]
    assert (await stack.run(sweep_interval_s=3600.0)).counts.sent == 0


async def test_issues_switched_off_delete_nothing(stack: Stack, issue_id: int) -> None:
    """A repository whose issues are switched off answers 410 for each of them: that does not mean *deleted*."""
    await stack.deliver(issue_id, 7)
    await _listed_open(stack, issue_id)
    stack.github.repository().are_issues_off = True
    report = await stack.run(is_full=True)
    assert report.error == "RefusedError"
    assert await stack.missed(issue_id) == []


async def test_renamed_repository_keeps_its_issues(stack: Stack, issue_id: int) -> None:
    """After a rename the old name redirects: open issues stay, and a closed one is found under the old name."""
    await stack.deliver(issue_id, 7)
    await stack.deliver(issue_id + 1_000_000, 8, updated_at=at(-9500))
    stack.github.issue(issue_id, 7, at=at(-9000))
    stack.github.issue(issue_id + 1_000_000, 8, at=at(-9000), state="closed")
    stack.github.issue(issue_id + 2_000_000, 9, at=at(5))
    stack.github.rename(REPOSITORY, "octo/renamed")
    await stack.deliver(issue_id + 3_000_000, 10, repository="octo/renamed")
    stack.github.repository("octo/renamed").deleted.add(10)
    await _listed_open(stack, issue_id, issue_id + 1_000_000, issue_id + 3_000_000)
    report = await stack.run(sweep_interval_s=3600.0)
    assert report.error == ""
    assert await stack.missed(issue_id) == []
    assert await stack.missed(issue_id + 1_000_000) == [(Intention.STOP, "closed")]
    assert (await stack.events(issue_id + 2_000_000))[0].issue.repository == "octo/renamed"
    assert await stack.missed(issue_id + 3_000_000) == [(Intention.DELETE, "deleted")]


async def test_name_that_was_given_to_another_repository_ends_nothing(stack: Stack, issue_id: int) -> None:
    """Another issue with the same number proves nothing about ours, whose ID differs."""
    await stack.deliver(issue_id, 7)
    await _listed_open(stack, issue_id)
    stack.github.issue(issue_id + 5_000_000, 7, at=at(-9000), state="closed")
    report = await stack.run(sweep_interval_s=3600.0)
    assert await stack.missed(issue_id) == []
    assert report.counts.unreadable == 1


async def test_window_begins_at_the_mark(stack: Stack, issue_id: int) -> None:
    """An unknown issue counts when it was created since the mark, with two minutes of overlap."""
    stack.github.issue(issue_id, 7, at=at(0) - timedelta(seconds=119), updated_at="2026-01-01T00:05:00Z")
    stack.github.issue(issue_id + 1_000_000, 8, at=at(0) - timedelta(seconds=121), updated_at="2026-01-01T00:05:00Z")
    assert [sent.number for sent in (await stack.run()).sent] == [7]
