"""An activity that no worker had taken at a reset: Temporal gives it another time, and no timer for it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from temporalio.client import WorkflowExecutionDescription

from issuebox.domain.events import Intention
from issuebox.domain.phase import Outcome
from issuebox.domain.workflow_ends import Stuck, advice_for
from issuebox.temporal import runs
from issuebox.worker import build_worker
from tests.waiting import until

from .conftest import Stack, Started

LOST_AFTER_S = 2.0
"""Beyond the time in which a worker takes it: by then its task has expired."""
WAITS_S = 6.0


async def test_reset_that_lost_an_activity_is_found_and_mended_by_another_reset(
    start: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lookup is tried again and again, its worker ends, and somebody resets the workflow: it would wait for ever."""
    monkeypatch.setattr(runs, "LOST_AFTER", timedelta(seconds=LOST_AFTER_S))
    stack = await start(has_worker=False, unreachable_after_s=4.0)
    await stack.daytona.admin.add_fault("get", {"kind": "drop"}, times=None)
    await stack.deliver()
    async with build_worker(stack.temporal, stack.provider, stack.worker):
        await until(lambda: _pending(stack), lambda names: names == ["lookup_sandbox"], "the lookup tried again")
        await stack.deliver(stack.event(Intention.IGNORE, action="created", event="issue_comment"))
        await until(stack.status, lambda status: status.deliveries_seen == 2, "another workflow task is done")
    await stack.reset(await _last_task(stack))
    await stack.daytona.admin.set_faults()

    def is_lost(found: Stuck | None) -> bool:
        return found is not None

    found = await until(lambda: _stuck(stack), is_lost, "the activity's time is up", timeout_s=30.0)
    assert found is not None
    assert (found.waits_for, found.repeats_orders) == ("lookup_sandbox", False)
    async with build_worker(stack.temporal, stack.provider, stack.worker):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(WAITS_S):
                await stack.served()
        assert found.reset_to is not None
        assert f"--event-id {found.reset_to}" in advice_for(found, stack.name)
        await stack.reset(found.reset_to)
        assert (await stack.served()).outcome is Outcome.CREATED
        assert await _stuck(stack) is None


async def test_activity_that_waits_for_a_worker_is_not_lost(start: Started) -> None:
    """Its time is not up."""
    stack = await start(has_worker=False)
    await stack.daytona.admin.add_fault("get", {"kind": "drop"}, times=None)
    await stack.deliver()
    async with build_worker(stack.temporal, stack.provider, stack.worker):
        await until(lambda: _pending(stack), lambda names: names == ["lookup_sandbox"], "the lookup tried again")
    assert await _stuck(stack) is None


async def _described(stack: Stack) -> WorkflowExecutionDescription:
    return await stack.handle.describe()


async def _pending(stack: Stack) -> list[str]:
    return [each.activity_type.name for each in (await _described(stack)).raw_description.pending_activities]


async def _stuck(stack: Stack) -> Stuck | None:
    return await runs.stuck(stack.temporal, await _described(stack))


async def _last_task(stack: Stack) -> int:
    events = (await stack.handle.fetch_history()).events
    return max(event.event_id for event in events if event.HasField("workflow_task_completed_event_attributes"))
