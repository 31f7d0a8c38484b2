"""The issues' workflows as Temporal's visibility store lists them, each with what it published last."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from temporalio.client import WorkflowExecution, WorkflowExecutionStatus

from issuebox.domain.issue import issue_id_of
from issuebox.settings import CommonSettings
from issuebox.temporal.issues import Temporal
from workflows.messages import MEMO_STATUS, WORKFLOW_TYPE, Published

PAGE_SIZE = 500


@dataclass(frozen=True, slots=True)
class Listed:
    """One run of an issue's workflow. The store lags a moment; what a workflow answers itself is exact."""

    issue_id: int
    name: str
    started_at: datetime
    is_running: bool
    published: Published


@dataclass(frozen=True, slots=True)
class IssueList:
    """What `issuebox list` prints for machines. ``is_more`` says that the limit cut it short."""

    issues: tuple[Listed, ...]
    is_more: bool


async def listed(temporal: Temporal, settings: CommonSettings, condition: str) -> AsyncIterator[Listed]:
    """The issues of this installation that meet the condition, page by page, the newest run first.

    Raises ProblemError when Temporal does not answer, RPCError when it does not take the condition.
    """
    async with temporal.within():
        client = await temporal.client()
    found = client.list_workflows(f"WorkflowType = '{WORKFLOW_TYPE}' AND {condition}", page_size=PAGE_SIZE)
    while True:
        async with temporal.within():
            await found.fetch_next_page()
            rows = [await _row(execution, settings) for execution in found.current_page or ()]
        for row in rows:
            if row is not None:
                yield row
        if not found.next_page_token:
            return


async def _row(execution: WorkflowExecution, settings: CommonSettings) -> Listed | None:
    """None for a workflow under another prefix: another installation shares the namespace."""
    issue_id = issue_id_of(execution.id, settings.name_prefix)
    if issue_id is None:
        return None
    published: Published = await execution.memo_value(MEMO_STATUS, Published(), type_hint=Published)
    is_running = execution.status is WorkflowExecutionStatus.RUNNING
    return Listed(issue_id, execution.id, execution.start_time, is_running, published)
