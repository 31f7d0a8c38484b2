"""The one reader of what the issues' workflows publish: one by its name, or many from Temporal's index.

A describe is exact and needs only the server, no query and no replay, so that ten thousand of them cost no worker
anything. The index lags by a moment. A published field with another type than this version knows is left out, and
the log reports it.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime

import structlog
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from issuebox.domain.issue import issue_id_of
from issuebox.domain.workflow_ends import Ended, Stuck
from issuebox.temporal import runs
from issuebox.temporal.issues import Issues, IssuesError, found
from issuebox.temporal.places import Place, read_on
from workflows.messages import MEMO_STATUS, WORKFLOW_TYPE, Published

PAGE_SIZE = 500
RUNNING = "ExecutionStatus = 'Running'"

DESCRIBED_AT_ONCE = 16
DESCRIBED_AGAIN_AFTER_S = 30.0
"""How long a list relies on a describe: the status page asks for a thousand issues every few seconds."""
REMEMBERED_MAX = 10_000
REPORTS_FROM = (1, 30)

_EMPTY = Published()
_KINDS = {field.name: type(getattr(_EMPTY, field.name)) for field in fields(Published)}

_log = structlog.get_logger("issuebox.index")


ODD = re.compile(r"""["'\\]""")


def running_on(task_queue: str) -> str:
    """The condition for the running workflows of this task queue: other installations may share the namespace.

    For a task queue with quotes in its name, the caller must filter the rows: how to escape them depends on the
    server's database.
    """
    return RUNNING if ODD.search(task_queue) else f"{RUNNING} AND TaskQueue = '{task_queue}'"


