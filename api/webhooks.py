"""GitHub's webhooks: limit, verify, parse, detect, signal-with-start, 202.

Nothing is parsed before the signature is verified, and no event is answered with 2xx before Temporal has stored
it. A delivery that asks for nothing, or whose sender may not ask, still carries a snapshot of the issue: a running
workflow gets it. Bodies are never logged; the reason of every refusal is.
"""

from __future__ import annotations

import hashlib
import re
import time

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import from_json

from activities.reporting import ms
from api.auth import require_signature
from api.payload import IGNORED, SHAPES, AmbiguousBodyError, IssueDelivery, require_unambiguous
from api.problems import ProblemError, first_mistake, problem_of, responses
from api.sandboxes import status_url
from issuebox.domain.events import Intention
from issuebox.domain.triggers import EVENTS, Criteria, Detection, Facts, detect
from issuebox.settings import ApiSettings, criteria_of
from issuebox.temporal.issues import Issues, IssuesError

WEBHOOK_BODY_MAX_BYTES = 25 * 1024 * 1024
"""Larger bodies get a 413. GitHub itself caps its payloads at 25 MB."""

_DELIVERY = re.compile(r"[A-Za-z0-9-]{1,64}\Z")
_EVENT = re.compile(r"[a-z_]{1,64}\Z")

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


def router(settings: ApiSettings, issues: Issues) -> APIRouter:
    """The webhook route."""
    routes = APIRouter(tags=["webhooks"])
    criteria = criteria_of(settings)

    @routes.post(
        "/webhooks/github",
        status_code=202,
        response_model=Accepted,
        response_model_exclude_none=True,
        responses=responses(400, 401, 413, 415, 503),
        summary="Receive one GitHub delivery",
        openapi_extra=_OPENAPI,
    )
    async def github(request: Request) -> Response:
        began = time.monotonic()
        facts: dict[str, object] = {"delivery": _shown(request, "x-github-delivery")}
        try:
            accepted = await _take(request, settings, criteria, issues, facts)
        except (ProblemError, IssuesError) as error:
            problem = problem_of(error) if isinstance(error, IssuesError) else error
            _log.warning(
                "webhook_refused", **facts, status=problem.status, reason=problem.detail, duration_ms=ms(began)
            )
            raise
        word = "webhook_ignored" if accepted.intention in IGNORED else "webhook_accepted"
        facts |= {"intention": str(accepted.intention), "reason": accepted.reason}
        _log.info(word, **facts, duration_ms=ms(began))
        return JSONResponse(accepted.model_dump(exclude_none=True, mode="json"), 202)

    return routes


async def _take(
    request: Request, settings: ApiSettings, criteria: Criteria, issues: Issues, facts: dict[str, object]
) -> Accepted:
    """From the raw request to the stored event. Raises ProblemError with the status that GitHub shows."""
    body = await _read(request, WEBHOOK_BODY_MAX_BYTES)
    _require_json(request)
    require_signature(body, request.headers.get("x-hub-signature-256", ""), settings.webhook_secrets)
    delivery = _header(request, "X-GitHub-Delivery", _DELIVERY)
    event = _header(request, "X-GitHub-Event", _EVENT)
    facts |= {"delivery": delivery, "github_event": event}
    if event == "ping" or event not in EVENTS:
        _require_object(body)
        return _ignored(detect(Facts(event), criteria), delivery)
    payload = _parse(event, body)
    facts |= {"action": payload.action, "issue_id": payload.issue.id, "repository": payload.repository.full_name}
    detection = detect(payload.facts(event), criteria)
    if detection.intention in IGNORED and payload.is_pull_request:
        return _ignored(detection, delivery)
    digest = hashlib.sha256(body).hexdigest()
    issue_event = payload.to_event(event, delivery, digest, detection)
    name = await issues.deliver(issue_event, may_start=not detection.start_objection)
    if name is None and detection.intention in IGNORED:
        return _ignored(detection, delivery)
    if name is None:
        reason = f"no workflow runs for the issue, and {detection.start_objection}"
        return _ignored(Detection(Intention.IGNORE, reason), delivery)
    return Accepted(
        intention=detection.intention,
        reason=detection.reason,
        delivery=delivery,
        workflow_id=name,
        sandbox_name=name,
        status_url=status_url(payload.issue.id),
    )


async def _read(request: Request, max_bytes: int) -> bytes:
    """The body. Reading stops as soon as it is larger than the limit."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(max_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


def _require_json(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise ProblemError(
            415, "unsupported-media-type", "set the webhook's content type to application/json on GitHub"
        )


def _header(request: Request, name: str, pattern: re.Pattern[str]) -> str:
    value = request.headers.get(name, "")
    if not pattern.match(value):
        raise ProblemError(400, "invalid-delivery", f"{name} is {'not well-formed' if value else 'missing'}")
    return value


def _require_object(body: bytes) -> None:
    try:
        is_object = isinstance(from_json(body), dict)
        require_unambiguous(body)
    except AmbiguousBodyError as error:
        raise ProblemError(400, "invalid-delivery", f"the body is not valid: {error}") from error
    except ValueError as error:
        raise ProblemError(400, "invalid-delivery", "the body is not JSON") from error
    if not is_object:
        raise ProblemError(400, "invalid-delivery", "the body is not a JSON object")


def _parse(event: str, body: bytes) -> IssueDelivery:
    shape = SHAPES[event]
    try:
        payload = shape.model_validate_json(body)
        require_unambiguous(body)
    except AmbiguousBodyError as error:
        raise ProblemError(400, "invalid-delivery", f"the body is not valid: {error}") from error
    except ValidationError as error:
        mistakes = error.errors(include_input=False, include_url=False, include_context=False)
        raise ProblemError(400, "invalid-delivery", f"the body is not valid: {first_mistake(mistakes)}") from error
    return payload


def _ignored(detection: Detection, delivery: str) -> Accepted:
    return Accepted(intention=detection.intention, reason=detection.reason, delivery=delivery)


def _too_large(max_bytes: int) -> ProblemError:
    return ProblemError(413, "too-large", f"the body is larger than {max_bytes} bytes")


def _shown(request: Request, name: str) -> str:
    """A header's value when it is harmless, for the log of a request that is not verified yet."""
    value = request.headers.get(name, "")
    return value if _DELIVERY.match(value) else ""


_OPENAPI = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object", "description": "GitHub's webhook payload."}}},
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
