"""Outages in the middle: no page is read twice, nothing is lost, and nothing is sent twice."""

from __future__ import annotations

import asyncio
import sys
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client

from activities.github import GitHubActivities
from issuebox.domain.errors import TransientError
from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.issue import IssueState
from issuebox.domain.issue_source import ListedIssue, Page, PageQuery
from issuebox.domain.known_issues import KnownIssue, KnownIssues, KnownPage, KnownRequests
from issuebox.domain.triggers import Criteria
from issuebox.providers.github import GitHubSource
from issuebox.providers.github_client import GitHubOptions
from issuebox.temporal.sweeps import SweptIssues
from proofs.github_api import TOKEN, GitHub, Mishap
from tests.resync.conftest import REPOSITORY, Served, Stack, at, worker
from workflows.resync_messages import RESYNC_WORKFLOW_TYPE, ResyncReport, ResyncRequest

PAGES = 5


def fill(github: GitHub, issue_id: int, count: int = 2 * PAGES) -> list[int]:
    """Unknown issues, two per page."""
    github.page_size_max = 2
    ids = [issue_id + n * 1_000_000 for n in range(count)]
    for number, new_id in enumerate(ids, start=1):
        github.issue(new_id, number, at=at(number))
    return ids


async def sent_once(stack: Stack, ids: list[int]) -> None:
    for issue_id in ids:
        assert await stack.missed(issue_id) == [(Intention.ENSURE, "opened")]


def starts(github: GitHub) -> list[str]:
    """The `since` of each requested page of issues."""
    return [asked.query["since"][14:16] for asked in github.requests("/issues")]


async def test_many_pages_are_read_to_the_end(stack: Stack, issue_id: int) -> None:
    """Each page is requested once, from the last update of the page before, and every issue is counted once."""
    ids = fill(stack.github, issue_id)
    report = await stack.run()
    await sent_once(stack, ids)
    assert (report.counts.listed, report.counts.sent) == (10, 10)
    assert starts(stack.github) == sorted(set(starts(stack.github)))


async def test_many_updates_in_one_second_are_read_to_the_end(stack: Stack, issue_id: int) -> None:
    """More than a page within one second does not stop the walk: GitHub's own cursor leads further."""
    stack.github.page_size_max = 2
    ids = [issue_id + n * 1_000_000 for n in range(7)]
    for number, new_id in enumerate(ids, start=1):
        stack.github.issue(new_id, number, at=at(5))
    report = await stack.run()
    await sent_once(stack, ids)
    assert (report.counts.sent, report.counts.unreadable) == (7, 0)


async def test_issue_updated_while_pages_are_read_hides_no_other(stack: Stack, issue_id: int) -> None:
    """An issue of a page that was read moves to the end: the one that takes its place is still seen."""
    ids = fill(stack.github, issue_id)
    stack.github.mishaps = [
        Mishap("/issues", 0, skip=1, before=lambda: stack.github.change(1, at=at(30), state="closed"))
    ]
    report = await stack.run()
    await sent_once(stack, ids[1:])
    assert await stack.missed(ids[0]) == [(Intention.ENSURE, "opened"), (Intention.STOP, "closed")]
    assert report.error == ""


@pytest.mark.parametrize(
    "mishap",
    [Mishap("/issues", 500), Mishap("/issues", is_drop=True), Mishap("/issues", 502, body=b"<html>"),
     Mishap("/issues", 429, {"retry-after": "1"}), Mishap("/issues/comments", 503)],
    ids=["500", "cut off", "502", "secondary limit", "comments"],
)  # fmt: skip
async def test_outage_between_pages_goes_on_where_it_was(stack: Stack, issue_id: int, mishap: Mishap) -> None:
    """After an outage on a later page no earlier page is read again, and everything is sent once."""
    ids = fill(stack.github, issue_id)
    mishap.skip = 0 if "comments" in mishap.ending else 3
    mishap.times = 1
    stack.github.mishaps = [mishap]
    report = await stack.run()
    assert (report.error, report.counts.sent, report.counts.listed) == ("", 10, 10)
    await sent_once(stack, ids)
    answered = [asked.query["since"] for asked in stack.github.requests("/issues") if asked.status == 200]
    assert len(answered) == len(set(answered))


