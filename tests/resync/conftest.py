"""GitHub's stand-in, real Temporal, our real activities and workflow; recorders replace the issues' workflows."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from activities.github import GitHubActivities
from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.intake import absorb
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.memory import Memory
from issuebox.domain.policy import Policy
from issuebox.domain.run import RunTerms
from issuebox.domain.triggers import Criteria
from issuebox.providers.github import GitHubSource
from issuebox.providers.github_client import GitHubOptions
from issuebox.temporal.sweeps import SweptIssues
from issuebox.worker import WORKFLOW_RUNNER
from proofs.github_api import BEGAN, TOKEN, GitHub, running
from workflows.messages import MEMO_STATUS, SIGNAL_EVENT, WORKFLOW_TYPE, Aside, StartInput
from workflows.resync import ResyncWorkflow
from workflows.resync_messages import RESYNC_WORKFLOW_TYPE, RepositoryReport, ResyncReport, ResyncRequest
from workflows.run_messages import QUERY_RUNS, RunReceipt, RunsView, receipts_of

REPOSITORY = "octo/repo"


def at(minutes: float) -> datetime:
    """A time on the stand-in's clock, long past."""
    return BEGAN + timedelta(minutes=minutes)


@workflow.defn(name=WORKFLOW_TYPE, sandboxed=False)
class Recorder:
    """Replaces the issues' workflow: takes every delivery once and publishes the newest state.

    Its memory is the real one, with an agent set up, but nothing acts on it: what is asked of the agent waits.
    """

    @workflow.init
    def __init__(self, start: StartInput) -> None:
        self.taken: list[IssueEvent] = []
        policy = Policy(runs=RunTerms(is_configured=True))
        self.memory = Memory(start.issue_id, start.name, policy=policy, policy_hash="with an agent")

    @workflow.run
    async def run(self, start: StartInput) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal(name=SIGNAL_EVENT)
    def issue_event(self, event: IssueEvent) -> None:
        absorb(self.memory, event, workflow.now())
        if event.delivery in [known.delivery for known in self.taken]:
            return
        self.taken.append(event)
        asked = [known.requested_at for known in self.taken if known.is_explicit and known.requested_at]
        issue = event.issue
        memo = {
            "repository": issue.repository, "number": issue.number, "title": issue.title,
            "issue_state": str(issue.state),
            "issue_updated_at": issue.updated_at.isoformat() if issue.updated_at else "",
            "requested_at": max(asked).isoformat() if asked else "",
        }  # fmt: skip
        workflow.upsert_memo({MEMO_STATUS: memo})

    @workflow.query
    def events(self) -> list[IssueEvent]:
        return self.taken

    @workflow.query(name=QUERY_RUNS)
    def runs(self) -> RunsView:
        return RunsView(receipts=receipts_of(self.memory.runs), called_off_at=self.memory.runs.called_off_at)


@dataclass
class Stack:
    """What a test needs to play GitHub and to see what was sent."""

    temporal: Client
    github: GitHub
    known: SweptIssues
    task_queue: str
    prefix: str
    workers: list[Worker] = field(default_factory=list)

    async def run(self, **given: Any) -> RepositoryReport:
        """One run over one repository; returns its report."""
        report = await self.report(**given)
        return report.repositories[0]

    async def report(self, **given: Any) -> ResyncReport:
        request = ResyncRequest(**{"repositories": (REPOSITORY,), "since": at(0), "sweep_interval_s": 0.0} | given)
        return await self.temporal.execute_workflow(
            RESYNC_WORKFLOW_TYPE, request, id=f"resync-{uuid.uuid4()}", task_queue=self.task_queue,
            result_type=ResyncReport,
        )  # fmt: skip

    async def deliver(self, issue_id: int, number: int, state: IssueState = IssueState.OPEN, **given: Any) -> None:
        """A delivery that did arrive, and that its workflow has published."""
        repository, updated_at = given.pop("repository", REPOSITORY), given.pop("updated_at", at(0))
        issue = Issue(issue_id, repository, number, "A title", state=state, updated_at=updated_at)
        event = IssueEvent(issue, delivery=uuid.uuid4().hex, **given)
        await self.known.deliver(event)
        await self.events(issue_id)

    async def events(self, issue_id: int) -> list[IssueEvent]:
        """The events that the issue's workflow has taken; none when it has no workflow."""
        handle = self.temporal.get_workflow_handle(f"{self.prefix}{issue_id}")
        try:
            return await handle.query(Recorder.events)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return []
            raise

    async def receipts(self, issue_id: int) -> list[RunReceipt]:
        """What became of the requests for the issue's agent: those that were refused, then those that wait."""
        handle = self.temporal.get_workflow_handle(f"{self.prefix}{issue_id}")
        return list((await handle.query(Recorder.runs)).receipts)

    async def missed(self, issue_id: int) -> list[tuple[Intention, str]]:
        """What resync sent to the issue's workflow."""
        return [(event.intention, event.action) for event in await self.events(issue_id) if event.is_resync]


@pytest.fixture
async def github() -> AsyncIterator[GitHub]:
    """The stand-in with one repository."""
    async with running(GitHub()) as server:
        server.repository()
        yield server


Served = Callable[..., Awaitable[Stack]]


@pytest.fixture
async def serve(temporal: Client, github: GitHub) -> AsyncIterator[Served]:
    """Start a worker on its own task queue."""
    async with AsyncExitStack() as exits:

        async def served(criteria: Criteria | None = None, client: Client | None = None, **options: Any) -> Stack:
            given = {"api_url": github.url, "token": TOKEN, "timeout_s": 3.0} | options
            source = await exits.enter_async_context(GitHubSource(GitHubOptions(**given)))
            queue, prefix = f"resync-{uuid.uuid4().hex[:8]}", f"t{uuid.uuid4().hex[:8]}-"
            known = SweptIssues(client or temporal, name_prefix=prefix, task_queue=queue)
            stack = Stack(client or temporal, github, known, queue, prefix)
            activities = GitHubActivities(source, known, criteria or Criteria())
            await exits.enter_async_context(worker(stack, activities))
            return stack

        yield served


@asynccontextmanager
async def worker(stack: Stack, activities: GitHubActivities, **given: Any) -> AsyncIterator[None]:
    """Serve the task queue, and the one aside on which resync walks."""
    walks = Worker(stack.temporal, task_queue=Aside.WAITS.queue(stack.task_queue), activities=activities.all(), **given)
    own = Worker(
        stack.temporal, task_queue=stack.task_queue, workflows=[ResyncWorkflow, Recorder], activities=activities.all(),
        workflow_runner=WORKFLOW_RUNNER, **given,
    )  # fmt: skip
    async with walks, own:
        yield


@pytest.fixture
async def stack(serve: Served) -> Stack:
    """The usual case: one worker with a token."""
    return await serve()
