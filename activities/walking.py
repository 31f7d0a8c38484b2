"""Walking a long list in one activity: progress that outlives the worker, and reads that are bounded.

The progress after each page is recorded at Temporal before the next page is read. `activity.heartbeat` alone
would not do: the SDK holds heartbeats back for most of the heartbeat timeout, and a worker killed meanwhile
would have its pages read again.
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
"""Of one page: enough to hide the way there and back, few enough for a small Temporal."""

_WALKED = TypeAdapter(Walked)

Item = TypeVar("Item")
Result = TypeVar("Result")


class Walk:
    """How far the walk of this activity has come, from whichever attempt."""

    def __init__(self) -> None:
        details = activity.info().heartbeat_details
        self.walked = _WALKED.validate_python(details[0]) if details else Walked()

    async def save(self, walked: Walked) -> None:
        """Keep the progress where the next attempt finds it. Raises RPCError when this attempt is given up."""
        self.walked = walked
        # First to the SDK: what it holds back and sends later must not be older than what is recorded now.
        activity.heartbeat(walked)
        handle = activity.client().get_async_activity_handle(task_token=activity.info().task_token)
        await handle.heartbeat(walked)


@asynccontextmanager
async def walking() -> AsyncIterator[Walk]:
    """A walk that goes on where the last attempt was, and tells Temporal every few seconds that it is alive."""
    walk = Walk()
    async with heartbeats(lambda: activity.heartbeat(walk.walked)):
        yield walk


class Metronome:
    """At most so many turns in a second, however many ask at once."""

    def __init__(self, per_s: float) -> None:
        self._interval_s = 1 / per_s
        self._next_at = 0.0

    async def turn(self) -> None:
        """Return when it is the caller's turn."""
        now = asyncio.get_running_loop().time()
        at = max(now, self._next_at)
        self._next_at = at + self._interval_s
        await asyncio.sleep(at - now)


async def in_batches(items: Sequence[Item], do: Callable[[Item], Awaitable[Result]]) -> list[Result]:
    """The results in order, `READS_AT_ONCE` of them made at a time.

    Raises the first error of a batch when all of that batch has ended; later batches are not begun.
    """
    results: list[Result] = []
    for start in range(0, len(items), READS_AT_ONCE):
        batch = items[start : start + READS_AT_ONCE]
        for result in await asyncio.gather(*(do(item) for item in batch), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
            results.append(result)
    return results
