"""The issues' workflows at Temporal, as the sweeps see them: `issuebox.domain.records.IssueRecords`.

What workflows publish is read from their memo, with no query and no replay: a describe asks the server alone,
so that ten thousand of them cost no worker anything.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

import structlog
from pydantic import TypeAdapter, ValidationError
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from issuebox.domain.issue import Issue
from issuebox.domain.records import IssueRecord, RecordPage
from workflows.messages import MEMO_STATUS, SIGNAL_LOOK, WORKFLOW_TYPE, Published
from workflows.start import start

PAGE_SIZE = 200

_ODD = re.compile(r"""["'\\]""")
_PUBLISHED = TypeAdapter(Published)
_log = structlog.get_logger("issuebox.records")


class TemporalRecords:
    """The workflows of one task queue: other installations may share the namespace."""

    def __init__(self, client: Client, task_queue: str, page_size: int = PAGE_SIZE) -> None:
        self._client = client
        self._task_queue = task_queue
        self._page_size = page_size

    async def describe(self, name: str) -> IssueRecord | None:
        try:
            description = await self._client.get_workflow_handle(name).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return None
        if description.status is not WorkflowExecutionStatus.RUNNING:
            return None
        return _record(name, await description.memo())

    async def list_page(self, cursor: str | None = None) -> RecordPage:
        listing = self._client.list_workflows(
            running_on(self._task_queue),
            page_size=self._page_size,
            next_page_token=base64.b64decode(cursor) if cursor else None,
        )
        await listing.fetch_next_page()
        ours = [found for found in listing.current_page or () if found.task_queue == self._task_queue]
        records = [_record(execution.id, await execution.memo()) for execution in ours]
        token = listing.next_page_token
        return RecordPage(tuple(records), base64.b64encode(token).decode() if token else None)

    async def start(self, issue_id: int, name: str) -> None:
        await start(self._client, Issue(issue_id), name=name, task_queue=self._task_queue)

    async def look(self, name: str) -> bool:
        try:
            await self._client.get_workflow_handle(name).signal(SIGNAL_LOOK)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True


def _record(name: str, memo: Mapping[str, Any]) -> IssueRecord:
    """The record in a memo; one that says nothing about a sandbox when there is none, or none that can be read."""
    try:
        published = _PUBLISHED.validate_python(memo.get(MEMO_STATUS) or {})
    except ValidationError as error:
        _log.warning("memo_unreadable", sandbox=name, reason=str(error.errors(include_input=False)[0]["msg"]))
        published = Published()
    return IssueRecord(name, published.sandbox_id, published.phase, published.goal, published.blocked)


def running_on(task_queue: str) -> str:
    """What to ask the list for: the issues' workflows of this task queue that run.

    A task queue with quotes in it is left to whoever reads the page: how these are escaped depends on the database
    behind the server.
    """
    running = f"WorkflowType = '{WORKFLOW_TYPE}' AND ExecutionStatus = 'Running'"
    return running if _ODD.search(task_queue) else f"{running} AND TaskQueue = '{task_queue}'"
