"""Ends a process that can no longer do its work, so that its supervisor starts it again.

Its event loop hangs, or Temporal's SDK has given up or lost a task. Such a process keeps the tasks that Temporal gave
it, and looks alive from outside. Nothing is saved before the end: it is a crash, and the workflows survive a crash at
any point.

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
from typing import Final, NoReturn, TypeVar

import structlog

TICK_S: Final = 1.0
"""How long the loop has for each answer."""

TICKS_MAX: Final = 30
"""Ticks without an answer before the end: far longer than the loop is ever busy, imports included."""

REPORT_TIMEOUT_S: Final = 5.0
"""How long the end waits for its own report: what hangs may be the logging, or the reader of the log."""

EXIT_STALLED: Final = 70
"""EX_SOFTWARE of sysexits.h: an internal error."""

TASK_LOST: Final = "Extra buffered run should not have produced an activation"
"""What the SDK's core logs when it loses a workflow task (temporalio 1.35.0, worker/workflow/workflow_stream.rs).

It happens when the cache of workflows is full, and both the next task of a workflow and a query wait for room in it.
The issue's workflow then stands still, and keeps its place in the cache, for as long as this process runs.
"""

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
        end("loop_stalled", self._loop_thread, ticks=missed, tick_s=self._tick_s)

    def _ask(self) -> None:
        self._has_answered = False
        with contextlib.suppress(RuntimeError):  # The loop is closed.
            self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._has_answered = True


def end(word: str, loop_thread: int | None = None, **fields: object) -> NoReturn:
    """Log why, in a thread that gets a limited time, and end the process without any cleanup.

    With `loop_thread`, the line has the stacks of all threads.
    """
    reporter = threading.Thread(target=_report, args=(word, loop_thread, fields), daemon=True)
    reporter.start()
    reporter.join(REPORT_TIMEOUT_S)
    os._exit(EXIT_STALLED)  # Documented, despite its underscore.


async def end_failed(error: BaseException) -> NoReturn:
    """End a process whose worker has failed: the SDK would wait for tasks that nobody works on any more."""
    end("worker_failed", exc_info=error)


def end_when_task_is_lost() -> None:
    """End this process when Temporal's core reports a lost workflow task. Call it after `forward_core_log`."""
    logging.getLogger("temporalio.core").addFilter(_is_no_loss)


def _is_no_loss(record: logging.LogRecord) -> bool:
    if record.getMessage() == TASK_LOST:
        end("workflow_task_lost", advice="more ISSUEBOX_CACHED_WORKFLOWS, or more workers")
    return True


def _report(word: str, loop_thread: int | None, fields: dict[str, object]) -> None:
    if loop_thread is not None:
        fields["stack"] = _stacks(loop_thread)
    _log.critical(word, **fields)
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
