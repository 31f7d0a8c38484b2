"""The sandbox of one issue over REST: have it running, see it, steer it. Every route wants a bearer token.

PUT is an update that waits, or a signal that is stored. A person's orders are signals: the workflow judges and acts.
"""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from api.payload import Title
from api.problems import RETRY_AFTER_S, ProblemError, responses
from issuebox.domain.issue import Issue
from issuebox.domain.memory import Blocked
from issuebox.domain.phase import Outcome
from issuebox.domain.sandbox import Sandbox
from issuebox.settings import ApiSettings
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

IssueIdPath = Annotated[int, Path(gt=0, lt=2**63, description="GitHub's global issue.id, not the number.")]

REST = Caller("rest", "REST")
"""Who asks, as the workflow's log and its decisions name it."""

IdempotencyKey = Annotated[
    str | None,
    Header(pattern=r"^[A-Za-z0-9_.:-]{1,128}$", description="The same key asks once, however often it is sent."),
]

_READY = {Outcome.CREATED, Outcome.STARTED, Outcome.RECOVERED, Outcome.REUSED}
_SUPERSEDED = {Outcome.STOPPED, Outcome.ARCHIVED, Outcome.DELETED}
"""What a request ends with when something that came after it took the sandbox away again."""


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

Force = Annotated[bool, Query(description="Give up whatever in the sandbox is saved nowhere else.")]


_UNKNOWN = responses(404)


class OrderReply(BaseModel):
    """The order is stored by Temporal; what becomes of it is read at status_url."""

    status_url: str = Field(examples=["/v1/issues/1/sandbox"])


def add(routes: APIRouter, settings: ApiSettings, issues: Issues) -> None:
    """The routes of one issue's sandbox."""
    _add_ensure(routes, settings, issues)
    _add_reads(routes, issues)
    _add_orders(routes, issues)


def _add_ensure(routes: APIRouter, settings: ApiSettings, issues: Issues) -> None:
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
        request_id = idempotency_key or str(uuid.uuid4())
        handover = await issues.ensure(issue, wait_s, request_id, REST)
        if handover.outcome in _SUPERSEDED:
            raise _superseded(handover.outcome)
        reply = _reply(handover)
        if handover.outcome not in _READY:
            response.status_code = 202
            response.headers["Location"] = reply.status_url
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return reply


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


def _add_reads(routes: APIRouter, issues: Issues) -> None:
    @routes.get(
        "/issues/{issue_id}/sandbox", response_model=Status, responses=responses(404), summary="State, phase and reason"
    )
    async def status(issue_id: IssueIdPath) -> Status:
        """What the issue's workflow knows and does. Asks Daytona nothing."""
        return await issues.query(issue_id, QUERY_STATUS, Status)

    @routes.get(
        "/issues/{issue_id}/sandbox/why",
        response_model=Why,
        responses=responses(404),
        summary="Why is this sandbox in this state",
    )
    async def why(issue_id: IssueIdPath) -> Why:
        """One sentence, and the last decisions with time, delivery, phase, action and outcome."""
        return await issues.query(issue_id, QUERY_WHY, Why)


def _add_orders(routes: APIRouter, issues: Issues) -> None:
    """A person's orders. Each but replace is safe to repeat; each is a 404 when no workflow of the issue runs."""

    @routes.post("/issues/{issue_id}/retry", summary="Try a blocked issue now", status_code=202, responses=_UNKNOWN)
    async def retry(issue_id: IssueIdPath) -> OrderReply:
        """On an issue that is not blocked: look at its sandbox again."""
        return await _order(issues, issue_id, SIGNAL_RETRY)

    @routes.post("/issues/{issue_id}/stop", summary="Stop the sandbox", status_code=202, responses=_UNKNOWN)
    async def stop(issue_id: IssueIdPath) -> OrderReply:
        """What is in it stays. The next request for the sandbox starts it again."""
        return await _order(issues, issue_id, SIGNAL_STOP)

    @routes.post("/issues/{issue_id}/replace", summary="Make it anew", status_code=202, responses=_UNKNOWN)
    async def replace(issue_id: IssueIdPath) -> OrderReply:
        """Delete the sandbox, unsaved work included, and make a new one."""
        return await _order(issues, issue_id, SIGNAL_REPLACE)

    @routes.delete("/issues/{issue_id}/sandbox", summary="Delete the sandbox", status_code=202, responses=_UNKNOWN)
    async def delete(issue_id: IssueIdPath, force: Force = False) -> OrderReply:
        """Unless forced, only when nothing in it would be lost; otherwise it is stopped and the issue says why."""
        return await _order(issues, issue_id, SIGNAL_DELETE, DeleteRequest(force))


async def _order(issues: Issues, issue_id: int, signal: str, *arguments: object) -> OrderReply:
    await issues.order(issue_id, signal, *arguments)
    return OrderReply(status_url=status_url(issue_id))


def status_url(issue_id: int) -> str:
    """Where the issue's state is read."""
    return f"/v1/issues/{issue_id}/sandbox"
