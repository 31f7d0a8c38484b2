"""One log format for our own events, Temporal's and uvicorn's: a line of JSON, or of text for people.

Logging never waits for the reader of the log. The thread that logs a line formats it, and another thread writes
it. A workflow's thread that waited for a reader would hold up every issue, and Temporal's deadlock detector would
throw an exception into it anywhere, such as between taking and releasing a lock.
"""

from __future__ import annotations

import contextlib
import faulthandler
import itertools
import logging
import os
import select
import sys
import threading
from asyncio import CancelledError
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Final

import structlog

from issuebox.dangers import found_here
from issuebox.environment import unknown
from issuebox.settings import CommonSettings

QUEUED_LINES_MAX: Final = 20_000
"""Limit on the lines that wait for a reader. Further lines are dropped and counted.

It is some 6 MB, or a minute of the busiest worker's log: a reader that is away for longer will not come back by itself.
"""

FLUSH_TIMEOUT_S: Final = 2.0
"""How long a process that ends waits for its last lines to be read."""

CUT_OFF_ENDED: Final = "Tried to complete untracked local activity"
"""What Temporal's core logs when a local activity ends after its time was up: each lookup at once that is cut off."""

_PRINTS_WITHOUT_LEVEL: Final = ("engineio.client", "socketio.client")
"""Loggers that get a handler of their own, which prints past the queue, unless they have a level (engineio 4)."""

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_TEMPORAL_FIELDS = {"workflow_id", "run_id", "attempt"}
"""The fields that are kept of the context that Temporal adds to the log lines of workflows and activities."""


def begin(settings: CommonSettings) -> None:
    """Log as the settings say. First warn of variables that look like settings, and of settings that are dangerous."""
    configure(settings.log_format, settings.log_level)
    for name in unknown():
        structlog.get_logger("issuebox").warning("setting_unknown", variable=name, reason="no setting has this name")
    for danger in found_here(settings):
        structlog.get_logger("issuebox").warning(
            "setting_dangerous", setting=danger.what, reason=danger.reason, advice=danger.advice
        )


def configure(log_format: str, log_level: str) -> None:
    """Send everything to standard error. Call once per process, before the first line."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        _shorten_temporal_context,
        _unpack_core_line,
        _without_colours,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            pad_event_to=28,
            exception_formatter=structlog.dev.plain_traceback,  # `format_exc_info` has already made text of it.
        )
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = QueueingHandler(sys.stderr.fileno(), formatter)
    logging.basicConfig(level=_LEVELS[log_level], handlers=[handler], force=True)
    _log_what_python_prints()
    # httpx and uvicorn's access log write a line for each request; our own events say more in fewer lines.
    for noisy in ("httpx", "httpcore", "uvicorn.access", *_PRINTS_WITHOUT_LEVEL):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    keep_news()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


class QueueingHandler(logging.Handler):
    """Formats each line in the thread that logs it, and has another thread write it. Takes no lock.

    `logging.handlers.QueueHandler` is unsuitable: it takes the handler's lock, and its queue may take one, too.
    """

    def __init__(self, descriptor: int, formatter: logging.Formatter, lines_max: int = QUEUED_LINES_MAX) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._writer = _Writer(descriptor, self._dropped, lines_max)

    def handle(self, record: logging.LogRecord) -> bool:
        """Like `logging.Handler.handle`, but without the lock.

        The handler keeps its lock for configuration and flushing: without one, `acquire` fails in Python 3.13.
        """
        # From Python 3.12 on, a filter may return another record, which replaces the first.
        kept: object = self.filter(record)
        if kept:
            self.emit(kept if isinstance(kept, logging.LogRecord) else record)
        return bool(kept)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.put(self.format(record))
        except Exception:  # noqa: BLE001 -- as in Python's own handlers: logging never fails its caller
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- Python's own name
        """Log the failure to format a line, with its place. Python's own handler would print it past the queue."""
        with contextlib.suppress(Exception):
            self._writer.put(self.format(_line("log_line_failed", logging.ERROR, record.name, sys.exc_info())))

    def flush(self) -> None:
        """Return when all lines so far are written, or after `FLUSH_TIMEOUT_S`: there may be no reader."""
        self._writer.flush(FLUSH_TIMEOUT_S)

    def _dropped(self, count: int) -> str:
        return self.format(_line("log_lines_dropped", logging.WARNING, __name__, count=count))


