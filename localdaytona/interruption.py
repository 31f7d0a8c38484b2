"""Missing replies: a connection really dropped, a request never answered.

uvicorn does not give its transport to the application, so `DroppableHttp` puts it into the ASGI
state of every request. A connection upgraded to a web socket inherits it.
"""

import asyncio
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

HANG_MAX_S = 120.0


class DroppableHttp(H11Protocol):
    """uvicorn's h11 protocol, which exposes the transport to the application."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


def transport_of(scope: Scope) -> asyncio.Transport:
    """Return the TCP transport under an ASGI scope."""
    state: dict[str, Any] = scope["state"]
    transport = state["transport"]
    if not isinstance(transport, asyncio.Transport):
        raise TypeError("the server must run uvicorn with http=DroppableHttp")
    return transport


async def until_gone(receive: Receive) -> None:
    """Return when the client has left or its connection has been aborted."""
    while (await receive())["type"] not in {"http.disconnect", "websocket.disconnect"}:
        continue


async def left_within(receive: Receive, seconds: float) -> bool:
    """Wait until the client has left. Returns whether it did in this time."""
    try:
        async with asyncio.timeout(seconds):
            await until_gone(receive)
    except TimeoutError:
        return False
    return True


class DroppedReply(Response):
    """Closes the connection without a byte of a reply: the client sees the server hang up."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        transport_of(scope).abort()
        await until_gone(receive)


class HangingReply(Response):
    """Answers nothing until the client leaves; after `HANG_MAX_S` it drops the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        if not await left_within(receive, HANG_MAX_S):
            transport_of(scope).abort()
            await until_gone(receive)
