"""The reader of a worker's log stops reading: a terminal that is held by Ctrl-S, an agent that hangs.

The worker is a real process whose output is the test's pipe. Events come in by webhook, and the test reads the issues
over REST, on a real Temporal server and a localdaytona.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from issuebox.dev.child import bound
from issuebox.dev.environment import bare, to_temporal
from issuebox.dev.mock_delivery import MockDelivery, MockIssue, build
from issuebox.settings import ApiSettings
from localdaytona.testing import Server, running
from tests.api.conftest import BEARER, SECRET, Api, served, settings_for
from tests.conftest import new_issue_id
from tests.waiting import until

pytestmark = pytest.mark.timeout(240)

REPOSITORY = Path(__file__).parents[2]

ISSUES = 160
DELIVERIES = 700
STALL_S = 8.0
AT_ONCE = 24
"""Requests in flight: as many deliveries as GitHub sends at once on a busy day."""

READY_S = 60.0
ANSWER_S = 60.0
END_S = 20.0
"""Twice the time that `issuebox dev` gives a part to end."""


@dataclass
class Log:
    """The reading end of a worker's output, which a test can leave unread."""

    reading: int
    writing: int
    text: bytearray = field(default_factory=bytearray)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    def read(self) -> None:
        """Read from now on."""
        asyncio.get_running_loop().add_reader(self.reading, self._take)

    def stall(self) -> None:
        """Stop reading."""
        asyncio.get_running_loop().remove_reader(self.reading)

    async def events(self) -> list[dict[str, Any]]:
        """The whole log of a worker that has ended. Fails when a line is no JSON."""
        async with asyncio.timeout(END_S):
            await self.is_over.wait()
        return [json.loads(line) for line in bytes(self.text).splitlines()]

    def _take(self) -> None:
        taken = os.read(self.reading, 1 << 20)
        self.text += taken
        if not taken:
            self.is_over.set()
            self.stall()


@asynccontextmanager
async def piped() -> AsyncIterator[Log]:
    """A pipe that is being read."""
    log = Log(*os.pipe())
    log.read()
    try:
        yield log
    finally:
        log.stall()
        os.close(log.reading)


