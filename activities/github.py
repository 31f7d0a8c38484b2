"""The activities that read GitHub: the state of one issue, and the walk through a repository.

Both only read at GitHub and are safe to repeat.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import structlog
from pydantic import TypeAdapter, ValidationError
from temporalio import activity

from activities.failures import typed_failures
from activities.github_messages import RepositoryInput, RepositoryReply
from activities.reporting import heartbeats, ms
from activities.resync import Progress, RepositoryWalk
from issuebox.domain.errors import ProviderError
from issuebox.domain.issue import Issue
from issuebox.domain.issue_source import IssueSource
from issuebox.domain.known_issues import KnownIssues
from issuebox.domain.resync import authoritative
from issuebox.domain.triggers import Criteria

_PROGRESS = TypeAdapter(Progress)

_log = structlog.get_logger("issuebox.activities")


class GitHubActivities:
    """Reading GitHub, and sending the issues' workflows what they missed."""

    def __init__(self, source: IssueSource, known: KnownIssues, criteria: Criteria) -> None:
        self._source = source
        self._known = known
        self._criteria = criteria

    def all(self) -> list[Callable[..., Any]]:
        """Every activity, for the worker."""
        return [self.read_issue, self.resync_repository]

    @activity.defn
    async def read_issue(self, issue: Issue) -> Issue | None:
        """The issue as GitHub has it now: open, closed, transferred or deleted.

        None when unknown: no credentials are configured, or GitHub does not show the issue, which proves nothing.
        """
        if not self._source.is_authorized or not issue.repository or not issue.number:
            return None
        async with typed_failures():
            reading = await self._source.read_issue(issue.repository, issue.number, issue.id)
        found = authoritative(issue, reading)
        _log.info(
            "issue_read", issue_id=issue.id, presence=str(reading.presence), state=str(found.state) if found else ""
        )
        return found

    @activity.defn
    async def resync_repository(self, request: RepositoryInput) -> RepositoryReply:
        """Compare a repository with what the workflows know, and send what was missed.

        A retry continues where this attempt stopped. Raises the failure of the `ProviderError` that stopped it.
        """
        progress = _resumed() or Progress(request.mark)
        async with typed_failures(), _logged(request, progress), heartbeats(lambda: _beat(progress)):
            walk = RepositoryWalk(request, progress, self._source, self._known, self._criteria, record=_beat)
            return await walk.run()


def _beat(progress: Progress) -> None:
    activity.heartbeat(_PROGRESS.dump_python(progress, mode="json"))


def _resumed() -> Progress | None:
    """The progress of the last attempt; None at the first one, and when another version of this code recorded it."""
    details = activity.info().heartbeat_details
    if not details:
        return None
    try:
        return _PROGRESS.validate_python(details[0])
    except ValidationError:
        return None


@asynccontextmanager
async def _logged(request: RepositoryInput, progress: Progress) -> AsyncIterator[None]:
    began, attempt = time.monotonic(), activity.info().attempt
    log_fields: dict[str, object] = {"repository": request.repository, "is_sweep": request.is_sweep, "attempt": attempt}
    try:
        yield
    except ProviderError as error:
        log_fields |= {"stage": str(progress.stage), "duration_ms": ms(began)}
        _log.warning("resync_failed", **log_fields, error=type(error).__name__, reason=str(error))
        raise
    _log.info("resync_done", **log_fields, **asdict(progress.counts), duration_ms=ms(began))
