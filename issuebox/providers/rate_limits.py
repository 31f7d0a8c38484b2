"""Daytona's rate limits as this process keeps to them: who may ask now, and who comes back when.

Daytona limits each organization by three limiters that do not consume each other (docs/daytona.md). After a
429 every request of this process under that limiter is answered here, without asking, until the time is
over; so a limit costs one refused request per worker and not one per issue.

1. What a reply says is believed: its `X-RateLimit-*` headers say how many requests are left, and no more are
   sent. Our own requests are counted when they are sent, those of others when a reply tells of them.
2. Whoever is refused gets a slot: the callers come back one after the other, at the rate that the limiter
   allows, and not all in the instant in which it opens again. Jitter alone would spread a thousand callers
   over a time that has nothing to do with what the limiter lets in, and refuse most of them once more.
3. Before the first reply nothing is known, so only a few requests are under way at once.
4. Who can wait, such as an audit, asks for the pace that leaves the rest of the limit to all others.

Nothing here knows the SDK or sends anything; times are seconds on the event loop's clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

import structlog

from issuebox import metrics
from issuebox.domain.errors import RateLimitedError
from issuebox.domain.provider import Spare
from issuebox.domain.text import number_of

PROBES_MAX = 8
"""Requests under way before the first reply of a limiter: no burst learns of a limit more often than this."""

PROBE_WAIT_MAX_S = 10.0
"""Longest wait for that first reply. Then the request is sent: being careful must not become an outage."""

SLOT_S = 0.2
"""Time between two slots while the limit is not known: 300 a minute, the creates of Daytona's first plan."""

SLOT_MARGIN = 1.1
"""Slots are a little further apart than the limit allows, so that a window's last slot is before its end."""

LINE_MAX_S = 600.0
"""Longest wait behind others. Whoever comes later shares their slots: a caller that waits for hours has given up."""

UNNAMED_S = 1.0
"""Pause after a 429 that does not say how long; the caller that met it backs off by itself."""

_log = structlog.get_logger("issuebox.providers")


class Limiter(StrEnum):
    """Daytona's names, as they stand in its headers (server v0.190.0)."""

    AUTHENTICATED = "authenticated"
    CREATE = "sandbox-create"
    LIFECYCLE = "sandbox-lifecycle"


@dataclass(frozen=True, slots=True)
class Told:
    """What a reply's headers say about one limiter. `reset_s` counts from when the request arrived."""

    limit: int
    remaining: int
    reset_s: float


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request that was let in: when, and in which window."""

    limiter: Limiter
    sent_at: float
    number: int


@dataclass(slots=True)
class Window:
    """One limiter as it is known here. Pure: the caller tells the time."""

    limit: int | None = None
    length_s: float = 0.0
    number: int = 0
    ends_at: float = math.inf
    sent: int = 0
    remaining: int = 0
    closed_until: float = -math.inf
    next_slot_at: float = -math.inf

    def enter(self, limiter: Limiter, now: float) -> Ticket | None:
        """Count one request as sent; None when it must not be sent now."""
        if now >= self.ends_at:
            self._begin(now)
        if now < self.closed_until:
            return None
        self.sent += 1
        self.remaining -= 1
        self._close_when_spent()
        return Ticket(limiter, now, self.number)

    def learn(self, ticket: Ticket, told: Told) -> None:
        """Believe a reply. One from an earlier window says nothing about this one any more."""
        self.length_s = max(self.length_s, told.reset_s)
        if ticket.number != self.number:
            return
        self.remaining = told.remaining if self.limit is None else min(self.remaining, told.remaining)
        self.limit = told.limit
        self.ends_at = ticket.sent_at + told.reset_s
        self._close_when_spent()

    def close(self, now: float, pause_s: float) -> bool:
        """Let nothing in for so long, and return whether it was open. A pause that is under way is never cut short."""
        was_open = now >= self.closed_until
        self.closed_until = max(self.closed_until, now + pause_s)
        return was_open

    def spare(self, now: float, share: float) -> Spare:
        """The pace of requests that take no more than `share` of the limit, and of what is left of it now."""
        closed_s = max(0.0, self.closed_until - now)
        if not self.limit:
            return Spare(closed_s)
        whole_s = self.length_s / (share * self.limit)
        left = min(self.limit - self.sent, self.remaining)
        if now >= self.ends_at or left <= 0:
            return Spare(closed_s, whole_s)
        return Spare(closed_s, max(whole_s, (self.ends_at - now) / (share * left)))

    def slot_s(self, now: float) -> float:
        """Seconds until the caller's slot: when the limiter opens, behind all who were given one before."""
        if self.next_slot_at - max(now, self.closed_until) > LINE_MAX_S:
            self.next_slot_at = self.closed_until
        slot_at = max(self.next_slot_at, self.closed_until, now)
        self.next_slot_at = slot_at + self.interval_s
        return slot_at - now

    @property
    def interval_s(self) -> float:
        """Seconds between two slots."""
        if not self.limit:
            return SLOT_S
        return SLOT_MARGIN * self.length_s / self.limit

    def _begin(self, now: float) -> None:
        """The limit is whole again. When this window ends is a guess, until its first reply says so."""
        self.number += 1
        self.sent, self.remaining = 0, self.limit or 0
        self.ends_at = now + self.length_s

    def _close_when_spent(self) -> None:
        if self.limit is not None and min(self.limit - self.sent, self.remaining) <= 0:
            self.closed_until = max(self.closed_until, self.ends_at)


