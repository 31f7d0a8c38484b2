"""Which signals are malformed: by the number of their arguments, and by the type of each."""

from __future__ import annotations

from typing import Any

import pytest

from issuebox.domain.events import IssueEvent
from issuebox.domain.issue import Issue
from workflows.messages import (
    SIGNAL_DELETE,
    SIGNAL_EVENT,
    SIGNAL_LOOK,
    SIGNAL_REPLACE,
    SIGNAL_RETRY,
    SIGNAL_STOP,
    SIGNALS,
    DeleteRequest,
    StopRequest,
    Unreadable,
)
from workflows.run_messages import SIGNAL_PAUSE, SIGNAL_RESUME, PauseOrder
from workflows.signal_guard import is_malformed

EVENT = IssueEvent(Issue(7))

ROWS: list[tuple[str, object, bool]] = [
    (SIGNAL_EVENT, [EVENT], False),
    (SIGNAL_EVENT, (EVENT,), False),
    (SIGNAL_EVENT, [], True),
    (SIGNAL_EVENT, [EVENT, EVENT], True),
    (SIGNAL_EVENT, [DeleteRequest()], True),
    (SIGNAL_EVENT, [None], True),
    (SIGNAL_EVENT, None, True),
    (SIGNAL_STOP, [], False),
    (SIGNAL_STOP, [StopRequest()], False),
    (SIGNAL_STOP, [DeleteRequest()], True),
    (SIGNAL_DELETE, [], False),
    (SIGNAL_DELETE, None, False),
    (SIGNAL_DELETE, [DeleteRequest()], False),
    (SIGNAL_DELETE, [DeleteRequest(), 1], True),
    *((signal, [], False) for signal in (SIGNAL_RETRY, SIGNAL_LOOK, SIGNAL_REPLACE)),
    *((signal, [1], True) for signal in (SIGNAL_RETRY, SIGNAL_LOOK, SIGNAL_REPLACE)),
    *((signal, [], False) for signal in (SIGNAL_PAUSE, SIGNAL_RESUME)),
    *((signal, [PauseOrder("ann")], False) for signal in (SIGNAL_PAUSE, SIGNAL_RESUME)),
    *((signal, [StopRequest()], True) for signal in (SIGNAL_PAUSE, SIGNAL_RESUME)),
    *((signal, [Unreadable()], True) for signal in SIGNALS),
    ("no-such-signal", [1, 2], False),
]


@pytest.mark.parametrize(("signal", "args", "malformed"), ROWS)
def test_signal_is_read_or_dropped(signal: str, args: Any, *, malformed: bool) -> None:
    """A handler that was called with anything else would fail the workflow task, again and again."""
    assert is_malformed(signal, args) == malformed
