"""A read that shows an earlier state than the last one seen is stale: it decides nothing and is repeated.

Daytona caches its answers to reads for some seconds, and a change does not always invalidate them.
"""

from __future__ import annotations

from issuebox.domain.phase import Goal, Outcome
from workflows.messages import SIGNAL_STOP

from .conftest import Stack
from .test_replay import replays


async def _was(stack: Stack, state: str) -> float:
    """When the sandbox last entered this state, in epoch seconds."""
    entries = await stack.daytona.admin.journal(kind="state")
    return [e.at for e in entries if (e.name, e.detail.get("new")) == (stack.name, state)][-1]


async def _show(stack: Stack, at: float, times: int = 2) -> None:
    """Make the next reads of the sandbox show what it was then."""
    await stack.daytona.admin.add_fault("get", {"kind": "stale", "at": at}, name=stack.name, times=times)


async def test_sandbox_that_was_seen_stopped_is_not_handed_over_for_a_read_of_when_it_ran(stack: Stack) -> None:
    """The workflow stopped it; on the next request it is started, whatever a stale read shows."""
    await stack.ensure()
    await stack.order(SIGNAL_STOP)
    await stack.reached(Goal.STOPPED)
    await _show(stack, await _was(stack, "started"))
    assert (await stack.ensure()).outcome is Outcome.STARTED
    assert await stack.state() == "started"
    assert any(note.what == "stale read" for note in (await stack.why()).notes)
    await replays(stack)


async def test_sandbox_that_was_seen_running_does_not_count_as_stopped_for_a_read_of_when_it_was(stack: Stack) -> None:
    """The workflow started it; on an order to stop it is stopped, whatever a stale read shows."""
    await stack.ensure()
    await stack.order(SIGNAL_STOP)
    await stack.reached(Goal.STOPPED)
    stopped_at = await _was(stack, "stopped")
    await stack.ensure()
    await _show(stack, stopped_at)
    await stack.order(SIGNAL_STOP)
    await stack.reached(Goal.STOPPED)
    assert await stack.state() == "stopped"
    await replays(stack)


async def test_reply_to_a_start_that_shows_an_earlier_run_hands_nothing_over(stack: Stack) -> None:
    """Daytona did not wait for the start, and its reply shows the sandbox as it was before it was stopped."""
    await stack.ensure()
    started_at = await _was(stack, "started")
    await stack.order(SIGNAL_STOP)
    await stack.reached(Goal.STOPPED)
    await stack.daytona.admin.config(hold_s=0.05, durations={"start_s": 1.0})
    await stack.daytona.admin.add_fault("start", {"kind": "stale", "at": started_at}, name=stack.name)
    assert (await stack.ensure()).outcome is Outcome.STARTED
    assert await stack.state() == "started"
    await replays(stack)
