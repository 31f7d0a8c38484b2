"""The input and output of `ResyncWorkflow`. Temporal keeps its report as the state for the next run.

Add fields only with defaults; never rename one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from activities.github_messages import Counts, Sent
from issuebox.domain.resync import Mark
from issuebox.domain.text import Clean, clean, prose

RESYNC_WORKFLOW_TYPE = "ResyncWorkflow"
RESYNC_SCHEDULE_ID = "issuebox-resync"
RESYNC_SUMMARY = "find at GitHub what webhooks missed"

REPORT_SENT_MAX = 100
"""Sent events that a whole report lists. The next run gets the report, so it must stay within Temporal's limit of 2 MB:
five hundred repositories, each at its limits, have half of that."""

_TEXTS: Mapping[str, Clean] = {"reason": partial(prose, bytes_max=200)}


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

    def __post_init__(self) -> None:
        """One line for each repository, also for one that cannot be read."""
        clean(self, _TEXTS)


@dataclass(frozen=True, slots=True)
class ResyncReport:
    """The report of a run, from which the next one continues."""

    repositories: tuple[RepositoryReport, ...] = ()

    def __post_init__(self) -> None:
        """List `REPORT_SENT_MAX` sent events in all. The counts have the rest."""
        left, bounded = REPORT_SENT_MAX, []
        for report in self.repositories:
            bounded.append(report if len(report.sent) <= left else replace(report, sent=report.sent[:left]))
            left -= len(bounded[-1].sent)
        object.__setattr__(self, "repositories", tuple(bounded))

    def mark_of(self, repository: str) -> Mark | None:
        """How far the repository was read; None when it is not in the report."""
        for report in self.repositories:
            if report.repository.lower() == repository.lower():
                return report.mark
        return None
