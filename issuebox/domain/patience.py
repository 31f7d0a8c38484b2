"""How patient the workflow is: the workers' settings that decisions and waits go by."""

from __future__ import annotations

from dataclasses import dataclass, field

from issuebox.domain.decision import Limits


@dataclass(frozen=True, slots=True)
class Patience:
    """Durations in seconds.

    They travel with every look from a worker to the workflow, so that the workflow stays deterministic
    and a changed setting takes effect with the next look, without a new version of the workflow.
    """

    limits: Limits = field(default_factory=Limits)
    backoff_initial_s: float = 0.5
    backoff_max_s: float = 30.0
    blocked_retry_initial_s: float = 60.0
    blocked_retry_max_s: float = 3600.0
    unreachable_after_s: float = 60.0

    def backoff_s(self, setbacks: int, chance: float) -> float:
        """The pause after so many setbacks in a row: doubling, with jitter. `chance` is in [0, 1)."""
        return _grown(self.backoff_initial_s, self.backoff_max_s, setbacks, chance)

    def blocked_retry_s(self, tries: int, chance: float) -> float:
        """The pause before a blocked issue is tried again by itself."""
        return _grown(self.blocked_retry_initial_s, self.blocked_retry_max_s, tries, chance)


def _grown(initial_s: float, max_s: float, count: int, chance: float) -> float:
    """``initial · 2^(count-1)`` up to `max_s`, then between 75 % and 100 % of that."""
    return float(min(max_s, initial_s * 2.0 ** min(count - 1, 30)) * (0.75 + chance / 4))
