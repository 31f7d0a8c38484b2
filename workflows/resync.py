"""`ResyncWorkflow`: repairs what GitHub did not deliver, one repository at a time and each by itself.

Temporal hands a scheduled run the result of the last run that completed, also when others failed, were
terminated or timed out in between. So the workflow completes whatever GitHub does: a repository that could
not be read is reported, and keeps the mark that it had.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from activities.github import GitHubActivities
from activities.github_messages import RepositoryInput
from issuebox.domain.resync import Mark
from workflows import options
from workflows.failures import read_failure
from workflows.resync_messages import RESYNC_WORKFLOW_TYPE, RepositoryReport, ResyncReport, ResyncRequest

CONCURRENT_MAX = 4
"""Repositories read at once. GitHub wants few requests at a time; one that is down must not hold up the others."""


@workflow.defn(name=RESYNC_WORKFLOW_TYPE)
class ResyncWorkflow:
    """What was missed is found at GitHub and sent."""

    @workflow.run
    async def run(self, request: ResyncRequest) -> ResyncReport:
        """Read every repository; the report names those that could not be read."""
        last = workflow.get_last_completion_result(ResyncReport) or ResyncReport()
        slots = asyncio.Semaphore(CONCURRENT_MAX)
        reports = await asyncio.gather(
            *(_read(repository, request, last, slots) for repository in request.repositories)
        )
        _tell(reports)
        return ResyncReport(tuple(reports))


async def _read(
    repository: str, request: ResyncRequest, last: ResyncReport, slots: asyncio.Semaphore
) -> RepositoryReport:
    """One repository. Whatever goes wrong with it stays in its report."""
    mark = _mark(repository, request, last)
    asked = RepositoryInput(repository, mark, is_sweep=_is_sweep(request, mark), takes_all=request.is_full)
    async with slots:
        try:
            reply = await workflow.execute_activity_method(
                GitHubActivities.resync_repository, asked, summary=repository, **options.resync()
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            failure = read_failure(error)
            workflow.logger.error(
                "resync_failed", extra={"repository": repository, "error": failure.kind, "reason": failure.reason}
            )
            return RepositoryReport(repository, mark, error=failure.kind, reason=failure.reason)
    return RepositoryReport(repository, reply.mark, reply.counts, reply.sent)


def _mark(repository: str, request: ResyncRequest, last: ResyncReport) -> Mark:
    """Where to begin: as told, else where the last run was, else a while ago."""
    if request.since is not None:
        return Mark.at(request.since)
    return last.mark_of(repository) or Mark.at(workflow.now() - timedelta(seconds=request.lookback_s))


def _is_sweep(request: ResyncRequest, mark: Mark) -> bool:
    if request.is_full:
        return True
    interval = timedelta(seconds=request.sweep_interval_s)
    return bool(interval) and (mark.swept_at is None or workflow.now() - mark.swept_at >= interval)


def _tell(reports: list[RepositoryReport]) -> None:
    """One line per repository in the Web UI."""
    lines = []
    for report in reports:
        counts = report.counts
        done = f"{counts.sent} of {counts.listed} sent, {counts.requests} requests ({counts.unchanged} unchanged)"
        lines.append(f"- **{report.repository}**: " + (f"{report.error}: {report.reason}" if report.error else done))
    workflow.set_current_details("\n".join(lines))
