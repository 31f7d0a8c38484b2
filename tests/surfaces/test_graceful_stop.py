"""SIGTERM of a worker while another one runs: its issues are handed over faster than after a kill.

After `kill -9`, Temporal waits for a missed heartbeat or a task's time-out, 10 s each. A worker that is stopped tells
Temporal, so nothing has to be waited for except the grace that it gives its commands.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import time
from pathlib import Path

import pytest

from issuebox.dev.demo.stack import Stack, running, until
from tests.surfaces.test_deploy import LONG_S, SETTINGS_HERE, another_worker, worker_of

pytestmark = pytest.mark.timeout(240)

HANDED_OVER_WITHIN_S = 2.0
GRACE_S = 0.5

IDLE, BUSY = 701, 702


async def test_stopped_worker_hands_its_issues_over_within_two_seconds(tmp_path: Path) -> None:
    """One of its issues rests in its memory, and gets an event; of another, a command is under way."""
    slow = tmp_path / "slow"
    command = f"if [ -e {shlex.quote(str(slow))} ]; then sleep {LONG_S:g}; fi"
    settings = SETTINGS_HERE | {"ISSUEBOX_SETUP_COMMAND": command, "ISSUEBOX_GRACE_S": str(GRACE_S)}
    async with running(tmp_path / "data", settings) as stack:
        await stack.send("opened", IDLE)
        await stack.served(IDLE)
        slow.touch()
        await stack.send("opened", BUSY)
        await until(
            lambda: stack.status(BUSY),
            lambda seen: str(seen.get("doing", "")).startswith("setting"),
            "the set-up is under way",
        )
        async with another_worker(stack, tmp_path):
            slow.unlink()
            began = time.monotonic()
            os.kill(worker_of(stack), signal.SIGTERM)
            await until(lambda: _is_stopping(tmp_path / "data"), bool, "the worker stops", poll_s=0.02)
            await stack.send("comment", IDLE)
            idle, busy = await asyncio.gather(_served_s(stack, IDLE, 2, began), _served_s(stack, BUSY, 1, began))
            assert (await stack.status(BUSY))["blocked"] is None
    assert idle <= HANDED_OVER_WITHIN_S
    assert busy <= GRACE_S + HANDED_OVER_WITHIN_S


async def _is_stopping(data_dir: Path) -> bool:
    """Whether the worker has told Temporal: what Temporal gave it a moment earlier waits for `STICKY_TIMEOUT`."""
    return "Beginning worker shutdown" in (data_dir / "logs" / "worker.log").read_text()


async def _served_s(stack: Stack, issue: int, deliveries: int, began: float) -> float:
    """Seconds until the issue is served."""
    await stack.served(issue, deliveries)
    return time.monotonic() - began
