"""PUT: have the issue's sandbox running, by an update that waits or a signal that is stored."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from temporalio.client import (
    WorkflowUpdateFailedError,
    WorkflowUpdateHandle,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from api.issue_path import IssueIdPath, status_url
from api.payload import Title
from api.problems import ProblemError, responses
from api.temporal import RETRY_AFTER_S, Temporal
from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.issue import Issue
from issuebox.domain.memory import Blocked
from issuebox.domain.phase import Outcome
from issuebox.domain.sandbox import Sandbox
from issuebox.settings import ApiSettings
from workflows.messages import ERROR_ISSUE_DELETED, ERROR_WRONG_ISSUE, UPDATE_ENSURE, EnsureRequest, Handover

IdempotencyKey = Annotated[
    str | None,
    Header(pattern=r"^[A-Za-z0-9_.:-]{1,128}$", description="The same key asks once, however often it is sent."),
]

_READY = {Outcome.CREATED, Outcome.STARTED, Outcome.RECOVERED, Outcome.REUSED}
_SUPERSEDED = {Outcome.STOPPED, Outcome.ARCHIVED, Outcome.DELETED}
"""What a request ends with when something that came after it took the sandbox away again."""

_CONFLICTS: Mapping[str, str] = {ERROR_WRONG_ISSUE: "conflict", ERROR_ISSUE_DELETED: "issue-deleted"}
"""The workflow's final refusals, and the problem that each is."""


class IssueBody(BaseModel):
    """What is known of the issue; all of it optional, for labels and pages only."""

    model_config = ConfigDict(extra="forbid")

    repository: str = Field("", pattern=r"^([A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100})?$", examples=["octo/repo"])
    number: int = Field(0, ge=0, lt=2**63, examples=[12])
    title: Title = Field("", examples=["Crash on start"])
    url: str = Field("", max_length=500, pattern=r"^(https?://\S*)?$")


class SandboxReply(BaseModel):
    """The issue's sandbox, or how far it is."""

    issue_id: int
    name: str = Field(examples=["claude-issue-1"])
    outcome: Outcome = Field(description="created, started, recovered, reused; pending or blocked with 202.")
    sandbox: Sandbox | None = Field(description="As it was seen last; usable with 200.")
    blocked: Blocked | None = Field(None, description="Why it cannot be had now and what would help.")
    status_url: str = Field(examples=["/v1/issues/1/sandbox"])


_ON_ITS_WAY: dict[int | str, dict[str, object]] = {
    202: {"model": SandboxReply, "description": "On its way, or blocked: ask again at status_url"}
}


def add(routes: APIRouter, settings: ApiSettings, temporal: Temporal) -> None:
    """The route."""
    # A default and not an annotation: FastAPI evaluates annotations where `settings` is not in sight.
    wait = Query(10.0, ge=0, le=settings.wait_max_s, description="How long to wait for it, in seconds.")

    @routes.put(
        "/issues/{issue_id}/sandbox",
        response_model=SandboxReply,
        responses=responses(409, 413) | _ON_ITS_WAY,
        summary="Have the issue's sandbox running",
    )
    async def ensure(
        issue_id: IssueIdPath,
        response: Response,
        body: IssueBody | None = None,
        wait_s: float = wait,
        idempotency_key: IdempotencyKey = None,
    ) -> SandboxReply:
        """Idempotent: missing it is created, stopped it is started, running it is handed over.

        200 with the sandbox when it can be used within `wait_s`, otherwise 202; the work goes on either way.
        409 `issue-deleted` is final; with 409 `superseded` a close or a person's order came after this request.
        """
        issue = Issue(id=issue_id, **(body or IssueBody()).model_dump())
        handover = await _ensure(temporal, issue, wait_s, idempotency_key or str(uuid.uuid4()))
        if handover.outcome in _SUPERSEDED:
            raise _superseded(handover.outcome)
        reply = _reply(handover)
        if handover.outcome not in _READY:
            response.status_code = 202
            response.headers["Location"] = reply.status_url
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return reply


class _NotTakenError(Exception):
    """The workflow has not got the request: no worker took it, or too many wait already."""


async def _ensure(temporal: Temporal, issue: Issue, wait_s: float, request_id: str) -> Handover:
    """Ask by update, and wait; a request that the workflow cannot hold open is stored as a signal."""
    pending = Handover(issue.id, temporal.name(issue.id), Outcome.PENDING)
    if wait_s > 0:
        try:
            handle = await _accepted(temporal, issue, request_id)
            return await _result(handle, wait_s) or pending
        except _NotTakenError:
            pass
    event = IssueEvent(
        issue=issue, delivery=f"rest-{request_id}", event="rest", action="ensure", is_explicit=True,
        intention=Intention.ENSURE, requested_at=datetime.now(UTC),
    )  # fmt: skip
    await temporal.deliver(event, temporal.half_s)
    return pending


async def _accepted(temporal: Temporal, issue: Issue, request_id: str) -> WorkflowUpdateHandle[Handover]:
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
                EnsureRequest(issue, "REST"),
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


def _superseded(outcome: Outcome) -> ProblemError:
    """409: asked for and taken away again. Asking anew is the caller's to decide, not ours."""
    return ProblemError(
        409,
        "superseded",
        # A closed issue keeps its running sandbox for a while, so the outcome may be still to come.
        f"after this request the issue was closed or somebody gave an order: its sandbox is {outcome} or about to be; "
        "ask again to have it running",
    )


def _reply(handover: Handover) -> SandboxReply:
    return SandboxReply(
        issue_id=handover.issue_id,
        name=handover.name,
        outcome=handover.outcome,
        sandbox=handover.sandbox,
        blocked=handover.blocked,
        status_url=status_url(handover.issue_id),
    )
