"""Strangers send their calls in bursts beside the load. The answers are counted, and wrong ones noted."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Iterable
from itertools import count
from typing import Final
from urllib.parse import urlsplit

import httpx
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from proofs.chaos.cluster import API_TOKEN, WEBHOOK_SECRET, Cluster
from proofs.chaos.fault_schedule import Burst, Door
from proofs.chaos.hostile import DECLARED_BYTES, MARK, Call, Knock, Sending, deliveries, knocks, rest_calls
from proofs.chaos.tally import Tally
from proofs.chaos.terms import NAME_PREFIX, WORKFLOWS
from proofs.checker.evidence import Signal

ANSWER_S: Final = 12.0
AT_ONCE_MAX: Final = 40
STORED: Final = "stored"
NO_ANSWER: Final = "no answer"


class Strangers:
    """Sends to the APIs in turn, and to Temporal by a client of its own."""

    _turn = count()

    def __init__(self, cluster: Cluster, tally: Tally) -> None:
        self._cluster = cluster
        self._tally = tally

    async def send(self, burst: Burst) -> None:
        """Send the whole burst, in a mixed order. Returns when each call is answered or given up."""
        room = asyncio.Semaphore(AT_ONCE_MAX)

        async def one(sending: Awaitable[None]) -> None:
            async with room:
                await sending

        async with httpx.AsyncClient(timeout=ANSWER_S, trust_env=False) as http:
            calls = list(self._calls(burst, http))
            random.Random(f"{burst}").shuffle(calls)
            await asyncio.gather(*map(one, calls))

    def _calls(self, burst: Burst, http: httpx.AsyncClient) -> Iterable[Awaitable[None]]:
        for issue in burst.issues * burst.copies:
            if burst.door is Door.SIGNAL:
                yield from (self._knock(issue, kind, knock) for kind, knock in knocks(issue).items())
                continue
            is_webhook = burst.door is Door.WEBHOOK
            calls = deliveries(issue, WEBHOOK_SECRET, next(self._turn)) if is_webhook else rest_calls(issue, API_TOKEN)
            yield from (self._call(http, f"{burst.door}: {kind}", call) for kind, call in calls.items())

    async def _call(self, http: httpx.AsyncClient, kind: str, call: Call) -> None:
        base = self._cluster.api_urls[next(self._turn) % len(self._cluster.api_urls)]
        status = await (_whole(http, base, call) if call.sending is Sending.WHOLE else _by_hand(base, call))
        self._tally.hostile[kind][str(status or NO_ANSWER)] += 1
        if not call.is_right(status):
            self._tally.breaches.append(f"{kind} was answered with {status}")

    async def _knock(self, issue: int, kind: str, knock: Knock) -> None:
        try:
            client = await self._cluster.temporal()
            handle = client.get_workflow_handle(f"{NAME_PREFIX}{issue}")
            await handle.signal(knock.signal, args=knock.arguments)
        except RPCError as error:
            word = "no workflow" if error.status is RPCStatusCode.NOT_FOUND else NO_ANSWER
        except RuntimeError:  # The first connection failed.
            word = NO_ANSWER
        else:
            word = STORED
        self._tally.hostile[f"{Door.SIGNAL}: {kind}"][word] += 1


async def intrusions(client: Client, names: Iterable[str], signals: Iterable[Signal]) -> list[str]:
    """What strangers should not have achieved: a delivery of theirs in a history, a workflow for an issue of theirs."""
    stored = [each for each in signals if each.delivery.startswith(MARK)]
    known = set(names)
    running = {execution.id async for execution in client.list_workflows(WORKFLOWS)}
    return [
        *(f"delivery {each.delivery} is in the history of {each.workflow_id}" for each in stored),
        *(f"{name} is the workflow of no issue" for name in sorted(running - known)),
    ]


async def _whole(http: httpx.AsyncClient, base: str, call: Call) -> int | None:
    try:
        reply = await http.request(call.method, f"{base}{call.path}", content=call.body, headers=dict(call.headers))
    except httpx.TransportError:
        return None
    return reply.status_code


async def _by_hand(base: str, call: Call) -> int | None:
    """Send what no well-behaved client sends: a body that is not as long as its head says."""
    length = DECLARED_BYTES if call.sending is Sending.DECLARED else 2 * len(call.body)
    address = urlsplit(base)
    head = [f"{call.method} {call.path} HTTP/1.1", f"Host: {address.netloc}", f"Content-Length: {length}"]
    head += [f"{name}: {value}" for name, value in call.headers.items()]
    try:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
    except OSError:
        return None
    try:
        writer.write("\r\n".join([*head, "", ""]).encode() + call.body)
        await writer.drain()
        if call.sending is Sending.HUNG_UP:
            return None
        async with asyncio.timeout(ANSWER_S):
            words = (await reader.readline()).split()
        return int(words[1]) if len(words) > 1 else None
    except (OSError, TimeoutError):
        return None
    finally:
        writer.close()
