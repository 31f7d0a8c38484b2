"""The floor of the latency: an empty workflow with empty activities, and the worker process that serves it.

`python -m bench.measure.floor QUEUE` serves it until a signal ends it. The worker has the settings of
`issuebox.worker.build_worker`: the same workflow runner, the same data converter and the same number of slots.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from issuebox.temporal.connect import connect
    from issuebox.worker import WORKFLOW_RUNNER

WORKFLOW_TYPE = "FloorWorkflow"
UPDATE = "floor"
ACTIVITY_TIMEOUT = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Kind:
    """How many activities a floor has, how long the last one waits, and whether the first is local."""

    activities: int = 1
    wait_s: float = 0.0
    is_first_local: bool = False


@activity.defn(name="nothing")
async def nothing() -> None:
    """Do nothing."""


@activity.defn(name="wait")
async def wait(seconds: float) -> float:
    """Sleep, like an activity that waits for Daytona. Returns the seconds slept."""
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    return time.perf_counter() - began


@workflow.defn(name=WORKFLOW_TYPE)
class FloorWorkflow:
    """Runs as many empty activities as an update asks for, one after the other, and stays open."""

    @workflow.run
    async def run(self) -> None:
        """Stay for the next update."""
        await workflow.wait_condition(lambda: False)

    @workflow.update(name=UPDATE)
    async def floor(self, kind: Kind) -> float:
        """Run the activities. Returns the seconds that the last one waited."""
        is_waiting = kind.wait_s > 0
        for number in range(kind.activities - is_waiting):
            if number == 0 and kind.is_first_local:
                await workflow.execute_local_activity(nothing, start_to_close_timeout=ACTIVITY_TIMEOUT)
            else:
                await workflow.execute_activity(nothing, start_to_close_timeout=ACTIVITY_TIMEOUT)
        if not is_waiting:
            return 0.0
        return await workflow.execute_activity(wait, kind.wait_s, start_to_close_timeout=ACTIVITY_TIMEOUT)


async def run_floor(client: Client, workflow_id: str, task_queue: str, kind: Kind = Kind()) -> float:
    """Send an update-with-start to the empty workflow. Returns the seconds that its last activity waited."""
    operation: WithStartWorkflowOperation[object, object] = WithStartWorkflowOperation(
        WORKFLOW_TYPE,
        args=[],
        id=workflow_id,
        task_queue=task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )
    waited_s: float = await client.execute_update_with_start_workflow(
        UPDATE, kind, start_workflow_operation=operation, result_type=float
    )
    return waited_s


async def serve(task_queue: str, ready_file: Path) -> None:
    """Serve until SIGTERM; touches `ready_file` when it polls."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Worker(
        await connect(),
        task_queue=task_queue,
        workflows=[FloorWorkflow],
        activities=[nothing, wait],
        workflow_runner=WORKFLOW_RUNNER,
        max_concurrent_activities=200,
    ):
        ready_file.touch()  # noqa: ASYNC240 -- one inode, once
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2])))