class Gate(GitHubSource):
    """GitHub, which serves a worker some pages and then stops answering: the moment to kill the worker."""

    def __init__(self, options: GitHubOptions, pages: int) -> None:
        super().__init__(options)
        self.pages = pages
        self.is_reached = asyncio.Event()

    async def updated_issues(self, query: PageQuery) -> Page[ListedIssue]:
        if self.pages == 0:
            self.is_reached.set()
            await asyncio.Event().wait()
        self.pages -= 1
        return await super().updated_issues(query)


async def _started(stack: Stack, **given: Any) -> Any:
    request = ResyncRequest(**{"repositories": (REPOSITORY,), "since": at(0), "sweep_interval_s": 0.0} | given)
    return await stack.temporal.start_workflow(
        RESYNC_WORKFLOW_TYPE, request, id=f"resync-{uuid.uuid4()}", task_queue=stack.task_queue,
        result_type=ResyncReport,
    )  # fmt: skip


def _bare(temporal: Client, github: GitHub) -> Stack:
    """A stack without a worker."""
    queue, prefix = f"resync-{uuid.uuid4().hex[:8]}", f"t{uuid.uuid4().hex[:8]}-"
    return Stack(temporal, github, SweptIssues(temporal, name_prefix=prefix, task_queue=queue), queue, prefix)


async def test_worker_that_ends_between_pages_hands_on_where_it_was(
    temporal: Client, github: GitHub, issue_id: int
) -> None:
    """The next worker requests the page that the first did not get, and none before it."""
    stack, ids = _bare(temporal, github), fill(github, issue_id)
    gate = Gate(GitHubOptions(github.url, TOKEN), pages=3)
    async with gate, worker(stack, GitHubActivities(gate, stack.known, Criteria())):
        handle = await _started(stack)
        await asyncio.wait_for(gate.is_reached.wait(), 20)
        first = len(github.requests("/issues"))
    source = GitHubSource(GitHubOptions(github.url, TOKEN))
    async with source, worker(stack, GitHubActivities(source, stack.known, Criteria())):
        report = (await handle.result()).repositories[0]
        await sent_once(stack, ids)
    pages = starts(github)
    assert (first, report.counts.sent, report.counts.listed) == (3, 10, 10)
    assert pages[first] > pages[first - 1]
    assert len(pages) == len(set(pages))


async def test_worker_that_is_killed_between_pages_loses_nothing(
    temporal: Client, temporal_address: str, github: GitHub, issue_id: int
) -> None:
    """After a kill -9 another worker reads to the end: every issue is sent once, and so is every request for work,
    in order, whether or not it was recorded that it was sent.
    """
    stack, ids = _bare(temporal, github), fill(github, issue_id)
    requests = range(501, 505)
    for minute, comment_id in enumerate(requests, start=11):
        github.comment(comment_id, 1, "@claude go on", at=at(minute), author_association="OWNER")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.resync.worker_process",
        temporal_address,
        github.url,
        stack.task_queue,
        stack.prefix,
        "comment",
    )
    github.mishaps = [Mishap("/issues/comments", 0, skip=1, before=process.kill)]
    handle = await _started(stack)
    await asyncio.wait_for(process.wait(), 60)
    assert len(github.requests("/issues/comments")) == 2
    source = GitHubSource(GitHubOptions(github.url, TOKEN))
    async with source, worker(stack, GitHubActivities(source, stack.known, Criteria(run_on=("comment",)))):
        report = (await handle.result()).repositories[0]
        await sent_once(stack, ids[1:])
        asked = [(receipt.key, receipt.state) for receipt in await stack.receipts(ids[0])]
        events = [event.delivery for event in await stack.events(ids[0])]
    assert asked == [(f"comment-{comment_id}", "waiting") for comment_id in requests]
    assert events[1:] == [f"resync-comment-{comment_id}" for comment_id in requests]
    assert report.error == ""
    assert (report.mark.issues.to, report.mark.comments.to) == (at(14), at(14))


