"""The record of an issue: what its workflow publishes about itself, and what sweeps ask of workflows.

The sweeps (audit, resync) know workflows only through `IssueRecords`. The worker injects an implementation that
talks to Temporal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class IssueRecord:
    """A running workflow and what it last published, perhaps nothing yet. The words are those of `Phase` and `Goal`.

    ``sandbox_id`` is '' when it knows no sandbox, ``blocked`` the cause of being blocked or ''.
    """

    name: str
    sandbox_id: str = ""
    phase: str = ""
    goal: str = ""
    blocked: str = ""


@dataclass(frozen=True, slots=True)
class RecordPage:
    """A page of records, and where the next one begins: None after the last."""

    records: tuple[IssueRecord, ...]
    next_cursor: str | None = None


class IssueRecords(Protocol):
    """The issues' workflows, as a sweep sees them. Every method is safe to repeat."""

    async def describe(self, name: str) -> IssueRecord | None:
        """The newest record under this name; None when no workflow runs there. Never an old answer."""

    async def list_page(self, cursor: str | None = None) -> RecordPage:
        """One page of our running workflows from an index that lags: hints only, unlike `describe`."""

    async def start(self, issue_id: int) -> None:
        """Start the issue's workflow without a request for a sandbox. One that runs is left alone."""

    async def look(self, name: str) -> bool:
        """Ask the workflow to look its sandbox up and to act on its goal; False when none runs."""
