"""`ResyncWorkflow`: finds what GitHub did not deliver and sends it, each repository independently of the others.

Temporal hands a scheduled run the result of the last run that completed, even when others failed, were
terminated or timed out in between. So the workflow always completes, whatever GitHub does: it reports a repository
that it could not read, and keeps the repository's mark.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from activities.github import GitHubActivities
from activities.github_messages import RepositoryInput
from issuebox.domain.resync import Mark
from issuebox.domain.text import as_markdown
from workflows import options
from workflows.failures import read_failure
from workflows.resync_messages import RESYNC_WORKFLOW_TYPE, RepositoryReport, ResyncReport, ResyncRequest

CONCURRENT_MAX = 4
"""Repositories read at once. GitHub wants few parallel requests, and one slow repository must not hold up the rest."""


@workflow.defn(name=RESYNC_WORKFLOW_TYPE)
class ResyncWorkflow:
    """One resync of all configured repositories."""

    @workflow.run
    async def run(self, request: ResyncRequest) -> ResyncReport:
        """Read every repository; the report names those that could not be read."""
        last = workflow.get_last_completion_result(ResyncReport) or ResyncReport()
        slots = asyncio.Semaphore(CONCURRENT_MAX)
        reports = await asyncio.gather(
            *(_read(repository, request, last, slots) for repository in request.repositories)
        )
        _show(reports)
        return ResyncReport(tuple(reports))


async def _read(
    repository: str, request: ResyncRequest, last: ResyncReport, slots: asyncio.Semaphore
) -> RepositoryReport:
    """Read one repository. Its failure goes into its report and affects no other."""
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
    """Where to begin: at `since`, else where the last run ended, else `lookback_s` ago."""
    if request.since is not None:
        return Mark.at(request.since)
    return last.mark_of(repository) or Mark.at(workflow.now() - timedelta(seconds=request.lookback_s))


def _is_sweep(request: ResyncRequest, mark: Mark) -> bool:
    if request.is_full:
        return True
    interval = timedelta(seconds=request.sweep_interval_s)
    return bool(interval) and (mark.swept_at is None or workflow.now() - mark.swept_at >= interval)


def _show(reports: list[RepositoryReport]) -> None:
    """Show one line per repository in the Web UI."""
    lines = []
    for report in reports:
        counts = report.counts
        done = f"{counts.sent} of {counts.listed} sent, {counts.requests} requests ({counts.unchanged} unchanged)"
        lines.append(
            f"- **{report.repository}**: " + (as_markdown(f"{report.error}: {report.reason}") if report.error else done)
        )
    workflow.set_current_details("\n".join(lines))
