"""Keeps a few child processes alive, in order, until it is told to stop.

It does not know what the processes are. Considered and rejected: Honcho (no readiness, no restart) and
circus (a daemon with its own message bus).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from issuebox.dev.child import bound

PROBE_INTERVAL_S: Final = 0.1
RESTART_PAUSE_FIRST_S: Final = 0.25
RESTART_PAUSE_MAX_S: Final = 5.0
DEATHS_MAX: Final = 5
DEATHS_WINDOW_S: Final = 30.0
LAST_LINES_MAX: Final = 20
LINE_MAX_BYTES: Final = 64 * 1024
DRAIN_TIMEOUT_S: Final = 1.0


class ServiceFailedError(Exception):
    """A service did not become ready, or died too often; the text holds its last lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One program to keep running.

    ``before_start`` runs before every start and removes what an earlier process left for ``is_ready``
    to see.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    is_ready: Callable[[], Awaitable[bool]]
    before_start: Callable[[], None] = lambda: None
    ready_timeout_s: float = 60.0
    stop_timeout_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    """What the supervisor reports to: `say` its own lines, `show` a line of a service, `changed` new pids."""

    say: Callable[[str], None]
    show: Callable[[str, str], None]
    changed: Callable[[], None]


@dataclass(slots=True)
class Runner:
    """One service, through all its restarts."""

    service: Service
    log: Path
    reporter: Reporter
    inherited: Sequence[int]
    process: asyncio.subprocess.Process | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    hurrying: asyncio.Event = field(default_factory=asyncio.Event)
    deaths_s: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS_MAX))
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES_MAX))

    @property
    def pid(self) -> int | None:
        """The current process, None between two."""
        return self.process.pid if self.process and self.process.returncode is None else None

    async def run(self) -> None:
        """Run the service, and restart it after each death, until stopped. Raises `ServiceFailedError`."""
        while not self.stopping.is_set():
            code = await self._live()
            if not self.stopping.is_set():
                pause_s = self._pause_after_death(code)
                self.reporter.say(f"{self.service.name} {_how(code)}; restarting it in {pause_s:.2g} s.")
                await _set_within(self.stopping, pause_s)

    def failure(self, what: str) -> ServiceFailedError:
        """The error to raise about this service, with the end of its log."""
        lines = "".join(f"\n  {line}" for line in self.last_lines)
        return ServiceFailedError(f"{self.service.name} {what}. Its last lines ({self.log}):{lines or ' none'}")

    async def _live(self) -> int:
        self.service.before_start()
        process, output = await self._spawn()
        self.process = process
        self.reporter.changed()
        pump = asyncio.create_task(self._pump(output))
        probe = asyncio.create_task(self._probe())
        exited = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self.stopping.wait())
        try:
            await asyncio.wait({exited, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not exited.done():
                await self._terminate(process.pid, exited)
            # A grandchild may hold the pipe open for longer than we want to listen.
            await asyncio.wait({pump}, timeout=DRAIN_TIMEOUT_S)
            return await exited
        finally:
            self.ready.clear()
            for task in (pump, probe, exited, stopping):
                task.cancel()

    async def _spawn(self) -> tuple[asyncio.subprocess.Process, int]:
        """Start the program in its own session, so that Ctrl-C reaches only us and we stop services in order."""
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *bound(*self.service.command),
                env=self.service.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                pass_fds=self.inherited,
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        return process, reading

    async def _terminate(self, pid: int, exited: asyncio.Task[int]) -> None:
        _send(os.kill, pid, signal.SIGTERM)
        hurrying = asyncio.create_task(self.hurrying.wait())
        await asyncio.wait({exited, hurrying}, timeout=self.service.stop_timeout_s, return_when=asyncio.FIRST_COMPLETED)
        hurrying.cancel()
        if not exited.done():
            why = "you asked twice" if self.hurrying.is_set() else "it did not stop in time"
            self.reporter.say(f"Killing {self.service.name}: {why}.")
            _send(os.killpg, pid, signal.SIGKILL)

    async def _pump(self, descriptor: int) -> None:
        """Copy the output to the log and to the reporter, line by line, until the pipe closes."""
        reader = asyncio.StreamReader(limit=LINE_MAX_BYTES)
        pipe = os.fdopen(descriptor, "rb", buffering=0)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        with contextlib.closing(transport), self.log.open("ab", buffering=0) as log:
            while line := await _line(reader):
                log.write(line)
                text = line.decode(errors="replace").rstrip()
                self.last_lines.append(text)
                self.reporter.show(self.service.name, text)

    async def _probe(self) -> None:
        while not await self.service.is_ready():  # noqa: ASYNC110 - another process sets no event of ours
            await asyncio.sleep(PROBE_INTERVAL_S)
        self.ready.set()
        if self.deaths_s:
            self.reporter.say(f"{self.service.name} is ready again.")

    def _pause_after_death(self, code: int) -> float:
        """Seconds to wait before the restart. Raises `ServiceFailedError` when it died too often recently."""
        now_s = time.monotonic()
        self.deaths_s.append(now_s)
        recent = sum(now_s - death_s <= DEATHS_WINDOW_S for death_s in self.deaths_s)
        if recent >= DEATHS_MAX:
            raise self.failure(f"{_how(code)}, for the {recent}th time in {DEATHS_WINDOW_S:.0f} s")
        return float(min(RESTART_PAUSE_FIRST_S * 2 ** (recent - 1), RESTART_PAUSE_MAX_S))


class Supervisor:
    """Starts services one after the other, each when the one before is ready, and stops them in reverse."""

    def __init__(self, log_dir: Path, reporter: Reporter, inherited: Sequence[int] = ()) -> None:
        """``inherited`` are descriptors that every service keeps open, such as that of a lock."""
        self._log_dir = log_dir
        self._reporter = reporter
        self._inherited = inherited
        self._running: list[tuple[Runner, asyncio.Task[None]]] = []

    @property
    def pids(self) -> dict[str, int]:
        """The live process of each service that has one."""
        return {runner.service.name: runner.pid for runner, _ in self._running if runner.pid is not None}

    async def start(self, service: Service) -> None:
        """Start one more service and return when it is ready. Raises `ServiceFailedError`."""
        runner = Runner(service, self._log_dir / f"{service.name}.log", self._reporter, self._inherited)
        task = asyncio.create_task(runner.run())
        self._running.append((runner, task))
        ready = asyncio.create_task(runner.ready.wait())
        try:
            tasks = {ready, *self._tasks()}
            await asyncio.wait(tasks, timeout=service.ready_timeout_s, return_when=asyncio.FIRST_COMPLETED)
            self._raise_failure()
            if not ready.done():
                raise runner.failure(f"was not ready after {service.ready_timeout_s:g} s")
        finally:
            ready.cancel()

    async def watch(self) -> None:
        """Run until a service has died too often, which raises `ServiceFailedError`."""
        await asyncio.wait(self._tasks(), return_when=asyncio.FIRST_COMPLETED)
        self._raise_failure()

    async def stop(self) -> None:
        """Stop all services, last started first. Each is killed when its time to stop is up."""
        for runner, task in reversed(self._running):
            runner.stopping.set()
            await asyncio.wait({task})
        done, self._running = self._running, []
        for _, task in done:
            # `start` or `watch` has reported a failure; here the service only has to be gone.
            with contextlib.suppress(ServiceFailedError):
                task.result()

    def hurry(self) -> None:
        """Kill services at once instead of giving them time to stop."""
        for runner, _ in self._running:
            runner.hurrying.set()

    def _tasks(self) -> set[asyncio.Task[None]]:
        return {task for _, task in self._running}

    def _raise_failure(self) -> None:
        for _, task in self._running:
            if task.done():
                task.result()


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The next line, or as much of one as fits the limit; empty at the end."""
    try:
        return await reader.readuntil()
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        return await reader.read(error.consumed) + b"\n"


def _send(send: Callable[[int, int], None], pid: int, number: signal.Signals) -> None:
    """Signal a process or its group; it may have been reaped before the event loop noticed."""
    with contextlib.suppress(ProcessLookupError):
        send(pid, number)


async def _set_within(event: asyncio.Event, timeout_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


def _how(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
