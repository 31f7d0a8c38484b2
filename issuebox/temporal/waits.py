"""Waiting until an issue's sandbox can be used, for API and command line. A wait leaves no trace in Temporal.

What a workflow knows changes only with its history, and a describe tells how long the history is. A describe is
answered by the server alone. So a wait describes the workflow again and again, after pauses that grow with the time
waited, and queries it, which costs a worker, only when its history has grown. Waits for the same issue in one process
share both. A wait belongs to the issue and to no workflow run: it goes on when the workflow continues as new, ends, or
starts.
"""

from __future__ import annotations

import asyncio
import math
from enum import StrEnum
from weakref import WeakValueDictionary

from issuebox.domain.issue import IssueState
from issuebox.domain.phase import READY, Cause, Goal, Phase
from issuebox.temporal.issues import (
    IssueDeletedError,
    Issues,
    IssuesError,
    UnavailableError,
    UnknownIssueError,
    found,
    raise_if_cancelled,
)
from workflows.messages import AT_REST, QUERY_STATUS, Status

PAUSE_MIN_S, PAUSE_MAX_S = 0.25, 2.0
"""The pause between two looks, at the beginning and at the end of a long wait."""

PAUSE_SHARE = 0.1
"""The pause in relation to the time waited so far, so that a wait is at most so much longer than it has to be."""

UNAVAILABLE_MAX_S = 15.0
"""A wait outlasts a Temporal or a worker that does not answer for so long: a deployment, a short outage."""

Version = tuple[str, int] | None
"""A workflow run and the length of its history; None when Temporal knows of no workflow."""


class WaitEnd(StrEnum):
    """Why a wait is over."""

    USABLE = "usable"
    BLOCKED = "blocked"
    TIMEOUT = "timeout"


class Waits:
    """The waits of one process."""

    def __init__(self, issues: Issues) -> None:
        self._issues = issues
        self._watches: WeakValueDictionary[int, _Watch] = WeakValueDictionary()

    async def until_usable(self, issue_id: int, timeout_s: float) -> tuple[WaitEnd, Status]:
        """Wait until the sandbox is usable and all requests for it are served, or until the issue is blocked.

        Returns why the wait is over, and the status at that time. After `timeout_s` the end is `timeout`; with 0 this
        is one look. A queued issue is waited for, and one that nobody knows, too: a delivery may be on its way. Raises
        UnknownIssueError when it is still unknown at the end, IssueDeletedError and StuckError at once, and
        UnavailableError when Temporal or the workers are away at the end, or for `UNAVAILABLE_MAX_S`.
        """
        now = asyncio.get_running_loop().time
        watch = self._watches.setdefault(issue_id, _Watch(self._issues, issue_id))
        began = answered = not_before = now()
        while True:
            seen = await watch.look(not_before)
            waited_s = now() - began
            if isinstance(seen, Status) and (end := end_of(seen)) is not None:
                return end, seen
            if isinstance(seen, UnavailableError):
                is_over = now() - answered >= UNAVAILABLE_MAX_S
            else:
                answered, is_over = now(), not goes_on(seen)
            if is_over or waited_s >= timeout_s:
                if isinstance(seen, IssuesError):
                    raise seen
                return WaitEnd.TIMEOUT, seen
            await asyncio.sleep(min(pause_s(waited_s), timeout_s - waited_s))
            not_before = now() - PAUSE_MIN_S


class _Watch:
    """What the waits for one issue have seen."""

    def __init__(self, issues: Issues, issue_id: int) -> None:
        self._issues = issues
        self._issue_id = issue_id
        self._looking = asyncio.Lock()
        self._began = -math.inf
        self._version: Version = None
        self._seen: Status | IssuesError = UnavailableError("nobody has looked yet")

    async def look(self, not_before: float) -> Status | IssuesError:
        """What a look shows that began at `not_before`, by the loop's clock, or later."""
        async with self._looking:
            if self._began < not_before:
                began = asyncio.get_running_loop().time()
                self._version, self._seen = await self._newest()
                self._began = began
            return self._seen

    async def _newest(self) -> tuple[Version, Status | IssuesError]:
        version = None
        try:
            version = await self._read_version()
            if version == self._version and goes_on(self._seen):
                return version, self._seen
            # What changes after this query makes the history longer than `version`.
            status = await self._issues.query(self._issue_id, QUERY_STATUS, Status)
        except IssuesError as error:
            raise_if_cancelled()
            return version, error
        if status.issue is not None and status.issue.state is IssueState.DELETED:
            return version, IssueDeletedError("the issue was deleted at GitHub")
        return version, status

    async def _read_version(self) -> Version:
        async with self._issues.within():
            handle = (await self._issues.client()).get_workflow_handle(self._issues.name(self._issue_id))
            description = await found(handle.describe())
        return None if description is None else (description.run_id, description.history_length)


def end_of(status: Status) -> WaitEnd | None:
    """Why a wait is over that sees this status; None when it goes on. The turn of a queued issue comes by itself."""
    if status.blocked is not None:
        is_final = status.doing in AT_REST and status.blocked.cause is not Cause.QUEUED
        return WaitEnd.BLOCKED if is_final else None  # Otherwise a retry is under way.
    is_handed_over = status.outcome in READY and status.requests_waiting == 0
    is_usable = status.goal is Goal.RUNNING and status.phase is Phase.USABLE and is_handed_over
    return WaitEnd.USABLE if is_usable else None


def goes_on(seen: Status | IssuesError) -> bool:
    """Whether waits go on after this, so that it is shared until the history grows.

    What ends a wait is read anew for the next one: Temporal keeps events that arrive during a workflow task apart.
    """
    if isinstance(seen, Status):
        return end_of(seen) is None
    return isinstance(seen, UnknownIssueError)


def pause_s(waited_s: float) -> float:
    """The pause before the next look."""
    return min(max(PAUSE_MIN_S, waited_s * PAUSE_SHARE), PAUSE_MAX_S)
