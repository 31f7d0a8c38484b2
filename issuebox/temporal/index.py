"""The one reader of what the issues' workflows publish: one by its name, or many from Temporal's index.

A describe is exact and needs only the server, no query and no replay, so that ten thousand of them cost no worker
anything. The index lags by a moment. A published field with another type than this version knows is left out, and
the log reports it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, fields
from datetime import datetime

import structlog
from temporalio.client import WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from issuebox.domain.issue import issue_id_of
from issuebox.temporal.issues import Issues, IssuesError, found
from workflows.messages import MEMO_STATUS, WORKFLOW_TYPE, Published

PAGE_SIZE = 500
RUNNING = "ExecutionStatus = 'Running'"

_EMPTY = Published()
_KINDS = {field.name: type(getattr(_EMPTY, field.name)) for field in fields(Published)}

_log = structlog.get_logger("issuebox.index")


_ODD = re.compile(r"""["'\\]""")


def running_on(task_queue: str) -> str:
    """The condition for the running workflows of this task queue: other installations may share the namespace.

    For a task queue with quotes in its name, the caller must filter the rows: how to escape them depends on the
    server's database.
    """
    return RUNNING if _ODD.search(task_queue) else f"{RUNNING} AND TaskQueue = '{task_queue}'"


class NotIndexedError(IssuesError):
    """Temporal refuses the condition because it does not know the search attributes in it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One workflow run of an issue, and what it published last.

    ``is_running`` is False for a closed run: what it published is history, and nobody acts on it.
    ``issue_id`` is 0 when the name is not one of this installation.
    """

    issue_id: int
    name: str
    task_queue: str
    started_at: datetime
    is_running: bool
    published: Published


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, the newest run first, and Temporal's token for the next page, which is empty after the last."""

    rows: tuple[Row, ...]
    next_token: bytes = b""


class Index:
    """Reads what the workflows of an installation publish."""

    def __init__(self, issues: Issues) -> None:
        self._issues = issues

    async def describe(self, name: str) -> Row | None:
        """The newest workflow run of this name; None when there is none. Never stale."""
        async with self._issues.within():
            handle = (await self._issues.client()).get_workflow_handle(name)
            description = await found(handle.describe())
            return None if description is None else await self._row(description)

    async def page(self, condition: str, *, size: int = PAGE_SIZE, token: bytes = b"") -> Page:
        """One page of the issues' workflow runs that meet the condition. Raises NotIndexedError."""
        query = f"WorkflowType = '{WORKFLOW_TYPE}' AND {condition}"
        async with self._issues.within():
            client = await self._issues.client()
            listing = client.list_workflows(query, page_size=size, next_page_token=token or None)
            try:
                await listing.fetch_next_page()
            except RPCError as error:
                if error.status is RPCStatusCode.INVALID_ARGUMENT:
                    raise NotIndexedError(f"Temporal refused the query: {error.message}") from error
                raise
            rows = [await self._row(execution) for execution in listing.current_page or ()]
            return Page(tuple(rows), listing.next_page_token or b"")

    async def rows(self, condition: str) -> AsyncIterator[Row]:
        """All workflow runs of this installation that meet the condition, page by page. Raises NotIndexedError."""
        token = b""
        while True:
            page = await self.page(condition, token=token)
            for row in page.rows:
                if row.issue_id:
                    yield row
            if not (token := page.next_token):
                return

    async def _row(self, execution: WorkflowExecution) -> Row:
        return Row(
            issue_id=issue_id_of(execution.id, self._issues.name_prefix) or 0,
            name=execution.id,
            task_queue=execution.task_queue,
            started_at=execution.start_time,
            is_running=execution.status is WorkflowExecutionStatus.RUNNING,
            published=_published(execution.id, await execution.memo_value(MEMO_STATUS, None)),
        )


def _published(name: str, memo: object) -> Published:
    """The memo, without fields of a wrong type. A missing memo has not been written yet."""
    known = memo if isinstance(memo, dict) else {}
    readable = {field: known[field] for field, kind in _KINDS.items() if isinstance(known.get(field), kind)}
    unreadable = sorted(field for field in _KINDS if field in known and field not in readable)
    if unreadable or not isinstance(memo, dict | None):
        _log.warning("memo_unreadable", sandbox=name, fields=unreadable or [MEMO_STATUS])
    return Published(**readable)
