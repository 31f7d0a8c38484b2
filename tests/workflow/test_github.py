"""GitHub settles ties and resync finds what GitHub did not deliver, on the whole path."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from issuebox.domain.events import Intention
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.phase import Goal
from issuebox.domain.run import RunOutcome
from issuebox.providers.github import GitHubSource
from issuebox.worker import build_worker
from proofs.github_api import TOKEN, GitHub, account, running
from tests.waiting import until
from workflows.resync_messages import RESYNC_WORKFLOW_TYPE, ResyncReport, ResyncRequest
from workflows.run_messages import QUERY_RUNS, RunsView

from .conftest import Stack, Started

STOPS = {"close_stop_after_s": 0.0, "close_archive_after_s": -1.0, "close_delete_after_s": -1.0}
NUMBER = 5


@pytest.fixture
async def github() -> AsyncIterator[GitHub]:
    """GitHub's stand-in, with our clock."""
    async with running(GitHub()) as github:
        github.now = datetime.now(UTC).replace(microsecond=0)
        github.repository()
        yield github


@pytest.fixture
async def stack(start: Started, github: GitHub) -> Stack:
    """The usual stack, with a token for GitHub, and a closed issue's sandbox stopped at once."""
    return await start(github_api_url=github.url, github_token=TOKEN, **STOPS)


async def _resync(stack: Stack, since: datetime) -> ResyncReport:
    request = ResyncRequest(("octo/repo",), since=since, sweep_interval_s=1.0)
    result: ResyncReport = await stack.temporal.execute_workflow(
        RESYNC_WORKFLOW_TYPE, request, id=f"resync-{uuid.uuid4()}", task_queue=stack.settings.task_queue,
        result_type=ResyncReport,
    )  # fmt: skip
    return result


@pytest.mark.parametrize(("state", "goal"), [("open", Goal.RUNNING), ("closed", Goal.STOPPED)])
@pytest.mark.parametrize("is_close_last", [True, False])
async def test_tie_is_settled_by_github(
    stack: Stack, github: GitHub, state: str, goal: Goal, *, is_close_last: bool
) -> None:
    """Closed and reopened within a second, arriving in either order: GitHub's current answer counts."""
    await stack.ensure()
    at = github.now
    github.issue(stack.issue_id, NUMBER, at=at, state=state, closed_at=None if state == "open" else f"{at:%FT%TZ}")
    issue = Issue(stack.issue_id, "octo/repo", NUMBER, updated_at=at)
    opened = stack.event(issue=issue, action="reopened")
    closed = replace(issue, state=IssueState.CLOSED, closed_at=at)
    deliveries = [opened, stack.event(Intention.STOP, issue=closed, action="closed")]
    for delivery in deliveries if is_close_last else reversed(deliveries):
        await stack.deliver(delivery)
    await until(
        stack.why, lambda why: any(note.what == "GitHub was asked" for note in why.notes), "GitHub asked about it"
    )
    await until(stack.status, lambda s: s.goal is goal and s.doing.startswith("resting"), f"goal {goal}")
    assert await stack.state() == ("started" if goal is Goal.RUNNING else "stopped")


async def test_tie_that_begins_an_issue_is_settled_before_anything_is_made(start: Started, github: GitHub) -> None:
    """Both deliveries wait for a worker; GitHub reports the issue as closed, so it needs no sandbox."""
    stack = await start(has_worker=False, github_api_url=github.url, github_token=TOKEN, **STOPS)
    at = github.now
    github.issue(stack.issue_id, NUMBER, at=at, state="closed", closed_at=f"{at:%FT%TZ}")
    issue = Issue(stack.issue_id, "octo/repo", NUMBER, updated_at=at)
    closed = replace(issue, state=IssueState.CLOSED, closed_at=at)
    await stack.deliver(stack.event(Intention.STOP, issue=closed, action="closed"))
    await stack.deliver(stack.event(issue=issue, action="reopened"))
    async with (
        GitHubSource(stack.worker.github) as source,
        build_worker(stack.temporal, stack.provider, stack.worker, source=source),
    ):
        await stack.reached(Goal.STOPPED)
    assert not [e for e in await stack.daytona.admin.journal(kind="created") if e.name == stack.name]


