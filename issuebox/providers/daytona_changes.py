"""What the event stream announces about one sandbox, and when it has to be read all the same.

Nothing here sends a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from daytona_api_client_async import Sandbox as SandboxDto

from issuebox.domain.phase import TRANSITIONAL, Phase
from issuebox.providers.daytona_states import is_backed_up, phase_of

REREAD_INITIAL_S = 0.25
"""First pause before reading again when a read contradicts the event that caused it. The next one is twice as long."""

UNHEARD_INITIAL_S = 0.5
"""First pause before reading what a command has done without the event stream. The next one is four times as long."""

SILENT_MAX = 3
"""So many read intervals of silence lead to a read all the same: a connection that is dead looks silent."""

_NO_END = TRANSITIONAL | {Phase.ARCHIVING}
"""Phases whose announcement wakes nobody: what a command waits for comes after them."""


@dataclass(slots=True)
class Changes:
    """The state changes of one sandbox that the event stream announces from the subscription on.

    `stream` tells the ID of the stream's session, `since` the one at the last read: while they are the same, no event
    was missed.
    """

    stream: Callable[[], str | None]
    since: str | None = field(init=False)
    shown: SandboxDto | None = None
    """The sandbox as the last event showed it. None when it could not be read."""
    last: tuple[str, str] = ("", "")
    """The last change, as (old state, new state)."""
    is_backed_up: bool = True
    """Whether the sandbox had a backup then. True as well when the event did not tell."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """A command that is sent from here on is followed without a read."""
        self.arm()

    def arm(self) -> None:
        """What is read from here on is followed by every later event."""
        self.since = self.stream()

    @property
    def is_whole(self) -> bool:
        """Whether the stream is connected and has missed nothing since it was armed."""
        return self.since is not None and self.since == self.stream()

    def take(self, _event: str, data: Any) -> None:
        """Callback of the stream. Payload: ``{"sandbox": {...}, "oldState": …, "newState": …}``."""
        if state := announced_state(data):
            self.last = (str(data.get("oldState")), state)
            shown = data.get("sandbox")
            self.shown = _shown(shown, state)
            self.is_backed_up = not isinstance(shown, dict) or is_backed_up(
                shown.get("backupCreatedAt"), shown.get("backupState")
            )
            if phase_of(state) not in _NO_END:
                self.arrived.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait for a new change to a lasting state. Returns whether one came in time."""
        try:
            await asyncio.wait_for(self.arrived.wait(), timeout_s)
        except TimeoutError:
            return False
        self.arrived.clear()
        return True


def announced_state(data: Any) -> str:
    """The state that an event's payload announces; '' for none."""
    state = data.get("newState") if isinstance(data, dict) else None
    return state if isinstance(state, str) else ""


def _shown(sandbox: object, state: str) -> SandboxDto | None:
    """The sandbox of an event, in the state that it announces; None when something is missing or contradicts it."""
    if not isinstance(sandbox, dict):
        return None
    try:
        shown = SandboxDto.from_dict(sandbox)
    except ValueError:
        return None
    return shown if shown is not None and shown.state is not None and shown.state.value == state else None


class Pace:
    """Decides when the sandbox is looked at again: at an event, after a silence, or after a pause that grows."""

    def __init__(self, changes: Changes, timeout_s: float, read_interval_s: float) -> None:
        self._changes = changes
        self._clock = asyncio.get_running_loop().time
        self._deadline = self._clock() + timeout_s
        self._interval_s = read_interval_s
        self._pause_s, self._growth = read_interval_s, 1.0
        self._is_contradicted = False

    def hurry(self) -> None:
        """What follows has just begun, and may be over in a moment."""
        self._pause_s, self._growth = min(UNHEARD_INITIAL_S, self._interval_s), 4.0

    async def is_due(self) -> bool:
        """Wait until the sandbox is worth a look. False when the time is up first."""
        for _ in range(SILENT_MAX):
            is_heard = self._changes.is_whole and not self._is_contradicted
            pause_s = self._interval_s if is_heard else self._pause_s
            left_s = self._deadline - self._clock()
            if left_s <= 0:
                return False
            if await self._changes.wait(min(pause_s, left_s)):
                # Whoever looks now and finds nothing new was told too early.
                self._is_contradicted = True
                self._pause_s, self._growth = REREAD_INITIAL_S, 2.0
                return True
            if left_s <= pause_s:
                return False
            if not is_heard:
                self._pause_s = min(self._pause_s * self._growth, self._interval_s)
                return True
            if not self._changes.is_whole:
                return True
        return True
