"""Reads localdaytona's journal during the run, and lets the checker judge what holds at every moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import httpx

from localdaytona.journal import Entry
from localdaytona.testing import AdminClient
from proofs.chaos.tally import Tally
from proofs.chaos.terms import CLOSED_RESTS_AT
from proofs.checker.evidence import Evidence
from proofs.checker.rules import Watch

INTERVAL_S: Final = 1.0
TRIES_MAX: Final = 30


class JournalWatch:
    """Tails the journal into `entries` and sets `broken` at the first violation."""

    def __init__(self, admin: AdminClient, tally: Tally) -> None:
        self.entries: list[Entry] = []
        self.broken = asyncio.Event()
        self._admin = admin
        self._tally = tally
        self._watch = Watch()
        self._states: dict[str, str] = {}
        self._lock = asyncio.Lock()

    async def is_full(self) -> bool:
        """Whether as many sandboxes as the cap are up now. Raises httpx.TransportError when Daytona never answers."""
        await self.read_all()
        return 0 < self._tally.running_max <= self._watch.up

    async def keep_reading(self) -> None:
        """Read every second, for ever. While Daytona is down or frozen, the journal cannot be read."""
        while True:
            await self.read()
            await asyncio.sleep(INTERVAL_S)

    async def read(self) -> bool:
        """Read the new entries and judge them. Returns False when Daytona does not answer."""
        async with self._lock:
            after = self.entries[-1].seq if self.entries else 0
            try:
                found = await self._admin.journal(after=after)
            except httpx.TransportError:
                return False
            # Deliveries and orders are noted before they are sent, so those behind these entries are in the tally.
            evidence = evidence_of(found, self._tally, is_at_rest=False)
            self.entries += found
            self._count(found)
            violations = await asyncio.to_thread(self._watch.feed, evidence) if found else []
            self._tally.violations += violations
            if violations:
                self.broken.set()
            return True

    async def read_all(self) -> None:
        """Read to the end of the journal. Raises httpx.TransportError when Daytona never answers."""
        for _ in range(TRIES_MAX):
            if await self.read():
                return
            await asyncio.sleep(INTERVAL_S)
        raise httpx.ConnectError("localdaytona did not return its journal")

    def _count(self, found: Sequence[Entry]) -> None:
        for entry in found:
            if entry.kind == "fault":
                effect = entry.detail.get("effect")
                kind = effect.get("kind") if isinstance(effect, dict) else ""
                self._tally.faults[f"{entry.operation} {kind}"] += 1
            elif entry.kind == "destroyed":
                self._states.pop(str(entry.sandbox_id), None)
            elif entry.kind in {"created", "state"} and isinstance(now := entry.detail.get("now"), dict):
                self._states[str(entry.sandbox_id)] = str(now["state"])
        self._tally.entries = len(self.entries)
        self._tally.states.clear()
        self._tally.states.update(state for state in self._states.values() if state != "destroyed")


def evidence_of(journal: Sequence[Entry], tally: Tally, *, is_at_rest: bool) -> Evidence:
    """The evidence so far, without Temporal's histories."""
    return Evidence(
        journal=list(journal),
        deliveries=[*tally.posts, *tally.in_flight.values()],
        orders=list(tally.orders),
        ends=list(tally.ends),
        closed_rests_at=CLOSED_RESTS_AT,
        worked_in=frozenset(tally.worked_in),
        is_at_rest=is_at_rest,
        running_max=tally.running_max,
        queued=frozenset(tally.queued),
    )
