"""What strangers send in a chaos run: each kind is refused by the real API, or dropped by the real signal guard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import cast

import pytest
from temporalio.common import RawValue
from temporalio.service import RPCError, RPCStatusCode

from issuebox.temporal.connect import DATA_CONVERTER
from proofs.chaos.cluster import API_TOKEN, WEBHOOK_SECRET, Cluster
from proofs.chaos.fault_schedule import Burst, Door
from proofs.chaos.hostile import MARK, deliveries, knocks, rest_calls
from proofs.chaos.strangers import Strangers
from proofs.chaos.tally import Tally
from workflows.messages import SIGNALS
from workflows.signal_guard import is_malformed


@pytest.mark.parametrize("kind", sorted(set(knocks(7)) - {"unknown signal", "event of a huge issue"}))
def test_every_hostile_signal_is_malformed(kind: str) -> None:
    """Otherwise it would count, and rightly so. Of an unknown signal, the workflow has no handler."""
    knock = knocks(7)[kind]
    payloads = DATA_CONVERTER.payload_converter.to_payloads(
        [arg.payload if isinstance(arg, RawValue) else arg for arg in knock.arguments]
    )
    payloads = [
        arg.payload if isinstance(arg, RawValue) else payload
        for arg, payload in zip(knock.arguments, payloads, strict=True)
    ]
    hints = list(SIGNALS[knock.signal]) if len(SIGNALS[knock.signal]) == len(payloads) else None
    args = DATA_CONVERTER.payload_converter.from_payloads(payloads, hints) if payloads else []
    assert is_malformed(knock.signal, args)


def test_no_hostile_call_would_be_right_with_a_2xx() -> None:
    """Each has the statuses that are right for it, besides no answer and *busy*."""
    for call in [*deliveries(7, "s", 1).values(), *rest_calls(7, "t").values()]:
        assert all(400 <= status < 500 for status in call.answers)
        assert call.is_right(None)
        assert call.is_right(503)
        assert not call.is_right(202)
        assert not call.is_right(500)


def test_each_hostile_delivery_is_marked() -> None:
    """So that one in a history is found."""
    for call in deliveries(7, "s", 1).values():
        assert call.headers["X-GitHub-Delivery"].startswith(MARK)


class Temporal:
    """Knows the workflow of issue 7 alone, and counts its signals."""

    def __init__(self) -> None:
        self.signals: list[str] = []

    def get_workflow_handle(self, name: str) -> SimpleNamespace:
        async def signal(word: str, args: object) -> None:
            if name != "claude-issue-7":
                raise RPCError("no", RPCStatusCode.NOT_FOUND, b"")
            self.signals.append(word)

        return SimpleNamespace(signal=signal)


@asynccontextmanager
async def _api(status: int) -> AsyncIterator[str]:
    """An API that gives everybody the same answer."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def _sent(burst: Burst, status: int) -> tuple[Tally, Temporal]:
    temporal, tally = Temporal(), Tally()

    async def client() -> Temporal:
        return temporal

    async with _api(status) as url:
        cluster = cast("Cluster", SimpleNamespace(api_urls=[url], temporal=client))
        await Strangers(cluster, tally).send(burst)
    return tally, temporal


@pytest.mark.parametrize(("door", "kinds"), [
    (Door.WEBHOOK, deliveries(7, WEBHOOK_SECRET, 1)), (Door.REST, rest_calls(7, API_TOKEN)),
])  # fmt: skip
async def test_answer_that_takes_a_hostile_call_is_a_breach(door: Door, kinds: dict[str, object]) -> None:
    """Each kind is sent and counted by its answer, and a 202 fails the run. Only a hung-up call waits for none."""
    tally, _ = await _sent(Burst(door, 2, (7,)), 202)
    assert set(tally.hostile) == {f"{door}: {kind}" for kind in kinds}
    taken = {kind for kind, answers in tally.hostile.items() if answers == {"202": 2}}
    assert taken == set(tally.hostile) - {f"{Door.WEBHOOK}: hung up"}
    assert len(tally.breaches) == 2 * len(taken)


async def test_api_that_is_busy_is_right() -> None:
    """A 503 means that nothing was stored."""
    tally, _ = await _sent(Burst(Door.WEBHOOK, 1, (7,)), 503)
    assert not tally.breaches


async def test_signals_go_to_the_workflows_of_the_issues() -> None:
    """An issue without a workflow is counted as such."""
    tally, temporal = await _sent(Burst(Door.SIGNAL, 3, (7, 8)), 500)
    assert len(temporal.signals) == 3 * len(knocks(7))
    assert all(answers == {"stored": 3, "no workflow": 3} for answers in tally.hostile.values())
