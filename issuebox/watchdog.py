"""Ends a process whose event loop hangs, so that its supervisor starts it again.

Such a process does not notice SIGTERM, keeps the tasks that Temporal gave it, and looks alive from outside. Nothing
is saved before the end: it is a crash, and the workflows survive a crash at any point.

It cannot detect a thread in C code that never releases Python's lock, because that stops the watchdog as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Awaitable
from typing import Final, TypeVar

import structlog

TICK_S: Final = 1.0
"""How long the loop has for each answer."""

TICKS_MAX: Final = 30
"""Ticks without an answer before the end: far longer than the loop is ever busy, imports included."""

REPORT_TIMEOUT_S: Final = 5.0
"""How long the end waits for its own report: what hangs may be the logging, or the reader of the log."""

EXIT_STALLED: Final = 70
"""EX_SOFTWARE of sysexits.h: an internal error."""

T = TypeVar("T")

_log = structlog.get_logger("issuebox.watchdog")


async def watched(work: Awaitable[T]) -> T:
    """Await `work` under a watchdog, which runs until the process has ended: it also ends a shutdown that hangs."""
    Watchdog(asyncio.get_running_loop(), tick_s=TICK_S, ticks_max=TICKS_MAX).start()
    return await work


class Watchdog(threading.Thread):
    """Asks the loop for a sign of life at each tick.

    It counts its own ticks and reads no clock: however long a process was frozen or a machine suspended, that is at
    most one tick. A closed loop no longer answers.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, tick_s: float, ticks_max: int) -> None:
        """Must be called in the loop's own thread."""
        super().__init__(name="watchdog", daemon=True)
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._tick_s = tick_s
        self._ticks_max = ticks_max
        self._has_answered = True

    def run(self) -> None:
        """Tick until the loop has missed too many; then end the process."""
        missed = 0
        while missed < self._ticks_max:
            if not missed:
                self._ask()
            time.sleep(self._tick_s)
            missed = 0 if self._has_answered else missed + 1
        self._end(missed)

    def _ask(self) -> None:
        self._has_answered = False
        with contextlib.suppress(RuntimeError):  # The loop is closed.
            self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._has_answered = True

    def _end(self, missed: int) -> None:
        """Report why, in a thread that gets a limited time, and end without any cleanup."""
        reporter = threading.Thread(target=self._report, args=(missed,), daemon=True)
        reporter.start()
        reporter.join(REPORT_TIMEOUT_S)
        os._exit(EXIT_STALLED)  # The documented name of it.

    def _report(self, missed: int) -> None:
        _log.critical("loop_stalled", ticks=missed, tick_s=self._tick_s, stack=_stacks(self._loop_thread))
        for handler in logging.getLogger().handlers:
            handler.flush()


def _stacks(loop_thread: int) -> str:
    """The stacks of all threads, the loop's first: `faulthandler` puts it last, and stops after 100 threads."""
    frame = sys._current_frames().get(loop_thread)  # noqa: SLF001 -- the documented name of it
    loop = "".join(traceback.format_stack(frame)) if frame else "has ended\n"
    try:
        # Into a file, which has no slow reader: faulthandler blocks all of Python while it writes.
        with tempfile.TemporaryFile() as file:
            faulthandler.dump_traceback(file, all_threads=True)
            file.seek(0)
            threads = file.read().decode(errors="replace")
    except OSError as error:
        threads = f"no stacks of the other threads: {error}"
    return f"The loop's thread:\n{loop}\n{threads}"
