"""What the API holds at once: deliveries, the bytes of bodies that are being read, and waits.

The limits are for the whole process. They bound its memory when many send at once, and when a signature is only
made up, which shows after the last byte; and what waiting callers cost Temporal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from fastapi import Request

from api.problems import RETRY_AFTER_S, ProblemError

T = TypeVar("T")

REQUESTS_MAX = 512
"""Deliveries at once. Each takes milliseconds, and up to 9 s while Temporal is away."""

BYTES_MAX = 64 * 1024 * 1024
"""Bytes of bodies at once. Deliveries about issues have some 20 kB; the largest that GitHub sends have 25 MB."""

WAITS_MAX = 200
"""Waits for a sandbox at once. Each asks Temporal four times a second at first, and every 2 s in the end: 100 describes
a second for all of them, each of which cost Temporal half a millisecond of processor time (dev server 1.29.1)."""


class Waiting:
    """Counts waits, and refuses with a 503 what would be one too many."""

    def __init__(self) -> None:
        self._waits = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """The place of one wait, for the duration of the block. Raises ProblemError when all places are taken."""
        if self._waits >= WAITS_MAX:
            raise _busy("too many callers wait for a sandbox")
        self._waits += 1
        try:
            yield
        finally:
            self._waits -= 1


class InFlight:
    """Counts requests and bytes, and refuses with a 503 what would exceed a limit."""

    def __init__(self) -> None:
        self._requests = 0
        self._bytes = 0

    @contextmanager
    def request(self) -> Iterator[None]:
        """The place of one request, for the duration of the block. Raises ProblemError when all places are taken."""
        if self._requests >= REQUESTS_MAX:
            raise _busy("too many deliveries arrive at once")
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    @contextmanager
    def body(self) -> Iterator[Body]:
        """The place of one body that is read in the block."""
        body = Body(self)
        try:
            yield body
        finally:
            self._bytes -= body.size

    def take(self, count: int) -> None:
        """Reserve so many bytes. Raises ProblemError when they exceed the limit."""
        if self._bytes + count > BYTES_MAX:
            raise _busy("too many deliveries arrive at once")
        self._bytes += count


class Body:
    """A body as it arrives."""

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._chunks: list[bytes] = []
        self.size = 0

    def add(self, chunk: bytes) -> None:
        """Keep the chunk. Raises ProblemError when all bodies together are too large."""
        self._in_flight.take(len(chunk))
        self.size += len(chunk)
        self._chunks.append(chunk)

    def handed_over(self) -> bytes:
        """All chunks as one, of which only the caller keeps a reference."""
        whole = b"".join(self._chunks)
        self._chunks.clear()
        return whole


def _busy(reason: str) -> ProblemError:
    return ProblemError(503, "busy", f"{reason}; try again later", {"Retry-After": str(RETRY_AFTER_S)})


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work, which is cancelled when the caller hangs up. What comes as a body is thrown away."""
    working = asyncio.ensure_future(work)
    listening = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait({working, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            listening.result()  # Raises when the caller sends too much instead.
            raise ProblemError(400, "hung-up", "the caller hung up")  # Nobody gets this answer.
        return working.result()
    finally:
        working.cancel()
        listening.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
