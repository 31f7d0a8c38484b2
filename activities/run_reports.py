"""The activities that tell an issue of its runs: 👀 under the comment that asked, and one comment for each run.

GitHub has no way to create a comment once: a create whose reply is lost may have made one, or may make one later. So
our own comments are read before one is created, and again after a failure that says nothing. Two of one run are found
in the end, and the younger one is deleted. To edit is safe to repeat: the text follows from the run's state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import structlog
from temporalio import activity

from activities.failures import typed_failures
from activities.reporting import heartbeats
from activities.run_messages import HeardInput, Reported, ReportInput
from issuebox.domain.comments import Comments, OwnComment
from issuebox.domain.errors import ProviderError, RateLimitedError, TransientError
from issuebox.domain.run import Run, RunPhase
from issuebox.domain.run_comment import EDIT_PACE, Hints, body_of, is_needed, marker

LOOK_AGAIN_S: Final = 5.0
"""How long what was written may take to be seen, and a request that nobody waits for any more to be carried out."""

CONFIRMATIONS_MAX: Final = 3
"""How often a last report is written again that a late one has overwritten."""

EDIT_PACE_S: Final = EDIT_PACE.total_seconds()

CLOCKS_APART_MAX: Final = timedelta(minutes=10)
"""How far GitHub's clock and Temporal's may be apart, when comments since a time are read."""

_log = structlog.get_logger("issuebox.activities")


class RunReportActivities:
    """Telling the issues. `redact` takes secrets out of what an agent wrote."""

    def __init__(self, comments: Comments, hints: Hints, redact: Callable[[str], str] = str) -> None:
        self._comments = comments
        self._hints = hints
        self._redact = redact

    def all(self) -> list[Callable[..., Any]]:
        """Every activity, for the worker."""
        return [self.show_heard, self.report_run]

    @activity.defn
    async def show_heard(self, request: HeardInput) -> None:
        """Put 👀 under the comments. Safe to repeat."""
        async with typed_failures(), heartbeats():
            for comment_id in request.comments:
                await self._comments.react(request.issue.repository, comment_id)

    @activity.defn
    async def report_run(self, request: ReportInput) -> Reported:
        """Write the run's comment as its state is now, once however often it is called."""
        run, known = request.run, {"issue_id": request.issue_id, "sandbox": request.name, "run": request.run.id}
        async with typed_failures(), heartbeats():
            try:
                comment_id = await self._write(request)
                if run.is_over and comment_id > 0:
                    comment_id = await self._confirm(request) or comment_id
            except ProviderError as error:
                _log.warning("run_report_failed", **known, reason=str(error), attempt=activity.info().attempt)
                raise
        _log.info("run_reported", **known, comment_id=comment_id, is_over=run.is_over)
        return Reported(comment_id)

    @contextmanager
    def telling(self, request: ReportInput | None) -> Iterator[Callable[[str], None]]:
        """What a follower calls with the agent's progress at each probe. It never waits and never fails."""
        telling = _Telling(self, request)
        try:
            yield telling.tell
        finally:
            telling.end()

    async def find(self, request: ReportInput) -> OwnComment | None:
        """The run's comment; None when it is not seen. Of two the older one counts, and the others are deleted."""
        run, issue = request.run, request.around.issue
        since = run.asked_at - CLOCKS_APART_MAX
        found = await self._comments.own(issue.repository, issue.number, since, marker(run.id))
        for younger in found[1:]:
            await self._comments.delete(issue.repository, younger.id)
            _log.warning("run_comment_deleted", issue_id=request.issue_id, run=run.id, comment_id=younger.id)
        return found[0] if found else None

    async def edit(self, request: ReportInput, found: OwnComment) -> OwnComment | None:
        """Write the state into the comment, if it says something else; None when it is gone."""
        body = self._body(request)
        if _is_same(found.body, body):
            return found
        repository = request.around.issue.repository
        is_there = await self._comments.edit(repository, found.id, body, is_needed=is_needed(request.run))
        return OwnComment(found.id, body) if is_there else None

    async def _write(self, request: ReportInput) -> int:
        """Create the comment or edit it. Returns its ID, or -1 when somebody has deleted it."""
        known = request.run.comment_id
        if known and await self.edit(request, OwnComment(known, "")):
            return known
        # One that is gone may have been the younger of two: then the older one tells of the run.
        found = await (self.find(request) if known else self._find_before_creating(request))
        if found:
            return await self._edited(request, found)
        return -1 if known else await self._create(request)

    async def _edited(self, request: ReportInput, found: OwnComment) -> int:
        edited = await self.edit(request, found)
        return edited.id if edited else -1

    async def _find_before_creating(self, request: ReportInput) -> OwnComment | None:
        found = await self.find(request)
        if found is not None or not (request.is_unsure or activity.info().attempt > 1):
            return found
        return await self._find_later(request)

    async def _create(self, request: ReportInput) -> int:
        issue = request.around.issue
        try:
            return await self._comments.create(issue.repository, issue.number, self._body(request))
        except RateLimitedError:
            raise  # It was refused, and so it was not done.
        except TransientError:
            found = await self.find(request) or await self._find_later(request)
            if found is None:
                raise
            return await self._edited(request, found)

    async def _confirm(self, request: ReportInput) -> int:
        """Look whether the last report stands: an earlier one, sent late, may have come after it.

        Returns the comment's ID, or 0 when it is not seen any more.
        """
        found = None
        for _ in range(CONFIRMATIONS_MAX):
            found = await self._find_later(request)
            if found is None or _is_same(found.body, self._body(request)):
                break
            found = await self.edit(request, found)
        return found.id if found else 0

    async def _find_later(self, request: ReportInput) -> OwnComment | None:
        await asyncio.sleep(LOOK_AGAIN_S)
        return await self.find(request)

    def _body(self, request: ReportInput) -> str:
        return body_of(_redacted(request.run, self._redact), request.around, self._hints)


