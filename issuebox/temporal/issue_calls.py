"""What is asked of one issue's workflow: ensure, a query, an order. REST and the command line share it.

Every function raises ProblemError: 503 when Temporal or a worker does not answer, 404 when nobody has asked
for this issue yet, 409 when the workflow is another issue's or the issue was deleted at GitHub.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from temporalio.client import (
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateHandle,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.issue import Issue
from issuebox.domain.phase import Outcome
from issuebox.temporal.errors import ProblemError, unknown_issue
from issuebox.temporal.issues import Temporal, is_namespace_missing, unavailable
from workflows.messages import ERROR_ISSUE_DELETED, ERROR_WRONG_ISSUE, UPDATE_ENSURE, EnsureRequest, Handover

T = TypeVar("T")

_CONFLICTS: Mapping[str, str] = {ERROR_WRONG_ISSUE: "conflict", ERROR_ISSUE_DELETED: "issue-deleted"}
"""The workflow's final refusals, and the problem that each is."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. ``source`` stands in the workflow's log of deliveries, ``title`` in its decisions."""

    source: str
    title: str


REST = Caller("rest", "REST")
COMMAND_LINE = Caller("cli", "the command line")


class _NotTakenError(Exception):
    """The workflow has not got the request: no worker took it, or too many wait already."""


async def ensure(temporal: Temporal, issue: Issue, wait_s: float, request_id: str, caller: Caller) -> Handover:
    """Ask by update, and wait; a request that the workflow cannot hold open is stored as a signal.

    Outcome `pending` when the sandbox is not there within `wait_s`; the work goes on. The same `request_id`
    asks once, however often it is sent.
    """
    if wait_s > 0:
        try:
            handle = await _accepted(temporal, issue, request_id, caller)
            return await _result(handle, wait_s) or _pending(temporal, issue)
        except _NotTakenError:
            pass
    return await start(temporal, issue, request_id, caller, temporal.half_s)


async def start(
    temporal: Temporal, issue: Issue, request_id: str, caller: Caller, timeout_s: float | None = None
) -> Handover:
    """Ask by signal-with-start, as a person's explicit request: stored when this returns, and served later."""
    event = IssueEvent(
        issue=issue, delivery=f"{caller.source}-{request_id}", event=caller.source, action="ensure", is_explicit=True,
        intention=Intention.ENSURE, requested_at=datetime.now(UTC),
    )  # fmt: skip
    await temporal.deliver(event, timeout_s)
    return _pending(temporal, issue)


async def query(temporal: Temporal, issue_id: int, name: str, kind: type[T]) -> T:
    """The answer of the issue's workflow to one of its queries."""
    async with temporal.within():
        handle = (await temporal.client()).get_workflow_handle(temporal.name(issue_id))
        try:
            async with asyncio.timeout(temporal.half_s):
                answer: T = await handle.query(name, result_type=kind)
        except TimeoutError as error:
            # Temporal holds a query until a worker takes it. If it answers now, it was not the one that is away.
            await temporal.check()
            raise unavailable("no worker answers for this issue") from error
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND and not is_namespace_missing(error):
                raise unknown_issue(issue_id) from error
            raise
        except (WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
            raise ProblemError(503, "unavailable", f"the workflow could not answer: {error}") from error
        return answer


async def order(temporal: Temporal, issue_id: int, signal: str, *arguments: object) -> None:
    """Send one of the workflow's signals: stored when this returns. 404 when no workflow of the issue runs."""
    if not await temporal.signal(issue_id, signal, *arguments):
        raise unknown_issue(issue_id)


def _pending(temporal: Temporal, issue: Issue) -> Handover:
    return Handover(issue.id, temporal.name(issue.id), Outcome.PENDING)


async def _accepted(
    temporal: Temporal, issue: Issue, request_id: str, caller: Caller
) -> WorkflowUpdateHandle[Handover]:
    """The update, which the workflow has accepted or refused. Raises `_NotTakenError` when it did neither.

    Temporal stores an update only once a worker has accepted it, a signal at once.
    """
    operation = temporal.start_operation(issue)
    # The SDK keeps each error in a future as well, and asyncio complains of one that nobody looks at.
    started = asyncio.ensure_future(operation.workflow_handle())
    started.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        async with temporal.within(temporal.half_s):
            return await (await temporal.client()).start_update_with_start_workflow(
                UPDATE_ENSURE,
                EnsureRequest(issue, caller.title),
                id=request_id,
                start_workflow_operation=operation,
                wait_for_stage=WorkflowUpdateStage.ACCEPTED,
                result_type=Handover,
            )
    except (WorkflowUpdateRPCTimeoutOrCancelledError, ProblemError) as error:
        raise _NotTakenError from error
    finally:
        started.cancel()  # A connection that fails leaves it waiting for ever.


async def _result(handle: WorkflowUpdateHandle[Handover], wait_s: float) -> Handover | None:
    """The update's answer; None when it is not there within `wait_s`. The work goes on either way.

    Raises `_NotTakenError` when the workflow refused the update for now or ended before it was served.
    """
    try:
        async with asyncio.timeout(wait_s):
            return await handle.result()
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError, RPCError):
        return None
    except WorkflowUpdateFailedError as error:
        cause = error.cause
        if isinstance(cause, ApplicationError) and (kind := _CONFLICTS.get(cause.type or "")):
            raise ProblemError(409, kind, cause.message) from error
        raise _NotTakenError from error
