"""Load: many concurrent calls in a closed loop, and how long each one took.

`Line` speaks just enough HTTP/1.1 for a POST over a kept connection: the sender uses the same cores as
what is measured, and httpx spends as much time on a request as the API does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from issuebox.dev.dev_stack import LOOPBACK

Call = Callable[[int, int], Awaitable[None]]
"""One call, given the number of its caller and the number of the call, both from 0."""

_STATUS = slice(9, 12)
_LENGTH = b"content-length:"


@dataclass(frozen=True, slots=True)
class Window:
    """The result of one period of load. Times in seconds."""

    took_s: float
    latencies_s: list[float]

    @property
    def rate_per_s(self) -> float:
        """Completed calls per second."""
        return len(self.latencies_s) / self.took_s


async def drive(calls: int, callers: int, call: Call) -> Window:
    """Make this many calls by this many callers, each of which makes its next call when its last one returns.

    Raises what a call raises, and then cancels the others.
    """
    numbers = iter(range(calls))
    latencies_s: list[float] = []

    async def run(caller: int) -> None:
        for number in numbers:
            began = time.perf_counter()
            await call(caller, number)
            latencies_s.append(time.perf_counter() - began)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for caller in range(min(callers, calls)):
            group.create_task(run(caller))
    return Window(time.perf_counter() - began, latencies_s)


@dataclass(slots=True)
class Line:
    """One kept connection to a server on loopback; one request at a time."""

    port: int
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = field(default=None, init=False)

    async def post(self, request: bytes) -> int:
        """Send a request, read the reply, and return its status. Raises OSError and IncompleteReadError.

        Each reply must announce its length, as all of the API's do. An error closes the connection.
        """
        try:
            return await self._exchange(request)
        except (OSError, asyncio.IncompleteReadError):
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(self, request: bytes) -> int:
        if self._streams is not None and self._streams[0].at_eof():  # Idle for too long: the server hung up.
            await self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection(LOOPBACK, self.port)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(content_length(head))
        return int(head[_STATUS])


def content_length(head: bytes) -> int:
    """The length that a reply's head announces. Raises ValueError without one."""
    for line in head.split(b"\r\n"):
        if line.lower().startswith(_LENGTH):
            return int(line[len(_LENGTH) :])
    raise ValueError("the reply does not announce its length")


def post_request(path: str, headers: Mapping[str, str], body: bytes, *, method: str = "POST") -> bytes:
    """The bytes of a POST, or of a request with another method."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {LOOPBACK}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
