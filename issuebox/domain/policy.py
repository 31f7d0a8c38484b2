"""The policy: what the workers' settings hand to the workflow, for its decisions and waits."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

from issuebox.domain.decision import Limits
from issuebox.domain.gate import Caps
from issuebox.domain.issue import DEFAULT_NAME_PREFIX
from issuebox.domain.phase import Goal
from issuebox.domain.run import RunTerms
from issuebox.domain.sandbox import DEFAULT_INSTANCE

REDELIVERED_WITHIN_S = 3 * 86400.0
"""How long GitHub redelivers what was not taken (its own limit)."""


@dataclass(frozen=True, slots=True)
class Closing:
    """When the sandbox of a closed issue is stopped, archived and deleted: seconds after the close, < 0 for never."""

    stop_after_s: float = 30 * 60.0
    archive_after_s: float = 86400.0
    delete_after_s: float = 30 * 86400.0
    forget_after_s: float = 7 * 86400.0
    """How long the workflow of an issue that ended stays once its sandbox is gone; < 0: for ever."""
    redelivered_within_s: float = REDELIVERED_WITHIN_S
    """It stays at least so long after a delivery."""

    @property
    def ladder(self) -> tuple[tuple[Goal, float], ...]:
        """The goals that are switched on, and their times, the soonest first. It only goes down."""
        rungs: list[tuple[Goal, float]] = []
        steps = ((Goal.STOPPED, self.stop_after_s), (Goal.ARCHIVED, self.archive_after_s))
        for goal, after_s in (*steps, (Goal.DELETED, self.delete_after_s)):
            if after_s >= 0:
                # What would come after a later goal is left out: nothing is stopped that was deleted.
                rungs = [(one, at_s) for one, at_s in rungs if at_s <= after_s] + [(goal, after_s)]
        return tuple(rungs)

    @property
    def timers(self) -> str:
        """The ladder as people and the audit read it, in seconds: ``stopped:1800 archived:86400``, or ``none``."""
        return " ".join(f"{goal}:{after_s:g}" for goal, after_s in self.ladder) or "none"


@dataclass(frozen=True, slots=True)
class Policy:
    """Durations in seconds, what the workers are equipped for, and the installation they belong to.

    Lookups carry it from a worker to the workflow. So the workflow stays deterministic, and a changed setting takes
    effect with the next lookup, without a new version of the workflow.
    """

    limits: Limits = field(default_factory=Limits)
    backoff_initial_s: float = 0.5
    """The first pause after a failure; doubles, with jitter."""
    backoff_max_s: float = 30.0
    """The longest pause between attempts. Daytona asks for a longer one: the issue is blocked until then."""
    blocked_retry_initial_s: float = 60.0
    """The first pause before a blocked issue is tried again by itself; doubles, with jitter."""
    blocked_retry_max_s: float = 3600.0
    unreachable_after_s: float = 60.0
    """How long a lookup is retried before the issue counts as blocked: longer than a restart of Daytona's API."""
    confirm_gone_s: float = 75.0
    """How long a sandbox that was not found is left before it is read again and counts as gone: Daytona finds nothing
    while its database is down, and keeps that answer for up to 10 s."""
    closing: Closing = field(default_factory=Closing)
    is_setup_configured: bool = False
    setup_timeout_s: float = 600.0
    has_search_attributes: bool = False
    has_github: bool = False
    has_receiver: bool = False
    """Whether somebody is told of each new state: `issuebox.domain.notices`."""
    republish_after_s: float = 60.0
    """How far the published time of the last request may lag while nothing else changes. Publishing costs an event in
    the history and a write to Temporal's index."""

    runs: RunTerms = field(default_factory=RunTerms)

    caps: Caps = field(default_factory=Caps)
    """How many sandboxes may run at once."""

    name_prefix: str = DEFAULT_NAME_PREFIX
    """What the worker puts before the issue ID. A workflow under any other name touches nothing."""

    instance: str = DEFAULT_INSTANCE
    """The name of this installation on the labels of its sandboxes. The workflow judges ownership by it."""

    def hash(self) -> str:
        """A short name for exactly these settings, the same in every process."""
        return sha256(repr(self).encode()).hexdigest()[:12]

    def backoff_s(self, failures: int, chance: float) -> float:
        """The pause in seconds after this many failures in a row: doubling, with jitter. `chance` is in [0, 1)."""
        return _grown(self.backoff_initial_s, self.backoff_max_s, failures, chance)

    def blocked_retry_s(self, tries: int, chance: float) -> float:
        """The pause in seconds before the workflow tries a blocked issue again by itself."""
        return _grown(self.blocked_retry_initial_s, self.blocked_retry_max_s, tries, chance)


def _grown(initial_s: float, max_s: float, count: int, chance: float) -> float:
    """``initial · 2^(count-1)`` up to `max_s`, then between 75 % and 100 % of that."""
    return float(min(max_s, initial_s * 2.0 ** min(count - 1, 30)) * (0.75 + chance / 4))
