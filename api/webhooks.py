"""GitHub's webhooks: refuse, limit, verify, parse, detect, signal-with-start, 202.

The head alone decides whether the body is read. Nothing is parsed before the signature is verified, and no event is
answered with 2xx before Temporal has stored it. A delivery that asks for nothing, or whose sender may not ask, still
carries a snapshot of the issue: a running workflow gets it. Bodies are never logged; the reason of every refusal is.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, SecretStr, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect

from activities.reporting import ms
from api.auth import require_signature, signature_of
from api.in_flight import Body, InFlight
from api.payload import (
    IGNORED,
    SHAPES,
    ActionName,
    UnreadableBodyError,
    form_payload,
    intentions,
    read,
    read_object,
    require_agreement,
)
from api.problems import ProblemError, first_mistake, problem_of, responses
from api.sandboxes import status_url
from issuebox import metrics
from issuebox.domain import markup  # noqa: F401 -- loaded now, and not by the first comment
from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.retirement import start_objection
from issuebox.domain.run_comment import BEGINNING
from issuebox.domain.triggers import EVENTS, Criteria, Detection, Facts, detect
from issuebox.settings import ApiSettings, criteria_of
from issuebox.temporal.issues import AwayError, Issues, IssuesError

WEBHOOK_BODY_MAX_BYTES = 25 * 1024 * 1024
"""Larger bodies get a 413. GitHub itself caps its payloads at 25 MB."""

BODY_TIMEOUT_S = 5.0
"""How long a body may take to arrive. GitHub waits 10 s for the answer, and Temporal needs its share of them."""

ANSWER_WITHIN_S = 9.0
"""How long the same call to Temporal is tried again, counted from the head of the request."""

ATTEMPT_TIMEOUT_S = 2.0
"""How long one of these calls may take: a connection that hangs costs one call and not the delivery."""

PAUSE_S = 0.25
"""The pause after a call that failed."""

_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"
_DELIVERY = re.compile(r"[A-Za-z0-9-]{1,64}\Z")
_EVENT = re.compile(r"[a-z0-9_]{1,64}\Z")

_ACTION: TypeAdapter[str] = TypeAdapter(ActionName)

_log = structlog.get_logger("issuebox.api")


class Accepted(BaseModel):
    """What became of a delivery. The workflow's fields are absent if no workflow got it.

    An ignored delivery has them if a workflow runs for the issue: that workflow got the snapshot.
    """

    intention: Intention = Field(
        description="ensure, stop or delete; ignore if the delivery asks for nothing; pong for a ping."
    )
    reason: str = Field(examples=["the issue was opened"])
    delivery: str = Field(examples=["72d3162e-cc78-11e3-81ab-4c9367dc0958"])
    workflow_id: str | None = Field(None, examples=["claude-issue-1"])
    sandbox_name: str | None = Field(None, examples=["claude-issue-1"])
    status_url: str | None = Field(None, examples=["/v1/issues/1/sandbox"])


@dataclass(frozen=True, slots=True)
class _Door:
    """What every delivery meets."""

    secrets: Sequence[SecretStr]
    criteria: Criteria
    issues: Issues
    in_flight: InFlight


def router(settings: ApiSettings, issues: Issues) -> APIRouter:
    """The webhook route."""
    routes = APIRouter(tags=["webhooks"])
    door = _Door(settings.webhook_secrets, criteria_of(settings), issues, InFlight())

    @routes.post(
        "/webhooks/github",
        status_code=202,
        response_model=Accepted,
        response_model_exclude_none=True,
        responses=responses(400, 401, 408, 413, 415, 503),
        summary="Receive one GitHub delivery",
        openapi_extra=_OPENAPI,
        operation_id="takeDelivery",
    )
    async def github(request: Request) -> Response:
        began = time.monotonic()
        facts: dict[str, object] = {"delivery": _shown(request, "x-github-delivery")}
        code = 500
        try:
            accepted = await _take(request, door, facts)
            code = 202
        except (ProblemError, IssuesError) as error:
            problem = problem_of(error) if isinstance(error, IssuesError) else error
            code = problem.status
            _log.warning(
                "webhook_refused", **facts, status=problem.status, reason=problem.detail, duration_ms=ms(began)
            )
            raise
        else:
            word = "webhook_ignored" if accepted.intention in IGNORED else "webhook_accepted"
            facts |= {"intention": str(accepted.intention), "reason": accepted.reason}
            _log.info(word, **facts, duration_ms=ms(began))
        finally:
            event, intention = (facts.get(name, metrics.NONE) for name in ("github_event", "intention"))
            metrics.count(metrics.WEBHOOK_DELIVERIES, event=event, intention=intention, code=code)
            metrics.observe(metrics.WEBHOOK_DURATION, time.monotonic() - began, code=code)
        return JSONResponse(accepted.model_dump(exclude_none=True, mode="json"), 202)

    return routes


@dataclass(frozen=True, slots=True)
class _Message:
    """What a verified body says: to whom the event goes, if to anybody, and what the delivery asks for."""

    detection: Detection
    event: IssueEvent | None = None


async def _take(request: Request, door: _Door, facts: dict[str, object]) -> Accepted:
    """From the head of the request to the stored event. Raises ProblemError with the status that GitHub shows."""
    answer_by = time.monotonic() + ANSWER_WITHIN_S
    signature = signature_of(request, door.secrets)
    _require_fitting_length(request)
    media_type = _media_type(request)
    with door.in_flight.request():
        with door.in_flight.body() as arriving:
            body = await _read(request, arriving)
            require_signature(body, signature, door.secrets)
            message = _understood(request, media_type, body, door.criteria, facts)
            del body  # It is not kept in memory while Temporal is away.
        return await _stored(message, str(facts["delivery"]), door.issues, answer_by)


def _require_fitting_length(request: Request) -> None:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > WEBHOOK_BODY_MAX_BYTES:
        raise _too_large()


def _media_type(request: Request) -> str:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in {_JSON, _FORM}:
        raise ProblemError(415, "unsupported-media-type", f"the webhook's content type has to be {_JSON} or {_FORM}")
    return media_type


async def _read(request: Request, arriving: Body) -> bytes:
    """The body. Reading stops as soon as it is too large or too slow."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                if arriving.size + len(chunk) > WEBHOOK_BODY_MAX_BYTES:
                    raise _too_large()
                arriving.add(chunk)
    except TimeoutError as error:
        detail = f"the body did not arrive within {BODY_TIMEOUT_S:g} s"
        raise ProblemError(408, "request-timeout", detail, {"Connection": "close"}) from error
    except ClientDisconnect as error:
        raise ProblemError(400, "invalid-delivery", "the caller hung up before the end of the body") from error
    return arriving.handed_over()


