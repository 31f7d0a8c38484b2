"""Reads what runs left in their sandboxes, by localdaytona's admin interface: the ledgers, and what is alive.

It relies on two facts about the service: `~/.issuebox/ledger` has a line for each attempt that began, and each process
of a job carries its run in `ISSUEBOX_RUN`. The service reads neither.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from localdaytona.testing import AdminClient
from proofs.checker.evidence import Alive, Begun

LEDGER = ".issuebox/ledger"
MARK = "ISSUEBOX_RUN"
_FIELDS = 3


@dataclass(frozen=True, slots=True)
class Inside:
    """What was found in several sandboxes."""

    ledger: list[Begun] = field(default_factory=list)
    left: list[Alive] = field(default_factory=list)


async def read_sandboxes(admin: AdminClient, sandbox_ids: Iterable[str]) -> Inside:
    """The ledgers of these sandboxes, and what of any run is alive in them. They must exist."""
    inside = Inside()
    for sandbox_id in sandbox_ids:
        content = await admin.file(sandbox_id, LEDGER)
        inside.ledger.extend(lines_of(sandbox_id, content or b""))
        for process in await admin.processes(sandbox_id, MARK):
            inside.left.append(Alive(sandbox_id=sandbox_id, run=process.value or "", at=time.time()))
    return inside


def lines_of(sandbox_id: str, content: bytes) -> Iterator[Begun]:
    """The lines of a ledger. Whoever works in the sandbox may have written others, which are left out."""
    for line in content.decode(errors="replace").splitlines():
        words = line.split()
        if len(words) == _FIELDS and words[1].isdecimal() and words[2].isdecimal():
            yield Begun(sandbox_id=sandbox_id, run=words[0], attempt=int(words[1]), at=float(words[2]))
