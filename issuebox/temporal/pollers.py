"""Who polls the task queues of an installation, as Temporal lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from temporalio.api.enums.v1 import DescribeTaskQueueMode, TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

from workflows.messages import Aside

POLL_MAX_S: Final = 150.0
"""A poll lasts a minute; a worker without a poll for more than two minutes is silent."""

_ACTIVITIES: Final = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
KINDS: Final[Mapping[str, tuple[TaskQueueType.ValueType, Aside | None]]] = {
    "workflows": (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, None),
    "activities": (_ACTIVITIES, None),
    **{str(aside): (_ACTIVITIES, aside) for aside in Aside},
}
"""What a worker polls for, and on which task queue; None for the installation's own."""


@dataclass(frozen=True, slots=True)
class Poller:
    """A process that Temporal lists as polling a task queue, and the seconds since its last poll."""

    identity: str
    age_s: float

    @property
    def is_silent(self) -> bool:
        """Whether its last poll is over, and no other followed."""
        return self.age_s >= POLL_MAX_S


@dataclass(frozen=True, slots=True)
class QueueState:
    """Who polls for one kind of work, and about how many tasks of it wait."""

    pollers: list[Poller]
    backlog: int


def queue_of(kind: str, task_queue: str) -> str:
    """The name of the task queue for this kind of work."""
    _, aside = KINDS[kind]
    return aside.queue(task_queue) if aside else task_queue


async def pollers(client: Client, task_queue: str, kind: str) -> list[Poller]:
    """Who polled for this kind of work within the last five minutes. Raises RPCError.

    A task queue has several partitions. The plain describe shows who polls the first one, so that a worker whose poll
    waits at another looks absent for a minute.
    """
    return (await queue_state(client, task_queue, kind)).pollers


async def queue_state(client: Client, task_queue: str, kind: str) -> QueueState:
    """The same, and how many tasks of this kind wait for one of them. Raises RPCError."""
    name, (kind_of_queue, _) = queue_of(kind, task_queue), KINDS[kind]
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=name),
        api_mode=DescribeTaskQueueMode.DESCRIBE_TASK_QUEUE_MODE_ENHANCED,
        task_queue_types=[kind_of_queue],
        report_pollers=True,
        report_stats=True,
    )
    reply = await client.workflow_service.describe_task_queue(request)
    now, ages, backlog = datetime.now(UTC), dict[str, float](), 0
    for version in reply.versions_info.values():
        backlog += version.types_info[kind_of_queue].stats.approximate_backlog_count
        for poller in version.types_info[kind_of_queue].pollers:
            age_s = (now - poller.last_access_time.ToDatetime(UTC)).total_seconds()
            ages[poller.identity] = min(age_s, ages.get(poller.identity, age_s))
    return QueueState([Poller(identity, age_s) for identity, age_s in ages.items()], backlog)
