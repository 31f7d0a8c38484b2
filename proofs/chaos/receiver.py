"""The program that is told of each new state: it refuses, hangs up and dawdles, and knows afterwards what it was told.

At rest it has to have taken each issue's present state. It may never be told an older state after a newer one, whether
it took them or not.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final

from aiohttp import web
from standardwebhooks import Webhook
from temporalio.client import Client

from proofs.loopback import LOOPBACK

SECRET: Final = "whsec_" + "Y2hhb3Mh" * 5
SLOW_S: Final = 3.0
TOLD_WITHIN_S: Final = 90.0
"""How long after rest the last notices may take: the pause after seven refusals in a row."""
POLL_S: Final = 0.5
AT_ONCE_MAX: Final = 20

HANDED_OVER: Final = frozenset({"created", "started", "recovered", "reused"})


class Mood(StrEnum):
    """What the receiver does with a notice that it has read."""

    TAKES = "takes"
    FAILS = "answers 500"
    ASKS_FOR_TIME = "answers 503 with Retry-After"
    HANGS_UP = "hangs up"
    DAWDLES = "takes it late"


MOODS: Final[Mapping[Mood, int]] = {
    Mood.TAKES: 12, Mood.FAILS: 3, Mood.ASKS_FOR_TIME: 2, Mood.HANGS_UP: 2, Mood.DAWDLES: 1,
}  # fmt: skip
"""How often, in each twenty."""


TAKEN: Final = frozenset({Mood.TAKES, Mood.DAWDLES})


@dataclass(frozen=True, slots=True)
class Told:
    """A notice as it came."""

    id: str
    kind: str
    at: datetime
    is_taken: bool = True


@dataclass(slots=True)
class Receiver:
    """All that came, by issue. ``is_calm``: it takes every notice at once."""

    chance: random.Random
    url: str = ""
    is_calm: bool = False
    _deck: list[Mood] = field(default_factory=list)
    told: defaultdict[int, list[Told]] = field(default_factory=lambda: defaultdict(list))
    moods: Counter[str] = field(default_factory=Counter)

    @property
    def settings(self) -> dict[str, str]:
        """What the workers need to tell it."""
        return {"ISSUEBOX_NOTICE_URL": self.url, "ISSUEBOX_NOTICE_SECRET": SECRET}

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Read a notice, whose signature must be right, and answer as the mood is."""
        notice: dict[str, Any] = Webhook(SECRET).verify(await request.text(), dict(request.headers))
        mood = Mood.TAKES if self.is_calm else self._mood()
        self.moods[mood] += 1
        at, is_taken = datetime.fromisoformat(notice["timestamp"]), mood in TAKEN
        told = Told(request.headers["webhook-id"], notice["type"], at, is_taken)
        self.told[notice["data"]["issue_id"]].append(told)
        if mood is Mood.FAILS:
            return web.Response(status=500)
        if mood is Mood.ASKS_FOR_TIME:
            return web.Response(status=503, headers={"Retry-After": "1"})
        if mood is Mood.HANGS_UP and request.transport is not None:
            request.transport.abort()
        if mood is Mood.DAWDLES:
            await asyncio.sleep(SLOW_S)
        return web.Response(status=204)

    def _mood(self) -> Mood:
        if not self._deck:
            self._deck = [mood for mood, times in MOODS.items() for _ in range(times)]
            self.chance.shuffle(self._deck)
        return self._deck.pop()


@asynccontextmanager
async def receiving(seed: str) -> AsyncIterator[Receiver]:
    """A receiver that listens within the block."""
    receiver, app = Receiver(random.Random(seed)), web.Application()
    app.add_routes([web.post("/notices", receiver.take)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, LOOPBACK, 0)
        await site.start()
        receiver.url = f"{site.name}/notices"
        yield receiver
    finally:
        await runner.cleanup()


async def untold(receiver: Receiver, client: Client, names: Mapping[int, str]) -> list[str]:
    """What the receiver does not know of issues at rest, after it had `TOLD_WITHIN_S` to learn it."""
    receiver.is_calm = True
    missing: list[str] = []
    try:
        async with asyncio.timeout(TOLD_WITHIN_S):
            while True:
                missing = await _missing(receiver, client, names)
                if not missing:
                    return []
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        return missing


async def _missing(receiver: Receiver, client: Client, names: Mapping[int, str]) -> list[str]:
    room = asyncio.Semaphore(AT_ONCE_MAX)

    async def one(issue: int, name: str) -> str:
        async with room:
            status: dict[str, Any] = await client.get_workflow_handle(name).query("status")
        expected, told = present(status), receiver.told.get(issue, [])
        if not expected or (knows(told) == expected):
            return ""
        return f"issue {issue}: {expected} was not told, but {[each.kind for each in told[-3:]]}"

    found = await asyncio.gather(*(one(issue, name) for issue, name in names.items()))
    return [each for each in found if each]


def knows(told: Sequence[Told]) -> str:
    """The kind of the newest notice, if it was taken at one of its tries."""
    is_taken = any(each.is_taken for each in told if each.id == told[-1].id)
    return told[-1].kind if is_taken else ""


def present(status: Mapping[str, Any]) -> str:
    """The notice that is due for an issue at rest, by what its workflow says of itself; '' for none."""
    if status["blocked"]:
        return "" if status["blocked"]["cause"] == "queued" else "sandbox.blocked"  # It is on its way.
    if status["seen_at"] is None:
        return ""  # Nobody ever asked for its sandbox.
    if status["goal"] == "running":
        return "sandbox.ready" if status["outcome"] in HANDED_OVER else ""
    return "sandbox.deleted" if status["goal"] == "deleted" else "sandbox.stopped"


def out_of_order(told: Mapping[int, list[Told]], excused: frozenset[int]) -> Iterator[str]:
    """Older notices that came after newer ones. Of `excused` issues, operators ended or reset a workflow run."""
    for issue, notices in told.items():
        for before, after in pairwise(notices):
            if after.at < before.at and issue not in excused:
                yield f"issue {issue}: {after.kind} of {after.at} came after {before.kind} of {before.at}"
