"""How many sandboxes are up at each moment of the journal, and how many of them by the service's doing.

No judgement here: that is `rules`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from proofs.checker.lives import Moment, SandboxLife, is_outside

ASLEEP = frozenset({"stopped", "paused", "archiving", "archived"})
"""States in which the disk is kept and nothing runs. An archive may wait for ever in Daytona's queue of backups."""


def is_up(moment: Moment) -> bool:
    """Whether it runs, or will soon: from the accepted command that raises it until it rests, fails or is deleted.

    So does Daytona's own quota count. One whose repair is under way still has its error, and is none yet.
    """
    return moment.is_live and (moment.state not in ASLEEP or moment.desired == "started")


@dataclass(frozen=True, slots=True)
class Count:
    """How many were up from `moment` of a sandbox on: by anybody's doing, and by the service's.

    `is_raised`: the sandbox came up with it. `is_own`: it is, or was, up by the service's doing.
    """

    sandbox_id: str
    issue: int | None
    moment: Moment
    is_raised: bool
    is_own: bool
    up: int
    own: int


class Census:
    """Counts along the journal. Tell it a sandbox's life after each of its entries.

    Whoever raised a sandbox last has it up: the service, by a command whenever it is carried out, or a person. What was
    up before the journal began is in no count.
    """

    def __init__(self) -> None:
        self.counts: list[Count] = []
        """One for each sandbox that came up or went down, in order."""
        self.by_id: dict[str, list[Count]] = defaultdict(list)
        self._is_own: dict[str, bool] = {}
        self._seen: dict[str, int] = {}

    @property
    def up(self) -> int:
        """How many are up now."""
        return len(self._is_own)

    def take(self, life: SandboxLife) -> None:
        """Count it anew."""
        moment = life.last
        if self._seen.get(life.id) == moment.seq:
            return
        self._seen[life.id] = moment.seq
        if not is_up(moment):
            is_own = self._is_own.pop(life.id, None)
            if is_own is not None:
                self._note(life, is_raised=False, is_own=is_own)
        elif life.id not in self._is_own:
            self._is_own[life.id] = not is_outside(moment.operation)
            self._note(life, is_raised=True, is_own=self._is_own[life.id])

    def _note(self, life: SandboxLife, *, is_raised: bool, is_own: bool) -> None:
        own = sum(self._is_own.values())
        count = Count(life.id, life.issue, life.last, is_raised, is_own, len(self._is_own), own)
        self.counts.append(count)
        self.by_id[life.id].append(count)
