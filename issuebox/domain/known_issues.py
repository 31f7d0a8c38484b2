"""What the workflows know of issues, and the way to tell them, behind a Protocol.

`issuebox.temporal` implements it; every method raises TransientError when Temporal does not answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from issuebox.domain.events import IssueEvent
from issuebox.domain.issue import Issue


@dataclass(frozen=True, slots=True)
class KnownIssue:
    """An issue that has a workflow, as that published it last.

    ``is_published`` is False for one that has not said anything about the issue yet. ``requested_at`` is the
    newest request of a person for its sandbox.
    """

    issue: Issue
    is_published: bool = True
    requested_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class KnownPage:
    """Known issues, and where to read on; '' at the end."""

    issues: tuple[KnownIssue, ...]
    next_token: str = ""


class KnownIssues(Protocol):
    """The workflows of the issues."""

    async def lookup(self, issue_id: int) -> KnownIssue | None:
        """What is known of the issue now; None when it has no workflow."""

    async def list_open(self, repositories: tuple[str, ...], token: str = "") -> KnownPage:
        """One page of the issues that are known as open in any of these repositories; the index lags a moment."""

    async def deliver(self, event: IssueEvent) -> None:
        """Hand the event to its workflow, which is started when there is none. It is stored when this returns.

        One that asks for nothing starts no workflow: where none runs, nothing is done.
        """
