"""Who polls a task queue, as Temporal lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

POLL_MAX_S: Final = 150.0
"""A poll lasts a minute; a worker without a poll for more than two minutes is silent."""

KINDS: Final[Mapping[str, TaskQueueType.ValueType]] = {
    "workflows": TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    "activities": TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
}


@dataclass(frozen=True, slots=True)
class Poller:
    """A process that Temporal lists as polling a task queue, and the seconds since its last poll."""

    identity: str
    age_s: float

    @property
    def is_silent(self) -> bool:
        """Whether its last poll is over, and no other followed."""
        return self.age_s >= POLL_MAX_S


async def pollers(client: Client, task_queue: str, kind: str) -> list[Poller]:
    """Who polled within the last five minutes. Raises RPCError."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=task_queue), task_queue_type=KINDS[kind]
    )
    reply = await client.workflow_service.describe_task_queue(request)
    now = datetime.now(UTC)
    return [
        Poller(poller.identity, (now - poller.last_access_time.ToDatetime(UTC)).total_seconds())
        for poller in reply.pollers
    ]
