"""What goes into and comes out of `ResyncWorkflow`. Its report is kept by Temporal as the state of the next run.

Add fields with defaults; never rename one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from activities.github_messages import Counts, Sent
from issuebox.domain.resync import Mark

RESYNC_WORKFLOW_TYPE = "ResyncWorkflow"
RESYNC_SCHEDULE_ID = "issuebox-resync"
RESYNC_SUMMARY = "find at GitHub what its deliveries missed"


@dataclass(frozen=True, slots=True)
class ResyncRequest:
    """Which repositories to read, durations in seconds.

    ``since`` overrides what is remembered; ``lookback_s`` is for a repository of which nothing is. A sweep, the
    comparison of all that is known as open, is due every ``sweep_interval_s``; 0 for never. ``is_full``, a
    person's wish, sweeps now and lets every open issue ask, however old it is.
    """

    repositories: tuple[str, ...]
    since: datetime | None = None
    lookback_s: float = 3 * 86400.0
    sweep_interval_s: float = 6 * 3600.0
    is_full: bool = False


@dataclass(frozen=True, slots=True)
class RepositoryReport:
    """What came of one repository. With ``error``, ``mark`` is still where the next run has to begin."""

    repository: str
    mark: Mark
    counts: Counts = field(default_factory=Counts)
    sent: tuple[Sent, ...] = ()
    error: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ResyncReport:
    """What came of a run, and what the next one goes on from."""

    repositories: tuple[RepositoryReport, ...] = ()

    def mark_of(self, repository: str) -> Mark | None:
        """How far the repository was read; None for one that was not asked for."""
        for report in self.repositories:
            if report.repository.lower() == repository.lower():
                return report.mark
        return None
