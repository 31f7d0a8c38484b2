"""The processes under test: each is started, killed, frozen, terminated and restarted.

A part that ends by itself is restarted after a pause and counted, because the plan did not cause that end. A part that
does not end after a SIGTERM is killed and counted, as a deploy would do it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from issuebox.dev import child
from proofs.chaos.pump import Pump, pumped

RESTART_PAUSE_S: Final = 1.0
PROBE_INTERVAL_S: Final = 0.1
END_TIMEOUT_S: Final = 15.0
"""How long a process may take to end in order. A worker gives its activities 5 s; Kubernetes gives a process 30 s."""
IN_ORDER: Final = frozenset({0, -signal.SIGTERM})
"""Exit codes of an orderly end. uvicorn raises the signal again once everything is closed."""


class Ending(StrEnum):
    """The outcome of a SIGTERM; completes "the process …"."""

    IN_ORDER = "ended in order"
    KILLED = "was killed meanwhile"
    WITH_ERROR = "ended with an error"
    DID_NOT_END = "did not end"
    ALREADY_DOWN = "was down already"


BAD_ENDINGS: Final = (Ending.WITH_ERROR, Ending.DID_NOT_END)
"""Endings that a deploy should never see."""


class PartError(RuntimeError):
    """A part did not become ready in time. The text names its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The command of a part, and how to tell that it is ready."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    is_ready: Callable[[], Awaitable[bool]]
    before_start: Callable[[], None] = lambda: None
    is_narrow: bool = False
    """Whether the pipe to its log is as small as possible, so that a stalled reader soon blocks it."""


