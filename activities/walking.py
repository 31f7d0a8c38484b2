"""Walking a long list in one activity: progress that outlives the worker, and limits on how much it reads at once.

Temporal records the progress after each page before the next page is read. `activity.heartbeat` alone is not enough:
the SDK holds heartbeats back for most of the heartbeat timeout, so the pages of a worker that is killed meanwhile
would be read again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from pydantic import TypeAdapter
from temporalio import activity

from activities.reporting import heartbeats
from issuebox.domain.audit import Walked
from issuebox.domain.provider import Spare

READS_AT_ONCE = 16
"""Parallel reads for one page: enough to hide the latency, few enough for a small Temporal server."""

CATCH_UP_S = 0.2
"""A busy event loop wakes sleepers late; without this, the reads would be slower than their pace by that."""

REVIEW_S = 1.0
"""Longest sleep of a read that waits: meanwhile the limit may be whole again."""

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


class Pace:
    """The pace of reads that can wait: one after the other, with the pause that is right by then.

    Each caller asks `spare` anew, so that the reads slow down as soon as others need what is left of the limit.
    """

    def __init__(self, spare: Callable[[], Spare]) -> None:
        self._spare = spare
        self._last_at = -math.inf
        self._turn = asyncio.Lock()

    async def turn(self) -> None:
        """Return when the next read may be sent."""
        clock = asyncio.get_running_loop().time
        async with self._turn:
            while True:
                spare = self._spare()
                wait_s = max(spare.closed_s, self._last_at + spare.pause_s - clock())
                if wait_s <= 0:
                    break
                await asyncio.sleep(min(wait_s, REVIEW_S))
            self._last_at = max(self._last_at + spare.pause_s, clock() - CATCH_UP_S)


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
