"""One process of a peer: its memory, its tasks, its Daytona client. A kill ends all of them at once.

A killed process runs no clean-up: any further step of its code raises KilledError before it has an effect.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from daytona import (
    AsyncDaytona,
    AsyncSandbox,
    CreateSandboxFromSnapshotParams,
    DaytonaTimeoutError,
    ListSandboxesQuery,
)

from proofs.peers.store import Row, Table, Tables

T = TypeVar("T")

ISSUE_LABEL = "issue-id"
"""On every sandbox of every peer, so that the count knows its issue. No peer reads it."""

COMMAND_MIN_S = 5.0
"""How long a command may take at least, in real seconds: the shell's own start on a busy machine is not divided."""

CRASH: contextvars.ContextVar[CrashPoint | None] = contextvars.ContextVar("crash", default=None)
"""The planned crash of the delivery that is being handled; tasks that it starts inherit it."""


class CommandError(Exception):
    """A command inside a sandbox ended with a failure."""


class KilledError(BaseException):
    """This process was killed. Not an Exception: no peer's code can catch it."""


@dataclass(slots=True)
class CrashPoint:
    """Kills the process at the n-th step of one delivery's handling."""

    steps_left: int

    def is_now(self) -> bool:
        """Count one step. Returns whether it is the planned one."""
        self.steps_left -= 1
        return self.steps_left == 0


@dataclass(frozen=True, slots=True)
class Handover:
    """A sandbox was handed over for an issue, at this time in epoch seconds."""

    at: float
    issue: int
    sandbox_id: str


@dataclass(slots=True)
class Notebook:
    """The harness's notes on a peer, besides Daytona's journal."""

    handovers: list[Handover] = field(default_factory=list)
    saved: set[str] = field(default_factory=set)
    """Sandboxes whose content the peer put into a snapshot: deleting them loses nothing."""


class Host:
    """One process. After a kill, a new Host is the restarted process."""

    def __init__(self, client: AsyncDaytona, tables: Tables, notebook: Notebook, speed: float, seed: str) -> None:
        self.is_alive = True
        self.rng = random.Random(seed)
        self._client = client
        self._tables = tables
        self._notebook = notebook
        self._speed = speed
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def is_idle(self) -> bool:
        """Whether it runs no task."""
        return not self._tasks

    def table(self, name: str, kind: type[Row]) -> Table[Row]:
        """A table of the durable store."""
        return Table(self._tables.rows(name), kind, self.step, self.rng)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run in the background. The task outlives the caller and ends with the process."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def kill(self) -> None:
        """SIGKILL: tasks end, connections break, memory is gone."""
        self.is_alive = False
        for task in self._tasks:
            task.cancel()

    async def step(self) -> None:
        """A point at which the process may be killed. Raises KilledError when it is."""
        crash = CRASH.get()
        if crash is not None and self.is_alive and crash.is_now():
            self.kill()
        if not self.is_alive:
            raise KilledError

    async def sleep(self, seconds: float) -> None:
        """Sleep seconds of Daytona's time, which passes `speed` times as fast."""
        await self.step()
        await asyncio.sleep(seconds / self._speed)
        await self.step()

    def now_s(self) -> float:
        """A clock in seconds of Daytona's time."""
        return asyncio.get_running_loop().time() * self._speed

    def deadline(self, seconds: float) -> Callable[[], float]:
        """A function that returns how many of these seconds of Daytona's time are left."""
        end_s = self.now_s() + seconds
        return lambda: end_s - self.now_s()

    def hand_over(self, issue: int, sandbox: AsyncSandbox) -> None:
        """Note that this sandbox was handed over."""
        self.hand_over_id(issue, sandbox.id)

    def hand_over_id(self, issue: int, sandbox_id: str) -> None:
        """Note it for a sandbox that was not read."""
        if self.is_alive:
            self._notebook.handovers.append(Handover(time.time(), issue, sandbox_id))

    def save(self, sandbox_id: str) -> None:
        """Note that the peer keeps a snapshot of its content."""
        self._notebook.saved.add(sandbox_id)

    async def create(
        self, issue: int, name: str | None = None, labels: dict[str, str] | None = None, timeout_s: float = 60
    ) -> AsyncSandbox:
        """The SDK's create: returns a started sandbox. Raises DaytonaError."""
        params = CreateSandboxFromSnapshotParams(name=name, labels={**(labels or {}), ISSUE_LABEL: str(issue)})
        return await self._call(self._client.create(params, timeout=self._real_s(timeout_s)))

    async def get(self, id_or_name: str) -> AsyncSandbox:
        """The SDK's get."""
        return await self._call(self._client.get(id_or_name))

    async def search(self, labels: dict[str, str]) -> list[AsyncSandbox]:
        """The SDK's list by labels, all pages."""
        return await self._call(self._listed(labels))

    async def start(self, sandbox: AsyncSandbox, timeout_s: float = 60) -> None:
        """The SDK's start: returns when it is started."""
        await self._call(sandbox.start(timeout=self._real_s(timeout_s)))

    async def stop(self, sandbox: AsyncSandbox) -> None:
        """The SDK's stop: returns when it is stopped."""
        await self._call(sandbox.stop(timeout=self._real_s(60)))

    async def recover(self, sandbox: AsyncSandbox) -> None:
        """The SDK's recover."""
        await self._call(sandbox.recover(timeout=self._real_s(60)))

    async def delete(self, sandbox: AsyncSandbox) -> None:
        """The SDK's delete: returns when it is accepted."""
        await self._call(sandbox.delete(timeout=self._real_s(60)))

    async def wait_started(self, sandbox: AsyncSandbox, timeout_s: float) -> None:
        """The SDK's wait for the start. Raises DaytonaError, also when the time is up."""
        await self._call(sandbox.wait_for_sandbox_start(timeout=self._real_s(timeout_s)))

    async def run_inside(self, sandbox: AsyncSandbox) -> None:
        """A harmless command inside, as set-up and health checks do. Raises DaytonaError when it cannot run."""
        await self._call(sandbox.process.exec("true"))

    async def execute(self, sandbox: AsyncSandbox, command: str, timeout_s: float = 60) -> str:
        """The SDK's exec: returns what the command printed. Raises DaytonaError, also when the time is up.

        The command's own failure is a CommandError.
        """
        try:
            async with asyncio.timeout(max(COMMAND_MIN_S, timeout_s / self._speed)):
                done = await self._call(sandbox.process.exec(command))
        except TimeoutError as error:
            raise DaytonaTimeoutError(f"no answer within {timeout_s:g} s") from error
        if done.exit_code:
            raise CommandError(f"exit code {done.exit_code}: {done.result}")
        return done.result

    async def _listed(self, labels: dict[str, str]) -> list[AsyncSandbox]:
        return [sandbox async for sandbox in self._client.list(ListSandboxesQuery(labels=labels))]

    async def _call(self, call: Coroutine[Any, Any, T]) -> T:
        try:
            await self.step()
        except KilledError:
            call.close()
            raise
        answer = await call
        await self.step()
        return answer

    def _real_s(self, seconds: float) -> float:
        # The SDK rounds timeouts of requests below one second up to one.
        return max(1.0, seconds / self._speed)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        # Retrieved here, as nobody else awaits a background task: its failure shows only in the counts.
        if not task.cancelled():
            task.exception()
