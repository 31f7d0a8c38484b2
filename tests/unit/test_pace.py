"""The pace of an audit's reads: by what the limit has to spare at the moment of each read."""

from __future__ import annotations

import asyncio
import time

from activities.walking import CATCH_UP_S, Pace
from issuebox.domain.provider import Spare


class Limit:
    """What there is to spare, as the test says."""

    def __init__(self) -> None:
        self.spare = Spare()
        self.opens_at = 0.0

    def now(self) -> Spare:
        closed_s = max(0.0, self.opens_at - time.monotonic())
        return Spare(closed_s, self.spare.pause_s)


async def reads(pace: Pace, count: int) -> float:
    """How long so many reads take that all wait at once, in seconds."""
    began = time.monotonic()
    await asyncio.gather(*(pace.turn() for _ in range(count)))
    return time.monotonic() - began


async def test_reads_that_wait_at_once_come_one_after_the_other() -> None:
    """However many wait: no more pass than the pause lets in, but for what a late event loop may catch up on."""
    limit = Limit()
    limit.spare = Spare(pause_s=0.02)
    took_s = await reads(Pace(limit.now), 41)
    assert took_s >= 40 * 0.02 - CATCH_UP_S


async def test_reads_without_a_limit_do_not_wait() -> None:
    """Then only their number at once is bounded."""
    assert await reads(Pace(Limit().now), 1_000) < 1.0


async def test_reads_wait_while_nothing_may_be_sent() -> None:
    """None is sent before the limiter opens, so that none fails."""
    limit = Limit()
    limit.opens_at = time.monotonic() + 0.5
    assert await reads(Pace(limit.now), 3) >= 0.5


async def test_pause_that_grows_counts_for_those_who_wait_already() -> None:
    """Others need what is left of the limit: the reads behind slow down at once, and go on when it is whole again."""
    limit = Limit()
    pace = Pace(limit.now)
    limit.spare = Spare(pause_s=0.01)
    await pace.turn()
    limit.spare = Spare(pause_s=60.0)
    waiting = asyncio.create_task(reads(pace, 2))
    done, _ = await asyncio.wait({waiting}, timeout=1.5)
    assert not done
    limit.spare = Spare(pause_s=0.01)
    assert await asyncio.wait_for(waiting, 5.0) >= 1.5
