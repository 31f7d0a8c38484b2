"""The router of /v1. Each of its routes first checks the token, then the names in the query, and limits the body.

FastAPI reads and parses a body before it runs a route's dependencies, so a dependency alone would let
strangers fill the memory. Its own ``max_body_size`` answers with plain text instead of a problem when the
request declares its length (starlette 1.10, `RequestBodyLimitResponder.send_with_limit`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Depends, Request, Response, params
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Message

from api.auth import bearer, require_token
from api.problems import ProblemError, responses
from issuebox.domain.text import one_line
from issuebox.settings import ApiSettings

BODY_MAX_BYTES = 64 * 1024

SHOWN_BYTES_MAX = 60
"""Of a name that a caller made up."""


def v1_router(settings: ApiSettings) -> APIRouter:
    """An empty router under /v1. Each route that is added to it requires a token."""
    return APIRouter(
        prefix="/v1",
        route_class=authenticated_route(settings),
        dependencies=[Depends(bearer)],  # Only documents the scheme: the route class enforces it.
        responses=responses(400, 401, 503),
    )


def authenticated_route(settings: ApiSettings) -> type[APIRoute]:
    """A route class that requires a token and limits the body."""

    class AuthenticatedRoute(APIRoute):
        """Reads only the head of a request before it has checked the token."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            """FastAPI's handler, behind the check of the token and the limit."""
            handle, known = super().get_route_handler(), query_names(self.dependant)

            async def check(request: Request) -> Response:
                require_token(request, settings.api_tokens)
                _require_known(request, known)
                try:
                    return await handle(_limited(request))
                except _TooLargeError as error:
                    detail = f"the body is larger than {BODY_MAX_BYTES} bytes"
                    raise ProblemError(413, "too-large", detail) from error
                except asyncio.CancelledError as error:
                    # By the server, whose time to stop is over.
                    raise ProblemError(
                        503, "unavailable", "the API is stopping; ask again", {"Retry-After": "1"}
                    ) from error

            return check

    return AuthenticatedRoute


def query_names(dependant: Dependant) -> frozenset[str]:
    """The query parameters of a route, as callers spell them."""
    elsewhere = (params.Path, params.Header, params.Cookie)
    fields = get_flat_params(dependant)
    return frozenset(field.alias for field in fields if not isinstance(field.field_info, elsewhere))


def _require_known(request: Request, known: frozenset[str]) -> None:
    """Refuse a parameter that the route does not have. A misspelt one would silently have no effect."""
    if unknown := sorted(request.query_params.keys() - known):
        names = f"the known ones are {', '.join(sorted(known))}" if known else "there are none here"
        detail = f"query: {one_line(unknown[0], SHOWN_BYTES_MAX)!r} is not known; {names}"
        raise ProblemError(400, "unknown-parameter", detail)


class _TooLargeError(HTTPException):
    """An HTTPException, because FastAPI turns any other error while it reads a body into its own 400."""


def _limited(request: Request) -> Request:
    """The same request, with a body that raises once it is too large."""
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > BODY_MAX_BYTES:
            raise _TooLargeError(413)
        return message

    return Request(request.scope, receive)
