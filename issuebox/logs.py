"""One log format for our own events, Temporal's and uvicorn's: a line of JSON, or of text for people."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

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
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=28)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=_LEVELS[log_level], handlers=[handler], force=True)
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


def _shorten_temporal_context(
    _logger: Any, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    for key in ("temporal_workflow", "temporal_activity"):
        context = event.pop(key, None)
        if isinstance(context, dict):
            for field in _TEMPORAL_FIELDS & context.keys():
                event.setdefault(field, context[field])
    return event


def _is_news(record: logging.LogRecord) -> bool:
    """Temporal logs each failed attempt with a traceback; what an activity raised on purpose it has logged itself."""
    from temporalio.exceptions import ApplicationError  # noqa: PLC0415

    return not (record.exc_info and isinstance(record.exc_info[1], ApplicationError))