class Broken(SweptIssues):
    """Temporal, failing at one delivery: the worker is cut off in the middle of a page."""

    fails_at = 0
    fails_after = 0

    async def deliver(self, event: IssueEvent) -> None:
        if event.issue.number == self.fails_at and self.fails_after == 0:
            self.fails_at = 0
            raise TransientError("Temporal: UNAVAILABLE")
        self.fails_after -= event.issue.number == self.fails_at
        await super().deliver(event)


async def test_failure_between_two_requests_of_an_issue_sends_none_twice(
    temporal: Client, github: GitHub, issue_id: int
) -> None:
    """The next attempt goes on with the one that failed: a stop, before what was asked after it."""
    stack = _bare(temporal, github)
    github.issue(issue_id, 7, at=at(-9000))
    for minute, text in enumerate(("@claude one", "@claude two", "@claude stop", "@claude three"), start=1):
        github.comment(500 + minute, 7, text, at=at(minute), author_association="OWNER")
    known = Broken(temporal, name_prefix=stack.prefix, task_queue=stack.task_queue)
    known.fails_at, known.fails_after = 7, 2
    source = GitHubSource(GitHubOptions(github.url, TOKEN))
    async with source, worker(stack, GitHubActivities(source, known, Criteria(run_on=("comment",)))):
        report = (await (await _started(stack)).result()).repositories[0]
        assert [event.delivery for event in await stack.events(issue_id)] == [
            f"resync-comment-{500 + minute}" for minute in range(1, 5)
        ]
        states = [(receipt.key, receipt.state) for receipt in await stack.receipts(issue_id)]
    assert states == [("comment-501", "refused"), ("comment-502", "refused"), ("comment-504", "waiting")]
    assert (report.counts.sent, report.counts.listed) == (4, 5)


async def test_failure_in_the_middle_of_a_page_counts_and_sends_nothing_twice(
    temporal: Client, github: GitHub, issue_id: int
) -> None:
    """What was sent of a page before Temporal failed is neither sent nor counted again."""
    stack, ids = _bare(temporal, github), fill(github, issue_id)
    github.page_size_max = 100
    known = Broken(temporal, name_prefix=stack.prefix, task_queue=stack.task_queue)
    known.fails_at = 6
    source = GitHubSource(GitHubOptions(github.url, TOKEN))
    async with source, worker(stack, GitHubActivities(source, known, Criteria())):
        report = (await (await _started(stack)).result()).repositories[0]
        await sent_once(stack, ids)
    assert (report.counts.sent, report.counts.listed) == (10, 10)
    assert [sent.number for sent in report.sent] == list(range(1, 11))


class Counting:
    """The issues' workflows, counting each lookup."""

    def __init__(self, known: KnownIssues) -> None:
        self.known = known
        self.looked_up: list[int] = []
        self.fails_once_listing = False

    async def lookup(self, issue_id: int) -> KnownIssue | None:
        self.looked_up.append(issue_id)
        return await self.known.lookup(issue_id)

    async def requests(self, issue_id: int) -> KnownRequests | None:
        return await self.known.requests(issue_id)

    async def list_open(self, repositories: tuple[str, ...], token: str = "") -> KnownPage:
        if self.fails_once_listing:
            self.fails_once_listing = False
            raise TransientError("Temporal: UNAVAILABLE")
        return await self.known.list_open(repositories, token)

    async def deliver(self, event: IssueEvent) -> None:
        await self.known.deliver(event)