def _understood(
    request: Request, media_type: str, body: bytes, criteria: Criteria, facts: dict[str, object]
) -> _Message:
    """What the verified body says. Only an event that is used is parsed, and only for what its row needs."""
    delivery = _header(request, "X-GitHub-Delivery", _DELIVERY)
    event = _header(request, "X-GitHub-Event", _EVENT)
    facts |= {"delivery": delivery, "github_event": event}
    if event not in EVENTS:
        return _Message(detect(Facts(event), criteria))
    try:
        payload = form_payload(body) if media_type == _FORM else body
        content = read_object(payload)
        require_agreement(event, content)
    except UnreadableBodyError as error:
        raise _invalid(str(error)) from error
    if event not in SHAPES:
        return _Message(detect(Facts(event), criteria))
    # Before the rest, because it says what of the rest is needed.
    action = _action(content)
    try:
        parsed = read(event, action, payload)
    except ValidationError as error:
        return _not_read(Facts(event, action), error, criteria)
    facts |= {"action": action, "issue_id": parsed.issue.id, "repository": parsed.repository.full_name}
    given = parsed.facts(event)
    detection = detect(given, criteria)
    # GitHub delivers each edit of a run's comment: a workflow would get a signal every 30 s.
    is_ours = given.comment.startswith(BEGINNING)
    if detection.intention in IGNORED and (parsed.is_pull_request or is_ours):
        return _Message(detection)
    return _Message(detection, parsed.to_event(event, delivery, hashlib.sha256(payload).hexdigest(), detection))


