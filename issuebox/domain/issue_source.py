"""Where issues are read: GitHub, behind a Protocol. `issuebox.providers.github` implements it.

Every method but `acts` sends one query. Each follows only the redirect of a renamed repository, never retries, and
raises only `ProviderError`s. A listing leaves out pull requests, which GitHub counts among the issues.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from issuebox.domain.issue import Issue

T_co = TypeVar("T_co", covariant=True)

EDITED_AFTER = timedelta(seconds=2)
"""GitHub sometimes stamps a new comment's update a second after its creation (palantir/policy-bot#459)."""

_REPOSITORY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}/(?!\.{1,2}\Z)[A-Za-z0-9_.-]{1,100}")


def is_repository(name: str) -> bool:
    """Whether this is `owner/name`, and so safe as a part of a path and of a query."""
    return _REPOSITORY.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class ListedIssue:
    """An issue as GitHub has it now. ``author``, ``association`` and ``is_bot`` describe who wrote it.

    ``body`` is its text. ``is_reopened``: it is open because somebody reopened it.
    """

    issue: Issue
    created_at: datetime
    author: str = ""
    association: str = ""
    is_bot: bool = False
    labels: tuple[str, ...] = ()
    assignees: tuple[str, ...] = ()
    is_pull_request: bool = False
    is_reopened: bool = False
    body: str = ""


@dataclass(frozen=True, slots=True)
class ListedComment:
    """A comment as GitHub has it now. It identifies its issue only by number."""

    id: int
    number: int
    body: str
    created_at: datetime
    updated_at: datetime
    author: str = ""
    association: str = ""
    is_bot: bool = False
    is_pull_request: bool = False

    @property
    def is_edited(self) -> bool:
        """Whether somebody changed it after it was posted. What it said before is not known."""
        return self.updated_at - self.created_at >= EDITED_AFTER


class ActKind(StrEnum):
    """GitHub's words for what was done to an issue, of those that matter here."""

    LABELED = "labeled"
    ASSIGNED = "assigned"
    REOPENED = "reopened"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody did to an issue. ``actor`` is '' when GitHub does not tell who it was."""

    id: int
    kind: ActKind
    at: datetime
    actor: str = ""
    is_bot: bool = False
    label: str = ""
    assignee: str = ""


@dataclass(frozen=True, slots=True)
class Acts:
    """What was done to an issue, oldest first.

    ``is_whole`` is False when something may be missing: GitHub does not show it, or there is too much to read.
    """

    items: tuple[Act, ...] = ()
    is_whole: bool = True
    requests: int = 0


NO_ACTS = Acts()


@dataclass(frozen=True, slots=True)
class PageQuery:
    """One page of a listing. ``cursor`` is a page's ``next_cursor``, '' for the first page.

    ``etag`` is that of an earlier answer to the same query. When nothing changed since, the page is
    ``is_unchanged``, has no items, and does not count against the rate limit.
    """

    repository: str
    since: datetime | None = None
    cursor: str = ""
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Page(Generic[T_co]):
    """A page of a listing.

    ``size`` is how many rows GitHub listed and ``reached`` when the last of them was updated, both including what
    ``items`` leaves out. ``read_at`` is GitHub's clock, ``requests`` what the page cost.
    """

    items: tuple[T_co, ...]
    read_at: datetime
    size: int = 0
    reached: datetime | None = None
    next_cursor: str = ""
    etag: str = ""
    is_unchanged: bool = False
    requests: int = 1


class Presence(StrEnum):
    """What one read shows about an issue. ``unknown`` proves nothing."""

    FOUND = "found"
    GONE = "gone"
    MOVED = "moved"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Reading:
    """The answer to a read of one issue. ``listed`` is set exactly when it was found."""

    presence: Presence
    listed: ListedIssue | None = None
    requests: int = 1


class IssueSource(Protocol):
    """The part of GitHub that issuebox reads."""

    @property
    def is_authorized(self) -> bool:
        """Whether requests carry credentials. Without, GitHub shows only public repositories, 60 times an hour."""

    async def read_issue(self, repository: str, number: int, issue_id: int = 0) -> Reading:
        """Read one issue. With `issue_id`, an issue with another ID does not count as the one asked for.

        GONE: somebody deleted it. MOVED: it was transferred and has another ID there. UNKNOWN: not found,
        or not visible, or its repository has no issues any more.
        """

    async def acts(self, repository: str, number: int, since: datetime) -> Acts:
        """What was done to one issue at or after `since`, and perhaps before. A long history is read from its end.

        Not whole when GitHub refuses to show it. Raises RefusedError only for the credentials.
        """

    async def full_name(self, repository: str) -> str:
        """The repository's name as GitHub spells it now. Raises RefusedError when it is not visible."""

    async def updated_issues(self, query: PageQuery) -> Page[ListedIssue]:
        """Open and closed issues updated at or after `since`, least recently updated first."""

    async def open_issues(self, query: PageQuery) -> Page[ListedIssue]:
        """Open issues, oldest first."""

    async def comments(self, query: PageQuery) -> Page[ListedComment]:
        """Comments of all issues updated at or after `since`, least recently updated first."""

    async def close(self) -> None:
        """Release connections."""
