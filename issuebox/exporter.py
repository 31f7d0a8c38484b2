"""`issuebox exporter`: what Temporal knows of all issues, for Prometheus. One process for an installation.

It reads Temporal alone: one question for each value, every minute, because a search cannot group by our attributes
(`GROUP BY` takes only ExecutionStatus, server 1.30.1), and because a namespace has 10 searches a second for everybody.
That is also why it is one process, and not a part of each worker. What cannot be read keeps its value, and shows by
its age.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Final

import structlog
from aiolimiter import AsyncLimiter
from temporalio.client import Client, WorkflowExecution, WorkflowFailureError
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from issuebox import measured, metrics
from issuebox.domain.audit import Kind
from issuebox.domain.phase import Cause, Phase
from issuebox.health import answering
from issuebox.settings import ExporterSettings
from issuebox.temporal import runs
from issuebox.temporal.connect import connect, reason_of
from issuebox.temporal.index import ODD, Index, running_on
from issuebox.temporal.issues import Issues, IssuesError
from issuebox.temporal.pollers import KINDS, queue_state
from issuebox.temporal.schedules import SWEEPS, schedule_id
from issuebox.watchdog import watched
from workflows import search_attributes
from workflows.audit_messages import AUDIT_TYPE, AuditReport
from workflows.messages import WORKFLOW_TYPE
from workflows.resync_messages import RESYNC_SCHEDULE_ID, RESYNC_WORKFLOW_TYPE, ResyncReport
from workflows.run_messages import RunState

INTERVAL_S: Final = 60.0
"""The pause between two rounds."""

SEARCHES_PER_S: Final = 4.0
"""Fewer than half of those that a namespace has: a round of some fifty takes a quarter of a minute."""

READ_TIMEOUT_S: Final = 45.0
"""How long all questions of one row may take."""

TIMEOUT_S: Final = 8.0
"""How long one call to Temporal may take."""

REPORTS_MAX: Final = 10
"""Resyncs that are read at the start, for a repository that the newest one could not read."""

_log = structlog.get_logger("issuebox.exporter")


def serve(settings: ExporterSettings) -> None:
    """Run the exporter until SIGINT or SIGTERM."""
    measured.begin(metrics.Process.EXPORTER)
    asyncio.run(watched(_run(settings)))


async def _run(settings: ExporterSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    exporter = Exporter(await connect(lazy=True), settings)
    async with answering(settings.admin_address, exporter.is_not_ready):
        _log.info("exporter_ready", address=settings.admin_address, task_queue=settings.task_queue)
        reading = asyncio.create_task(exporter.read_for_ever())
        await asyncio.wait({reading, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            reading.result()  # It has no end but a bug.
        reading.cancel()
    _log.info("exporter_stopping")


class Exporter:
    """The rows of what is read, each by itself: one that fails holds up no other."""

    def __init__(self, client: Client, settings: ExporterSettings, *, searches_per_s: float = SEARCHES_PER_S) -> None:
        self._client = client
        self._task_queue = settings.task_queue
        issues = Issues.over(
            client, name_prefix=settings.name_prefix, task_queue=settings.task_queue, timeout_s=TIMEOUT_S
        )
        self._index = Index(issues)
        self._pace = AsyncLimiter(1, 1 / searches_per_s)
        self._audited = ""
        self._resynced_at: datetime | None = None
        self._has_read = False
        self._reads: Mapping[str, Callable[[], Awaitable[None]]] = {
            "issues": self._issues,
            "blocked": self._blocked,
            "runs": self._runs,
            "stuck": self._stuck,
            "pollers": self._pollers,
            "schedules": self._schedules,
            "audit": self._audit,
            "resync": self._resync,
        }
        for name in self._reads:
            # A read that never succeeds is as old as the process.
            metrics.put(metrics.EXPORTER_AT, time.time(), read=name)

    async def is_not_ready(self) -> str:
        """Why there is nothing to show yet; '' after the first round."""
        return "" if self._has_read else "the first round is not over"

    async def read_for_ever(self) -> None:
        """Read every row, and again after a pause."""
        while True:
            await self.round()
            await asyncio.sleep(INTERVAL_S)

    async def round(self) -> None:
        """Read every row once. Does not raise when Temporal cannot be read."""
        for name, read in self._reads.items():
            try:
                async with asyncio.timeout(READ_TIMEOUT_S):
                    await read()
            except (RPCError, RuntimeError, TimeoutError, IssuesError, WorkflowFailureError) as error:
                metrics.count(metrics.EXPORTER_ERRORS, read=name)
                _log.warning("exporter_read_failed", read=name, reason=_why(error))
            else:
                metrics.put(metrics.EXPORTER_AT, time.time(), read=name)
        self._has_read = True

    async def _issues(self) -> None:
        for phase in Phase:
            metrics.put(metrics.ISSUES, await self._count(_is(search_attributes.PHASE, phase)), phase=phase)
        unseen = await self._count(f"{search_attributes.PHASE.name} IS NULL")
        metrics.put(metrics.ISSUES, unseen, phase=metrics.NONE)

    async def _blocked(self) -> None:
        for cause in Cause:
            found = await self._count(_is(search_attributes.BLOCKED, cause))
            metrics.put(metrics.ISSUES_BLOCKED, found, cause=cause)

    async def _runs(self) -> None:
        for state in RunState:
            metrics.put(metrics.RUNS, await self._count(_is(search_attributes.RUN, state)), state=state)

    async def _stuck(self) -> None:
        if await self._index.reports_stuck():
            stuck = await self._count(f"{runs.REPORTED_PROBLEMS} IS NOT NULL")
        else:
            stuck = len(await self._index.stuck(running_on(self._task_queue)))
        metrics.put(metrics.WORKFLOWS_STUCK, stuck)

    async def _pollers(self) -> None:
        for kind in KINDS:
            queue = await queue_state(self._client, self._task_queue, kind)
            polling = sum(not poller.is_silent for poller in queue.pollers)
            metrics.put(metrics.POLLERS, polling, kind=kind)
            metrics.put(metrics.BACKLOG, queue.backlog, kind=kind)

    async def _schedules(self) -> None:
        found: dict[str, float] = {}
        for sweep in SWEEPS:
            try:
                description = await self._client.get_schedule_handle(schedule_id(sweep.id, self._task_queue)).describe()
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
                continue
            if not description.schedule.state.paused:
                for interval in description.schedule.spec.intervals:
                    found[sweep.id.removeprefix("issuebox-")] = interval.every.total_seconds()
        for name, interval_s in found.items():
            metrics.put(metrics.SWEEP_INTERVAL, interval_s, sweep=name)
        metrics.keep_only(metrics.SWEEP_INTERVAL, "sweep", found)

    async def _audit(self) -> None:
        """Findings and time of the newest audit, which is read once."""
        newest = await self._completed(f"{_on(self._task_queue)}WorkflowType = '{AUDIT_TYPE}'", 1)
        for execution in newest:
            if execution.run_id == self._audited or execution.close_time is None:
                return
            handle = self._client.get_workflow_handle(execution.id, run_id=execution.run_id, result_type=AuditReport)
            report: AuditReport = await handle.result(follow_runs=False)
            for kind in Kind:
                found = sum(finding.kind is kind and not finding.mended for finding in report.findings)
                metrics.put(metrics.AUDIT_FINDINGS, found, kind=kind)
            if report.is_complete:
                metrics.put(metrics.AUDIT_AT, execution.close_time.timestamp())
            self._audited = execution.run_id

    async def _resync(self) -> None:
        """When each repository was last read. A run by hand reads others, and counts for nothing here."""
        own_id = schedule_id(RESYNC_SCHEDULE_ID, self._task_queue)
        condition = f"WorkflowType = '{RESYNC_WORKFLOW_TYPE}' AND TemporalScheduledById = '{own_id}'"
        for execution in reversed(await self._completed(condition, REPORTS_MAX)):
            at = execution.close_time
            if at is None or (self._resynced_at is not None and at <= self._resynced_at):
                continue
            handle = self._client.get_workflow_handle(execution.id, run_id=execution.run_id, result_type=ResyncReport)
            report: ResyncReport = await handle.result(follow_runs=False)
            for repository in report.repositories:
                if not repository.error:
                    metrics.put(metrics.RESYNC_AT, at.timestamp(), repository=repository.repository)
            metrics.keep_only(metrics.RESYNC_AT, "repository", {each.repository for each in report.repositories})
            self._resynced_at = at

    async def _completed(self, condition: str, at_most: int) -> list[WorkflowExecution]:
        """The newest completed workflow runs, the newest first."""
        async with self._pace:
            listing = self._client.list_workflows(f"{condition} AND ExecutionStatus = 'Completed'", page_size=at_most)
            await listing.fetch_next_page()
        return list(listing.current_page or ())

    async def _count(self, condition: str) -> int:
        """How many issues' workflows of this installation run and meet the condition."""
        async with self._pace:
            query = f"WorkflowType = '{WORKFLOW_TYPE}' AND {running_on(self._task_queue)} AND {condition}"
            return (await self._client.count_workflows(query)).count


def _is(key: SearchAttributeKey[str], value: str) -> str:
    return f"{key.name} = '{value}'"


def _on(task_queue: str) -> str:
    """The condition for the task queue, where it can be written: see `running_on`."""
    return "" if ODD.search(task_queue) else f"TaskQueue = '{task_queue}' AND "


def _why(error: Exception) -> str:
    if isinstance(error, IssuesError | WorkflowFailureError):
        return str(error)
    return "Temporal has not answered in time" if isinstance(error, TimeoutError) else reason_of(error)