def _action(content: Mapping[str, object]) -> str:
    try:
        return _ACTION.validate_python(content.get("action"))
    except ValidationError as error:
        raise _invalid(f"the body is not valid: action: {error.errors()[0]['msg']}") from error


def _not_read(known: Facts, error: ValidationError, criteria: Criteria) -> _Message:
    """A body that lacks what its row needs is refused; without a row nothing is needed, and it is ignored."""
    mistake = first_mistake(error.errors(include_input=False, include_url=False, include_context=False))
    if intentions(known.event, known.action):
        raise _invalid(f"the body is not valid: {mistake}") from error
    detection = detect(known, criteria)
    return _Message(replace(detection, reason=f"{detection.reason}, and its snapshot cannot be read: {mistake}"))


async def _stored(message: _Message, delivery: str, issues: Issues, answer_by: float) -> Accepted:
    """The answer, once Temporal has stored what there is to store."""
    detection, event = message.detection, message.event
    if event is None:
        return _ignored(detection, delivery)
    objection = detection.start_objection or start_objection(event.issue.updated_at, datetime.now(UTC))
    name = await _deliver(issues, event, answer_by, may_start=not objection)
    if name is None and detection.intention in IGNORED:
        return _ignored(detection, delivery)
    if name is None:
        reason = f"no workflow runs for the issue, and {objection}"
        return _ignored(Detection(Intention.IGNORE, reason), delivery)
    return Accepted(
        intention=detection.intention,
        reason=detection.reason,
        delivery=delivery,
        workflow_id=name,
        sandbox_name=name,
        status_url=status_url(event.issue.id),
    )


async def _deliver(issues: Issues, event: IssueEvent, answer_by: float, *, may_start: bool) -> str | None:
    """The workflow that has the event. While Temporal is away, the call is made again for as long as GitHub waits.

    An attempt that got no answer may have been stored: the workflow recognizes the delivery. The SDK tries again by
    itself (temporalio 1.35.0), but neither a first connection that fails nor a call that hangs.
    """
    while True:
        left_s = answer_by - time.monotonic()
        try:
            return await issues.deliver(event, may_start=may_start, timeout_s=min(ATTEMPT_TIMEOUT_S, left_s))
        except AwayError:
            if answer_by - time.monotonic() <= 2 * PAUSE_S:
                raise
        await asyncio.sleep(PAUSE_S)


def _header(request: Request, name: str, pattern: re.Pattern[str]) -> str:
    value = request.headers.get(name, "")
    if not pattern.match(value):
        raise _invalid(f"{name} is {'not well-formed' if value else 'missing'}")
    return value


def _ignored(detection: Detection, delivery: str) -> Accepted:
    return Accepted(intention=detection.intention, reason=detection.reason, delivery=delivery)


def _invalid(reason: str) -> ProblemError:
    return ProblemError(400, "invalid-delivery", reason)


def _too_large() -> ProblemError:
    return ProblemError(413, "too-large", f"the body is larger than {WEBHOOK_BODY_MAX_BYTES} bytes")


def _shown(request: Request, name: str) -> str:
    """A header's value when it is harmless, for the log of a request that is not verified yet."""
    value = request.headers.get(name, "")
    return value if _DELIVERY.match(value) else ""


_OPENAPI = {
    "requestBody": {
        "required": True,
        "content": {
            _JSON: {"schema": {"type": "object", "description": "GitHub's webhook payload."}},
            _FORM: {"schema": {"type": "object", "properties": {"payload": {"type": "string"}}}},
        },
    },
    "parameters": [
        {
            "name": name,
            "in": "header",
            "required": True,
            "schema": {"type": "string"},
            "example": example,
        }
        for name, example in (
            ("X-GitHub-Event", "issues"),
            ("X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
            ("X-Hub-Signature-256", "sha256=" + "0" * 64),
        )
    ],
}
