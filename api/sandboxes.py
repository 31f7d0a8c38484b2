"""REST for the sandbox of one issue: ensure it, read its status, give orders. Every route requires a bearer token.

PUT sends an update that waits, or else a signal. A person's orders are signals: the workflow decides and acts.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from api.in_flight import Waiting, while_connected
from api.payload import Title
from api.problems import RETRY_AFTER_S, ProblemError, responses
from issuebox.domain.issue import Issue
from issuebox.domain.memory import Blocked
from issuebox.domain.phase import READY, Outcome
from issuebox.domain.sandbox import Sandbox
from issuebox.temporal.issues import Caller, Issues
from issuebox.temporal.waits import WaitEnd, Waits
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


def spelled_plainly(value: object) -> object:
    """Refuse what `int` would also take, such as 007, +7 or 7_0: an issue has one spelling, and so one address."""
    if not re.fullmatch(r"[1-9][0-9]{0,18}", str(value)):
        raise ValueError("it has only the digits 0 to 9, and no leading zero")
    return value


IssueIdPath = Annotated[
    int,
    Path(ge=1, le=2**63 - 1, description="GitHub's global issue.id, not the number."),
    BeforeValidator(spelled_plainly),
]

REST = Caller("rest", "REST")
"""The caller, as the workflow's log and its decisions name it."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r'^([A-Za-z0-9_.:-]{1,128}|"[A-Za-z0-9_.:-]{1,128}")$',
        description="Of this order, for this issue. What comes again with the same key is not done again.",
    ),
    AfterValidator(lambda key: key and key.strip('"')),
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
    outcome: Outcome = Field(
        description="created, started, recovered or reused with 200; pending, queued or blocked with 202."
    )
    sandbox: Sandbox | None = Field(description="As it was last seen; usable with 200.")
    blocked: Blocked | None = Field(
        None, description="Why the sandbox is not available now, and what would help; of a queued issue its place."
    )
    status_url: str = Field(examples=["/v1/issues/1/sandbox"])


_PENDING: dict[int | str, dict[str, object]] = {
    202: {"model": SandboxReply, "description": "Pending, queued or blocked: follow it at status_url"}
}

Force = Annotated[bool, Query(description="Also give up work that is saved nowhere else.")]


_ORDERED = responses(404, 422)


class OrderReply(BaseModel):
    """Temporal has stored the order; status_url shows what becomes of it."""

    status_url: str = Field(examples=["/v1/issues/1/sandbox"])


@dataclass(frozen=True, slots=True)
class SandboxStatus(Status):
    """What the issue's workflow knows and does. ``waited`` says why a wait is over; null when there was none."""

    waited: WaitEnd | None = None


WAIT_S = 30.0
"""How long `wait_for` waits unless the caller says."""

_NOT_USABLE: dict[int | str, dict[str, object]] = {
    202: {"model": SandboxStatus, "description": "After a wait: the issue is blocked, or the time is over"}
}


def add(routes: APIRouter, issues: Issues) -> None:
    """Add the routes of one issue's sandbox."""
    _add_ensure(routes, issues)
    _add_reads(routes, issues)
    _add_orders(routes, issues)


