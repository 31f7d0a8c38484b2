"""SIGTERM of a worker while another one runs: its issues are handed over faster than after a kill.

After `kill -9`, Temporal waits for a missed heartbeat or a task's time-out, 10 s each. A worker that is stopped tells
Temporal, so nothing has to be waited for except the grace that it gives its commands. What Temporal set aside for it
in the moment before (some 30 ms) waits for `STICKY_TIMEOUT`, which no test waits for.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import time
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType, TaskQueueKind, TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

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
        temporal = await Client.connect(stack.stack.temporal_address)
        own_queue = await _own_queue(temporal, stack.name(IDLE))
        assert await _is_polled(temporal, own_queue)
        async with another_worker(stack, tmp_path):
            slow.unlink()
            began = time.monotonic()
            os.kill(worker_of(stack), signal.SIGTERM)
            busy_s = asyncio.create_task(_served_s(stack, BUSY, 1, began))
            await until(
                lambda: _is_polled(temporal, own_queue), lambda polled: not polled, "it told Temporal", 5.0, 0.01
            )
            told = time.monotonic()
            await stack.send("comment", IDLE)
            idle, busy = await _served_s(stack, IDLE, 2, told), await busy_s
            assert (await stack.status(BUSY))["blocked"] is None
    assert idle <= HANDED_OVER_WITHIN_S
    assert busy <= GRACE_S + HANDED_OVER_WITHIN_S


async def _own_queue(temporal: Client, workflow_id: str) -> TaskQueue:
    """The task queue on which Temporal sets aside this workflow's tasks for the worker that has it in memory."""
    events = [event async for event in temporal.get_workflow_handle(workflow_id).fetch_history_events()]
    scheduled = [event for event in events if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED]
    queue = scheduled[-1].workflow_task_scheduled_event_attributes.task_queue
    assert queue.kind == TaskQueueKind.TASK_QUEUE_KIND_STICKY
    return queue


async def _is_polled(temporal: Client, queue: TaskQueue) -> bool:
    request = DescribeTaskQueueRequest(
        namespace=temporal.namespace,
        task_queue=queue,
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    return bool((await temporal.workflow_service.describe_task_queue(request)).pollers)


async def _served_s(stack: Stack, issue: int, deliveries: int, began: float) -> float:
    """Seconds until the issue is served."""
    await stack.served(issue, deliveries)
    return time.monotonic() - began
