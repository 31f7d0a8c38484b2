"""The named pipes of a session's command: two that its output goes into, one that it reads, and one that holds it."""

import asyncio
import os
from pathlib import Path

from localdaytona.toolbox.errors import ToolboxError
from localdaytona.toolbox.output_log import OutputLog, Stream

CHUNK = 64 * 1024


class Tap:
    """A named pipe whose content goes into a log, until its last writer is gone."""

    def __init__(self, path: Path, stream: Stream, log: OutputLog) -> None:
        self.path = path
        os.mkfifo(path, 0o600)
        self._stream = stream
        self._log = log
        self._ended = asyncio.Event()
        self._reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        # While this end is open, the pipe does not end before the shell has opened it.
        self._guard = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        asyncio.get_running_loop().add_reader(self._reader, self._read)

    async def ended(self) -> None:
        """Return once nobody can write any more."""
        self._release()
        await self._ended.wait()

    def drain(self) -> None:
        """Read what is there. A background child may continue to write."""
        self._release()
        while self._reader >= 0 and self._read():
            continue

    def close(self) -> None:
        """Stop reading."""
        self._release()
        if self._reader >= 0:
            asyncio.get_running_loop().remove_reader(self._reader)
            os.close(self._reader)
            self._reader = -1
        self._ended.set()

    def _release(self) -> None:
        if self._guard >= 0:
            os.close(self._guard)
            self._guard = -1

    def _read(self) -> bool:
        """Move one piece and return whether there was one."""
        try:
            data = os.read(self._reader, CHUNK)
        except BlockingIOError:
            return False
        if data:
            self._log.append(self._stream, data)
        else:
            self.close()
        return bool(data)


class Feed:
    """A named pipe that the server keeps open at both ends, so that its readers wait until it is closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path, 0o600)
        self._end = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def write(self, data: bytes) -> None:
        """Pass data to the reader. Raises ToolboxError when it does not fit, because nobody reads."""
        try:
            written = os.write(self._end, data)
        except BlockingIOError:
            written = 0
        if written < len(data):
            raise ToolboxError(500, "internal server error: failed to write to input pipe")

    def close(self) -> None:
        """Let its readers go on. Removed first: who comes later finds no pipe to wait at."""
        if self._end >= 0:
            self.path.unlink(missing_ok=True)
            os.close(self._end)
            self._end = -1