@dataclass(slots=True)
class _Probes:
    """Requests under way of a limiter that has not answered yet."""

    under_way: int = 0
    is_answered: bool = False
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)


class RateLimiter:
    """The three limiters of one Daytona organization, within one event loop."""

    def __init__(self) -> None:
        self._windows = {limiter: Window() for limiter in Limiter}
        self._probes = {limiter: _Probes() for limiter in Limiter}
        for limiter, window in self._windows.items():
            metrics.follow(metrics.DAYTONA_PAUSED, partial(_is_paused, window), limiter=limiter)

    @asynccontextmanager
    async def entered(self, limiter: Limiter) -> AsyncIterator[Ticket]:
        """Hold a place for one request. Raises RateLimitedError at once when it must not be sent now."""
        probes = self._probes[limiter]
        await _first_reply(probes)
        now = _now()
        ticket = self._windows[limiter].enter(limiter, now)
        if ticket is None:
            raise self._refusal(limiter, f"Daytona's limit {limiter} is used up: it was not asked")
        probes.under_way += 1
        try:
            yield ticket
        finally:
            probes.under_way -= 1
            async with probes.changed:
                probes.changed.notify_all()

    def spare(self, limiter: Limiter, share: float) -> Spare:
        """The pace of requests that can wait and together take `share` of this limit."""
        return self._windows[limiter].spare(_now(), share)

    def heard(self, ticket: Ticket, headers: Mapping[str, str] | None) -> None:
        """Learn from a reply that was no 429."""
        self._probes[ticket.limiter].is_answered = True
        told = told_by(headers or {}, ticket.limiter)
        if told is not None:
            self._windows[ticket.limiter].learn(ticket, told)
            metrics.put(metrics.DAYTONA_LIMIT, told.limit, limiter=ticket.limiter)
            metrics.put(metrics.DAYTONA_REMAINING, told.remaining, limiter=ticket.limiter)

    def refused(self, ticket: Ticket, headers: Mapping[str, str] | None, message: str) -> RateLimitedError:
        """Close the limiters that a 429 is about, and return the error for the caller that met it, with its slot."""
        self._probes[ticket.limiter].is_answered = True
        now, pauses = _now(), pauses_of(headers or {}, ticket.limiter)
        for limiter, pause_s in pauses.items():
            if self._windows[limiter].close(now, pause_s):
                _log.warning("daytona_rate_limited", limiter=str(limiter), pause_s=pause_s)
        return self._refusal(ticket.limiter, message, status=429)

    def _refusal(self, limiter: Limiter, message: str, status: int | None = None) -> RateLimitedError:
        window = self._windows[limiter]
        # Else the slots of all workers would coincide: all of them learned of the same end of the pause.
        jitter_s = random.random() * window.interval_s  # noqa: S311
        return RateLimitedError(message, status=status, retry_after_s=window.slot_s(_now()) + jitter_s)


def _is_paused(window: Window) -> float:
    return float(_now() < window.closed_until)


def told_by(headers: Mapping[str, str], limiter: Limiter) -> Told | None:
    """What the headers say about the limiter; None when it is not there or cannot be read."""
    low = {name.lower(): value for name, value in headers.items()}
    limit, remaining, reset_s = (
        number_of(low.get(f"x-ratelimit-{what}-{limiter}")) for what in ("limit", "remaining", "reset")
    )
    if limit is None or remaining is None or reset_s is None:
        return None
    return Told(int(limit), int(remaining), reset_s)


def pauses_of(headers: Mapping[str, str], asked: Limiter) -> dict[Limiter, float]:
    """For how many seconds a 429 closes which limiters.

    A named ``Retry-After-<limiter>`` is about that one. The plain header comes after too many wrong keys from
    our address, or from something in front of Daytona, and then every request is refused.
    """
    low = {name.lower(): value for name, value in headers.items()}
    named = {limiter: number_of(low.get(f"retry-after-{limiter}")) for limiter in Limiter}
    found = {limiter: pause_s for limiter, pause_s in named.items() if pause_s is not None}
    if found:
        return found
    plain_s = number_of(low.get("retry-after"))
    return {asked: UNNAMED_S} if plain_s is None else dict.fromkeys(Limiter, plain_s)


async def _first_reply(probes: _Probes) -> None:
    """Wait until a limiter has answered once or few requests are under way, `PROBE_WAIT_MAX_S` at most."""

    def may_go() -> bool:
        return probes.is_answered or probes.under_way < PROBES_MAX

    if may_go():
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PROBE_WAIT_MAX_S), probes.changed:
            await probes.changed.wait_for(may_go)


def _now() -> float:
    return asyncio.get_running_loop().time()
