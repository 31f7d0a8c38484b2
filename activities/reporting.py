"""What every activity reports: heartbeats to Temporal, and its outcome to the log. Nothing here reads or acts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from temporalio import activity

from activities.messages import CommandInput, CreateInput, LookupInput
from activities.run_messages import RunInput
from issuebox.domain.errors import ProviderError
from issuebox.domain.phase import Phase
from issuebox.domain.sandbox import Sandbox

BEATS_PER_TIMEOUT = 4
"""Heartbeats of an activity within its heartbeat timeout (`workflows.options`): one slow tick is not a dead worker."""

_EXPECTED = {
    "sandbox_created": Phase.USABLE,
    "sandbox_started": Phase.USABLE,
    "sandbox_recovered": Phase.USABLE,
    "sandbox_set_up": Phase.USABLE,
    "sandbox_stopped": Phase.STOPPED,
    "sandbox_archived": Phase.ARCHIVED,
    "sandbox_deleted": Phase.MISSING,
}
"""The phase in which a command's log word is true; in any other it is logged as ``…_not_yet``."""

_log = structlog.get_logger("issuebox.activities")

Request = LookupInput | CreateInput | CommandInput | RunInput


@asynccontextmanager
async def logged(
    word: str, request: Request, *, level: str = "info"
) -> AsyncIterator[Callable[[Sandbox | None], None]]:
    """Log the outcome with its duration, or the failure with its reason. The block passes in the sandbox it read.

    What is cut off (a lookup at once after its second, a command when its worker stops) goes on elsewhere.
    """
    seen: dict[str, object] = {}

    def saw(sandbox: Sandbox | None) -> None:
        seen.update(
            {"phase": str(Phase.MISSING)}
            if sandbox is None
            else {"sandbox_id": sandbox.id, "state": sandbox.state, "phase": str(sandbox.phase)}
        )

    began = time.monotonic()
    known = log_fields(request)
    try:
        yield saw
    except ProviderError as error:
        _log.warning(f"{word}_failed", **known, error=type(error).__name__, reason=str(error), duration_ms=ms(began))
        raise
    except asyncio.CancelledError:
        _log.warning(f"{word}_cut_off", **known, duration_ms=ms(began))
        raise
    if word in _EXPECTED and seen.get("phase") != _EXPECTED[word]:
        _log.warning(f"{word}_not_yet", **known | seen, duration_ms=ms(began))
    else:
        getattr(_log, level)(word, **known | seen, duration_ms=ms(began))


@asynccontextmanager
async def heartbeats(beat: Callable[[], None] = activity.heartbeat) -> AsyncIterator[None]:
    """Send Temporal heartbeats for as long as the block takes, so that it soon notices a dead worker.

    `beat` sends one heartbeat; details in it keep the current progress for the next attempt. The first one comes after
    an interval: the start of the activity has just shown the same, and Temporal Cloud bills every heartbeat that
    reaches it. An activity without a heartbeat timeout sends none.
    """
    timeout = activity.info().heartbeat_timeout
    if timeout is None:
        yield
        return

    async def keep_beating(interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            beat()

    beating = asyncio.create_task(keep_beating(timeout.total_seconds() / BEATS_PER_TIMEOUT))
    try:
        yield
    finally:
        beating.cancel()


def log_fields(request: Request) -> dict[str, object]:
    """The fields of a log line that identify the sandbox and the delivery."""
    known: dict[str, object] = {"issue_id": request.issue_id, "sandbox": request.name}
    for name in ("sandbox_id", "delivery"):
        if value := getattr(request, name, ""):
            known[name] = value
    attempt = activity.info().attempt
    return known if attempt == 1 else known | {"attempt": attempt}


def ms(began: float) -> int:
    """Milliseconds since `began` on the monotonic clock."""
    return round((time.monotonic() - began) * 1000)
