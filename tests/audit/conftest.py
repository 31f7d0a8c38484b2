"""A whole installation to audit: real Temporal, the real worker, the real SDK, localdaytona."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.worker import Interceptor

from issuebox.domain.audit import Installation
from issuebox.domain.records import IssueRecord, NameRange
from issuebox.providers.daytona import DaytonaProvider
from issuebox.temporal.index import Index
from issuebox.temporal.issues import Issues
from issuebox.temporal.sweeps import SweptIssues
from issuebox.worker import build_worker
from localdaytona.admin_models import SandboxView
from localdaytona.testing import Server, running_inside
from proofs.shortened import made_from
from tests.waiting import until
from tests.workflow.conftest import FAST, Stack
from workflows.audit_messages import AUDIT_TYPE, AuditInput, AuditReport
from workflows.messages import MEMO_STATUS, WORKFLOW_TYPE, Published, StartInput

RECHECK_S = 0.5
"""Instead of 75 s. The pauses before the rereads are shares of it."""

READS = {"get", "list"}


@dataclass
class Audited:
    """An installation, and what a test does to it."""

    stack: Stack

    @property
    def ours(self) -> Installation:
        settings = self.stack.settings
        return Installation(settings.instance, settings.name_prefix)

    @property
    def records(self) -> SweptIssues:
        return SweptIssues(
            self.stack.temporal,
            name_prefix=self.stack.settings.name_prefix,
            task_queue=self.stack.settings.task_queue,
        )

    @property
    def index(self) -> Index:
        settings = self.stack.settings
        return Index(
            Issues.over(
                self.stack.temporal, name_prefix=settings.name_prefix, task_queue=settings.task_queue, timeout_s=10.0
            )
        )

    def issue(self, number: int) -> Stack:
        """Another issue of the same installation."""
        return replace(self.stack, issue_id=self.stack.issue_id * 100 + number)

    async def audit(self, *, mend: bool | None = None) -> AuditReport:
        report: AuditReport = await self.stack.temporal.execute_workflow(
            AUDIT_TYPE,
            AuditInput(mend),
            id=f"audit-{uuid.uuid4().hex[:8]}",
            task_queue=self.stack.settings.task_queue,
            result_type=AuditReport,
        )
        return report

    async def ensured(self, issue: Stack) -> str:
        """The ID of the issue's running sandbox, once Temporal's list knows it too."""
        handover = await issue.ensure()
        assert handover.sandbox is not None
        await self.listed(issue.name, lambda record: record.sandbox_id != "")
        return handover.sandbox.id

    async def listed(self, name: str, is_so: Callable[[IssueRecord], bool] = lambda _: True) -> None:
        """Return once Temporal's list, which lags, shows this about a workflow."""

        async def read() -> list[IssueRecord]:
            whole = await self.records.read_range(NameRange())
            return [record for record in whole.records if record.name == name]

        await until(read, lambda found: any(map(is_so, found)), f"{name} in Temporal's list")

    async def made(self, name: str, labels: dict[str, str] | None = None, **label: str) -> SandboxView:
        """A sandbox made by hand, with our labels and more, once it runs."""
        given = (self.ours.labels if labels is None else labels) | {
            key.replace("_", "-"): v for key, v in label.items()
        }
        admin = self.stack.daytona.admin
        row = await admin.create(name=name, labels=given)
        return await until(lambda: admin.sandbox(row.id), lambda found: found.state == "started", f"{name} started")

    async def published(self, issue: Stack, published: Published) -> None:
        """A workflow of the issue that has published this: its memo is set at its start."""
        await self.stack.temporal.start_workflow(
            WORKFLOW_TYPE,
            StartInput(issue.issue_id, issue.name),
            id=issue.name,
            task_queue=self.stack.settings.task_queue,
            memo={MEMO_STATUS: published},
        )
        await self.listed(issue.name)

    async def commands(self, after: int) -> list[str]:
        """What was requested of Daytona's API besides reads since then."""
        entries = await self.stack.daytona.admin.journal(after=after, kind="request")
        return [entry.operation for entry in entries if entry.operation and entry.operation not in READS]


@pytest.fixture
async def daytona(tmp_path: Path) -> AsyncIterator[Server]:
    """A localdaytona whose state changes are quick."""
    async with running_inside(tmp_path / "daytona") as server:
        await server.admin.config(durations={"create_s": 0.1, "start_s": 0.1, "stop_s": 0.1, "destroy_s": 0.2})
        yield server


def values_for(daytona: Server, **changes: object) -> dict[str, object]:
    """Settings and constants: short times, and its own task queue."""
    return {
        **FAST,
        "task_queue": f"issuebox-{uuid.uuid4().hex[:8]}",
        "audit_recheck_s": RECHECK_S,
        "audit_reads_per_s": 500.0,
        "daytona_api_key": daytona.api_key,
        "daytona_api_url": daytona.api_url,
        "daytona_target": "us",
    } | changes


Started = Callable[..., Awaitable[Audited]]


@pytest.fixture
async def start(temporal: Client, daytona: Server, issue_id: int) -> AsyncIterator[Started]:
    """Start an installation; settings and interceptors may be given."""
    async with AsyncExitStack() as exits:

        async def started(*, interceptors: Sequence[Interceptor] = (), **changes: object) -> Audited:
            return await exits.enter_async_context(working(temporal, daytona, issue_id, interceptors, **changes))

        yield started


@asynccontextmanager
async def working(
    temporal: Client, daytona: Server, issue_id: int, interceptors: Sequence[Interceptor] = (), **changes: object
) -> AsyncIterator[Audited]:
    """An installation whose worker runs for as long as the block."""
    worker = made_from(values_for(daytona, **changes))
    async with DaytonaProvider(worker.daytona) as provider, build_worker(temporal, provider, worker, interceptors):
        yield Audited(Stack(temporal, daytona, provider, worker, issue_id))


@pytest.fixture
async def world(start: Started) -> Audited:
    """The usual case: one worker."""
    return await start()
