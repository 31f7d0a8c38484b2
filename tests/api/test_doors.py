"""Strangers at the door: what is refused before it is read, and what bounds the rest in size, time and number."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from api import connections, in_flight, webhooks
from tests.api.conftest import Api, Serve
from tests.api.deliveries import encoded, payload, signed
from tests.waiting import until

GOOD = encoded(payload(action="edited"))
SIGNED = signed(GOOD)
UNSIGNED = signed(GOOD, X_Hub_Signature_256=None)
MEGABYTE = 1024 * 1024


@asynccontextmanager
async def connected(api: Api) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection, closed at the end: an open one would keep the server from ending."""
    reader, writer = await asyncio.open_connection(api.client.base_url.host, api.client.base_url.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def head(headers: dict[str, Any], length: int) -> bytes:
    lines = ["POST /webhooks/github HTTP/1.1", "Host: x", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


async def answer(reader: asyncio.StreamReader) -> bytes:
    """The status line, which has to come soon."""
    return await asyncio.wait_for(reader.readline(), 5)


async def flood(writer: asyncio.StreamWriter, filler: bytes) -> None:
    """Send 64 MB."""
    for _ in range(64):
        writer.write(filler * (MEGABYTE // len(filler)))
        await writer.drain()


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the server closes the connection soon."""
    try:
        while await asyncio.wait_for(reader.read(65_536), 5):
            pass
    except ConnectionError:
        return True
    return True


@pytest.mark.parametrize(
    ("headers", "length", "status"),
    [
        (UNSIGNED, 20 * MEGABYTE, b" 401 "),
        (SIGNED | {"X-Hub-Signature-256": "sha256=short"}, 20 * MEGABYTE, b" 401 "),
        (SIGNED, 26 * MEGABYTE, b" 413 "),
        (SIGNED | {"Content-Type": "text/plain"}, 20 * MEGABYTE, b" 415 "),
    ],
    ids=["unsigned", "malformed signature", "too large", "media type"],
)
async def test_head_alone_is_enough_to_refuse(
    serve: Serve, closed_address: str, headers: dict[str, Any], length: int, status: bytes
) -> None:
    """The answer comes before any byte of the body."""
    api = await serve(closed_address)
    async with connected(api) as (reader, writer):
        writer.write(head(headers, length))
        assert status in await answer(reader)


async def test_no_secret_configured_reads_no_body(serve: Serve, closed_address: str) -> None:
    """An API without a secret refuses at once as well."""
    api = await serve(closed_address, webhook_secrets="")
    async with connected(api) as (reader, writer):
        writer.write(head(SIGNED, 20 * MEGABYTE))
        assert b" 401 " in await answer(reader)


async def test_body_after_a_refusal_is_not_taken(serve: Serve, closed_address: str) -> None:
    """Whoever goes on sending after the answer is cut off soon; a small rest is read, so that the answer arrives."""
    api = await serve(closed_address)
    async with connected(api) as (reader, writer):
        writer.write(head(UNSIGNED, 64 * MEGABYTE))
        assert b" 401 " in await answer(reader)
        with pytest.raises(ConnectionError):
            await flood(writer, b" ")
    async with connected(api) as (reader, writer):
        writer.write(head(UNSIGNED, len(GOOD)) + GOOD + head(signed(GOOD, "push"), len(GOOD)) + GOOD)
        found = await asyncio.wait_for(reader.readuntil(b"HTTP/1.1 202"), 5)
        assert b" 401 " in found


async def test_slow_body_is_given_up(
    serve: Serve, closed_address: str, monkeypatch: pytest.MonkeyPatch, logged: list[dict[str, Any]]
) -> None:
    """A body that trickles in gets a 408 in time, and one line in the log."""
    monkeypatch.setattr(webhooks, "BODY_TIMEOUT_S", 0.3)
    api = await serve(closed_address)
    async with connected(api) as (reader, writer):
        writer.write(head(SIGNED, len(GOOD)) + GOOD[:10])
        assert b" 408 " in await answer(reader)
        assert await ended(reader)
    assert [line["status"] for line in logged if line["event"] == "webhook_refused"] == [408]


async def test_caller_that_hangs_up_is_no_bug(
    serve: Serve, closed_address: str, logged: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """Half a body and then silence leaves one line about the delivery, and no traceback."""
    api = await serve(closed_address)
    async with connected(api) as (_, writer):
        writer.write(head(SIGNED, len(GOOD)) + GOOD[:10])
        await writer.drain()

    async def told() -> list[object]:
        return [line["reason"] for line in logged if line["event"] == "webhook_refused"]

    assert await until(told, bool, "the delivery is logged") == ["the caller hung up before the end of the body"]
    assert [line for line in logged if line["event"] == "request_failed"] == []
    assert [line.message for line in caplog.records if line.levelname == "ERROR"] == []


async def test_deliveries_at_once_are_bounded(
    serve: Serve, closed_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While too many are in flight, a further one gets a 503 with Retry-After; afterwards there is room again."""
    monkeypatch.setattr(in_flight, "REQUESTS_MAX", 1)
    api = await serve(closed_address)
    async with connected(api) as (reader, writer):
        writer.write(head(signed(b"{}", "push"), 2) + b"{")

        async def refused() -> Any:
            return await api.client.post("/webhooks/github", content=b"{}", headers=signed(b"{}", "push"))

        reply = await until(refused, lambda reply: reply.status_code == 503, "the place is taken")
        assert int(reply.headers["Retry-After"]) > 0
        assert reply.json()["type"] == "urn:issuebox:problem:busy"
        writer.write(b"}")
        assert b" 202 " in await answer(reader)
    assert (await refused()).status_code == 202


async def test_bytes_at_once_are_bounded(serve: Serve, closed_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies that are read at once share one limit, whatever each declares, and give their part back."""
    monkeypatch.setattr(in_flight, "BYTES_MAX", 1_000)
    api = await serve(closed_address)
    large, small = b" " * 1_001, b" " * 999
    for body, status in ((large, 503), (small, 202), (large, 503), (small, 202)):
        reply = await api.client.post("/webhooks/github", content=body, headers=signed(body, "push"))
        assert reply.status_code == status
    async with connected(api) as (reader, writer):
        writer.write(head(signed(small, "push"), len(small)) + small[:900])
        reply = await until(
            lambda: api.client.post("/webhooks/github", content=small, headers=signed(small, "push")),
            lambda reply: reply.status_code == 503,
            "the bytes are taken",
        )
        assert reply.json()["type"] == "urn:issuebox:problem:busy"
        writer.write(small[900:])
        assert b" 202 " in await answer(reader)


@pytest.mark.parametrize(
    "sent",
    [b"POST /webhooks/gi", b"GET / HTTP/1.1\r\nX-A: b\r\n", head(SIGNED, 9_000) + b"x"],
    ids=["line", "head", "body"],
)
async def test_half_a_request_is_not_waited_for(
    serve: Serve, closed_address: str, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """A request that stops half-way is closed in time, wherever it stops."""
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT_S", 0.3)
    api = await serve(closed_address)
    async with connected(api) as (reader, writer):
        writer.write(sent)
        began = time.monotonic()
        assert await ended(reader)
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("filler", [b"X-A: " + b"a" * 90 + b"\r\n", b"a" * 1_000], ids=["many headers", "one header"])
async def test_endless_head_is_cut_off(serve: Serve, closed_address: str, filler: bytes) -> None:
    """A head has a largest size."""
    api = await serve(closed_address)
    async with connected(api) as (_, writer):
        writer.write(b"GET / HTTP/1.1\r\nX-B: ")
        with pytest.raises(ConnectionError):
            await flood(writer, filler)


async def test_large_body_in_small_chunks_is_taken(serve: Serve, closed_address: str) -> None:
    """What a route reads does not count as unread, however it is cut."""
    api = await serve(closed_address)
    body = b" " * 3 * MEGABYTE

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 8_000):
            yield body[at : at + 8_000]

    reply = await api.client.post("/webhooks/github", content=chunks(), headers=signed(body, "push"))
    assert reply.status_code == 202


async def test_connections_are_bounded(serve: Serve, closed_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One connection too many is closed, and the others go on."""
    api = await serve(closed_address)
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 1)
    async with connected(api) as (reader, writer):
        async with connected(api) as (other, _):
            assert await ended(other)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in await answer(reader)
