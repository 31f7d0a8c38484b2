"""Daytona's rate limits, enforced by localdaytona on the real SDK: which requests are sent, and which are not."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from issuebox.domain.errors import RateLimitedError
from issuebox.domain.provider import SandboxSpec
from issuebox.providers.daytona import DaytonaProvider
from localdaytona.testing import Server
from tests.waiting import until

from .conftest import options

WINDOW_S = 30.0


async def test_limited_creates_are_not_sent_and_reads_continue(server: Server) -> None:
    """While only creates are limited, a create is refused without a request, and a lookup succeeds."""
    await _limit(server, sandbox_create=2)
    async with DaytonaProvider(options(server)) as provider:
        results = await _burst(provider, 40)
        assert results["created"] == 2
        refused = await _refused(server)
        assert refused <= 8, "no more than were sent before the first reply"
        with pytest.raises(RateLimitedError) as raised:
            await provider.create(_spec(99))
        assert raised.value.retry_after_s is not None
        assert raised.value.retry_after_s > 0
        assert await _refused(server) == refused
        assert await provider.lookup(_spec(0).name) is not None or await provider.lookup(_spec(1).name) is not None


async def test_used_up_limit_is_known_from_the_replies(server: Server) -> None:
    """Of creates in sequence, the reply to the last allowed one says so, and the next is not sent."""
    await _limit(server, sandbox_create=3)
    async with DaytonaProvider(options(server)) as provider:
        for number in range(3):
            await provider.create(_spec(number))
        with pytest.raises(RateLimitedError):
            await provider.create(_spec(3))
        assert await _refused(server) == 0


async def test_each_worker_learns_for_itself(server: Server) -> None:
    """Two processes share only the organization's limit, so each of them gets one refused request."""
    await _limit(server, sandbox_create=1)
    async with DaytonaProvider(options(server)) as first, DaytonaProvider(options(server)) as second:
        await first.create(_spec(0))
        for _ in range(5):
            with pytest.raises(RateLimitedError):
                await second.create(_spec(1))
            with pytest.raises(RateLimitedError):
                await first.create(_spec(2))
        assert await _refused(server) == 1


async def test_lifecycle_limit_leaves_creates_and_reads_open(server: Server) -> None:
    """Stops have their own limiter; a stop that was refused for the sandbox's state counts, too."""
    await _limit(server, sandbox_lifecycle=1)
    async with DaytonaProvider(options(server)) as provider:
        made = await provider.create(_spec(0))
        assert made is not None
        await provider.stop(made.id)
        with pytest.raises(RateLimitedError):
            await provider.start(made.id)
        assert await provider.lookup(made.name) is not None
        assert await provider.create(_spec(1)) is not None


async def test_wrong_keys_of_others_close_everything_for_a_while(server: Server) -> None:
    """When Daytona refuses our address, no request is sent until the window ends: it would not help."""
    await _limit(server, failed_auth=0)
    async with (
        DaytonaProvider(options(server, api_key="wrong")) as wrong,
        DaytonaProvider(options(server)) as provider,
    ):
        with pytest.raises(RateLimitedError):
            await wrong.lookup("x")
        with pytest.raises(RateLimitedError):
            await provider.lookup("x")
        asked = len(await server.admin.journal(kind="request"))
        with pytest.raises(RateLimitedError):
            await provider.create(_spec(0))
        with pytest.raises(RateLimitedError):
            await provider.lookup("x")
        assert len(await server.admin.journal(kind="request")) == asked


async def test_requests_are_sent_again_after_the_limit_ends(server: Server) -> None:
    """The next request is sent after the pause that Daytona asked for."""
    effect = {"kind": "status", "status": 429, "headers": {"Retry-After-authenticated": "0.3"}}
    async with DaytonaProvider(options(server)) as provider:
        await server.admin.add_fault("get", effect)

        async def answered() -> bool:
            try:
                await provider.lookup("x")
            except RateLimitedError:
                return False
            return True

        assert not await answered()
        await until(answered, bool, "a read is sent again", timeout_s=5.0)
        replies = await server.admin.journal(kind="reply")
        assert [entry.detail["status"] for entry in replies] == [429, 404]
        assert replies[1].at - replies[0].at >= 0.3


async def _limit(server: Server, **limits: int) -> None:
    await server.admin.config(rate_limits={"window_s": WINDOW_S, **limits})


async def _burst(provider: DaytonaProvider, count: int) -> Counter[str]:
    """Send this many creates at once, and count their outcomes."""

    async def create(number: int) -> str:
        try:
            await provider.create(_spec(number))
        except RateLimitedError:
            return "limited"
        return "created"

    return Counter(await asyncio.gather(*(create(number) for number in range(count))))


async def _refused(server: Server) -> int:
    """How many requests Daytona answered with 429."""
    return sum(entry.detail["status"] == 429 for entry in await server.admin.journal(kind="reply"))


def _spec(number: int) -> SandboxSpec:
    return SandboxSpec(f"claude-issue-{number}", {"managed-by": "issuebox"})
