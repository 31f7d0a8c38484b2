"""What one scheduled run leaves to the next: marks and ETags, across failures, terminations and bad repositories."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleSpec,
    ScheduleUpdate,
    WorkflowExecutionStatus,
    WorkflowHandle,
)

from issuebox.domain.events import Intention
from issuebox.domain.issue import IssueState
from proofs.github_api import Mishap
from tests.resync.conftest import REPOSITORY, Served, Stack, at
from tests.waiting import until
from workflows.resync_messages import RESYNC_WORKFLOW_TYPE, RepositoryReport, ResyncReport, ResyncRequest

LOOKBACK_S = 10 * 365 * 86400.0
"""The stand-in's times are long past."""


@dataclass
class Scheduled:
    """A schedule that runs only when triggered."""

    stack: Stack
    handle: ScheduleHandle
    runs: int = 0

    async def start(self) -> WorkflowHandle[object, ResyncReport]:
        """Trigger a run; returns its workflow."""
        await self.handle.trigger()
        self.runs += 1

        async def actions() -> list[tuple[str, str]]:
            recent = (await self.handle.describe()).info.recent_actions
            return [(one.action.workflow_id, one.action.first_execution_run_id) for one in recent]

        seen = await until(actions, lambda found: len(found) >= self.runs, "the schedule started a run")
        workflow_id, run_id = seen[-1]
        return self.stack.temporal.get_workflow_handle(workflow_id, run_id=run_id, result_type=ResyncReport)

    async def run(self) -> RepositoryReport:
        """Trigger a run and wait; returns the report on the first repository."""
        report = await (await self.start()).result()
        await self.settled()
        return report.repositories[0]

    async def settled(self) -> None:
        """The schedule knows that its run ended."""

        async def running() -> int:
            return len((await self.handle.describe()).info.running_actions)

        await until(running, lambda count: count == 0, "the schedule saw the run end")


@pytest.fixture
async def scheduled(stack: Stack) -> AsyncIterator[Scheduled]:
    async for made in _scheduled(stack, ResyncRequest((REPOSITORY,), lookback_s=LOOKBACK_S, sweep_interval_s=0.0)):
        yield made


async def _scheduled(stack: Stack, request: ResyncRequest) -> AsyncIterator[Scheduled]:
    name = f"resync-{uuid.uuid4().hex[:8]}"
    action = ScheduleActionStartWorkflow(RESYNC_WORKFLOW_TYPE, request, id=name, task_queue=stack.task_queue)
    spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(days=1000))])
    handle = await stack.temporal.create_schedule(name, Schedule(action, spec))
    yield Scheduled(stack, handle)
    await handle.delete()


async def test_unchanged_repository_costs_one_304(scheduled: Scheduled, issue_id: int) -> None:
    """Once it was read, a repository in which nothing happens costs one free request per run."""
    github = scheduled.stack.github
    github.issue(issue_id, 7, at=at(5))
    first = await scheduled.run()
    assert (first.counts.sent, first.counts.requests) == (1, 2)
    github.forget()
    second = await scheduled.run()
    assert (second.counts.requests, second.counts.unchanged) == (1, 1)
    assert [asked.status for asked in github.asked] == [304]
    assert second.mark == first.mark


async def test_change_after_quiet_runs_is_seen(scheduled: Scheduled, issue_id: int) -> None:
    """A 304 hides nothing: a later change is in the next run, and only that change is judged."""
    github = scheduled.stack.github
    github.issue(issue_id, 7, at=at(5))
    github.issue(issue_id + 1_000_000, 8, at=at(50))
    github.issue(issue_id + 2_000_000, 9, at=at(10))
    await scheduled.run()
    await scheduled.run()
    github.change(7, at=at(60), state="closed")
    third = await scheduled.run()
    assert (third.counts.sent, third.counts.listed, third.counts.requests) == (1, 2, 2)
    assert await scheduled.stack.missed(issue_id) == [(Intention.ENSURE, "opened"), (Intention.STOP, "closed")]
    github.forget()
    assert ((await scheduled.run()).counts.unchanged, len(github.asked)) == (1, 1)


