"""REST for the sandbox of one issue: ensure it, read its status, give orders. Every route requires a bearer token.

PUT sends an update that waits, or else a signal. A person's orders are signals: the workflow decides and acts.
"""

from __future__ import annotations

import re
import uuid
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from api.payload import Title
from api.problems import RETRY_AFTER_S, ProblemError, responses
from issuebox.domain.issue import Issue
from issuebox.domain.memory import Blocked
from issuebox.domain.phase import READY, Outcome
from issuebox.domain.sandbox import Sandbox
from issuebox.temporal.issues import Caller, Issues
from workflows.messages import (
    QUERY_STATUS,
    QUERY_WHY,
    SIGNAL_DELETE,
    SIGNAL_REPLACE,
    SIGNAL_RETRY,
    SIGNAL_STOP,
    DeleteRequest,
    Handover,
    Status,
    Why,
)


def _spelled_plainly(value: object) -> object:
    """Refuse what `int` would also take, such as 007, +7 or 7_0: an issue has one spelling, and so one address."""
    if not re.fullmatch(r"[1-9][0-9]{0,18}", str(value)):
        raise ValueError("an issue id has only the digits 0 to 9, and no leading zero")
    return value


IssueIdPath = Annotated[
    int,
    BeforeValidator(_spelled_plainly),
    Path(gt=0, lt=2**63, description="GitHub's global issue.id, not the number."),
]

REST = Caller("rest", "REST")
"""The caller, as the workflow's log and its decisions name it."""

IdempotencyKey = Annotated[
    str | None,
    Header(pattern=r"^[A-Za-z0-9_.:-]{1,128}$", description="Requests with the same key count as one."),
]

_SUPERSEDED = {Outcome.STOPPED, Outcome.ARCHIVED, Outcome.DELETED}
"""Outcomes of a request that a later close or order superseded."""


class IssueBody(BaseModel):
    """What the caller knows of the issue. All of it is optional, and only used in labels and pages."""

    model_config = ConfigDict(extra="forbid")

    repository: str = Field("", pattern=r"^([A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100})?$", examples=["octo/repo"])
    number: int = Field(0, ge=0, lt=2**63, strict=True, examples=[12])
    title: Title = Field("", examples=["Crash on start"])
    url: str = Field("", max_length=500, pattern=r"^(https?://\S*)?$")


WAIT_MAX_S = 300.0
"""Longest `?wait_s=`: proxies in front of the API seldom allow longer requests."""


class SandboxReply(BaseModel):
    """The issue's sandbox, or the progress towards it."""

    issue_id: int
    name: str = Field(examples=["claude-issue-1"])
    outcome: Outcome = Field(description="created, started, recovered or reused with 200; pending or blocked with 202.")
    sandbox: Sandbox | None = Field(description="As it was last seen; usable with 200.")
    blocked: Blocked | None = Field(None, description="Why the sandbox is not available now, and what would help.")
    status_url: str = Field(examples=["/v1/issues/1/sandbox"])


_PENDING: dict[int | str, dict[str, object]] = {
    202: {"model": SandboxReply, "description": "Pending or blocked: follow it at status_url"}
}

Force = Annotated[bool, Query(description="Also give up work that is saved nowhere else.")]


_UNKNOWN = responses(404)


class OrderReply(BaseModel):
    """Temporal has stored the order; status_url shows what becomes of it."""

    status_url: str = Field(examples=["/v1/issues/1/sandbox"])


def add(routes: APIRouter, issues: Issues) -> None:
    """Add the routes of one issue's sandbox."""
    _add_ensure(routes, issues)
    _add_reads(routes, issues)
    _add_orders(routes, issues)


