"""What happened so far: counters and lists, for the live view, the report and the checker. Decides nothing."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

from proofs.checker.evidence import Delivery, End, Order, Violation

ON_PROCESSES: Final = ("kill", "freeze", "terminate", "did not end", "stall reader", "wrong settings")
"""Kinds of disturbances that are counted for each process."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Something that was done to a part, a link or Daytona: from `at` on (epoch seconds), for `seconds`."""

    at: float
    lane: str
    kind: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Meddled:
    """An operator ended or reset the workflow of an issue; `word` as `terminate in a create`."""

    at: float
    issue: int
    word: str


@dataclass(slots=True)
class Tally:
    """One run. The checker and the timeline read the lists; the counters are for people."""

    phase: str = "starting"
    began: float = field(default_factory=time.monotonic)
    posts: list[Delivery] = field(default_factory=list)
    in_flight: dict[int, Delivery] = field(default_factory=dict)
    """POSTs that are not answered yet, by number. Each may already have had its effect."""
    orders: list[Order] = field(default_factory=list)
    worked_in: set[str] = field(default_factory=set)
    disturbances: list[Disturbance] = field(default_factory=list)
    meddled: list[Meddled] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    """The workflow runs that operators end, noted before they do."""
    reset_runs: set[str] = field(default_factory=set)
    """The workflow runs that a reset ended: their successors go on."""
    hostile: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """The answers to strangers, by kind and status."""
    breaches: list[str] = field(default_factory=list)
    """What strangers should not have achieved, cancels that did not end as documented, notices that were not told."""
    told: Counter[str] = field(default_factory=Counter)
    """What the receiver of notices did with them."""
    at_github: dict[str, int] = field(default_factory=dict)
    """The comments there, and what became of the writes to it."""
    habits: Counter[str] = field(default_factory=Counter)
    """How often a job supervised a fake agent with which habit."""
    acts: Counter[str] = field(default_factory=Counter)
    refused_acts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    """Hits by operation and effect, as `create drop_after`."""
    states: Counter[str] = field(default_factory=Counter)
    """Raw states of the present sandboxes."""
    entries: int = 0
    violations: list[Violation] = field(default_factory=list)
    deliveries_total: int = 0
    redeliveries: int = 0
    given_up: int = 0
    waiting: int = 0
    at_rest: int = 0
    restless: dict[str, str] = field(default_factory=dict)
    """The workflows that were not seen at rest yet, and what they do."""
    workflows: int = 0
    running_max: int = 0
    """How many sandboxes the service may have up; 0 for no cap."""
    queued: set[int] = field(default_factory=set)
    """The issues that were seen waiting for a slot last, while all were in use."""

    @property
    def acknowledged(self) -> int:
        """How many POSTs were answered with a 2xx."""
        return sum(post.is_acknowledged for post in self.posts)

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self.began

    def note_disturbance(self, lane: str, kind: str, seconds: float = 0.0) -> None:
        """Note what is done to a part, a link or Daytona from now on."""
        self.disturbances.append(Disturbance(time.time(), lane, kind, seconds))

    def note_past_disturbance(self, at: float, lane: str, kind: str) -> None:
        """Note what was done from `at` until now."""
        self.disturbances.append(Disturbance(at, lane, kind, round(time.time() - at, 2)))

    def disturbances_by_kind(self) -> Counter[str]:
        """How many disturbances of each kind there were."""
        return Counter(disturbance.kind for disturbance in self.disturbances)
