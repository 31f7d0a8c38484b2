"""One whole path per test: real Temporal, the real workflow and activities, the real SDK, localdaytona."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WithStartWorkflowOperation, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.worker import Interceptor

from issuebox.domain import gate
from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.issue import Issue, IssueState, sandbox_name
from issuebox.domain.phase import Goal
from issuebox.providers.daytona import DaytonaProvider
from issuebox.providers.github import GitHubSource
from issuebox.settings import WorkerSettings
from issuebox.worker import WorkerOptions, build_worker
from localdaytona.admin_models import SandboxView
from localdaytona.testing import Server, running_inside
from proofs.shortened import made_from
from tests.conftest import new_issue_id
from tests.waiting import until
from workflows import options
from workflows.messages import (
    QUERY_STATUS,
    QUERY_WHY,
    SIGNAL_EVENT,
    SIGNAL_RETRY,
    UPDATE_ENSURE,
    WORKFLOW_TYPE,
    EnsureRequest,
    Handover,
    StartInput,
    Status,
    Why,
)

FAST = {
    "backoff_initial_s": 0.05,
    "backoff_max_s": 0.5,
    "blocked_retry_initial_s": 300.0,
    "blocked_retry_max_s": 600.0,
    "unreachable_after_s": 5.0,
    "confirm_gone_s": 0.5,
    "daytona_request_timeout_s": 3.0,
    "daytona_command_timeout_s": 5.0,
    "daytona_listen_s": 2.0,
    "daytona_settle_timeout_s": 5.0,
    "daytona_read_interval_s": 2.0,
}
"""Seconds instead of minutes. Within a test no blocked issue is tried again by itself."""


@dataclass
class Stack:
    """What a test needs to play GitHub, a person, and Daytona."""

    temporal: Client
    daytona: Server
    provider: DaytonaProvider
    worker: WorkerOptions
    issue_id: int
    made: list[str] = field(default_factory=list)
    number: int = 5

    @property
    def settings(self) -> WorkerSettings:
        return self.worker.settings

    @property
    def name(self) -> str:
        return sandbox_name(self.issue_id)

    @property
    def handle(self) -> WorkflowHandle[object, object]:
        return self.temporal.get_workflow_handle(self.name)

    def event(self, intention: Intention = Intention.ENSURE, **changes: object) -> IssueEvent:
        """A delivery for the issue, new unless stated otherwise."""
        issue = Issue(
            self.issue_id, "octo/repo", self.number, "A title", state=IssueState.OPEN, updated_at=datetime.now(UTC)
        )
        given: dict[str, object] = {
            "issue": issue,
            "intention": intention,
            "delivery": uuid.uuid4().hex,
            "event": "issues",
            "action": "opened",
        }
        return IssueEvent(**given | changes)  # type: ignore[arg-type]

    async def deliver(self, event: IssueEvent | None = None) -> None:
        """Signal-with-start, as the API does."""
        await self.temporal.start_workflow(
            WORKFLOW_TYPE,
            StartInput(self.issue_id, self.name),
            id=self.name,
            task_queue=self.settings.task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            start_signal=SIGNAL_EVENT,
            start_signal_args=[event or self.event()],
        )

    async def ensure(self) -> Handover:
        """Update-with-start, as the API does."""
        return await self.temporal.execute_update_with_start_workflow(
            UPDATE_ENSURE,
            EnsureRequest(Issue(self.issue_id, "octo/repo", self.number, "A title"), "test"),
            start_workflow_operation=WithStartWorkflowOperation(
                WORKFLOW_TYPE,
                StartInput(self.issue_id, self.name),
                id=self.name,
                task_queue=self.settings.task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            ),
            result_type=Handover,
        )

    async def status(self) -> Status:
        return await self.handle.query(QUERY_STATUS, result_type=Status)

    async def why(self) -> Why:
        return await self.handle.query(QUERY_WHY, result_type=Why)

    async def retry(self) -> None:
        await self.handle.signal(SIGNAL_RETRY)

    def another(self) -> Stack:
        """The same stack for another issue."""
        return replace(self, issue_id=new_issue_id())

    async def close(self, state: IssueState = IssueState.CLOSED) -> None:
        """The issue is closed now, or leaves the repository."""
        now = datetime.now(UTC)
        issue = Issue(self.issue_id, "octo/repo", self.number, "A title", state=state, updated_at=now)
        intention = Intention.DELETE if state is IssueState.DELETED else Intention.STOP
        await self.deliver(self.event(intention, issue=issue, action=str(state)))

    async def order(self, signal: str, *arguments: object) -> None:
        """Send a person's signal."""
        await self.handle.signal(signal, args=list(arguments))

    async def reset(self, event_id: int, run_id: str = "") -> None:
        """Reset a run of the workflow, the newest without `run_id`, to this completed workflow task, as people do."""
        await self.temporal.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace=self.temporal.namespace,
                workflow_execution=WorkflowExecution(workflow_id=self.name, run_id=run_id),
                reason="by a test",
                workflow_task_finish_event_id=event_id,
                request_id=f"{self.name}-{event_id}",
            )
        )

    async def reached(self, goal: Goal) -> Status:
        """Wait until the goal is reached, or the issue is blocked on the way."""
        return await until(
            self.status,
            lambda status: status.goal is goal and status.doing.startswith(("resting", "blocked")),
            f"{goal} reached",
        )

    async def state(self) -> str:
        """Daytona's state of the issue's only sandbox; '' when there is none."""
        rows = await self.live()
        assert len(rows) <= 1, rows
        return rows[0].state if rows else ""

    async def served(self) -> Status:
        """Wait until no request waits for the sandbox any more."""
        return await until(self.status, lambda status: status.requests_waiting == 0, "all requests served")

    async def blocked(self) -> Status:
        """Wait until the issue is blocked."""
        return await until(self.status, lambda status: status.blocked is not None, "the issue blocked")

    async def sandboxes(self) -> list[SandboxView]:
        """Every row of this issue that Daytona still has, from localdaytona's true state and not from its API."""
        rows = await self.daytona.admin.sandboxes()
        return [row for row in rows if row.name.startswith((self.name, f"DESTROYED_{self.name}_"))]

    async def live(self) -> list[SandboxView]:
        return [row for row in await self.sandboxes() if row.state != "destroyed" and not row.hidden]

    async def requests(self, after: int = 0) -> list[str]:
        """The operations requested of Daytona for this issue, in order."""
        names = {self.name} | {row.id for row in await self.sandboxes()}
        entries = await self.daytona.admin.journal(after=after, kind="request")
        return [e.operation for e in entries if e.operation and (e.name in names or e.sandbox_id in names)]

    async def journal_end(self) -> int:
        entries = await self.daytona.admin.journal()
        return entries[-1].seq if entries else 0


