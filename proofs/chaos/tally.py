"""What happened so far: counters and a list of events, for the live view and the report. Decides nothing."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from proofs.checker.evidence import Delivery, Order, Violation

ON_PROCESSES: Final = ("kill", "freeze", "terminate", "did not end", "stall reader")
"""Kinds of blows that are counted for each process."""


@dataclass(frozen=True, slots=True)
class Blow:
    """Something that was done to a part or a link: from `at` on, for `seconds`; epoch seconds."""

    at: float
    lane: str
    kind: str
    seconds: float = 0.0


@dataclass(slots=True)
class Tally:
    """One run. The lists are what the checker and the timeline read; the counters are for people."""

    phase: str = "starting"
    began: float = field(default_factory=time.monotonic)
    posts: list[Delivery] = field(default_factory=list)
    in_flight: dict[int, Delivery] = field(default_factory=dict)
    """POSTs that are not answered yet, by their number: each may have had its effect already."""
    orders: list[Order] = field(default_factory=list)
    worked_in: set[str] = field(default_factory=set)
    blows: list[Blow] = field(default_factory=list)
    acts: Counter[str] = field(default_factory=Counter)
    refused_acts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    """Hits by operation and effect, as `create drop_after`."""
    states: Counter[str] = field(default_factory=Counter)
    """Raw states of the sandboxes that are there now."""
    entries: int = 0
    violations: list[Violation] = field(default_factory=list)
    deliveries_total: int = 0
    redeliveries: int = 0
    given_up: int = 0
    waiting: int = 0
    at_rest: int = 0
    workflows: int = 0

    @property
    def acknowledged(self) -> int:
        """POSTs that were answered with 2xx."""
        return sum(post.is_acknowledged for post in self.posts)

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self.began

    def blow(self, lane: str, kind: str, seconds: float = 0.0) -> None:
        """Note what was done to a part, a link or Daytona, now."""
        self.blows.append(Blow(time.time(), lane, kind, seconds))

    def past_blow(self, at: float, lane: str, kind: str) -> None:
        """Note what was done from `at` on, until now."""
        self.blows.append(Blow(at, lane, kind, round(time.time() - at, 2)))

    def blows_by_kind(self) -> Counter[str]:
        """How many of each kind."""
        return Counter(blow.kind for blow in self.blows)
