"""Counts the API's requests for the metrics, by route and status.

It is installed only in an API that shows metrics. A route counts under its path with placeholders, so that no issue
becomes a label, and what no route takes under one word.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from issuebox import metrics


class CountedRequests:
    """Pure ASGI middleware: it neither reads nor changes what passes through."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count it once it is answered. An error that nobody caught becomes a 500."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        code = 500

        async def counted(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            route = getattr(scope.get("route"), "path", metrics.OTHER)
            metrics.count(metrics.HTTP_REQUESTS, route=route, code=code)
