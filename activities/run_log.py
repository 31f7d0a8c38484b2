"""The copy of what an attempt writes, slice by slice and without secrets. A copy that fails never fails a run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from activities.run_messages import RunInput
from issuebox.domain.errors import ProviderError
from issuebox.domain.probe import Probe
from issuebox.domain.redaction import Redaction
from issuebox.run_logs import LOG_BYTES_MAX, LogName, RunLogs, Stream

REST_S = 30.0
"""How long the rest of the output may take to be read when the attempt is over."""

OVER = frozenset({"ended", "dead"})
"""Phases in which nothing more is written."""

Ask = Callable[[int], Awaitable[Probe]]
"""A probe of the attempt, with its output from this offset on."""

_log = structlog.get_logger("issuebox.activities")


class LogCopy:
    """Copies one attempt's output. The size of the copy says how far it is, so a worker goes on where another was.

    `place` says from where on to read, and `take` writes what was read, if somebody else has not yet.
    """

    def __init__(self, logs: RunLogs, about: RunInput, redaction: Redaction) -> None:
        self._logs = logs
        self._about = about
        self._out = LogName(about.issue_id, about.run, about.attempt)
        self._redaction = redaction
        self._is_off = not bool(logs)

    async def place(self) -> int | None:
        """The offset from which on to read: that of the copy's end, less what decides about secrets. None: nothing."""
        written = await self._size()
        is_done = self._is_off or written >= LOG_BYTES_MAX
        return None if is_done else max(0, written - self._redaction.reach)

    async def take(self, probe: Probe) -> bool:
        """Write what the probe read. Returns whether there is more to read at once."""
        if self._is_off:
            return False
        window, end = probe.data, probe.offset + len(probe.data)
        is_whole = probe.phase in OVER and end >= probe.out_bytes
        until = end if is_whole else end - self._redaction.held(window)
        written = await self._size()
        if not probe.offset <= written < until:
            return False
        masked = self._redaction.masked(window)[written - probe.offset : until - probe.offset]
        is_written = await self._write(self._out, written, masked)
        return is_written and until < min(probe.out_bytes, LOG_BYTES_MAX)

    async def take_rest(self, ended: Probe, ask: Ask) -> None:
        """The attempt is over: read what is not copied yet, and write it. Gives up after `REST_S`."""
        if ended.phase not in OVER:
            return
        try:
            async with asyncio.timeout(REST_S):
                while await self._size() < ended.out_bytes and (place := await self.place()) is not None:
                    if not await self.take(await ask(place)):
                        break
        except (TimeoutError, ProviderError) as error:
            _log.warning("run_log_incomplete", **self._fields(), error=type(error).__name__, reason=str(error))

    async def take_errors(self, tail: bytes, size: int) -> None:
        """Write the last part of what the attempt wrote to standard error. Of a secret that is cut, nothing is left."""
        if self._is_off or not tail:
            return
        masked = self._redaction.masked(tail)
        shown = masked if len(tail) >= size else masked[self._redaction.reach :]
        await self._write(replace(self._out, stream=Stream.ERR), 0, shown)

    async def _size(self) -> int:
        if self._is_off:
            return 0
        try:
            return await asyncio.to_thread(self._logs.size, self._out)
        except OSError as error:
            self._give_up(error)
            return 0

    async def _write(self, name: LogName, offset: int, data: bytes) -> bool:
        try:
            await asyncio.to_thread(self._logs.write, name, offset, data)
        except OSError as error:
            self._give_up(error)
            return False
        return True

    def _give_up(self, error: OSError) -> None:
        self._is_off = True
        _log.warning("run_log_failed", **self._fields(), error=type(error).__name__, reason=str(error.strerror))

    def _fields(self) -> dict[str, object]:
        return {"issue_id": self._about.issue_id, "run": self._about.run, "run_attempt": self._about.attempt}
