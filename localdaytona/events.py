"""The event stream (Engine.IO v4 and Socket.IO, web socket only), and the others that wait for changes.

One queue keeps the order: an event is sent before the held request that waits for it is answered.
"""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import socketio

from localdaytona.config import Config
from localdaytona.fault_model import Delay, Drop, Fault, Hang
from localdaytona.interruption import HANG_MAX_S, transport_of
from localdaytona.ledger import Event
from localdaytona.toolbox_host import ToolboxListener

log = logging.getLogger(__name__)
PATH = "/api/socket.io"


@dataclass(frozen=True, slots=True)
class Batch:
    """What to publish about one committed change."""

    events: list[Event] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)
    stopped: list[str] = field(default_factory=list)
    destroyed: list[str] = field(default_factory=list)


class EventStream:
    """The Socket.IO server: admits connections, and drops them on demand."""

    def __init__(self, api_key: str, config: Callable[[], Config], take_fault: Callable[[], Fault | None]) -> None:
        self._api_key = api_key
        self._config = config
        self._take_fault = take_fault
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.server = socketio.AsyncServer(
            async_mode="asgi", transports=["websocket"], cors_allowed_origins=[], ping_interval=25, ping_timeout=20
        )
        self.server.on("connect", self._connect)
        self.server.on("disconnect", self._disconnect)

    async def emit(self, event: Event) -> None:
        """Send an event to every connection."""
        await self.server.emit(event.name, event.payload)

    def drop_all(self) -> int:
        """Reset every connection, as a broken network would, and return their number."""
        sids = [sid for sid, _ in self.server.manager.get_participants("/", None)]
        for sid in sids:
            self._drop(sid)
        return len(sids)

    def _drop(self, sid: str) -> None:
        environ = self.server.get_environ(sid)
        if environ is not None:
            transport_of(environ["asgi.scope"]).abort()

    async def _connect(self, sid: str, environ: dict[str, object], auth: object) -> None:  # noqa: ARG002
        token = auth.get("token") if isinstance(auth, dict) else None
        if token != self._api_key:
            raise socketio.exceptions.ConnectionRefusedError("Invalid credentials")
        await self._interrupt(sid)
        drop_after_s = self._config().events_drop_after_s
        if drop_after_s is not None:
            delay_s = self._config().scaled(drop_after_s)
            self._timers[sid] = asyncio.get_running_loop().call_later(delay_s, self._drop, sid)

    async def _interrupt(self, sid: str) -> None:
        fault = self._take_fault()
        match fault.effect if fault is not None else None:
            case None:
                return
            case Delay(seconds=seconds):
                await asyncio.sleep(seconds)
            case Hang():
                await asyncio.sleep(HANG_MAX_S)
            case Drop():
                self._drop(sid)
            case _:
                raise socketio.exceptions.ConnectionRefusedError("Injected fault")

    async def _disconnect(self, sid: str, reason: str) -> None:  # noqa: ARG002
        timer = self._timers.pop(sid, None)
        if timer is not None:
            timer.cancel()


class Publisher:
    """Publishes committed changes in order to the event stream, held requests and the toolbox."""

    def __init__(self, emit: Callable[[Event], Awaitable[None]]) -> None:
        self._emit = emit
        self._queue: asyncio.Queue[Batch] = asyncio.Queue()
        self._waiters: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._listeners: list[ToolboxListener] = []
        self._telling: dict[str, asyncio.Task[None]] = {}
        # How many notifications of the toolbox about a sandbox are not over yet.
        self._owed: Counter[str] = Counter()

    def add_listener(self, listener: ToolboxListener) -> None:
        """Notify this listener when a sandbox stops or is destroyed."""
        self._listeners.append(listener)

    def put(self, batch: Batch) -> None:
        """Queue what to publish about a committed change."""
        self._owed.update([*batch.stopped, *batch.destroyed] * len(self._listeners))
        self._queue.put_nowait(batch)

    def is_ending(self, sandbox_id: str) -> bool:
        """Return whether the toolbox still ends the processes of a sandbox, or has yet to be told to."""
        return self._owed[sandbox_id] > 0

    @contextmanager
    def watching(self, sandbox_id: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set after each change of the sandbox."""
        changed = asyncio.Event()
        self._waiters[sandbox_id].add(changed)
        try:
            yield changed
        finally:
            self._waiters[sandbox_id].discard(changed)
            if not self._waiters[sandbox_id]:
                del self._waiters[sandbox_id]

    def wake_all(self) -> None:
        """Wake up everybody who watches a sandbox."""
        for watching in self._waiters.values():
            for changed in watching:
                changed.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            batch = await self._queue.get()
            for event in batch.events:
                await self._emit(event)
            for sandbox_id in batch.changed:
                for changed in self._waiters.get(sandbox_id, ()):
                    changed.set()
            self._tell_toolbox(batch)

    def _tell_toolbox(self, batch: Batch) -> None:
        """Start the listeners without waiting: ending a sandbox's processes may take seconds."""
        for listener in self._listeners:
            for sandbox_id in batch.stopped:
                self._start(listener.sandbox_stopped(sandbox_id), sandbox_id)
            for sandbox_id in batch.destroyed:
                self._start(listener.sandbox_destroyed(sandbox_id), sandbox_id)

    def _start(self, told: Coroutine[None, None, None], sandbox_id: str) -> None:
        task = asyncio.create_task(_in_turn(self._telling.get(sandbox_id), told))
        self._telling[sandbox_id] = task
        task.add_done_callback(lambda done: self._ended(done, sandbox_id))

    def _ended(self, task: asyncio.Task[None], sandbox_id: str) -> None:
        self._owed -= Counter([sandbox_id])
        if self._telling.get(sandbox_id) is task:
            del self._telling[sandbox_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("toolbox_listener_failed sandbox_id=%s", sandbox_id, exc_info=error)


async def _in_turn(before: asyncio.Task[None] | None, told: Coroutine[None, None, None]) -> None:
    """Run a notification once the previous one about the same sandbox has ended, successfully or not."""
    if before is not None:
        await asyncio.wait([before])
    await told
