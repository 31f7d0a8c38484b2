"""The connections of the API: uvicorn's HTTP, with limits for what arrives before the application is asked.

uvicorn 0.54 has no limit for the time of a head or a body, and with httptools none for the size of a head
(`h11_max_incomplete_event_size` is for h11 only). `limit_concurrency` answers 503 to everybody once strangers hold
that many connections. A proxy in front of the API has such limits of its own.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_TIMEOUT_S = 15.0
"""How long a request may take to arrive, from its first byte to its last."""

LOOSE_MAX_BYTES = 64 * 1024
"""Bytes of one request that no route takes: its head, the frames of chunks, what follows a refusal."""

CONNECTIONS_MAX = 2_000
"""Connections at once; a further one is closed. Together they hold at most 128 MB of unfinished heads."""

_log = structlog.get_logger("issuebox.api")


class BoundedHttp(HttpToolsProtocol):
    """Closes a connection whose request arrives too slowly, or brings too much that nobody reads."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._loose = 0
        self._overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, if there is room."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            self._close("too many connections")
        else:
            self._expect(self.timeout_keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of the connection."""
        self._expect(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count some bytes; `on_body` and `on_message_complete` take off what is read, while it is parsed."""
        self._loose += len(data)
        super().data_received(data)
        if self._loose > LOOSE_MAX_BYTES:
            self._close("too much that is not read")

    def on_message_begin(self) -> None:
        """The first bytes of a request."""
        super().on_message_begin()
        self._expect(REQUEST_TIMEOUT_S)

    def on_body(self, body: bytes) -> None:
        """Bytes of the body; the application gets them unless it has answered already."""
        if not self.cycle.response_complete:
            self._loose -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of the request."""
        super().on_message_complete()
        self._loose = 0
        # uvicorn waits for the next request only after an answer that comes last.
        self._expect(self.timeout_keep_alive if self.cycle.response_complete else None)

    def _expect(self, within_s: float | None) -> None:
        """Close the connection unless this is called again in time."""
        if self._overdue is not None:
            self._overdue.cancel()
        self._overdue = None if within_s is None else self.loop.call_later(within_s, self._close, "too slow")

    def _close(self, reason: str) -> None:
        if not self.transport.is_closing():
            _log.info("connection_closed", reason=reason)
            self.transport.close()