def _add_ensure(routes: APIRouter, issues: Issues) -> None:
    @routes.put(
        "/issues/{issue_id}/sandbox",
        tags=["sandboxes"],
        operation_id="ensureSandbox",
        response_model=SandboxReply,
        responses=responses(409, 413, 422) | _PENDING,
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

        200 with the sandbox if it is usable within `wait_s`, otherwise 202; the workflow goes on in either case. An
        issue that has to wait for a slot is answered at once with the outcome `queued`; it goes on when its turn comes.
        409 `issue-deleted` is final; 409 `superseded` reports a close or a person's order after this request. What is
        repeated under the same `Idempotency-Key` gets the same answer, and asks for nothing.
        """
        issue = Issue(id=issue_id, **(body or IssueBody()).model_dump())
        handover = await issues.ensure(issue, wait_s, REST, key=idempotency_key or "")
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
    waits, waiting = Waits(issues), Waiting()

    @routes.get(
        "/issues/{issue_id}/sandbox",
        tags=["sandboxes"],
        operation_id="getSandbox",
        response_model=SandboxStatus,
        responses=responses(404, 409) | _NOT_USABLE,
        summary="State, phase and reason; or a wait until the sandbox is usable",
    )
    async def status(
        request: Request,
        response: Response,
        issue_id: IssueIdPath,
        wait_for: Annotated[
            Literal["usable"] | None, Query(description="Answer when the sandbox is usable, or the issue blocked.")
        ] = None,
        timeout_s: Annotated[
            float | None,
            Query(ge=0, le=WAIT_MAX_S, description=f"With wait_for: how long to wait, {WAIT_S:g} s by default."),
        ] = None,
    ) -> SandboxStatus:
        """What the issue's workflow knows and does. Sends no request to Daytona, and leaves no trace.

        With `wait_for=usable`, 200 means that the sandbox is usable and that no request for it is open: who has asked
        before gets what was asked for. 202 means that the issue is blocked or the time is over, as `waited` says. A
        queued issue is waited for. So is an unknown one, and a 404 when the time is over. 409 `issue-deleted` is final.
        """
        if wait_for is None and timeout_s is not None:
            raise ProblemError(400, "invalid-request", "query.timeout_s: only with wait_for=usable")
        if wait_for is None:
            return _shown(await issues.query(issue_id, QUERY_STATUS, Status), None)
        with waiting.place():
            work = waits.until_usable(issue_id, WAIT_S if timeout_s is None else timeout_s)
            end, seen = await while_connected(request, work)
        if end is not WaitEnd.USABLE:
            response.status_code = 202
            response.headers["Retry-After"] = str(_retry_after_s(seen))
        return _shown(seen, end)

    @routes.get(
        "/issues/{issue_id}/sandbox/why",
        tags=["sandboxes"],
        operation_id="explainSandbox",
        response_model=Why,
        responses=responses(404),
        summary="Why the sandbox is in its state",
    )
    async def why(issue_id: IssueIdPath) -> Why:
        """One sentence, and the last decisions with time, delivery, phase, action and outcome."""
        return await issues.query(issue_id, QUERY_WHY, Why)


def _shown(status: Status, waited: WaitEnd | None) -> SandboxStatus:
    known = {field.name: getattr(status, field.name) for field in fields(Status)}
    return SandboxStatus(**known, waited=waited)


def _retry_after_s(status: Status) -> int:
    """When to ask again: a blocked issue is tried again at a known time, unless somebody acts."""
    next_try_at = status.blocked.next_try_at if status.blocked else None
    left_s = (next_try_at - datetime.now(UTC)).total_seconds() if next_try_at else 0.0
    return math.ceil(min(max(left_s, RETRY_AFTER_S), WAIT_MAX_S))


def _add_orders(routes: APIRouter, issues: Issues) -> None:
    """A person's orders, safe to repeat under a key. Each is a 404 when no workflow runs for the issue."""

    ordering = partial(routes.post, tags=["sandboxes"], status_code=202, responses=_ORDERED)

    @ordering("/issues/{issue_id}/retry", operation_id="retryIssue", summary="Try a blocked issue now")
    async def retry(issue_id: IssueIdPath, idempotency_key: IdempotencyKey = None) -> OrderReply:
        """If the issue is not blocked, its sandbox is looked up again."""
        return await _order(issues, issue_id, SIGNAL_RETRY, key=idempotency_key or "")

    @ordering("/issues/{issue_id}/stop", operation_id="stopSandbox", summary="Stop the sandbox")
    async def stop(issue_id: IssueIdPath, idempotency_key: IdempotencyKey = None) -> OrderReply:
        """The sandbox keeps its disk. The next request for it starts it again."""
        return await _order(issues, issue_id, SIGNAL_STOP, key=idempotency_key or "")

    @ordering("/issues/{issue_id}/replace", operation_id="replaceSandbox", summary="Replace the sandbox")
    async def replace(issue_id: IssueIdPath, idempotency_key: IdempotencyKey = None) -> OrderReply:
        """Delete the sandbox, unsaved work included, and create a new one."""
        return await _order(issues, issue_id, SIGNAL_REPLACE, key=idempotency_key or "")

    @routes.delete(
        "/issues/{issue_id}/sandbox",
        tags=["sandboxes"],
        operation_id="deleteSandbox",
        summary="Delete the sandbox",
        status_code=202,
        responses=_ORDERED,
    )
    async def delete(issue_id: IssueIdPath, force: Force = False, idempotency_key: IdempotencyKey = None) -> OrderReply:
        """Unless forced, only if no work would be lost. Otherwise the sandbox is stopped, and the status says why."""
        return await _order(issues, issue_id, SIGNAL_DELETE, DeleteRequest(force), key=idempotency_key or "")


async def _order(issues: Issues, issue_id: int, signal: str, *arguments: object, key: str) -> OrderReply:
    await issues.order(issue_id, signal, *arguments, key=key)
    return OrderReply(status_url=status_url(issue_id))


def status_url(issue_id: int) -> str:
    """The path of the issue's status."""
    return f"/v1/issues/{issue_id}/sandbox"