@pytest.fixture
async def daytona(tmp_path: Path) -> AsyncIterator[Server]:
    """A localdaytona whose state changes take a tenth of their usual time."""
    async with running_inside(tmp_path / "daytona") as server:
        await server.admin.config(
            durations={
                "create_s": 0.1, "start_s": 0.1, "stop_s": 0.1, "destroy_s": 0.2, "archive_s": 0.1,
                "restore_wait_s": 0.1, "restore_s": 0.2, "recover_s": 0.1, "discard_s": 0.1,
            },
            backup_every_s=0.1,
        )  # fmt: skip
        yield server


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stalls for a second must not cause a second lookup, because tests count them.

    One issue a minute tries a quota that is used up: tests do not wait for so long.
    """
    monkeypatch.setattr(options, "AT_ONCE_TIMEOUT", timedelta(seconds=8))
    monkeypatch.setattr(gate, "PROBE_EVERY", timedelta(seconds=0.3))


Started = Callable[..., Awaitable[Stack]]


@pytest.fixture
async def start(temporal: Client, daytona: Server, issue_id: int) -> AsyncIterator[Started]:
    """Start a worker on its own task queue; settings and interceptors may be given."""
    async with AsyncExitStack() as exits:

        async def started(
            *, interceptors: Sequence[Interceptor] = (), has_worker: bool = True, **changes: object
        ) -> Stack:
            worker = made_from(
                {
                    **FAST,
                    "task_queue": f"issuebox-{uuid.uuid4().hex[:8]}",
                    "daytona_api_key": daytona.api_key,
                    "daytona_api_url": daytona.api_url,
                    "daytona_target": "us",
                }
                | changes
            )
            provider = await exits.enter_async_context(DaytonaProvider(worker.daytona))
            if has_worker:
                source = await exits.enter_async_context(GitHubSource(worker.github))
                await exits.enter_async_context(
                    build_worker(temporal, provider, worker, interceptors, source=source, is_searchable=True)
                )
            await _connected(provider)
            return Stack(temporal, daytona, provider, worker, issue_id)

        yield started


@pytest.fixture
async def stack(start: Started) -> Stack:
    """The usual case: one worker with short times."""
    return await start()


async def _connected(provider: DaytonaProvider) -> None:
    """The event stream connects in the background; tests that count requests need it connected."""
    dispatcher = provider._client._event_dispatcher
    assert dispatcher is not None
    if dispatcher._connect_task is not None:
        await dispatcher._connect_task
