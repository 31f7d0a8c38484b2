"""One log format for our own events, Temporal's and uvicorn's: a line of JSON, or of text for people.

Nobody who logs waits for whoever reads the log. A line is finished in the thread that logs it, and one thread
writes: a workflow's thread that waited for a reader would hold up every issue, and Temporal's deadlock detector
throws an exception into it wherever it stands, between the taking and the giving back of a lock for one.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import select
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final

import structlog

QUEUED_LINES_MAX: Final = 20_000
"""Lines that wait for a reader; what comes after them is dropped and counted.

Some 6 MB, and what the busiest worker logs in a minute: a reader that is away for longer will not come back by itself.
"""

FLUSH_TIMEOUT_S: Final = 2.0
"""How long the end of a process waits for its last lines to be read."""

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_TEMPORAL_FIELDS = {"workflow_id", "run_id", "attempt"}
"""What is kept of the context that Temporal adds to a workflow's or an activity's log lines."""


def configure(log_format: str, log_level: str) -> None:
    """Send everything to standard error. Call once per process, before the first line."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        _shorten_temporal_context,
        _unpack_core_line,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            pad_event_to=28,
            exception_formatter=structlog.dev.plain_traceback,  # What `format_exc_info` has made is text already.
        )
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = QueueingHandler(sys.stderr.fileno(), formatter)
    logging.basicConfig(level=_LEVELS[log_level], handlers=[handler], force=True)
    _take_in_what_python_prints()
    # httpx and uvicorn's access log tell each request; ours say more in fewer lines.
    for noisy in ("httpx", "httpcore", "uvicorn.access", "engineio", "socketio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("temporalio.activity").addFilter(_is_news)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


class QueueingHandler(logging.Handler):
    """Finishes each line in the thread that logs it, and has another thread write it. Takes no lock.

    `logging.handlers.QueueHandler` does not do: it takes the handler's lock, and its queue may take one too.
    """

    def __init__(self, descriptor: int, formatter: logging.Formatter, lines_max: int = QUEUED_LINES_MAX) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._writer = _Writer(descriptor, self._dropped, lines_max)

    def handle(self, record: logging.LogRecord) -> bool:
        """As `logging.Handler.handle`, but for the lock.

        The lock stays for those who set the handler up or flush it: without any, `acquire` fails in Python 3.13.
        """
        # From Python 3.12 on a filter may answer with another record, which stands for the first.
        kept: object = self.filter(record)
        if kept:
            self.emit(kept if isinstance(kept, logging.LogRecord) else record)
        return bool(kept)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.put(self.format(record))
        except Exception:  # noqa: BLE001 -- as each handler of Python's: no line is worth an error in who logs it
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- Python's own name
        """Say where a line could not be made, in the log: Python's own would print it past the queue."""
        with contextlib.suppress(Exception):
            self._writer.put(self.format(_line("log_line_failed", logging.ERROR, record.name, sys.exc_info())))

    def flush(self) -> None:
        """Return when what was logged is written, or after `FLUSH_TIMEOUT_S`: nobody may be reading."""
        self._writer.flush(FLUSH_TIMEOUT_S)

    def _dropped(self, count: int) -> str:
        return self.format(_line("log_lines_dropped", logging.WARNING, __name__, count=count))


class _Writer:
    """One thread that writes lines to a descriptor, and a bounded queue before it.

    `SimpleQueue.put` is one C call that neither waits nor can be torn: an exception thrown into the thread comes
    before it or after it. `next` of a count is another.
    """

    def __init__(self, descriptor: int, say_dropped: Callable[[int], str], lines_max: int) -> None:
        self._descriptor = descriptor
        self._say_dropped = say_dropped
        self._lines_max = lines_max
        self._queue: SimpleQueue[str | threading.Event] = SimpleQueue()
        self._drops = itertools.count()
        self._drops_told = 0
        threading.Thread(target=self._write_forever, name="log-writer", daemon=True).start()

    def put(self, line: str) -> None:
        """Have the line written, or counted as dropped when too many wait."""
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
            # Counted before: these were dropped while what waits now was waiting, and are told of after it.
            dropped = self._newly_dropped()
            for _ in range(max(0 if dropped else 1, self._queue.qsize())):
                item = self._queue.get()
                if isinstance(item, threading.Event):
                    item.set()
                else:
                    _write(self._descriptor, item)
            if dropped:
                _write(self._descriptor, self._say_dropped(dropped))

    def _newly_dropped(self) -> int:
        # Asking for the next number is the only way to see a count, and moves it on by one.
        number = next(self._drops)
        dropped, self._drops_told = number - self._drops_told, number + 1
        return dropped


def _write(descriptor: int, line: str) -> None:
    """Write one line, however long the reader takes. Where none is left, the line is lost and the process lives on."""
    rest = memoryview(f"{line}\n".encode(errors="backslashreplace"))
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # Whoever shares the pipe or terminal with us has made it so.
            select.select([], [descriptor], [])
        except OSError:
            return


def _line(word: str, level: int, name: str, exc_info: object = None, **fields: object) -> logging.LogRecord:
    """A line about the log itself."""
    levelname = logging.getLevelName(level)
    about = {"msg": word, "name": name, "levelno": level, "levelname": levelname, "exc_info": exc_info}
    return logging.makeLogRecord(about | fields)


def _take_in_what_python_prints() -> None:
    """Log what Python itself would write to standard error from whichever thread it comes across it.

    Warnings, errors that nobody can be told of (a coroutine that ends badly when it is thrown away), and errors
    that end a thread.
    """
    logging.captureWarnings(capture=True)
    log = logging.getLogger("python")

    def unraisable(found: sys.UnraisableHookArgs) -> None:
        error = found.exc_value or found.exc_type()
        log.error("error_ignored", exc_info=error, extra={"reason": found.err_msg, "where": repr(found.object)})

    def thread_ended(found: threading.ExceptHookArgs) -> None:
        if found.exc_type is not SystemExit:
            name = found.thread.name if found.thread else ""
            log.error("thread_failed", exc_info=found.exc_value, extra={"thread_name": name})

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
    """The fields of a line of Temporal's core, which `issuebox.temporal.connect` forwards, are fields of ours."""
    core = event.pop("temporal_log", None)
    if core is not None:
        for key, value in {"target": core.target, **core.fields}.items():
            event.setdefault(key, value)
    return event


def _is_news(record: logging.LogRecord) -> bool:
    """Temporal logs each failed attempt with a traceback; what an activity raised on purpose it has logged itself."""
    from temporalio.exceptions import ApplicationError  # noqa: PLC0415

    return not (record.exc_info and isinstance(record.exc_info[1], ApplicationError))