@asynccontextmanager
async def working(log: Log, environment: dict[str, str], ready: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker, as an operator starts it, that polls. It ends with the block."""
    process = await asyncio.create_subprocess_exec(
        *bound(sys.executable, "-m", "issuebox", "worker", "--ready-file", str(ready)),
        cwd=REPOSITORY,
        env=environment,
        stdout=log.writing,
        stderr=log.writing,
    )
    os.close(log.writing)
    try:

        async def is_ready() -> bool:
            assert process.returncode is None, bytes(log.text).decode()
            return ready.exists()

        await until(is_ready, bool, "the worker polls", READY_S)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class GitHub:
    """Sends deliveries about issues, each newer than the one before, and sends the last one of an issue again."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._seconds = itertools.count()
        self._began = datetime.now(UTC) - timedelta(hours=1)
        self._last: dict[int, MockDelivery] = {}

    async def opened(self, issue: int) -> None:
        await self._new("opened", issue)

    async def comments(self, issue: int) -> None:
        await self._new("comment", issue)

    async def redelivers(self, issue: int) -> None:
        await self._post(self._last[issue])

    async def _new(self, action: str, issue: int) -> None:
        about = MockIssue(issue, "octo/repo", updated_at=self._began + timedelta(seconds=next(self._seconds)))
        self._last[issue] = build(action, about, SECRET)
        await self._post(self._last[issue])

    async def _post(self, mock: MockDelivery) -> None:
        reply = await self._api.client.post("/webhooks/github", content=mock.body, headers=dict(mock.headers))
        assert reply.status_code == httpx.codes.ACCEPTED, reply.text


async def each(issues: Iterable[int], act: Callable[[int], Awaitable[object]]) -> None:
    """Do it for all of them, `AT_ONCE` at a time."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(issue: int) -> None:
        async with free:
            await act(issue)

    async with asyncio.TaskGroup() as tasks:
        for issue in issues:
            tasks.create_task(one(issue))


@dataclass
class Scene:
    """A worker whose log the test reads, and its issues with a running sandbox."""

    worker: asyncio.subprocess.Process
    log: Log
    api: Api
    github: GitHub
    issues: list[int]

    async def answers(self, issue: int, deliveries: int = 1) -> None:
        """Wait until the issue's workflow answers, has seen so many deliveries, and no request waits."""

        async def asked() -> httpx.Response:
            return await self.api.client.get(f"/v1/issues/{issue}/sandbox", headers=BEARER)

        def is_served(reply: httpx.Response) -> bool:
            if reply.status_code != httpx.codes.OK:
                return False
            seen = reply.json()
            return seen["deliveries_seen"] >= deliveries and not seen["requests_waiting"]

        await until(asked, is_served, f"issue {issue} answers", ANSWER_S)

    async def ends(self) -> None:
        """SIGTERM ends the worker in order."""
        self.worker.terminate()
        async with asyncio.timeout(END_S):
            assert await self.worker.wait() == 0


@asynccontextmanager
async def set_up(tmp_path: Path, address: str, daytona: Server, issues: int) -> AsyncIterator[Scene]:
    """This many issues have their sandbox, and the worker is idle."""
    settings = settings_for(f"stalled-{new_issue_id()}")
    async with (
        served(address, settings) as api,
        piped() as log,
        working(log, environment_of(settings, address, daytona), tmp_path / "ready") as worker,
    ):
        scene = Scene(worker, log, api, GitHub(api), [new_issue_id() for _ in range(issues)])
        await each(scene.issues, scene.github.opened)
        await each(scene.issues, scene.answers)
        yield scene


def environment_of(settings: ApiSettings, address: str, daytona: Server) -> dict[str, str]:
    """The worker's environment."""
    own = {
        "ISSUEBOX_TASK_QUEUE": settings.task_queue,
        "DAYTONA_API_KEY": daytona.api_key,
        "DAYTONA_API_URL": daytona.api_url,
    }
    return bare() | to_temporal(address) | own


@pytest.fixture
async def daytona(tmp_path: Path) -> AsyncIterator[Server]:
    """A fast localdaytona."""
    async with running(tmp_path / "daytona", speed=20) as server:
        yield server


async def test_issues_are_served_while_nobody_reads_the_log(
    tmp_path: Path, temporal_address: str, daytona: Server
) -> None:
    """The worker handles new events meanwhile, and SIGTERM ends it although its last lines are not read."""
    comments = 40
    async with set_up(tmp_path, temporal_address, daytona, issues=10) as scene:
        scene.log.stall()
        for _ in range(comments):  # About 100 kB of lines, which no pipe holds.
            await each(scene.issues, scene.github.comments)
        await each(scene.issues, lambda issue: scene.answers(issue, 1 + comments))
        await scene.ends()


async def test_worker_survives_a_burst_of_events_while_nobody_reads_the_log(
    tmp_path: Path, temporal_address: str, daytona: Server
) -> None:
    """Every issue answers afterwards, the log is whole, and SIGTERM ends the worker in order.

    The worker is frozen while the deliveries come in, so that a hundred workflows have something to log at once. If
    each waited for the reader, Temporal's deadlock detector would throw into one that waits for the log's lock. They
    are redeliveries, which cause no lookup, so that the event loop logs nothing and can detect that.
    """
    async with set_up(tmp_path, temporal_address, daytona, ISSUES) as scene:
        scene.worker.send_signal(signal.SIGSTOP)
        await each(itertools.islice(itertools.cycle(scene.issues), DELIVERIES), scene.github.redelivers)
        scene.log.stall()
        scene.worker.send_signal(signal.SIGCONT)
        await asyncio.sleep(STALL_S)
        scene.log.read()
        await each(scene.issues, scene.answers)
        await scene.ends()
        words = [line["event"] for line in await scene.log.events()]
    assert words.count("event_received") >= ISSUES + DELIVERIES
    assert "worker_stopping" in words