class NotIndexedError(IssuesError):
    """Temporal refuses the condition because it does not know the search attributes in it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One workflow run of an issue, and what it published last.

    ``is_running`` is False for a closed run: what it published is history, and nobody acts on it. ``ended`` says how
    it ended, None when it went on in another run. ``stuck``: it runs, but cannot go on; a list shows this only when
    it was examined. ``issue_id`` is 0 when the name is not one of this installation.
    """

    issue_id: int
    name: str
    task_queue: str
    started_at: datetime
    is_running: bool
    published: Published
    ended: Ended | None = None
    stuck: Stuck | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, the newest run first, and the token for the next page, which is empty after the last."""

    rows: tuple[Row, ...]
    next_token: bytes = b""


class Index:
    """Reads what the workflows of an installation publish."""

    def __init__(self, issues: Issues) -> None:
        self._issues = issues
        self._reports_problems: bool | None = None
        self._described: dict[str, tuple[float, Stuck | None]] = {}

    async def describe(self, name: str) -> Row | None:
        """The newest workflow run of this name; None when there is none. Never stale."""
        async with self._issues.within():
            handle = (await self._issues.client()).get_workflow_handle(name)
            description = await found(handle.describe())
            if description is None:
                return None
            row = await self._row(description)
            return replace(row, stuck=await runs.stuck(await self._issues.client(), description))

    async def page(
        self, condition: str, *, size: int = PAGE_SIZE, token: bytes = b"", is_examined: bool = False
    ) -> Page:
        """One page of the issues' running workflows that meet the condition, which demands `RUNNING`.

        The pages together show each that runs all the while, one that continues as new meanwhile perhaps twice
        (`issuebox.temporal.places`). With `is_examined`, rows of stuck workflows are marked. A server from 1.30 says in
        its list which these may be; on an older one each row costs a describe, and the next only after
        `DESCRIBED_AGAIN_AFTER_S`. Raises NotIndexedError, and ValueError for a token that is none of ours.
        """

        async def read(place: Place, at_most: int) -> tuple[Sequence[Row], bool]:
            query = " AND ".join([condition, *place.conditions])
            listed = await self._listed(query, size=at_most, is_examined=is_examined)
            return listed.rows, bool(listed.next_token)

        rows, place = await read_on(Place.read(token), size, read)
        return Page(tuple(rows), place.token() if place is not None else b"")

    async def _listed(self, condition: str, *, size: int, token: bytes = b"", is_examined: bool = False) -> Page:
        """One page of the issues' workflow runs as Temporal lists them, with its own token."""
        query = _issues(condition)
        async with self._issues.within():
            client = await self._issues.client()
            listing = client.list_workflows(query, page_size=size, next_page_token=token or None)
            try:
                await listing.fetch_next_page()
            except RPCError as error:
                if error.status is RPCStatusCode.INVALID_ARGUMENT:
                    raise NotIndexedError(f"Temporal refused the query: {error.message}") from error
                raise
            executions = listing.current_page or ()
            rows = [await self._row(execution) for execution in executions]
            if is_examined:
                suspects = {e.id for e in executions if runs.REPORTED_PROBLEMS in e.search_attributes}
                rows = await self._examined(rows, suspects)
            return Page(tuple(rows), listing.next_page_token or b"")

    async def count(self, condition: str) -> int:
        """How many workflow runs of issues meet the condition, also those of other installations."""
        async with self._issues.within():
            client = await self._issues.client()
            return (await client.count_workflows(_issues(condition))).count

    async def stuck(self, condition: str = RUNNING) -> list[Row]:
        """The stuck workflows of this installation; before server 1.30, only those among the newest `PAGE_SIZE`."""
        if await self.reports_stuck():
            condition = f"{condition} AND {runs.REPORTED_PROBLEMS} IS NOT NULL"
        page = await self.page(condition, is_examined=True)
        return [row for row in page.rows if row.stuck is not None]

    async def running(
        self, condition: str = RUNNING, *, size: int = PAGE_SIZE, is_examined: bool = False
    ) -> AsyncIterator[Row]:
        """All running workflows that meet the condition, which demands `RUNNING`: each once, of any name."""
        token, known = b"", set[str]()
        while True:
            page = await self.page(condition, size=size, token=token, is_examined=is_examined)
            for row in page.rows:
                if row.name not in known:
                    known.add(row.name)
                    yield row
            if not (token := page.next_token):
                return

    async def rows(self, condition: str) -> AsyncIterator[Row]:
        """All workflow runs of this installation that meet the condition, the running ones first, then the last closed.

        A closed run stays where it is. One that continues as new while this is read may be missed.
        """
        token = b""
        while True:
            page = await self._listed(condition, size=PAGE_SIZE, token=token)
            for row in page.rows:
                if row.issue_id:
                    yield row
            if not (token := page.next_token):
                return

    async def _examined(self, rows: Sequence[Row], suspects: set[str]) -> list[Row]:
        """The rows, those that are stuck marked. `suspects` are the names that the server reports problems of."""
        is_reported, slots = await self.reports_stuck(), asyncio.Semaphore(DESCRIBED_AT_ONCE)

        async def examined(row: Row) -> Row:
            if not row.is_running or (is_reported and row.name not in suspects):
                return row
            async with slots:
                return replace(row, stuck=await self._stuck(row.name))

        return list(await asyncio.gather(*map(examined, rows)))

    async def _stuck(self, name: str) -> Stuck | None:
        """Whether the workflow is stuck, by a describe that is no older than `DESCRIBED_AGAIN_AFTER_S`."""
        at, stuck = self._described.pop(name, (-math.inf, None))
        if time.monotonic() - at > DESCRIBED_AGAIN_AFTER_S:
            row = await self.describe(name)
            at, stuck = time.monotonic(), row.stuck if row is not None else None
        self._described[name] = at, stuck
        if len(self._described) > REMEMBERED_MAX:
            del self._described[next(iter(self._described))]
        return stuck

    async def reports_stuck(self) -> bool:
        """Whether the server marks runs with problems by itself: to examine a list costs next to nothing then."""
        if self._reports_problems is None:
            async with self._issues.within():
                client = await self._issues.client()
                info = await client.workflow_service.get_system_info(GetSystemInfoRequest())
            version = re.match(r"(\d+)\.(\d+)", info.server_version)
            self._reports_problems = version is not None and tuple(map(int, version.groups())) >= REPORTS_FROM
        return self._reports_problems

    async def _row(self, execution: WorkflowExecution) -> Row:
        issue_id = issue_id_of(execution.id, self._issues.name_prefix) or 0
        # What another installation publishes is none of our business, and may have another shape.
        memo = await execution.memo_value(MEMO_STATUS, None) if issue_id else None
        return Row(
            issue_id=issue_id,
            name=execution.id,
            task_queue=execution.task_queue,
            started_at=execution.start_time,
            is_running=execution.status is WorkflowExecutionStatus.RUNNING,
            ended=runs.ended(execution),
            published=_published(execution.id, memo),
        )


def _issues(condition: str) -> str:
    return f"WorkflowType = '{WORKFLOW_TYPE}' AND {condition}"


def _published(name: str, memo: object) -> Published:
    """The memo, without fields of a wrong type. A missing memo has not been written yet."""
    known = memo if isinstance(memo, dict) else {}
    readable = {field: known[field] for field, kind in _KINDS.items() if isinstance(known.get(field), kind)}
    unreadable = sorted(field for field in _KINDS if field in known and field not in readable)
    if unreadable or not isinstance(memo, dict | None):
        _log.warning("memo_unreadable", sandbox=name, fields=unreadable or [MEMO_STATUS])
    return Published(**readable)
