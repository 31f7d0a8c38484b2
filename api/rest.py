"""REST over the issues' workflows: ensure, status, why, retry, list. Every route wants a bearer token."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Header, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from temporalio.client import (
    WorkflowExecution,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateHandle,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from api import page_tokens
from api.auth import bearer
from api.guard import guarded
from api.payload import Title
from api.problems import ProblemError, responses
from api.temporal import RETRY_AFTER_S, Temporal, is_namespace_missing, unavailable
from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.issue import Issue, issue_id_of
from issuebox.domain.memory import Blocked
from issuebox.domain.phase import Outcome
from issuebox.domain.sandbox import Sandbox
from issuebox.settings import ApiSettings
from workflows.messages import (
    ERROR_WRONG_ISSUE,
    QUERY_STATUS,
    QUERY_WHY,
    SIGNAL_RETRY,
    UPDATE_ENSURE,
    WORKFLOW_TYPE,
    EnsureRequest,
    Handover,
    Status,
    Why,
)

IssueIdPath = Annotated[int, Path(gt=0, lt=2**63, description="GitHub's global issue.id, not the number.")]
IdempotencyKey = Annotated[
    str | None,
    Header(pattern=r"^[A-Za-z0-9_.:-]{1,128}$", description="The same key asks once, however often it is sent."),
]

T = TypeVar("T")

_READY = {Outcome.CREATED, Outcome.STARTED, Outcome.RECOVERED, Outcome.REUSED}


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


class Row(BaseModel):
    """One issue of the list; what its workflow published last."""

    issue_id: int
    name: str
    status_url: str
    started_at: datetime
    phase: str = ""
    state: str = ""
    sandbox_id: str = ""
    outcome: str = ""
    blocked: str = Field("", description="The cause, when the issue is blocked.")
    repository: str = ""
    number: int = 0
    title: str = ""


class SandboxesPage(BaseModel):
    """A page of issues, newest workflow first."""

    sandboxes: list[Row]
    next_page_token: str | None = Field(description="Send it as page_token to read on; null at the end.")


class RetryReply(BaseModel):
    """The retry was stored."""

    status_url: str


_ON_ITS_WAY: dict[int | str, dict[str, object]] = {
    202: {"model": SandboxReply, "description": "On its way, or blocked: ask again at status_url"}
}


def router(settings: ApiSettings, temporal: Temporal) -> APIRouter:
    """The routes under /v1."""

    routes = APIRouter(
        prefix="/v1",
        tags=["sandboxes"],
        route_class=guarded(settings),
        dependencies=[Depends(bearer)],  # Only documents the scheme: the route class enforces it.
        responses=responses(400, 401, 503),
    )
    _add_ensure(routes, settings, temporal)
    _add_reads(routes, temporal)
    _add_retry(routes, temporal)
    _add_list(routes, settings, temporal)
    return routes


def _add_ensure(routes: APIRouter, settings: ApiSettings, temporal: Temporal) -> None:
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
        """
        issue = Issue(id=issue_id, **(body or IssueBody()).model_dump())
        handover = await _ensure(temporal, issue, wait_s, idempotency_key or str(uuid.uuid4()))
        reply = _reply(handover)
        if handover.outcome not in _READY:
            response.status_code = 202
            response.headers["Location"] = reply.status_url
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return reply


def _add_reads(routes: APIRouter, temporal: Temporal) -> None:
    @routes.get(
        "/issues/{issue_id}/sandbox", response_model=Status, responses=responses(404), summary="State, phase and reason"
    )
    async def status(issue_id: IssueIdPath) -> Status:
        """What the issue's workflow knows and does. Asks Daytona nothing."""
        return await _query(temporal, issue_id, QUERY_STATUS, Status)

    @routes.get(
        "/issues/{issue_id}/sandbox/why",
        response_model=Why,
        responses=responses(404),
        summary="Why is this sandbox in this state",
    )
    async def why(issue_id: IssueIdPath) -> Why:
        """One sentence, and the last decisions with time, delivery, phase, action and outcome."""
        return await _query(temporal, issue_id, QUERY_WHY, Why)


def _add_retry(routes: APIRouter, temporal: Temporal) -> None:
    @routes.post(
        "/issues/{issue_id}/retry",
        status_code=202,
        response_model=RetryReply,
        responses=responses(404),
        summary="Try a blocked issue now",
    )
    async def retry(issue_id: IssueIdPath) -> RetryReply:
        """On an issue that is not blocked: look at its sandbox again."""
        async with temporal.within():
            handle = (await temporal.client()).get_workflow_handle(temporal.name(issue_id))
            try:
                await handle.signal(SIGNAL_RETRY)
            except RPCError as error:
                raise _unknown_or(error, issue_id) from error
        return RetryReply(status_url=status_url(issue_id))


