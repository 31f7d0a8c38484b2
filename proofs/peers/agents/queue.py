"""A queue with at-least-once delivery: a worker holds the job while its agent works.

The job of a worker that is lost is delivered again.
"""

from __future__ import annotations

import logging
from typing import ClassVar

from proofs.peers.agents.starter import FAILURES, POLL_S, Request, Starter, StoppedError, attempted, retried
from proofs.peers.host import Host
from proofs.peers.peer import Cloud, NoWorkerError

log = logging.getLogger(__name__)

ATTEMPTS_MAX = 3
BACKOFF_S = 5.0
STALLED_AFTER_S = 30.0
STALLED_MAX = 2


class Queue(Starter):
    """BullMQ's rules: a stalled job is delivered again, a failed one is tried again."""

    title: ClassVar[str] = "queue, at least once"
    notes: ClassVar[str] = (
        "read in public workers for BullMQ that run an agent for each job; 3 attempts; a job that stalled (30 s) is "
        "delivered again, twice at most; best configuration: the job's ID is the comment's, 3 tries of each read, and "
        "a cancel takes waiting jobs off and ends the process group of a running one; no order among the jobs of an "
        "issue was read, nor a reading of a close"
    )

    def __init__(self, host: Host, cloud: Cloud) -> None:
        super().__init__(host, cloud)
        self.jobs = host.table("jobs", Request)
        self.cancelled = host.table("cancelled", int)

    async def request(self, request: Request) -> None:
        """Add a job. One with a known ID is not added again."""
        if await self.jobs.insert(request.number, request):
            self.cloud.start(deliver(self.cloud, request))

    async def call_off(self, issue: int) -> None:
        """Mark the issue's jobs. Their workers see it."""
        for number, request in (await self.jobs.all()).items():
            if request.issue == issue:
                await self.cancelled.write(number, 1)

    async def process(self, request: Request) -> None:
        """The job. Raises StoppedError, or one of FAILURES."""
        await self.work(request)

    async def work(self, request: Request) -> None:
        """Start the agent and wait for its end."""
        if await self.cancelled.read(request.number):
            return
        sandbox = await self.sandbox_of(request.issue)
        pid = await self.begin(sandbox, request)
        while not await retried(self.host, lambda: self.is_over(sandbox.id, pid)):
            if await self.cancelled.read(request.number):
                await self.end(request.issue)
                return
            await self.host.sleep(POLL_S)
        await self.finish(request, "done")


class LockedQueue(Queue):
    """A lock for each job, which outlives its worker: what was begun is not begun again."""

    title: ClassVar[str] = "queue with a lock"
    notes: ClassVar[str] = (
        "read in suna's Python era (`run_agent_background`, Dramatiq): a lock by SET NX for a day, a delivery that "
        "finds it and the row's status `running` is skipped, and an error is caught, stored as `failed` and not tried "
        "again; a stop by a message to the worker; inferred: there the agent's loop is in the worker, here it is a "
        "process that the worker starts; the rest as the queue"
    )

    def __init__(self, host: Host, cloud: Cloud) -> None:
        super().__init__(host, cloud)
        self.locks = host.table("locks", str)

    async def process(self, request: Request) -> None:
        if not await self.locks.insert(request.number, "running"):
            return
        try:
            await self.work(request)
        except (*FAILURES, StoppedError) as error:
            log.debug("job %s failed: %s", request.key, error)
        await self.locks.write(request.number, "over")


async def deliver(cloud: Cloud, request: Request) -> None:
    """The queue: deliver until a worker has acknowledged the job, or too often failed or stalled at it."""

    async def process(peer: Starter) -> None:
        if not isinstance(peer, Queue):
            raise TypeError(peer)
        await peer.process(request)

    failed = stalled = 0
    while failed < ATTEMPTS_MAX and stalled <= STALLED_MAX:
        try:
            await attempted(cloud, process)
        except NoWorkerError:
            stalled += 1
            await cloud.pause(STALLED_AFTER_S)
        except (*FAILURES, StoppedError) as error:
            log.debug("job %s failed: %s", request.key, error)
            failed += 1
            await cloud.pause(BACKOFF_S)
        else:
            return