async def test_sweep_goes_on_without_judging_again(temporal: Client, github: GitHub, issue_id: int) -> None:
    """After an outage the open issues are listed again, to know which are absent, but each is judged only once."""
    stack = _bare(temporal, github)
    github.page_size_max = 2
    ids = [issue_id + n * 1_000_000 for n in range(6)]
    for number, new_id in enumerate(ids, start=1):
        github.issue(new_id, number, at=at(number - 9000))
    counting = Counting(stack.known)
    counting.fails_once_listing = True
    source = GitHubSource(GitHubOptions(github.url, TOKEN))
    async with source, worker(stack, GitHubActivities(source, counting, Criteria())):
        await stack.deliver(ids[0], 1, updated_at=at(-8999))
        github.delete(1)
        report = (await (await _started(stack, sweep_interval_s=1.0)).result()).repositories[0]
        assert await stack.missed(ids[0]) == [(Intention.DELETE, "deleted")]
    assert (report.error, report.counts.listed) == ("", 5)
    assert sorted(counting.looked_up) == ids


class LaggingIndex(Counting):
    """An index that still shows an issue as open although its workflow knows better."""

    async def list_open(self, repositories: tuple[str, ...], token: str = "") -> KnownPage:
        issues = [await self.known.lookup(issue_id) for issue_id in self.shown]
        return KnownPage(tuple(replace(one, issue=replace(one.issue, state=IssueState.OPEN)) for one in issues if one))

    shown: tuple[int, ...] = ()


async def test_index_that_lags_costs_no_read(temporal: Client, github: GitHub, issue_id: int) -> None:
    """The workflow's own record decides whether an issue must be read at GitHub."""
    stack = _bare(temporal, github)
    index = LaggingIndex(stack.known)
    index.shown = (issue_id,)
    github.issue(issue_id, 7, at=at(-9000), state="closed")
    source = GitHubSource(GitHubOptions(github.url, TOKEN))
    async with source, worker(stack, GitHubActivities(source, index, Criteria())):
        await stack.deliver(issue_id, 7, IssueState.CLOSED, updated_at=at(-9000))
        report = (await (await _started(stack, sweep_interval_s=1.0)).result()).repositories[0]
    assert (report.error, report.counts.sent, github.requests("/issues/7")) == ("", 0, [])


async def test_repository_that_cannot_be_read_blocks_no_other(stack: Stack, issue_id: int) -> None:
    """One unreadable repository is reported in words and keeps its mark; the others are read and move on."""
    fill(stack.github, issue_id, 1)
    report = await stack.report(repositories=("octo/hidden", REPOSITORY, "octo/gone"), since=at(0))
    hidden, read, gone = report.repositories
    assert (hidden.error, gone.error, read.error, read.counts.sent) == ("RefusedError", "RefusedError", "", 1)
    assert "octo/hidden" in hidden.reason
    assert (hidden.mark.issues.to, read.mark.issues.to) == (at(0), at(1))


async def test_rate_limit_is_waited_for(serve: Served, issue_id: int) -> None:
    """A spent primary limit holds the run until its reset, and then everything is read."""
    stack = await serve()
    ids = fill(stack.github, issue_id)
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int((stack.github.now).timestamp()) + 1)}
    stack.github.mishaps = [Mishap("/issues", 403, headers, skip=2)]
    report = await stack.run()
    await sent_once(stack, ids)
    assert (report.error, report.counts.sent) == ("", 10)
    assert [asked.status for asked in stack.github.requests("/issues")].count(403) == 1


async def test_quiet_overlap_of_a_listing_is_not_judged_again(stack: Stack, issue_id: int) -> None:
    """A later run does not look up again what an earlier one dealt with, except for the last two minutes."""
    fill(stack.github, issue_id)
    stack.github.page_size_max = 100
    first = await stack.run()
    assert first.mark.issues.to == at(10)
    assert first.mark.issues.floor == at(10) - timedelta(minutes=2)