async def test_fresh_comment_is_not_hidden_by_an_unchanged_listing(scheduled: Scheduled, issue_id: int) -> None:
    """A comment that appears in its listing only after its issue's update is still found."""
    github = scheduled.stack.github
    github.issue(issue_id, 7, at=at(5))
    github.now = at(10)
    github.comment(501, 7, "@claude", at=at(10))
    late = github.repository().comments.pop()
    await scheduled.run()
    github.repository().comments.append(late)
    await scheduled.run()
    assert (Intention.ENSURE, "created") in await scheduled.stack.missed(issue_id)


async def test_terminated_run_loses_no_mark(scheduled: Scheduled, issue_id: int) -> None:
    """The run after a terminated one continues from the last one that completed."""
    github = scheduled.stack.github
    github.issue(issue_id, 7, at=at(5))
    first = await scheduled.run()
    github.mishaps = [Mishap("/issues", 500, times=99)]
    handle = await scheduled.start()
    await handle.terminate("by a test")
    await scheduled.settled()
    assert (await handle.describe()).status is WorkflowExecutionStatus.TERMINATED
    github.mishaps = []
    github.forget()
    third = await scheduled.run()
    assert (third.mark, [asked.status for asked in github.asked]) == (first.mark, [304])


async def test_schedule_that_is_written_again_loses_no_mark(scheduled: Scheduled, issue_id: int) -> None:
    """Starting workers rewrite the schedule: the next run still continues from the last one."""
    github = scheduled.stack.github
    github.issue(issue_id, 7, at=at(5))
    first = await scheduled.run()
    await scheduled.handle.update(lambda known: ScheduleUpdate(known.description.schedule))
    github.forget()
    second = await scheduled.run()
    assert (second.mark, [asked.status for asked in github.asked]) == (first.mark, [304])


async def test_bad_repository_keeps_its_mark_while_others_move_on(serve: Served, issue_id: int) -> None:
    """A repository that was refused for a while is then read from its old mark: nothing in between is lost."""
    stack = await serve()
    github = stack.github
    github.issue(issue_id, 7, at=at(5))
    github.issue(issue_id + 1_000_000, 1, at=at(5), repo="octo/second")
    request = ResyncRequest((REPOSITORY, "octo/second"), lookback_s=LOOKBACK_S, sweep_interval_s=0.0)
    async for scheduled in _scheduled(stack, request):
        first = await scheduled.run()
        github.mishaps = [Mishap("/octo/repo/issues", 403, times=99)]
        github.change(7, at=at(60), state="closed")
        github.change(1, at=at(60), state="closed", repo="octo/second")
        handle = await scheduled.start()
        bad, good = (await handle.result()).repositories
        await scheduled.settled()
        assert (bad.error, bad.mark, good.error, good.counts.sent) == ("RefusedError", first.mark, "", 1)
        github.mishaps = []
        assert (await scheduled.run()).counts.sent == 1
        assert (Intention.STOP, "closed") in await stack.missed(issue_id)


async def test_sweep_is_due_after_its_interval(serve: Served, issue_id: int) -> None:
    """The comparison of all open issues runs at first and then once per interval, not in every run."""
    stack = await serve()
    await stack.deliver(issue_id, 7, IssueState.OPEN)
    stack.github.issue(issue_id, 7, at=at(0))
    request = ResyncRequest((REPOSITORY,), lookback_s=LOOKBACK_S, sweep_interval_s=10 * 365 * 86400.0)
    async for scheduled in _scheduled(stack, request):
        first = await scheduled.run()
        assert first.mark.swept_at == stack.github.now
        stack.github.forget()
        await scheduled.run()
        assert [asked.status for asked in stack.github.asked] == [304]
