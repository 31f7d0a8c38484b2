"""Copies a process's output to its log file, through a pipe whose reader can be stalled. Knows no processes.

A container's runtime reads a log in the same way: through a pipe, at its own pace. Nothing is lost, and nothing is
buffered here: what is not copied yet is in the pipe, and a full pipe blocks its writer.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import FileIO
from pathlib import Path
from typing import Final

NARROW_BYTES: Final = 4096
"""One page, the smallest pipe of Linux: a busy worker fills it within a second or two."""
USUAL_BYTES: Final = 65_536
"""Linux's default (pipe(7)). Other systems do not report the size."""
FULL_SHARE: Final = 0.75
"""From this share on, a pipe counts as full: the next line hardly fits."""
READ_MAX_BYTES: Final = 65_536
DRAIN_TIMEOUT_S: Final = 5.0
"""How long to wait for the end of the stream: another process may hold the pipe open for ever."""


class Pump:
    """The reader of one pipe. `writing` is the descriptor that the process writes to."""

    def __init__(self, log: FileIO, *, is_narrow: bool) -> None:
        self._log = log
        self._reading, self.writing = os.pipe()
        os.set_blocking(self._reading, False)
        if is_narrow and hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(self._reading, fcntl.F_SETPIPE_SZ, NARROW_BYTES)
        self._stalled_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._ended = asyncio.Event()
        self._was_full = False
        asyncio.get_running_loop().add_reader(self._reading, self._read)

    @property
    def is_stalled(self) -> bool:
        """Whether nothing is read now."""
        return self._timer is not None

    @property
    def was_full(self) -> bool:
        """Whether the pipe was full at the end of a stall, so that the writer had to wait."""
        return self._was_full

    def close_writing(self) -> None:
        """Leave the writing end to the process alone, so that the stream ends with it. Safe to repeat."""
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1

    def stall(self, seconds: float) -> None:
        """Read nothing for so long. Of two stalls, the later end counts. After the stream's end, it does nothing."""
        if self._ended.is_set():
            return
        loop = asyncio.get_running_loop()
        self._stalled_until = max(self._stalled_until, loop.time() + seconds)
        if self._timer is not None:
            self._timer.cancel()
        loop.remove_reader(self._reading)
        self._timer = loop.call_at(self._stalled_until, self.flow)

    def flow(self) -> None:
        """Read on. Safe to repeat."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        self._was_full |= self._waiting_bytes() >= FULL_SHARE * self._capacity_bytes()
        asyncio.get_running_loop().add_reader(self._reading, self._read)

    async def drain(self) -> None:
        """Copy the rest: to the end of the stream, or for a few seconds when another process holds it open."""
        self.close_writing()
        self.flow()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                await self._ended.wait()

    def close(self) -> None:
        """Close every descriptor, whatever is left in the pipe. Safe to repeat."""
        self.close_writing()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._end()

    def _read(self) -> None:
        try:
            data = os.read(self._reading, READ_MAX_BYTES)
        except BlockingIOError:
            return
        if data:
            self._log.write(data)
        else:
            self._end()

    def _end(self) -> None:
        if self._ended.is_set():
            return
        self._ended.set()
        asyncio.get_running_loop().remove_reader(self._reading)
        os.close(self._reading)
        self._log.close()

    def _waiting_bytes(self) -> int:
        return int(struct.unpack("i", fcntl.ioctl(self._reading, termios.FIONREAD, bytes(4)))[0])

    def _capacity_bytes(self) -> int:
        return fcntl.fcntl(self._reading, fcntl.F_GETPIPE_SZ) if hasattr(fcntl, "F_GETPIPE_SZ") else USUAL_BYTES


@asynccontextmanager
async def pumped(log: Path, *, is_narrow: bool = False) -> AsyncIterator[Pump]:
    """A pump that appends to `log`. The end of the block drains it; no descriptor outlives the block."""
    pump = Pump(log.open("ab", buffering=0), is_narrow=is_narrow)
    try:
        yield pump
        await pump.drain()
    finally:
        pump.close()
