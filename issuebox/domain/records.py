"""The record of an issue: what its workflow publishes about itself, and what sweeps ask and tell workflows.

The sweeps (audit, resync) know workflows only through `IssueRecords`; whoever builds the worker gives them
an implementation that speaks to Temporal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class IssueRecord:
    """A running workflow and what it last published: possibly not yet anything. Words of `Phase` and `Goal`.

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
        """One page of our running workflows, as an index shows them that lags: hints, as `describe` is not."""

    async def start(self, issue_id: int) -> None:
        """Have the issue's workflow run. It is asked for nothing; one that runs is left alone."""

    async def look(self, name: str) -> bool:
        """Ask the workflow to look at its sandbox and to act on its goal; False when none runs."""
