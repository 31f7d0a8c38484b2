"""The processes under test: each is started, killed, frozen and started again, and kept alive in between.

A part that ends by itself is started again after a pause, and that is counted: it is no fault of the plan.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from issuebox.dev import child

RESTART_PAUSE_S: Final = 1.0
PROBE_INTERVAL_S: Final = 0.1
STOP_TIMEOUT_S: Final = 10.0


class PartError(RuntimeError):
    """A part did not become ready in time; the text names its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a part runs, and how it is known to be ready."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    is_ready: Callable[[], Awaitable[bool]]
    before_start: Callable[[], None] = lambda: None


@dataclass(slots=True)
class Part:
    """One program through all its lives. `kill` and `freeze` overlap safely: the later end counts."""

    program: Program
    deaths: int = 0
    _process: asyncio.subprocess.Process | None = None
    _down_until: float = 0.0
    _frozen_until: float = 0.0
    _is_stopping: bool = False
    _keeper: asyncio.Task[None] | None = None
    _wakers: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def pid(self) -> int | None:
        """The process of the present life; None between two lives."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    @property
    def is_frozen(self) -> bool:
        return _now() < self._frozen_until

    def start(self) -> None:
        """Begin to keep it alive."""
        self._keeper = asyncio.create_task(self._keep())

    async def ready(self, timeout_s: float) -> None:
        """Wait until it serves. Raises `PartError`."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.pid is None or not await self.program.is_ready():
                    self._raise_failure()
                    await asyncio.sleep(PROBE_INTERVAL_S)
        except TimeoutError as error:
            raise PartError(f"{self.name} was not ready after {timeout_s:.0f} s; see {self.program.log}") from error

    def kill(self, down_s: float) -> bool:
        """kill -9, and no new life for so long; whether there was a life to end."""
        self._down_until = max(self._down_until, _now() + down_s)
        return self._signal(signal.SIGKILL)

    def freeze(self, seconds: float) -> bool:
        """SIGSTOP, and SIGCONT after so long; whether there was a process to freeze."""
        until = _now() + seconds
        if not self._signal(signal.SIGSTOP):
            return False
        self._frozen_until = max(self._frozen_until, until)
        waker = asyncio.create_task(self._wake_at(until))
        self._wakers.add(waker)
        waker.add_done_callback(self._wakers.discard)
        return True

    def thaw(self) -> None:
        """SIGCONT, and no pause before the next life."""
        self._frozen_until = self._down_until = 0.0
        self._signal(signal.SIGCONT)

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL after 10 s; returns when it is gone. Safe to repeat."""
        self._is_stopping = True
        self.thaw()
        self._signal(signal.SIGTERM)
        if self._keeper is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await asyncio.wait({self._keeper})
        self._signal(signal.SIGKILL)
        await self._keeper

    async def _keep(self) -> None:
        while not self._is_stopping:
            self.program.before_start()
            with self.program.log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    # The kernel ends it with us: nothing outlives a killed run.
                    *(sys.executable, "-I", child.__file__, str(os.getpid()), *self.program.command),
                    env=self.program.environment,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            await self._process.wait()
            is_ours = self._down_until > 0.0 or self._is_stopping
            self.deaths += not is_ours
            await self._rest(self._down_until if is_ours else _now() + RESTART_PAUSE_S)
            self._down_until = 0.0

    async def _rest(self, until: float) -> None:
        # A stop or a thaw cuts the pause short, and so the clock is looked at now and then.
        while not self._is_stopping and _now() < max(until, self._down_until):  # noqa: ASYNC110
            await asyncio.sleep(PROBE_INTERVAL_S)

    async def _wake_at(self, until: float) -> None:
        await asyncio.sleep(max(0.0, until - _now()))
        if _now() >= self._frozen_until:
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> bool:
        if self.pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):  # It ended, and the event loop has not heard of it yet.
            os.kill(self.pid, number)
            return True
        return False

    def _raise_failure(self) -> None:
        if self._keeper is not None and self._keeper.done():
            self._keeper.result()


def _now() -> float:
    return asyncio.get_running_loop().time()
