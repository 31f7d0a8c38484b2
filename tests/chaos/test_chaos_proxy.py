"""The proxy of the chaos run: it carries every byte in order, and cuts, stalls and slows down on request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proofs.chaos.proxy import LOOPBACK, Link

BIG = bytes(range(256)) * 16_384


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()
    except ConnectionError:
        writer.close()


@asynccontextmanager
async def _link() -> AsyncIterator[Link]:
    """A link to a server that sends back what it gets."""
    server = await asyncio.start_server(_echo, LOOPBACK, 0)
    async with server, Link("a>b", server.sockets[0].getsockname()[1]).serving() as link:
        yield link


async def _asked(link: Link, data: bytes = b"x") -> bytes:
    """The echo, to the end of the stream."""
    reader, writer = await asyncio.open_connection(LOOPBACK, link.port)
    async with asyncio.timeout(10):
        sending = asyncio.create_task(_send(writer, data))
        try:
            return await reader.read()
        finally:
            await sending
            writer.close()


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()
    writer.write_eof()


def _now() -> float:
    return asyncio.get_running_loop().time()


async def test_all_bytes_pass_in_order_and_the_end_too() -> None:
    """Four megabytes pass there and back."""
    async with _link() as link:
        assert await _asked(link, BIG) == BIG
        assert link.carried_bytes == 2 * len(BIG)


async def test_cut_resets_what_is_open_and_what_comes_and_heals_by_itself() -> None:
    """As when a load balancer dies and another takes over."""
    async with _link() as link:
        reader, writer = await asyncio.open_connection(LOOPBACK, link.port)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        link.cut(0.3)
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        with pytest.raises(ConnectionResetError):
            await _asked(link)
        writer.close()
        assert link.refused == 1
        until = _now() + 5
        while link.is_cut:
            assert _now() < until
            await asyncio.sleep(0.05)
        assert await _asked(link, b"again") == b"again"


async def test_stall_holds_everything_back_and_loses_nothing() -> None:
    """As when packets are lost and sent again: late, whole, in order."""
    async with _link() as link:
        link.stall(0.4)
        began = _now()
        assert await _asked(link, BIG) == BIG
        assert _now() - began >= 0.4


async def test_delay_slows_each_direction_down() -> None:
    """There and back take twice the delay, and order is kept."""
    async with _link() as link:
        link.delay(0.15, 10.0)
        began = _now()
        assert await _asked(link, BIG[:300_000]) == BIG[:300_000]
        assert _now() - began >= 0.3


async def test_heal_ends_every_disturbance() -> None:
    """Everything passes at once, before the disturbances would have ended."""
    async with _link() as link:
        link.cut(60.0)
        link.stall(60.0)
        link.heal()
        assert await _asked(link, b"well") == b"well"


async def test_server_that_is_down_is_a_reset() -> None:
    """A client behind the link gets a reset at once, and no timeout."""
    async with Link("a>b", 1).serving() as link:
        with pytest.raises(ConnectionResetError):
            await _asked(link)
