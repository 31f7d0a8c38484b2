"""The record of an issue: what its workflow publishes about itself, and what sweeps ask of workflows.

The sweeps (audit, resync) know workflows only through `IssueRecords`. The worker injects an implementation that
talks to Temporal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from issuebox.domain.issue import Issue
from issuebox.domain.workflow_ends import Ended, Stuck


@dataclass(frozen=True, slots=True)
class IssueRecord:
    """A workflow and what it last published, perhaps nothing yet. The words are those of `Phase` and `Goal`.

    ``sandbox_id`` is '' when it knows no sandbox, ``blocked`` the cause of being blocked or ''. ``elsewhere`` is its
    task queue when that is not ours: our workers do not serve it. ``ended`` says how it ended, None while it runs;
    ``stuck`` why it cannot go on, which a list does not show. ``timers`` are those that a closed issue goes by, '' for
    an open one; ``undelivered`` is the kind of its last notice, when the receiver did not take it in time.
    """

    name: str
    sandbox_id: str = ""
    phase: str = ""
    goal: str = ""
    blocked: str = ""
    elsewhere: str = ""
    ended: Ended | None = None
    stuck: Stuck | None = None
    timers: str = ""
    undelivered: str = ""

    @property
    def is_running(self) -> bool:
        """Whether somebody may act on what it published."""
        return self.ended is None


OPEN = ""
"""The bound of the first range and of the last one: no name is before it or behind it."""


@dataclass(frozen=True, slots=True)
class NameRange:
    """A range of workflows' names, in which a sweep reads them: from ``first`` on, and before ``end``."""

    first: str = OPEN
    end: str = OPEN


@dataclass(frozen=True, slots=True)
class RangeRead:
    """What one reading of a range found. ``rows`` counts the different workflows that it showed, ``records`` has ours.

    ``before`` and ``after`` are how many workflows the index counted in the range.
    """

    records: tuple[IssueRecord, ...]
    rows: int
    before: int
    after: int

    @property
    def is_settled(self) -> bool:
        """Whether nothing can have been missed.

        Either count alone can agree by chance: one workflow was missed, and another ended, began, or was between two
        of its workflow runs.
        """
        return self.before == self.rows == self.after


class IssueRecords(Protocol):
    """The issues' workflows, as a sweep sees them. Every method is safe to repeat."""

    async def describe(self, name: str) -> IssueRecord | None:
        """The newest record under this name, also of a workflow that ended; None without any. Never an old answer."""

    async def bounds(self) -> tuple[str, ...]:
        """The bounds of ranges of names, each with about as many of our running workflows; together, they have all."""

    async def read_range(self, name_range: NameRange) -> RangeRead:
        """Our running workflows of this range, from an index that lags: hints only, unlike `describe`."""

    async def adopt(self, issue: Issue) -> None:
        """Start the issue's workflow without a request for a sandbox, and have it look the sandbox up. Safe to repeat.

        It begins with what the last workflow published about the issue, or without that with `issue`.
        """

    async def look(self, name: str) -> bool:
        """Ask the workflow to look its sandbox up and to act on its goal; False when none runs."""