async def test_life_of_an_issue_whose_deliveries_are_all_lost(stack: Stack, github: GitHub) -> None:
    """Opened, closed, reopened and deleted at GitHub without one webhook: resync alone keeps the sandbox right."""
    began = github.now - timedelta(minutes=5)
    github.issue(stack.issue_id, NUMBER, at=began + timedelta(seconds=10))
    await _resync(stack, began)
    assert (await stack.served()).sandbox is not None
    assert await stack.state() == "started"
    steps = [("closed", "stopped"), ("open", "started")]
    for minute, (said, state) in enumerate(steps, start=1):
        github.change(NUMBER, at=began + timedelta(minutes=minute), state=said)
        await _resync(stack, began)
        await until(stack.state, lambda seen, state=state: seen == state, f"{said}, hence {state}")
    github.delete(NUMBER)
    found = stack.temporal.count_workflows
    query = f"WorkflowId = '{stack.name}' AND IssueState = 'open'"
    await until(lambda: found(query), lambda count: count.count == 1, "known as open to searches")
    await _resync(stack, began)
    await until(stack.state, lambda seen: seen == "", "deleted, hence gone")
    created = [e for e in await stack.daytona.admin.journal(kind="created") if e.name == stack.name]
    assert len(created) == 1


async def test_label_on_a_closed_issue_is_served_by_resync(stack: Stack, github: GitHub) -> None:
    """A person's label after the close starts the sandbox that the close stopped; a bot's does not."""
    began = github.now - timedelta(minutes=5)
    github.issue(stack.issue_id, NUMBER, at=began + timedelta(seconds=10))
    await _resync(stack, began)
    await stack.served()
    github.change(NUMBER, at=began + timedelta(minutes=1), state="closed")
    await _resync(stack, began)
    await until(stack.state, lambda seen: seen == "stopped", "closed, hence stopped")
    before = await stack.journal_end()
    github.label(NUMBER, "claude", at=began + timedelta(minutes=2), by=account("helper[bot]", "Bot"))
    assert (await _resync(stack, began)).repositories[0].counts.refused == 1
    github.change(NUMBER, at=began + timedelta(minutes=3), labels=[])
    github.label(NUMBER, "claude", at=began + timedelta(minutes=3), by=account("maintainer"))
    assert "start" not in await stack.requests(after=before)
    assert (await _resync(stack, began)).repositories[0].counts.sent == 1
    # Once it was handed over, this installation stops it at once.
    await until(lambda: stack.requests(after=before), lambda seen: "start" in seen, "labelled, hence started")
    assert (await _resync(stack, began)).repositories[0].counts.sent == 0


async def test_resync_of_what_is_known_costs_daytona_nothing(stack: Stack, github: GitHub) -> None:
    """A run that finds nothing new sends nothing."""
    began = github.now - timedelta(minutes=5)
    github.issue(stack.issue_id, NUMBER, at=began + timedelta(seconds=10))
    await _resync(stack, began)
    await stack.served()
    before = await stack.journal_end()
    await until(
        lambda: stack.temporal.count_workflows(f"WorkflowId = '{stack.name}' AND SandboxPhase = 'usable'"),
        lambda count: count.count == 1,
        "published",
    )
    report = await _resync(stack, began)
    assert report.repositories[0].counts.sent == 0
    assert await stack.requests(after=before) == []


async def test_requests_whose_deliveries_are_all_lost_are_worked_on_once(start: Started, github: GitHub) -> None:
    """What a person called off is not, and the agent reads what the deliveries would have given it."""
    stack = await start(
        github_api_url=github.url, github_token=TOKEN, run_preset="command", run_report="none",
        run_command='cat "$ISSUEBOX_RUN_DIR/prompt.md" >>~/read',
    )  # fmt: skip
    began = github.now - timedelta(minutes=9)
    github.issue(stack.issue_id, NUMBER, at=began + timedelta(seconds=10), body="It crashes on start.")
    for minute, text in enumerate(("@claude one", "@claude stop", "@claude two", "@claude three"), start=1):
        at = began + timedelta(minutes=minute)
        github.comment(minute, NUMBER, text, at=at, user=account("maintainer"), author_association="OWNER")
    assert (await _resync(stack, began)).repositories[0].counts.sent == 5

    async def served() -> list[str]:
        view = await stack.handle.query(QUERY_RUNS, result_type=RunsView)
        return [key for run in view.runs if run.outcome is RunOutcome.DONE for key in run.keys]

    await until(served, lambda keys: keys == ["comment-3", "comment-4"], "both are served", 60.0)
    assert (await _resync(stack, began)).repositories[0].counts.sent == 0
    (row,) = await stack.live()
    read = (await stack.provider.execute(row.id, "cat ~/read", 10.0)).output
    said = ("It crashes on start.", "@claude two", "@claude three")
    assert [read.count(text) for text in said] == [1, 1, 1]
    assert read.index("@claude two") < read.index("@claude three")
    assert "@claude one" not in read
    assert await served() == ["comment-3", "comment-4"]
