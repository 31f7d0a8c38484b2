"""The input and output of `ResyncWorkflow`. Temporal keeps its report as the state for the next run.

Add fields only with defaults; never rename one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from activities.github_messages import Counts, Sent
from issuebox.domain.resync import Mark

RESYNC_WORKFLOW_TYPE = "ResyncWorkflow"
RESYNC_SCHEDULE_ID = "issuebox-resync"
RESYNC_SUMMARY = "find at GitHub what webhooks missed"


@dataclass(frozen=True, slots=True)
class ResyncRequest:
    """Which repositories to read. Durations are in seconds.

    ``since`` overrides the remembered mark; ``lookback_s`` is for a repository without one. A sweep, the comparison
    of everything known as open, is due every ``sweep_interval_s``; 0 for never. ``is_full``, set by a person, sweeps
    now and treats every open issue as just opened, however old it is.
    """

    repositories: tuple[str, ...]
    since: datetime | None = None
    lookback_s: float = 3 * 86400.0
    sweep_interval_s: float = 6 * 3600.0
    is_full: bool = False


@dataclass(frozen=True, slots=True)
class RepositoryReport:
    """The report on one repository. Also with ``error``, ``mark`` is where the next run begins."""

    repository: str
    mark: Mark
    counts: Counts = field(default_factory=Counts)
    sent: tuple[Sent, ...] = ()
    error: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ResyncReport:
    """The report of a run, from which the next one continues."""

    repositories: tuple[RepositoryReport, ...] = ()

    def mark_of(self, repository: str) -> Mark | None:
        """How far the repository was read; None when it is not in the report."""
        for report in self.repositories:
            if report.repository.lower() == repository.lower():
                return report.mark
        return None