def _add_list(routes: APIRouter, settings: ApiSettings, temporal: Temporal) -> None:
    @routes.get("/sandboxes", response_model=SandboxesPage, summary="All issues with their sandboxes")
    async def sandboxes(
        page_size: Annotated[int, Query(ge=1, le=200)] = 50,
        page_token: Annotated[str, Query(max_length=4096)] = "",
    ) -> SandboxesPage:
        """From Temporal's visibility store, which lags a moment; each issue's status is exact."""
        return await _page(temporal, settings, page_size, _opened(page_token, settings))


def status_url(issue_id: int) -> str:
    """Where the issue's state is read."""
    return f"/v1/issues/{issue_id}/sandbox"


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

    Raises `_NotTakenError` when the workflow refused the update or ended before it was served.
    """
    try:
        async with asyncio.timeout(wait_s):
            return await handle.result()
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError, RPCError):
        return None
    except WorkflowUpdateFailedError as error:
        cause = error.cause
        if isinstance(cause, ApplicationError) and cause.type == ERROR_WRONG_ISSUE:
            raise ProblemError(409, "conflict", cause.message) from error
        raise _NotTakenError from error


async def _query(temporal: Temporal, issue_id: int, query: str, kind: type[T]) -> T:
    async with temporal.within():
        handle = (await temporal.client()).get_workflow_handle(temporal.name(issue_id))
        try:
            async with asyncio.timeout(temporal.half_s):
                answer: T = await handle.query(query, result_type=kind)
        except TimeoutError as error:
            # Temporal holds a query until a worker takes it. If it answers now, it was not the one that is away.
            await temporal.check()
            raise unavailable("no worker answers for this issue") from error
        except RPCError as error:
            raise _unknown_or(error, issue_id) from error
        except (WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
            raise ProblemError(503, "unavailable", f"the workflow could not answer: {error}") from error
        return answer


async def _page(temporal: Temporal, settings: ApiSettings, page_size: int, token: bytes | None) -> SandboxesPage:
    """One page of running workflows, with what each published last."""
    query = f"WorkflowType = '{WORKFLOW_TYPE}' AND ExecutionStatus = 'Running'"
    async with temporal.within():
        found = (await temporal.client()).list_workflows(query, page_size=page_size, next_page_token=token)
        await found.fetch_next_page()
        rows = [await _row(execution, settings) for execution in found.current_page or ()]
    following = found.next_page_token
    return SandboxesPage(
        sandboxes=[row for row in rows if row is not None],
        next_page_token=page_tokens.sealed(following, settings.api_tokens) if following else None,
    )


async def _row(execution: WorkflowExecution, settings: ApiSettings) -> Row | None:
    """None for a workflow under another prefix: another installation shares the namespace."""
    issue_id = issue_id_of(execution.id, settings.name_prefix)
    if issue_id is None:
        return None
    memo: dict[str, str | int] = await execution.memo_value("status", {}, type_hint=dict[str, str | int])
    known = {key: value for key, value in memo.items() if key in Row.model_fields}
    return Row.model_validate(
        known
        | {
            "issue_id": issue_id,
            "name": execution.id,
            "status_url": status_url(issue_id),
            "started_at": execution.start_time,
        }
    )


def _opened(page_token: str, settings: ApiSettings) -> bytes | None:
    if not page_token:
        return None
    token = page_tokens.opened(page_token, settings.api_tokens)
    if token is None:
        raise ProblemError(400, "invalid-request", "page_token is none of ours")
    return token


def _reply(handover: Handover) -> SandboxReply:
    return SandboxReply(
        issue_id=handover.issue_id,
        name=handover.name,
        outcome=handover.outcome,
        sandbox=handover.sandbox,
        blocked=handover.blocked,
        status_url=status_url(handover.issue_id),
    )


def _unknown_or(error: RPCError, issue_id: int) -> Exception:
    """404 when Temporal has no such workflow; anything else as it is."""
    if error.status is RPCStatusCode.NOT_FOUND and not is_namespace_missing(error):
        return ProblemError(404, "unknown-issue", f"nobody has asked for a sandbox of issue {issue_id} yet")
    return error
