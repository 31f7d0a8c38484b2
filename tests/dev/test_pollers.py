"""Who polls a task queue: all of them, whichever of its partitions their poll waits at."""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from issuebox.temporal.pollers import Poller, pollers
from tests.waiting import until

WORKERS = 8


@activity.defn
async def nothing() -> None:
    """Is never scheduled."""


async def test_each_worker_is_seen(temporal: Client) -> None:
    """The dev server gives a task queue four partitions. A worker that polls another than the first one works."""
    queue = f"pollers-{uuid.uuid4().hex[:8]}"
    identities = {f"worker-{number}" for number in range(WORKERS)}
    async with AsyncExitStack() as exits:
        for identity in sorted(identities):
            client = await Client.connect(temporal.service_client.config.target_host, identity=identity)
            await exits.enter_async_context(
                Worker(client, task_queue=queue, activities=[nothing], max_concurrent_activities=1)
            )

        async def seen() -> list[Poller]:
            return await pollers(temporal, queue, "activities")

        found = await until(seen, lambda known: {one.identity for one in known} == identities, "all workers")
    assert len(found) == WORKERS
    assert not any(one.is_silent for one in found)
