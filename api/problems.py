"""Every error as RFC 9457 problem details.

``type`` is a URN that programs may compare; ``detail`` is a sentence for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from issuebox.temporal.index import NotIndexedError
from issuebox.temporal.issues import (
    AwayError,
    EndedError,
    IssueDeletedError,
    IssuesError,
    KeyReusedError,
    NoRunsError,
    RunRefusedError,
    StuckError,
    UnavailableError,
    UnknownIssueError,
    UnknownRunError,
    WrongIssueError,
)
from issuebox.temporal.numbers import AmbiguousNumberError, UnknownNumberError

MEDIA_TYPE = "application/problem+json"

RETRY_AFTER_S = 5
"""How long a 503 asks the caller to wait. GitHub does not redeliver; it only logs the failed delivery."""

OF_ISSUES: Mapping[type[IssuesError], tuple[int, str]] = {
    UnavailableError: (503, "unavailable"),
    AwayError: (503, "unavailable"),
    UnknownIssueError: (404, "unknown-issue"),
    UnknownNumberError: (404, "unknown-issue"),
    AmbiguousNumberError: (409, "ambiguous-issue"),
    EndedError: (404, "workflow-ended"),
    # The event or order is stored, but only an operator can have it served.
    StuckError: (503, "workflow-stuck"),
    WrongIssueError: (409, "conflict"),
    IssueDeletedError: (409, "issue-deleted"),
    KeyReusedError: (422, "idempotency-key-reused"),
    UnknownRunError: (404, "unknown-run"),
    NoRunsError: (409, "no-runs"),
    RunRefusedError: (409, "run-refused"),
    # Temporal refuses a list without filters: the caller did not cause that, and it does not pass.
    NotIndexedError: (500, "internal"),
}
"""The HTTP status and problem type of each failure of a call to an issue's workflow."""

_log = structlog.get_logger("issuebox.api")


class ProblemError(Exception):
    """Ends the request with this problem."""

    def __init__(self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})


def problem_of(error: IssuesError) -> ProblemError:
    """The problem for a failed call to an issue's workflow; a 503 gets Retry-After."""
    status, kind = OF_ISSUES[type(error)]
    headers = {"Retry-After": str(RETRY_AFTER_S)} if isinstance(error, UnavailableError) else None
    return ProblemError(status, kind, str(error), headers)


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(examples=["urn:issuebox:problem:unauthorized"])
    title: str = Field(examples=["Unauthorized"])
    status: int = Field(examples=[401])
    detail: str = Field(examples=["send one of ISSUEBOX_API_TOKENS as a bearer token"])


def responses(*statuses: int) -> dict[int | str, dict[str, object]]:
    """The OpenAPI entries for these error statuses."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Answer every error of the app with a problem."""
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(IssuesError, _of_issues)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _bug)


def _respond(status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    problem = Problem(
        type=f"urn:issuebox:problem:{kind}", title=HTTPStatus(status).phrase, status=status, detail=detail
    )
    return JSONResponse(problem.model_dump(), status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


async def _problem(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)  # noqa: S101 -- registered for this class only
    return _respond(error.status, error.kind, error.detail, error.headers)


async def _of_issues(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, IssuesError)  # noqa: S101 -- ditto
    return await _problem(request, problem_of(error))


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 -- ditto
    return _respond(400, "invalid-request", first_mistake(error.errors()))


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 -- ditto
    kind = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    return _respond(error.status_code, kind, str(error.detail), error.headers)


async def _bug(request: Request, error: Exception) -> JSONResponse:
    _log.error("request_failed", path=request.url.path, error=type(error).__name__, exc_info=error)
    return _respond(500, "internal", "this is a bug in issuebox: please report it, with the log from this time")


def first_mistake(errors: object) -> str:
    """The place and text of the first mistake, without the value that was sent, which may be a secret."""
    if not isinstance(errors, list | tuple) or not errors:
        return "the request is not valid"
    first = errors[0]
    place = ".".join(str(part) for part in first.get("loc", ()))
    return f"{place}: {first.get('msg', 'is not valid')}" if place else str(first.get("msg", "is not valid"))
