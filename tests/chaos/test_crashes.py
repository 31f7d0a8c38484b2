"""kill -9 of each process in the middle of its work, on the whole stack of `issuebox dev`.

After the restart there is one sandbox for the issue, and no event that was answered with 202 is lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from issuebox.dev.demo.stack import Stack, running, until
from issuebox.dev.environment import to_temporal
from issuebox.temporal.connect import connect
from issuebox.worker import STICKY_TIMEOUT
from workflows.options import LOOK_AFTER

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """One stack for all crashes: each test leaves it whole for the next."""
    async with running(tmp_path_factory.mktemp("stack") / "data") as stack:
        yield stack


async def _creating(stack: Stack, issue: int, seconds: float = 3.0) -> None:
    """A delivery was answered with 202, and the create that it caused is under way at Daytona."""
    await stack.admin.add_fault("create", {"kind": "slow", "seconds": seconds}, name=stack.name(issue))
    await stack.send("opened", issue)
    await until(lambda: stack.creates(issue), lambda creates: creates == 1, "the create has begun")


async def _one_running(stack: Stack, issue: int) -> None:
    await stack.served(issue)
    sandbox = await stack.one(issue)
    assert (sandbox.name, sandbox.state) == (stack.name(issue), "started")
    assert await stack.creates(issue) == 1


LATE_MAX = timedelta(seconds=2)
"""How late Temporal's own timers may be on a busy machine."""


async def test_worker_killed_in_a_create_leaves_one_sandbox(stack: Stack) -> None:
    """The create goes on at Daytona; the next worker looks, finds it and hands it over. No silence is waited out."""
    await _creating(stack, 101, seconds=1.0)
    stack.kill("worker")
    await _one_running(stack, 101)
    late = await until(lambda: _until_cut_off(stack, 101), lambda late: late is not None, "a look", 30.0)
    assert late is not None
    assert LOOK_AFTER <= late <= LOOK_AFTER + STICKY_TIMEOUT + 2 * LATE_MAX


async def _history(stack: Stack, issue: int) -> list[HistoryEvent]:
    dev = stack.stack
    client = await connect(environment=to_temporal(dev.temporal_address, dev.temporal_namespace))
    handle = client.get_workflow_handle(stack.name(issue))
    return [event async for event in handle.fetch_history_events()]


async def _until_cut_off(stack: Stack, issue: int) -> timedelta | None:
    """How long after it was scheduled the activity of the dead worker was cut off; None before."""
    events = await _history(stack, issue)
    for event in events:
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED:
            number = event.activity_task_cancel_requested_event_attributes.scheduled_event_id
            return event.event_time.ToDatetime() - events[number - 1].event_time.ToDatetime()
    return None


async def test_worker_killed_in_a_lookup_leaves_it_to_the_next(stack: Stack) -> None:
    """The lookup was part of a workflow task, which Temporal gives to another worker when it is overdue."""
    name = stack.name(106)
    await stack.admin.add_fault("get", {"kind": "hang"}, name=name)
    await stack.send("opened", 106)
    await until(lambda: stack.admin.journal(kind="request", operation="get", name=name), bool, "the lookup has begun")
    stack.kill("worker")
    await _one_running(stack, 106)


async def test_api_killed_after_its_202_loses_no_event(stack: Stack) -> None:
    """An accepted event is in Temporal, and not in the API."""
    await stack.send("opened", 102)
    stack.kill("api")
    await _one_running(stack, 102)


async def test_temporal_killed_after_a_202_loses_no_event(stack: Stack) -> None:
    """An accepted event is in Temporal's database, and not in its memory."""
    await stack.send("opened", 103)
    stack.kill("temporal")
    await _one_running(stack, 103)


async def test_daytona_killed_in_a_create_leaves_one_sandbox(stack: Stack) -> None:
    """The reply is lost and Daytona does not answer for a while: the sandbox is found when Daytona is back."""
    await _creating(stack, 104)
    stack.kill("localdaytona")
    await _one_running(stack, 104)


async def test_webhook_during_a_temporal_outage_is_refused_and_a_redelivery_serves(stack: Stack) -> None:
    """Without Temporal nothing is accepted: GitHub sees a failure, and no event is lost."""
    stack.kill("temporal")
    reply = await stack.post("opened", 105)
    assert reply.status_code in {202, 503}
    if reply.status_code == 503:
        assert reply.headers["retry-after"]
        await until(lambda: _accepted(stack, 105), bool, "Temporal is back")
    await _one_running(stack, 105)


async def _accepted(stack: Stack, issue: int) -> bool:
    return (await stack.post("opened", issue)).status_code == 202
