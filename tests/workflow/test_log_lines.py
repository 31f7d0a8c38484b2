"""What a worker logs about lookups and reuses: one line each, when it is so, and no traceback."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
import structlog

from issuebox.domain.phase import Outcome
from issuebox.logs import keep_news
from tests.waiting import until
from tests.workflow.conftest import Started
from workflows import options
from workflows.messages import SIGNAL_LOOK


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    """Every line that is logged, by its word."""
    keep_news()
    structlog.configure(
        processors=[structlog.stdlib.render_to_log_kwargs],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    caplog.set_level(logging.INFO)
    yield lambda word: [record for record in caplog.records if record.getMessage() == word]
    structlog.reset_defaults()


async def test_reuse_is_logged_once_it_is_decided(start: Started, lines: Any) -> None:
    """Not by a lookup that nobody asked a sandbox of, and with the delivery that it serves."""
    stack = await start()
    await stack.ensure()
    assert lines("sandbox_reused") == []
    await stack.order(SIGNAL_LOOK)
    await until(stack.why, lambda why: why.notes[-1].what == "look", "looked up")
    event = stack.event()
    await stack.deliver(event)
    await until(stack.status, lambda status: status.outcome is Outcome.REUSED, "reused")
    [line] = lines("sandbox_reused")
    assert (line.sandbox, line.delivery) == (stack.name, event.delivery)


async def test_sandbox_of_another_installation_is_never_logged_as_reused(start: Started, lines: Any) -> None:
    """It is blocked."""
    stack = await start()
    await stack.ensure()
    [row] = await stack.live()
    await stack.provider.label(row.id, {**row.labels, "issuebox-instance": "theirs"})
    await stack.retry()
    await stack.blocked()
    assert lines("sandbox_reused") == []
    assert len(lines("sandbox_blocked")) == 1


async def test_slow_lookup_is_one_line_without_a_traceback(
    start: Started, lines: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lookup at once has a second. What takes longer is made again as an activity, which is no failure."""
    monkeypatch.setattr(options, "AT_ONCE_TIMEOUT", timedelta(seconds=1))
    stack = await start()
    await stack.ensure()
    await stack.daytona.admin.add_fault("get", {"kind": "delay", "seconds": 1.5})
    before = len(caplog.records)
    assert (await stack.ensure()).outcome is Outcome.REUSED
    told = [record for record in caplog.records[before:] if record.levelno >= logging.WARNING]
    assert [(record.getMessage(), record.exc_info) for record in told] == [("sandbox_lookup_cut_off", None)]
