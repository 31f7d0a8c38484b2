"""What the workflows know of issues, and how to send them events, behind a Protocol.

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
    """An issue that has a workflow, as the workflow published it last.

    ``is_published`` is False when the workflow has published nothing about the issue yet. ``requested_at`` is the
    time of a person's newest request for its sandbox.
    """

    issue: Issue
    is_published: bool = True
    requested_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class KnownRequests:
    """What an issue's workflow knows of the requests for the issue's agent.

    ``keys`` are those of the last requests, whatever became of them, and ``waiting`` is how many wait for a run.
    ``called_off_at`` is when somebody called the work off on the issue last.
    """

    keys: frozenset[str] = frozenset()
    waiting: int = 0
    called_off_at: datetime | None = None


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
        """One page of the issues known as open in any of these repositories, from an index that lags a moment."""

    async def requests(self, issue_id: int) -> KnownRequests | None:
        """What the issue's workflow knows of the requests for its agent now; None when it cannot say."""

    async def deliver(self, event: IssueEvent) -> None:
        """Hand the event to its workflow, starting one if none runs. Temporal has stored the event when this returns.

        An event that asks for nothing starts no workflow: when none runs, nothing is done.
        """
