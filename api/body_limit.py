"""The router of /v1, and what stands before each of its routes: the token, and then a limit on the body.

FastAPI reads and parses a body before it runs a route's dependencies, so that a dependency alone would
let strangers fill the memory. Its own ``max_body_size`` answers plain text and not a problem whenever the
length is announced (starlette 1.10, `RequestBodyLimitResponder.send_with_limit`).
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
    """An empty router under /v1. Each route that is added to it wants a token."""
    return APIRouter(
        prefix="/v1",
        tags=["sandboxes"],
        route_class=guarded(settings),
        dependencies=[Depends(bearer)],  # Only documents the scheme: the route class enforces it.
        responses=responses(400, 401, 503),
    )


def guarded(settings: ApiSettings) -> type[APIRoute]:
    """A route class for routers whose every route wants a token."""

    class GuardedRoute(APIRoute):
        """Nothing of the request but its head is read before the token was seen."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            """FastAPI's handler behind the guard."""
            handle = super().get_route_handler()

            async def guard(request: Request) -> Response:
                require_token(request, settings.api_tokens)
                try:
                    return await handle(_limited(request))
                except _TooLargeError as error:
                    detail = f"the body is larger than {BODY_MAX_BYTES} bytes"
                    raise ProblemError(413, "too-large", detail) from error

            return guard

    return GuardedRoute


class _TooLargeError(HTTPException):
    """FastAPI lets this class alone through while it reads a body; all others become its own 400."""


def _limited(request: Request) -> Request:
    """The same request, whose body raises once it is too large."""
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > BODY_MAX_BYTES:
            raise _TooLargeError(413)
        return message

    return Request(request.scope, receive)
