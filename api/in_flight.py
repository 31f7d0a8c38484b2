"""What the webhook holds at once: requests, and bytes of bodies that are being read.

The limits are for the whole process. They bound its memory when many send at once, and when a signature is only
made up, which shows after the last byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from api.problems import RETRY_AFTER_S, ProblemError

REQUESTS_MAX = 512
"""Deliveries at once. Each takes milliseconds, and up to 9 s while Temporal is away."""

BYTES_MAX = 64 * 1024 * 1024
"""Bytes of bodies at once. Deliveries about issues have some 20 kB; the largest that GitHub sends have 25 MB."""


class InFlight:
    """Counts requests and bytes, and refuses with a 503 what would exceed a limit."""

    def __init__(self) -> None:
        self._requests = 0
        self._bytes = 0

    @contextmanager
    def request(self) -> Iterator[None]:
        """The place of one request, for the duration of the block. Raises ProblemError when all places are taken."""
        if self._requests >= REQUESTS_MAX:
            raise _busy()
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
            raise _busy()
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


def _busy() -> ProblemError:
    return ProblemError(
        503, "busy", "too many deliveries arrive at once; try again later", {"Retry-After": str(RETRY_AFTER_S)}
    )
