"""Walking a long list in one activity: progress that outlives the worker, and a limit on parallel reads.

Temporal records the progress after each page before the next page is read. `activity.heartbeat` alone is not enough:
the SDK holds heartbeats back for most of the heartbeat timeout, so the pages of a worker that is killed meanwhile
would be read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from pydantic import TypeAdapter
from temporalio import activity

from activities.reporting import heartbeats
from issuebox.domain.audit import Walked

READS_AT_ONCE = 16
"""Parallel reads for one page: enough to hide the latency, few enough for a small Temporal server."""

_WALKED = TypeAdapter(Walked)

Item = TypeVar("Item")
Result = TypeVar("Result")


class Walk:
    """How far the walk of this activity has come, over all its attempts."""

    def __init__(self) -> None:
        details = activity.info().heartbeat_details
        self.walked = _WALKED.validate_python(details[0]) if details else Walked()

    async def save(self, walked: Walked) -> None:
        """Keep the progress where the next attempt finds it. Raises RPCError when Temporal gave this attempt up."""
        self.walked = walked
        # First to the SDK: a heartbeat that it sends later must not be older than the one recorded now.
        activity.heartbeat(walked)
        handle = activity.client().get_async_activity_handle(task_token=activity.info().task_token)
        await handle.heartbeat(walked)


@asynccontextmanager
async def walking() -> AsyncIterator[Walk]:
    """A walk that continues where the last attempt stopped, with a heartbeat every few seconds."""
    walk = Walk()
    async with heartbeats(lambda: activity.heartbeat(walk.walked)):
        yield walk


async def in_batches(items: Sequence[Item], do: Callable[[Item], Awaitable[Result]]) -> list[Result]:
    """The results in order, computed `READS_AT_ONCE` at a time.

    Raises the first error of a batch once the whole batch has ended; later batches are not begun.
    """
    results: list[Result] = []
    for start in range(0, len(items), READS_AT_ONCE):
        batch = items[start : start + READS_AT_ONCE]
        for result in await asyncio.gather(*(do(item) for item in batch), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
            results.append(result)
    return results
