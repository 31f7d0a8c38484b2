"""Carries out transitions and timers, and commits every change with its journal entries.

All changes of rows go through `Engine.changing`. Due times are in the rows, so a restart continues
where the process was killed.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from localdaytona.config import Config
from localdaytona.events import Batch, Publisher
from localdaytona.flights import Cause, advance, back_up, depart, time_out
from localdaytona.journal import NewEntry
from localdaytona.ledger import entries, events
from localdaytona.model import SETTLED_START, Sandbox, now_s
from localdaytona.store import Store
from localdaytona.timers import BATCH_MAX, TIMERS, Timer
from localdaytona.transitions import TIMEOUTS, TRANSITIONS

# However fast the server runs, timers are not checked more often: each check costs milliseconds.
TICK_MIN_S = 0.02
# A sandbox stays `stopping` while its processes end; this often it is looked at again.
ENDING_S = 0.02

# The sandboxes that wait for a backup, in the order in which the real server takes them: those that are being archived
# first, then those without any backup, then the oldest.
WAITING_FOR_BACKUP = (
    "state IN ('archiving', 'stopped') AND desired IN ('archived', 'stopped')"
    " AND (doc ->> '$.backup_state') = 'Pending'"
)
BACKUP_ORDER = "ORDER BY state != 'archiving', (doc ->> '$.backup_at') IS NOT NULL, (doc ->> '$.backup_at'), created_at"


class Change:
    """The open transaction: rows and journal entries to be written together."""

    def __init__(self, store: Store, at: float, toolbox_url: str) -> None:
        self._store = store
        self._toolbox_url = toolbox_url
        self.at = at
        self.batch = Batch()

    def put(self, old: Sandbox | None, new: Sandbox, cause: Cause) -> Sandbox:
        """Write a row, new if `old` is None, with its journal entries and events.

        Raises NameTakenError.
        """
        if old is None:
            self._store.insert(new)
        else:
            self._store.update(new)
        for entry in entries(old, new, cause):
            self.note(entry)
        self.batch.events.extend(events(old, new, self._toolbox_url))
        self.batch.changed.add(new.id)
        if old is not None and old.state == "started" != new.state:
            self.batch.stopped.append(new.id)
        if old is not None and new.hidden and not old.hidden:
            self.batch.destroyed.append(new.id)
        return new

    def note(self, entry: NewEntry) -> None:
        """Append to the journal."""
        self._store.journal.append(self.at, entry)


class Engine:
    """Makes due transitions and timers happen."""

    def __init__(self, store: Store, config: Callable[[], Config], publisher: Publisher, toolbox_url: str) -> None:
        self._store = store
        self._config = config
        self._publisher = publisher
        self._toolbox_url = toolbox_url
        self._wake = asyncio.Event()
        self._last_tick = 0.0
        self._last_backup = 0.0
        self._closing = False

    @contextmanager
    def changing(self) -> Iterator[Change]:
        """Open a transaction, and publish its changes once committed. The block must not contain an await."""
        change = Change(self._store, now_s(), self._toolbox_url)
        with self._store.transaction():
            yield change
        self._publisher.put(change.batch)
        self.wake()

    def wake(self) -> None:
        """Wake the engine up, because a due time or the configuration has changed."""
        self._wake.set()

    async def settled(self, sandbox_id: str, timeout_s: float) -> Sandbox | None:
        """Return the row once it is started, errored or gone, or as it is after the timeout."""
        with self._publisher.watching(sandbox_id) as changed:
            try:
                async with asyncio.timeout(timeout_s):
                    while True:
                        sandbox = self._store.by_id(sandbox_id)
                        if sandbox is None or _start_is_over(sandbox) or self._closing:
                            return sandbox
                        await changed.wait()
                        changed.clear()
            except TimeoutError:
                return self._store.by_id(sandbox_id)

    def end_holds(self) -> None:
        """Answer every held request with the present state, because the server ends."""
        self._closing = True
        self._publisher.wake_all()

    async def run(self) -> None:
        """Carry out what is due until cancelled."""
        while True:
            self._wake.clear()
            config, now = self._config(), now_s()
            if config.runner_available:
                self._advance_due(now, config)
            if now >= self._last_backup + _backup_s(config):
                self._last_backup = now
                self._back_up_next(config)
            if now >= self._last_tick + _tick_s(config):
                self._last_tick = now
                self._time_out(now, config)
                for timer in TIMERS:
                    self._fire(timer, now, config)
            await self._sleep_until(self._next_time(config))

    def _next_time(self, config: Config) -> float:
        tick = min(self._last_tick + _tick_s(config), self._last_backup + _backup_s(config))
        due = self._store.number("min(due_at)", "due_at IS NOT NULL") if config.runner_available else None
        return tick if due is None else min(tick, due)

    async def _sleep_until(self, at: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, at - now_s())):
                await self._wake.wait()
        except TimeoutError:
            return

    def _advance_due(self, now: float, config: Config) -> None:
        for sandbox in self._store.select("due_at <= ? ORDER BY due_at LIMIT 100", (now,)):
            if sandbox.flight is None:
                continue
            if self._publisher.is_ending(sandbox.id):
                self._hold_back(sandbox, now)
                continue
            cause = Cause(sandbox.flight.operation, sandbox.flight.request_id)
            with self.changing() as change:
                change.put(sandbox, advance(sandbox, change.at, config), cause)

    def _hold_back(self, sandbox: Sandbox, now: float) -> None:
        """Put off the next step. It is no change that anybody could see, and none is published."""
        flight = None if sandbox.flight is None else replace(sandbox.flight, due_at=now + ENDING_S)
        with self._store.transaction():
            self._store.update(replace(sandbox, flight=flight))

    def _back_up_next(self, config: Config) -> None:
        """Make the next backup of the queue: the runner takes one at a time."""
        if not config.runner_available or config.backup_every_s == 0:
            return
        for sandbox in self._store.select(f"{WAITING_FOR_BACKUP} {BACKUP_ORDER} LIMIT 1"):
            with self.changing() as change:
                change.put(sandbox, back_up(sandbox, change.at, config), Cause("backup"))

    def _time_out(self, now: float, config: Config) -> None:
        """Turn what has been in a transitional state for too long into an error."""
        if not config.runner_available:
            return
        for state, timeout in TIMEOUTS.items():
            limit_s = config.scaled(getattr(config.timeouts, timeout.limit))
            overdue = "state = ? AND state_since <= ?"
            for sandbox in self._store.select(overdue, (state, now - limit_s)) if limit_s > 0 else ():
                if sandbox.flight is None:
                    continue
                cause = Cause(sandbox.flight.operation, sandbox.flight.request_id)
                with self.changing() as change:
                    change.put(sandbox, time_out(sandbox, change.at), cause)

    def _fire(self, timer: Timer, now: float, config: Config) -> None:
        times = {"now": now, "minute": config.scaled(60.0)}
        for sandbox in self._store.select(f"{timer.due} LIMIT {BATCH_MAX}", times):
            cause = Cause(timer.operation)
            with self.changing() as change:
                departed = depart(sandbox, timer.transition(sandbox), cause, change.at, config)
                change.put(sandbox, _at_next_tick(departed, change.at, config), cause)


def _at_next_tick(sandbox: Sandbox, at: float, config: Config) -> Sandbox:
    """Return the sandbox with its transition due a tick later: a timer only sets the desired state."""
    flight = sandbox.flight
    if flight is None or TRANSITIONS[flight.transition].steps[flight.step].duration != "pickup_s":
        return sandbox
    return replace(sandbox, flight=replace(flight, due_at=at + config.scaled(config.tick_s)))


def _tick_s(config: Config) -> float:
    return max(TICK_MIN_S, config.scaled(config.tick_s))


def _backup_s(config: Config) -> float:
    """Seconds between two backups. Without a queue, as between two ticks."""
    return max(TICK_MIN_S, config.scaled(config.backup_every_s or config.tick_s))


def _start_is_over(sandbox: Sandbox) -> bool:
    recovering = sandbox.state == "error" and sandbox.flight is not None and sandbox.desired != "destroyed"
    return sandbox.state in SETTLED_START and not recovering
