"""The load generator and what it sends: the given number at once, each once, over kept connections."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from datetime import UTC, datetime

import pytest

from api.payload import SHAPES
from bench.measure import usage, webhook
from bench.measure.deliveries import COPIES, PER_ISSUE, SCRIPT, burst
from bench.measure.load import Line, content_length, drive, post_request
from issuebox.dev.mock_delivery import MockIssue, build
from issuebox.domain.triggers import Criteria, detect
from issuebox.temporal.connect import DATA_CONVERTER
from workflows.messages import StartInput

BASE = datetime(2026, 1, 1, tzinfo=UTC)
REPLY = b"HTTP/1.1 202 Accepted\r\ncontent-type: text/plain\r\nContent-Length: 2\r\n\r\nok"


async def test_drive_makes_each_call_once_with_all_callers_at_work() -> None:
    """In a closed loop there are never more concurrent calls than callers, and never fewer while calls are left."""
    under_way, most, made = 0, 0, []

    async def call(caller: int, number: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        made.append(number)
        await asyncio.sleep(0)
        under_way -= 1

    window = await drive(20, 3, call)
    assert (sorted(made), most, len(window.latencies_s)) == (list(range(20)), 3, 20)
    assert window.rate_per_s == pytest.approx(20 / window.took_s)


async def test_drive_with_a_failing_call_raises() -> None:
    """A window with a failed call gives no figure."""

    async def call(_caller: int, number: int) -> None:
        if number == 5:
            raise OSError("gone")

    with pytest.RaisesGroup(OSError):
        await drive(20, 3, call)


async def test_line_keeps_its_connection_and_reconnects_when_the_server_hung_up() -> None:
    """Two requests use one connection; when the server closes an idle one, the next request opens another."""
    accepted: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError), contextlib.closing(writer):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(content_length(head))
                writer.write(REPLY)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        line = Line(server.sockets[0].getsockname()[1])
        request = post_request("/x", {"A": "b"}, b"body")
        assert [await line.post(request), await line.post(request)] == [202, 202]
        assert len(accepted) == 1
        accepted[0].close()
        await accepted[0].wait_closed()
        await _until_eof(line)
        assert await line.post(request) == 202
        assert len(accepted) == 2
        await line.close()


async def _until_eof(line: Line) -> None:
    assert line._streams is not None
    async with asyncio.timeout(5):
        assert await line._streams[0].read() == b""


def test_reply_without_a_length_is_refused() -> None:
    """Without a length the end of a reply cannot be measured."""
    with pytest.raises(ValueError, match="announce its length"):
        content_length(b"HTTP/1.1 200 OK\r\n\r\n")


def test_burst_has_every_delivery_and_two_copies_of_each_issue_in_an_order_of_the_seed() -> None:
    """Copies are identical byte for byte; the same seed gives the same order."""
    posts = burst(5, "secret", 7, BASE)
    assert Counter(post.issue for post in posts) == dict.fromkeys(range(1, 6), PER_ISSUE)
    by_delivery = Counter((post.delivery, post.request) for post in posts)
    assert len(by_delivery) == 5 * len(SCRIPT)
    assert sorted(by_delivery.values()) == [1] * (5 * (len(SCRIPT) - COPIES)) + [2] * (5 * COPIES)
    order = [(post.issue, post.updated_at) for post in posts]
    assert order == [(post.issue, post.updated_at) for post in burst(5, "secret", 7, BASE)]
    assert order != [(post.issue, post.updated_at) for post in burst(5, "secret", 8, BASE)]


async def test_bare_payloads_are_as_large_as_ours() -> None:
    """The floor sends payloads of the same size as the API."""
    mock = build("opened", MockIssue(1_000_000, webhook.REPOSITORY, title="Bench issue", updated_at=BASE), "secret")
    payload = SHAPES["issues"].model_validate_json(mock.body)
    event = payload.to_event("issues", mock.delivery, "0" * 64, detect(payload.facts("issues"), Criteria()))
    start, signal = await DATA_CONVERTER.encode([StartInput(1_000_000, "claude-issue-1000000"), event])
    assert (len(start.data), len(signal.data)) == (webhook.START_BYTES, webhook.SIGNAL_BYTES)


def test_usage_of_this_process_is_read() -> None:
    """A process with this many imports uses megabytes, and has used processor time."""
    assert 10 < usage.memory_mib(os.getpid()) < 100_000
    assert usage.processors_s({"me": os.getpid()})["me"] > 0
