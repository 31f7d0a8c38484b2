"""Temporal's database is put back to an earlier moment: the documented way, and with workers that live on.

A worker that lives on answers from its memory of a past that is not in the database any more, and the two no longer
agree: the workflow is stuck. docs/operations.md says how to restore, and these are its commands.
"""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from issuebox.dev.temporal_server import DevServer, ensure_binary
from issuebox.domain.audit import Kind
from issuebox.domain.issue import IssueState
from issuebox.domain.workflow_ends import Stuck, advice_for
from issuebox.providers.daytona import DaytonaProvider
from issuebox.temporal.connect import DATA_CONVERTER
from issuebox.temporal.index import Index
from issuebox.temporal.issues import Issues, StuckError
from issuebox.temporal.search_attributes import needed
from issuebox.worker import build_worker
from localdaytona.testing import free_port, running_inside
from proofs.shortened import made_from
from tests.waiting import until
from tests.workflow.conftest import FAST, Stack
from workflows.audit_messages import AUDIT_TYPE, AuditInput, AuditReport
from workflows.messages import QUERY_STATUS, WORKFLOW_TYPE, StartInput, Status

TASK_TIMEOUT = timedelta(seconds=2)
"""Instead of 10 s: a failing task is tried again after its time-out."""


@dataclass
class Cluster:
    """A Temporal server on a file, and the workers of one installation."""

    server: DevServer
    stack: Stack
    process: asyncio.subprocess.Process | None = None
    worker: AbstractAsyncContextManager[None] | None = None

    async def up(self) -> None:
        self.process = await asyncio.create_subprocess_exec(*self.server.command(), stdout=asyncio.subprocess.DEVNULL)
        await until(lambda: _is_healthy(self.stack.temporal), bool, "Temporal answers", 60.0)

    async def down(self) -> None:
        if self.process is not None:
            self.process.terminate()
            await self.process.wait()
            self.process = None

    async def start_worker(self) -> None:
        self.worker = build_worker(self.stack.temporal, self.stack.provider, self.stack.worker, is_searchable=True)
        await self.worker.__aenter__()

    async def stop_worker(self) -> None:
        if self.worker is not None:
            await self.worker.__aexit__(None, None, None)
            self.worker = None

    async def copy(self, name: str) -> None:
        """Stop the server and keep a copy of its database."""
        await self.down()
        await asyncio.to_thread(_copy, self.server.database.parent, self.server.database.parent.parent / name)

    async def restore(self, name: str) -> None:
        """Stop the server and put the copy back."""
        await self.down()
        await asyncio.to_thread(_copy, self.server.database.parent.parent / name, self.server.database.parent)

    async def command(self, *arguments: str) -> str:
        """Run a command of Temporal's CLI, as docs/operations.md has it. Returns what it prints."""
        process = await asyncio.create_subprocess_exec(
            self.server.binary, *arguments, "--address", self.server.address,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()

    @property
    def issues(self) -> Issues:
        settings = self.stack.settings
        return Issues.over(
            self.stack.temporal, name_prefix=settings.name_prefix, task_queue=settings.task_queue, timeout_s=8.0
        )

    async def stuck(self) -> Stuck | None:
        row = await Index(self.issues).describe(self.stack.name)
        assert row is not None
        return row.stuck

    async def audit(self) -> AuditReport:
        report: AuditReport = await self.stack.temporal.execute_workflow(
            AUDIT_TYPE, AuditInput(), id=f"audit-{uuid.uuid4().hex[:8]}",
            task_queue=self.stack.settings.task_queue, result_type=AuditReport,
        )  # fmt: skip
        return report

    async def opened(self) -> str:
        """The issue is opened and has its sandbox, whose ID is returned."""
        await self.stack.temporal.start_workflow(
            WORKFLOW_TYPE, StartInput(self.stack.issue_id, self.stack.name), id=self.stack.name,
            task_queue=self.stack.settings.task_queue, task_timeout=TASK_TIMEOUT,
            start_signal="issue_event", start_signal_args=[self.stack.event()],
        )  # fmt: skip
        status = await self.served()
        assert status.sandbox is not None
        return status.sandbox.id

    async def served(self) -> Status:
        """The status once no request waits. Right after a restart the workflow may not answer yet."""
        return await self._status(lambda status: not status.requests_waiting, "served")

    async def shows(self, state: IssueState) -> None:
        """Return once the workflow knows that the issue is in this state."""
        await self._status(lambda status: status.issue is not None and status.issue.state is state, f"it is {state}")

    async def _status(self, is_so: Callable[[Status], bool], what: str) -> Status:
        async def read() -> Status | None:
            try:
                return await self.stack.status()
            except RPCError:
                return None

        status = await until(read, lambda status: status is not None and is_so(status), what, 60.0)
        assert status is not None
        return status


async def _is_healthy(client: Client) -> bool:
    try:
        return await client.service_client.check_health(timeout=timedelta(seconds=1))
    except (RPCError, RuntimeError):  # The SDK raises RuntimeError when a lazy client cannot connect.
        return False


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


@pytest.fixture
async def cluster(tmp_path: Path, issue_id: int) -> AsyncIterator[Cluster]:
    (tmp_path / "temporal").mkdir()
    server = DevServer(
        binary=await ensure_binary(), database=tmp_path / "temporal" / "t.db", port=free_port(), ui_port=free_port(),
        search_attributes=needed(), log_level="error",
    )  # fmt: skip
    async with running_inside(tmp_path / "daytona") as daytona:
        await daytona.admin.config(durations={"create_s": 0.1, "start_s": 0.1, "stop_s": 0.1})
        worker = made_from(
            FAST
            | {
                "task_queue": "issuebox", "audit_recheck_s": 1.0, "audit_reads_per_s": 500.0,
                "daytona_api_key": daytona.api_key, "daytona_api_url": daytona.api_url, "daytona_target": "us",
            }
        )  # fmt: skip
        async with DaytonaProvider(worker.daytona) as provider:
            lazy = await Client.connect(server.address, lazy=True, data_converter=DATA_CONVERTER)
            cluster = Cluster(server, Stack(lazy, daytona, provider, worker, issue_id))
            try:
                await cluster.up()
                # A worker needs a client that is connected from the beginning.
                cluster.stack.temporal = await Client.connect(server.address, data_converter=DATA_CONVERTER)
                await cluster.start_worker()
                yield cluster
            finally:
                await cluster.stop_worker()
                await cluster.down()


async def lost_close(cluster: Cluster) -> str:
    """The issue's sandbox, after a backup, a close that the backup has not, and the restored backup."""
    sandbox_id = await cluster.opened()
    await cluster.copy("backup")
    await cluster.up()
    await cluster.stack.close()
    await cluster.shows(IssueState.CLOSED)
    await cluster.restore("backup")
    return sandbox_id


async def stuck_by_restore(cluster: Cluster) -> tuple[str, Stuck]:
    """The workers live through the restore, go on from what they remember, and are restarted."""
    sandbox_id = await lost_close(cluster)
    await cluster.up()
    for _ in range(2):
        await cluster.stack.deliver()
        await cluster.served()
    await cluster.stop_worker()
    await cluster.start_worker()
    await cluster.stack.deliver()
    stuck = await until(cluster.stuck, bool, "the workflow is stuck", 60.0)
    assert stuck is not None
    return sandbox_id, stuck


async def test_database_restored_while_no_worker_runs_is_taken_up_again(cluster: Cluster) -> None:
    """The documented way: what the backup has not comes from GitHub by resync, here as its delivery."""
    sandbox_id = await lost_close(cluster)
    await cluster.stop_worker()
    await cluster.up()
    await cluster.start_worker()
    await cluster.shows(IssueState.OPEN)
    await cluster.stack.close()
    await cluster.shows(IssueState.CLOSED)
    assert await cluster.stuck() is None
    report = await cluster.audit()
    assert (report.promise_holds, report.findings) == (True, ())
    assert [row.id for row in await cluster.stack.live()] == [sandbox_id]


async def test_database_restored_under_living_workers_is_seen_and_a_reset_helps(cluster: Cluster) -> None:
    """`stuck` everywhere, with the command; the reset keeps the events that came since."""
    sandbox_id, stuck = await stuck_by_restore(cluster)
    assert "Nondeterminism" in stuck.reason
    with pytest.raises(StuckError, match="Nondeterminism"):
        await cluster.issues.query(cluster.stack.issue_id, QUERY_STATUS, Status)
    (finding,) = (await cluster.audit()).findings
    assert (finding.kind, finding.mended) == (Kind.STUCK, False)
    reset = commands(finding.advice, "temporal workflow reset")
    await cluster.command(*reset)
    status = await cluster.served()
    assert status.issue is not None
    assert (status.issue.state, status.sandbox and status.sandbox.id) == (IssueState.OPEN, sandbox_id)
    assert await cluster.stuck() is None
    assert (await cluster.audit()).promise_holds


async def test_stuck_workflow_can_be_ended_and_the_audit_begins_a_new_one(cluster: Cluster) -> None:
    """The other command of the advice: the new workflow knows the sandbox and the issue, and nothing is created."""
    sandbox_id, stuck = await stuck_by_restore(cluster)
    await cluster.command(*commands(advice_for(stuck, cluster.stack.name), "temporal workflow terminate"))
    (finding,) = (await cluster.audit()).findings
    assert (finding.kind, finding.mended) == (Kind.ORPHAN, True)
    status = await cluster.stack.status()
    assert (status.requests_waiting, status.sandbox and status.sandbox.id) == (0, sandbox_id)
    assert status.issue is not None
    assert status.issue.repository == "octo/repo"
    assert [row.id for row in await cluster.stack.live()] == [sandbox_id]
    assert (await cluster.audit()).promise_holds


def commands(advice: str, beginning: str) -> list[str]:
    """The arguments of the command in this advice that begins so."""
    (command,) = [part for part in advice.split("`") if part.startswith(beginning)]
    return command.split()[1:]