class _Telling:
    """What one follower tells while it follows, best effort."""

    def __init__(self, reports: RunReportActivities, request: ReportInput | None) -> None:
        self._reports = reports
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._due_at = self._loop.time() + EDIT_PACE_S
        self._known: OwnComment | None = None
        self._editing: asyncio.Task[None] | None = None

    def tell(self, progress: str) -> None:
        """Tell the progress, unless something was told just before, or is being told."""
        is_busy = self._editing is not None and not self._editing.done()
        if self._request is None or is_busy or self._loop.time() < self._due_at:
            return
        run = replace(self._request.run, phase=RunPhase.RUNNING, progress=progress or self._request.run.progress)
        self._editing = asyncio.create_task(self._edit(replace(self._request, run=run)))

    def end(self) -> None:
        """What is under way may still be carried out. The last report looks for that."""
        if self._editing is not None:
            self._editing.cancel()

    async def _edit(self, request: ReportInput) -> None:
        try:
            self._known = self._known or await self._reports.find(request)
            if self._known is not None:
                run = replace(request.run, comment_id=self._known.id)
                self._known = await self._reports.edit(replace(request, run=run), self._known)
        except ProviderError as error:
            _log.info("run_progress_not_told", issue_id=request.issue_id, run=request.run.id, reason=str(error))
        finally:
            self._due_at = self._loop.time() + EDIT_PACE_S


def _is_same(one: str, other: str) -> bool:
    """Whether two texts are the same but for white space that GitHub may have changed."""
    return one.split() == other.split()


def _redacted(run: Run, redact: Callable[[str], str]) -> Run:
    return replace(
        run,
        progress=redact(run.progress),
        summary=redact(run.summary),
        reason=redact(run.reason),
        trouble=redact(run.trouble),
        branch=redact(run.branch),
        pull_request=redact(run.pull_request),
    )
