"""Records the evidence of one example for the checker, and reports its violations.

The notes are the sender's own, the journal is localdaytona's, and the histories are Temporal's: nothing is issuebox's.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from localdaytona.journal import Entry
from proofs.checker.evidence import Delivery, Evidence, Order, Violation
from proofs.checker.histories import read_signals
from proofs.checker.rules import SAFETY, check
from proofs.checker.run_dir import write_run
from tests.property.rig import Rig

EXCERPT_ENTRIES = 40

REST_TIMEOUT_S = 30.0
"""From the end of all faults until everything is right. It mostly takes two seconds."""
REST_POLL_S = 0.2


class Recorder:
    """The notes of one example, and its part of the journal."""

    def __init__(self, rig: Rig, names: Sequence[str], closed_rests_at: frozenset[str]) -> None:
        self._rig = rig
        self._names = names
        self._closed_rests_at = closed_rests_at
        self._journal: list[Entry] = []
        self._seen_to = rig.journal_seen
        self.deliveries: list[Delivery] = []
        self.orders: list[Order] = []
        self.worked_in: set[str] = set()

    async def evidence(self, *, is_at_rest: bool = False) -> Evidence:
        """All evidence so far."""
        entries = await self._rig.daytona.admin.journal(after=self._seen_to)
        self._seen_to = entries[-1].seq if entries else self._seen_to
        self._journal += [entry for entry in entries if entry.sandbox_id not in self._rig.old_sandboxes]
        return Evidence(
            journal=self._journal,
            deliveries=self.deliveries,
            orders=self.orders,
            worked_in=frozenset(self.worked_in),
            histories=await read_signals(self._rig.temporal, self._names) if is_at_rest else None,
            closed_rests_at=self._closed_rests_at,
            is_at_rest=is_at_rest,
        )

    async def require_safe(self) -> None:
        """Raise AssertionError when (a), (b) or (d) is broken."""
        evidence = await self.evidence()
        violations = check(evidence, only=SAFETY)
        if violations:
            raise AssertionError(self.report(evidence, violations))

    async def require_rest(self, undone: Callable[[], Awaitable[str]]) -> None:
        """Wait until everything is done and every rule holds. Raises AssertionError with what is not."""
        deadline = asyncio.get_running_loop().time() + REST_TIMEOUT_S
        while True:
            left = await undone()
            is_late = asyncio.get_running_loop().time() > deadline
            if not left or is_late:
                evidence = await self.evidence(is_at_rest=True)
                violations = check(evidence)
                if not violations and not left:
                    return
                if is_late or any(one.rule in SAFETY for one in violations):
                    raise AssertionError(self.report(evidence, violations, left))
            await asyncio.sleep(REST_POLL_S)

    def close(self) -> None:
        """End the example: the next one ignores what its sandboxes still do."""
        self._rig.old_sandboxes |= {entry.sandbox_id for entry in self._journal if entry.sandbox_id}
        self._rig.journal_seen = self._seen_to

    def report(self, evidence: Evidence, violations: Sequence[Violation], unfinished: str = "") -> str:
        """The violations with the journal entries that show them, and the directory with all evidence."""
        directory = Path(tempfile.mkdtemp(prefix="property-", dir=self._rig.directory))
        write_run(directory, evidence)
        shown = {number for one in violations for number in one.entries}
        lines = [f"({one.rule}) issue {one.issue}: {one.what}" for one in violations]
        lines += [_line(entry) for entry in evidence.journal if entry.seq in shown][:EXCERPT_ENTRIES]
        return "\n".join([*lines, unfinished, f"example {self._rig.examples}, all of its evidence: {directory}"])


def _line(entry: Entry) -> str:
    return f"  {entry.seq} {entry.at:.3f} {entry.kind} {entry.operation or ''} {entry.name or ''} {entry.detail}"[:300]