@dataclass(slots=True)
class Part:
    """One program, through all its restarts. Disturbances may overlap: the later end counts.

    `deaths`: the ends that nobody asked for. `endings`: the outcomes of SIGTERMs, of which `bad_endings` tells those
    that a deploy should never see, with their exit codes. `full_pipes`: how many processes had a full log pipe at the
    end of a stall.
    """

    program: Program
    deaths: int = 0
    endings: Counter[Ending] = field(default_factory=Counter)
    bad_endings: list[str] = field(default_factory=list)
    full_pipes: int = 0
    _process: asyncio.subprocess.Process | None = None
    _pump: Pump | None = None
    _is_ending: bool = False
    _up_at: float = math.inf
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
        """The ID of the present process; None while there is none."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    @property
    def is_frozen(self) -> bool:
        return _now() < self._frozen_until

    def start(self) -> None:
        """Start it, and restart it from now on whenever it ends."""
        self._keeper = asyncio.create_task(self._keep_running())

    async def is_serving(self) -> bool:
        """Whether it works now: it is up and ready, not frozen, and has no SIGTERM pending."""
        is_there = self.pid is not None and not self._is_ending and not self.is_frozen
        return is_there and await self.program.is_ready()

    async def ready(self, timeout_s: float) -> None:
        """Wait until it serves. Raises `PartError`."""
        try:
            async with asyncio.timeout(timeout_s):
                while not await self.is_serving():
                    self._raise_failure()
                    await asyncio.sleep(PROBE_INTERVAL_S)
        except TimeoutError as error:
            raise PartError(f"{self.name} was not ready after {timeout_s:.0f} s; see {self.program.log}") from error

    async def at_work(self, seconds: float, timeout_s: float) -> bool:
        """Wait until its process has been up (once ready) for so long. Returns False after `timeout_s`."""
        deadline = _now() + timeout_s
        while _now() - self._up_at < seconds:
            if _now() >= deadline:
                return False
            await asyncio.sleep(PROBE_INTERVAL_S)
        return True

    def kill(self, down_s: float) -> bool:
        """kill -9, and no restart for so long. Returns whether there was a process."""
        self._down_until = max(self._down_until, _now() + down_s)
        return self._signal(signal.SIGKILL)

    def freeze(self, seconds: float) -> bool:
        """SIGSTOP, and SIGCONT after so long. Returns whether there was a process."""
        until = _now() + seconds
        if not self._signal(signal.SIGSTOP):
            return False
        self._frozen_until = max(self._frozen_until, until)
        waker = asyncio.create_task(self._wake_at(until))
        self._wakers.add(waker)
        waker.add_done_callback(self._wakers.discard)
        return True

    def stall_reader(self, seconds: float) -> bool:
        """Leave its log unread for so long, or until its process ends. Returns whether there was a process."""
        if self.pid is None or self._pump is None:
            return False
        self._pump.stall(seconds)
        return True

    async def end(self, down_s: float) -> Ending:
        """SIGTERM, and a restart `down_s` after its end. Returns the outcome, and counts it.

        A process that needs longer than `END_TIMEOUT_S` is killed. Time in which it is frozen does not count.
        """
        process = self._process
        if process is None or self._is_ending or not self._signal(signal.SIGTERM):
            return Ending.ALREADY_DOWN
        self._is_ending = True
        try:
            ending = await self._ended(process)
            self._down_until = max(self._down_until, _now() + down_s)
        finally:
            self._is_ending = False
        self.endings[ending] += 1
        if ending in BAD_ENDINGS:
            self.bad_endings.append(f"{self.name} {ending} (exit code {process.returncode})")
        return ending

    def thaw(self) -> None:
        """SIGCONT, a reader that reads, and no pause before the next restart."""
        self._frozen_until = self._down_until = 0.0
        self._signal(signal.SIGCONT)
        if self._pump is not None:
            self._pump.flow()

    async def stop(self) -> None:
        """End it for good, in order when it can. Returns when it is gone. Safe to repeat."""
        self._is_stopping = True
        self.thaw()
        if self._keeper is None:
            return
        while not self._keeper.done():
            if await self.end(0.0) is Ending.ALREADY_DOWN:
                # It is starting, or already ending.
                await asyncio.wait({self._keeper}, timeout=PROBE_INTERVAL_S)
        await self._keeper

    async def _keep_running(self) -> None:
        while not self._is_stopping:
            self.program.before_start()
            await self._run()
            await self._pause()

    async def _run(self) -> None:
        """Run one process: from its start to the last line of its log."""
        async with pumped(self.program.log, is_narrow=self.program.is_narrow) as pump:
            self._process = await asyncio.create_subprocess_exec(
                # The kernel ends it with this process, so that nothing outlives a killed run.
                *(sys.executable, "-I", child.__file__, str(os.getpid()), *self.program.command),
                env=self.program.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=pump.writing,
                stderr=pump.writing,
                start_new_session=True,
            )
            pump.close_writing()
            self._pump = pump
            probe = asyncio.create_task(self._note_when_up())
            try:
                await self._process.wait()
            finally:
                probe.cancel()
                self._up_at = math.inf
        self._pump = None
        self.full_pipes += pump.was_full

    async def _note_when_up(self) -> None:
        while not await self.program.is_ready():  # noqa: ASYNC110 -- another process sets no event of ours
            await asyncio.sleep(PROBE_INTERVAL_S)
        self._up_at = _now()

    async def _pause(self) -> None:
        """Count an end that nobody asked for, and wait until the restart is due."""
        if not (self._is_stopping or self._is_ending or self._down_until > 0.0):
            self.deaths += 1
            self._down_until = _now() + RESTART_PAUSE_S
        # A stop or a thaw cuts the pause short, so this polls.
        while not self._is_stopping and (self._is_ending or _now() < self._down_until):  # noqa: ASYNC110
            await asyncio.sleep(PROBE_INTERVAL_S)
        self._down_until = 0.0

    async def _ended(self, process: asyncio.subprocess.Process) -> Ending:
        """Wait for the end of a process after a SIGTERM, and kill it when that takes too long."""
        left_s, before = END_TIMEOUT_S, _now()
        while process.returncode is None and left_s > 0.0:
            await asyncio.sleep(PROBE_INTERVAL_S)
            left_s -= 0.0 if self.is_frozen else _now() - before
            before = _now()
        if process.returncode is None:
            self._signal(signal.SIGKILL)
            await process.wait()
            return Ending.DID_NOT_END
        if process.returncode == -signal.SIGKILL:
            return Ending.KILLED
        return Ending.IN_ORDER if process.returncode in IN_ORDER else Ending.WITH_ERROR

    async def _wake_at(self, until: float) -> None:
        await asyncio.sleep(max(0.0, until - _now()))
        if _now() >= self._frozen_until:
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> bool:
        if self.pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):  # It has ended, and the event loop does not know yet.
            os.kill(self.pid, number)
            return True
        return False

    def _raise_failure(self) -> None:
        if self._keeper is not None and self._keeper.done():
            self._keeper.result()


def _now() -> float:
    return asyncio.get_running_loop().time()
