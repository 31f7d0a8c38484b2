"""Waiting for a condition with a deadline, so that no test sleeps and none hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T]], is_so: Callable[[T], bool], what: str, timeout_s: float = 20.0) -> T:
    """Look every 50 ms until it is so; what was seen. Fails with the last sight after `timeout_s`."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        seen = await look()
        if is_so(seen):
            return seen
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"{what}: not within {timeout_s} s; last seen: {seen}")
        await asyncio.sleep(0.05)