def _add_ensure(routes: APIRouter, issues: Issues) -> None:
    @routes.put(
        "/issues/{issue_id}/sandbox",
        response_model=SandboxReply,
        responses=responses(409, 413) | _PENDING,
        summary="Have the issue's sandbox running",
    )
    async def ensure(
        issue_id: IssueIdPath,
        response: Response,
        body: IssueBody | None = None,
        wait_s: Annotated[
            float, Query(ge=0, le=WAIT_MAX_S, description="How long to wait for the sandbox, in seconds.")
        ] = 10.0,
        idempotency_key: IdempotencyKey = None,
    ) -> SandboxReply:
        """Idempotent: a missing sandbox is created, a stopped one is started, a running one is handed over.

        200 with the sandbox if it is usable within `wait_s`, otherwise 202; the workflow goes on in either case.
        409 `issue-deleted` is final; 409 `superseded` reports a close or a person's order after this request.
        """
        issue = Issue(id=issue_id, **(body or IssueBody()).model_dump())
        request_id = idempotency_key or str(uuid.uuid4())
        handover = await issues.ensure(issue, wait_s, request_id, REST)
        if handover.outcome in _SUPERSEDED:
            raise _superseded(handover.outcome)
        reply = _reply(handover)
        if handover.outcome not in READY:
            response.status_code = 202
            response.headers["Location"] = reply.status_url
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return reply


def _superseded(outcome: Outcome) -> ProblemError:
    """409 for a superseded request. The caller decides whether to ask again."""
    return ProblemError(
        409,
        "superseded",
        # The sandbox of a closed issue runs for a while, so this outcome may still be ahead.
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


def _add_reads(routes: APIRouter, issues: Issues) -> None:
    @routes.get(
        "/issues/{issue_id}/sandbox", response_model=Status, responses=responses(404), summary="State, phase and reason"
    )
    async def status(issue_id: IssueIdPath) -> Status:
        """What the issue's workflow knows and does. Sends no request to Daytona."""
        return await issues.query(issue_id, QUERY_STATUS, Status)

    @routes.get(
        "/issues/{issue_id}/sandbox/why",
        response_model=Why,
        responses=responses(404),
        summary="Why the sandbox is in its state",
    )
    async def why(issue_id: IssueIdPath) -> Why:
        """One sentence, and the last decisions with time, delivery, phase, action and outcome."""
        return await issues.query(issue_id, QUERY_WHY, Why)


def _add_orders(routes: APIRouter, issues: Issues) -> None:
    """A person's orders. All but replace are safe to repeat; each is a 404 when no workflow runs for the issue."""

    @routes.post("/issues/{issue_id}/retry", summary="Try a blocked issue now", status_code=202, responses=_UNKNOWN)
    async def retry(issue_id: IssueIdPath) -> OrderReply:
        """If the issue is not blocked, its sandbox is looked up again."""
        return await _order(issues, issue_id, SIGNAL_RETRY)

    @routes.post("/issues/{issue_id}/stop", summary="Stop the sandbox", status_code=202, responses=_UNKNOWN)
    async def stop(issue_id: IssueIdPath) -> OrderReply:
        """The sandbox keeps its disk. The next request for it starts it again."""
        return await _order(issues, issue_id, SIGNAL_STOP)

    @routes.post("/issues/{issue_id}/replace", summary="Replace the sandbox", status_code=202, responses=_UNKNOWN)
    async def replace(issue_id: IssueIdPath) -> OrderReply:
        """Delete the sandbox, unsaved work included, and create a new one."""
        return await _order(issues, issue_id, SIGNAL_REPLACE)

    @routes.delete("/issues/{issue_id}/sandbox", summary="Delete the sandbox", status_code=202, responses=_UNKNOWN)
    async def delete(issue_id: IssueIdPath, force: Force = False) -> OrderReply:
        """Unless forced, only if no work would be lost. Otherwise the sandbox is stopped, and the status says why."""
        return await _order(issues, issue_id, SIGNAL_DELETE, DeleteRequest(force))


async def _order(issues: Issues, issue_id: int, signal: str, *arguments: object) -> OrderReply:
    await issues.order(issue_id, signal, *arguments)
    return OrderReply(status_url=status_url(issue_id))


def status_url(issue_id: int) -> str:
    """The path of the issue's status."""
    return f"/v1/issues/{issue_id}/sandbox"
