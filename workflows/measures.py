"""What workflows count for the metrics: silent in replay, without a command, and without effect on what they decide.

A count of the process, as log lines are, and not `workflow.metric_meter`: the table of `issuebox.metrics` has all of
ours, with their names, labels and buckets.
"""

from __future__ import annotations

from datetime import datetime

from temporalio import workflow

from issuebox import metrics
from issuebox.domain.memory import Memory
from issuebox.domain.phase import Cause, Outcome
from issuebox.domain.run import Run


def is_counted() -> bool:
    """Whether this process counts, and sees this now for the first time."""
    return metrics.is_on() and not workflow.unsafe.is_replaying()


class Waiting:
    """Since when somebody waits for the sandbox, as far as this reconciliation knows."""

    def __init__(self) -> None:
        self._since: datetime | None = None

    def see(self, memory: Memory) -> None:
        """Note it, if somebody waits. With a blocked issue they have waited for as long as it is blocked."""
        if metrics.is_on() and self._since is None and memory.requests.is_waiting:
            blocked = memory.progress.blocked
            self._since = workflow.now() if blocked is None else blocked.since

    def end(self, outcome: Outcome) -> None:
        """They were answered."""
        if self._since is not None and is_counted():
            waited_s = (workflow.now() - self._since).total_seconds()
            metrics.observe(metrics.HANDOVER_DURATION, waited_s, outcome=outcome)
        self._since = None


def blocked(cause: Cause) -> None:
    """An issue was blocked."""
    if is_counted():
        metrics.count(metrics.BLOCKED, cause=cause)


def stale_read() -> None:
    """A read showed the past."""
    if is_counted():
        metrics.count(metrics.STALE_READS)


def run_ended(run: Run) -> None:
    """A run is over."""
    if not is_counted():
        return
    metrics.count(metrics.RUNS_ENDED, outcome=run.outcome)
    if run.first_begun_at is not None:
        took_s = (workflow.now() - run.first_begun_at).total_seconds()
        metrics.observe(metrics.RUN_DURATION, took_s, outcome=run.outcome)