class _Writer:
    """One thread that writes lines to a descriptor, behind a bounded queue.

    `SimpleQueue.put` is one C call that neither waits nor can be interrupted: an exception thrown into the thread
    comes before it or after it. `next` of a count is another.
    """

    def __init__(self, descriptor: int, dropped_line: Callable[[int], str], lines_max: int) -> None:
        self._descriptor = descriptor
        self._dropped_line = dropped_line
        self._lines_max = lines_max
        self._queue: SimpleQueue[str | threading.Event] = SimpleQueue()
        self._drops = itertools.count()
        self._drops_reported = 0
        threading.Thread(target=self._write_forever, name="log-writer", daemon=True).start()

    def put(self, line: str) -> None:
        """Queue the line, or count it as dropped when too many wait."""
        if self._queue.qsize() < self._lines_max:
            self._queue.put(line)
        else:
            next(self._drops)

    def flush(self, timeout_s: float) -> None:
        """Return when all lines so far are written, or after `timeout_s`."""
        is_written = threading.Event()
        self._queue.put(is_written)
        is_written.wait(timeout_s)

    def _write_forever(self) -> None:
        while True:
            # Counted first: these were dropped while the queued lines waited, and are reported after them.
            dropped = self._newly_dropped()
            for _ in range(max(0 if dropped else 1, self._queue.qsize())):
                item = self._queue.get()
                if isinstance(item, threading.Event):
                    item.set()
                else:
                    _write(self._descriptor, item)
            if dropped:
                _write(self._descriptor, self._dropped_line(dropped))

    def _newly_dropped(self) -> int:
        # Only `next` shows a count, and it also advances it by one.
        number = next(self._drops)
        dropped, self._drops_reported = number - self._drops_reported, number + 1
        return dropped


def _write(descriptor: int, line: str) -> None:
    """Write one line, however long the reader takes. Without a reader the line is lost, and the process goes on."""
    rest = memoryview(f"{line}\n".encode(errors="backslashreplace"))
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # Another process on our pipe or terminal has made it non-blocking.
            select.select([], [descriptor], [])
        except OSError:
            return


def _line(word: str, level: int, name: str, exc_info: object = None, **fields: object) -> logging.LogRecord:
    """A line about the log itself."""
    levelname = logging.getLevelName(level)
    about = {"msg": word, "name": name, "levelno": level, "levelname": levelname, "exc_info": exc_info}
    return logging.makeLogRecord(about | fields)


def _log_what_python_prints() -> None:
    """Log what Python itself would write to standard error, in whichever thread it happens.

    These are warnings, errors that no caller can catch (such as a coroutine that fails when it is discarded), and
    errors that end a thread or the process. A crash in C code leaves the stacks of Python, as plain text.
    """
    faulthandler.enable()
    logging.captureWarnings(capture=True)
    log = logging.getLogger("python")

    def unraisable(found: sys.UnraisableHookArgs) -> None:
        error = found.exc_value or found.exc_type()
        log.error("error_ignored", exc_info=error, extra={"reason": found.err_msg, "where": repr(found.object)})

    def thread_ended(found: threading.ExceptHookArgs) -> None:
        if found.exc_type is not SystemExit:
            name = found.thread.name if found.thread else ""
            log.error("thread_failed", exc_info=found.exc_value, extra={"thread_name": name})

    def process_ends(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if issubclass(kind, Exception):
            log.critical("process_failed", exc_info=(kind, error, traceback))
        else:  # Ctrl-C is no failure.
            sys.__excepthook__(kind, error, traceback)

    sys.excepthook = process_ends
    sys.unraisablehook = unraisable
    threading.excepthook = thread_ended


def _shorten_temporal_context(
    _logger: Any, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    for key in ("temporal_workflow", "temporal_activity"):
        context = event.pop(key, None)
        if isinstance(context, dict):
            for field in _TEMPORAL_FIELDS & context.keys():
                event.setdefault(field, context[field])
    return event


def _unpack_core_line(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Move the fields of a line of Temporal's core, which `issuebox.temporal.connect` forwards, into the event."""
    core = event.pop("temporal_log", None)
    if core is not None:
        for key, value in {"target": core.target, **core.fields}.items():
            event.setdefault(key, value)
    return event


def _without_colours(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Leave out uvicorn's second copy of its message, which is for its own terminal output."""
    event.pop("color_message", None)
    return event


def keep_news() -> None:
    """Drop the lines of Temporal's SDK about what has a line of ours."""
    logging.getLogger("temporalio.activity").addFilter(_is_news)
    logging.getLogger("temporalio.core").addFilter(_is_core_news)


def _is_core_news(record: logging.LogRecord) -> bool:
    return record.getMessage() != CUT_OFF_ENDED


def _is_news(record: logging.LogRecord) -> bool:
    """Temporal logs each failed attempt with a traceback. An activity has lines of its own for failures and cuts."""
    from temporalio.exceptions import ApplicationError  # noqa: PLC0415

    return not (record.exc_info and isinstance(record.exc_info[1], ApplicationError | CancelledError))
