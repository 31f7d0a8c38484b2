"""The router of /v1. Each of its routes first checks the token, and then limits the body.

FastAPI reads and parses a body before it runs a route's dependencies, so a dependency alone would let
strangers fill the memory. Its own ``max_body_size`` answers with plain text instead of a problem when the
request declares its length (starlette 1.10, `RequestBodyLimitResponder.send_with_limit`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Message

from api.auth import bearer, require_token
from api.problems import ProblemError, responses
from issuebox.settings import ApiSettings

BODY_MAX_BYTES = 64 * 1024


def v1_router(settings: ApiSettings) -> APIRouter:
    """An empty router under /v1. Each route that is added to it requires a token."""
    return APIRouter(
        prefix="/v1",
        tags=["sandboxes"],
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
            handle = super().get_route_handler()

            async def check(request: Request) -> Response:
                require_token(request, settings.api_tokens)
                try:
                    return await handle(_limited(request))
                except _TooLargeError as error:
                    detail = f"the body is larger than {BODY_MAX_BYTES} bytes"
                    raise ProblemError(413, "too-large", detail) from error

            return check

    return AuthenticatedRoute


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
