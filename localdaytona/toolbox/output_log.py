"""The output of a session's command so far, in order, and its followers."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from enum import Enum

LOG_MAX = 16 * 1024 * 1024


class Stream(Enum):
    """Stdout or stderr. The value marks a piece in the followed stream."""

    STDOUT = b"\x01\x01\x01"
    STDERR = b"\x02\x02\x02"


class OutputLog:
    """Pieces of output. Output beyond `LOG_MAX` is dropped."""

    def __init__(self) -> None:
        self._pieces: list[tuple[Stream, bytes]] = []
        self._size = 0
        self._ended = False
        self._changed = asyncio.Event()

    def append(self, stream: Stream, data: bytes) -> None:
        """Add a piece."""
        kept = data[: LOG_MAX - self._size]
        if kept:
            self._pieces.append((stream, kept))
            self._size += len(kept)
            self._wake()

    def end(self) -> None:
        """Record that the command has ended, which ends its followers."""
        self._ended = True
        self._wake()

    async def ended(self) -> None:
        """Return when the command has ended."""
        while not self._ended:
            await self._changed.wait()

    async def follow(self) -> AsyncIterator[bytes]:
        """Yield marked pieces from the first one until the command has ended."""
        position = 0
        while True:
            changed, ended = self._changed, self._ended
            while position < len(self._pieces):
                stream, data = self._pieces[position]
                position += 1
                yield stream.value + data
            if ended:
                return
            await changed.wait()

    def beginning(self, share: float) -> Iterator[bytes]:
        """Yield marked pieces of this share of the output so far."""
        left = int(share * self._size)
        for stream, data in self._pieces:
            if left > 0:
                yield stream.value + data[:left]
            left -= len(data)

    def text(self, *streams: Stream) -> str:
        """Return the output on these streams."""
        return b"".join(data for stream, data in self._pieces if stream in streams).decode(errors="replace")

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
