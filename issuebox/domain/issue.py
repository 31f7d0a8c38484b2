"""The issue: its identity, its newest snapshot, and the name of its sandbox.

The one place that derives names. GitHub's global ``issue.id`` is the key: it is never reused and
survives renames of the repository, while ``number`` repeats in every repository and is only shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import NewType

from issuebox.domain.text import Clean, clean, prose, word

IssueId = NewType("IssueId", int)
SandboxName = NewType("SandboxName", str)

DEFAULT_NAME_PREFIX = "claude-issue-"
NUMBER_MAX = 2**63 - 1
"""Temporal's index has integers of 64 bits, and fails the workflow's task for a larger one."""

TITLE_BYTES_MAX = 1024
"""GitHub's titles have 256 characters, of four bytes at most."""

REPOSITORY_BYTES_MAX = 201
"""GitHub's names have 140 at most. Temporal's index on PostgreSQL keeps 255 characters."""

LOGIN_BYTES_MAX = 64
"""Of a login at GitHub, which has 39 characters, or 44 with ``[bot]``."""

# Without what would end a link's target in Markdown, and begin an image after it.
_URL = re.compile(r"https?://[A-Za-z0-9._~:/?#@!$&*+,;=%-]{1,490}")


def title_line(text: str) -> str:
    """Text from people on one line, without control and bidirectional characters, which could rewrite the output."""
    return prose(text, TITLE_BYTES_MAX)


_TEXTS: Mapping[str, Clean] = {
    "repository": partial(word, bytes_max=REPOSITORY_BYTES_MAX),
    "title": title_line,
    "author": partial(word, bytes_max=LOGIN_BYTES_MAX),
    # A shortened address would be another address.
    "url": lambda text: text if _URL.fullmatch(text) else "",
}


class IssueState(StrEnum):
    """GitHub's ``issue.state``, and how an issue left its repository: transferred or deleted."""

    OPEN = "open"
    CLOSED = "closed"
    TRANSFERRED = "transferred"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Issue:
    """A snapshot of an issue as one delivery carried it.

    ``updated_at`` is GitHub's, with a resolution of one second, and orders the snapshots. ``closed_at`` is
    when it was closed, None while it is open. A number or an address that cannot be one counts as not given: a person
    may send anything by hand. ``author`` is the login of who opened it.
    """

    id: int
    repository: str = ""
    number: int = 0
    title: str = ""
    url: str = ""
    state: IssueState = IssueState.OPEN
    updated_at: datetime | None = None
    closed_at: datetime | None = None
    author: str = ""

    def __post_init__(self) -> None:
        """A time without a zone, which a person may send by hand, counts as UTC to be comparable with GitHub's."""
        clean(self, _TEXTS)
        if not 0 <= self.number <= NUMBER_MAX:
            object.__setattr__(self, "number", 0)
        object.__setattr__(self, "updated_at", in_utc(self.updated_at))
        object.__setattr__(self, "closed_at", in_utc(self.closed_at))

    def is_older_than(self, other: Issue) -> bool:
        """Whether `other` is known to be newer. A snapshot without a time is older than any that has one."""
        if other.updated_at is None:
            return False
        return self.updated_at is None or self.updated_at < other.updated_at


def in_utc(moment: datetime | None) -> datetime | None:
    """The same time; one without a zone counts as UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def time_of(text: str) -> datetime | None:
    """The time in ISO 8601, in UTC when it names no zone; None when it cannot be read."""
    try:
        return in_utc(datetime.fromisoformat(text))
    except ValueError:
        return None


def sandbox_name(issue_id: int, prefix: str = DEFAULT_NAME_PREFIX) -> SandboxName:
    """The name of the issue's sandbox, which is also the ID of its workflow."""
    if issue_id <= 0:
        raise ValueError(f"an issue id is a positive number, not {issue_id}")
    return SandboxName(f"{prefix}{issue_id}")


def gate_name(prefix: str = DEFAULT_NAME_PREFIX, queue: str = "") -> str:
    """The ID of the workflow that hands out the installation's slots. No issue's ends like it: theirs end in digits.

    `queue` is the task queue where it is not the usual one: installations may share a namespace.
    """
    return f"{prefix}{queue}-gate" if queue else f"{prefix}gate"


def issue_id_of(name: str, prefix: str = DEFAULT_NAME_PREFIX) -> IssueId | None:
    """The issue whose sandbox or workflow has this name; None when the name is not one of ours."""
    digits = name.removeprefix(prefix)
    is_ours = name.startswith(prefix) and digits.isascii() and digits.isdigit() and not digits.startswith("0")
    return IssueId(int(digits)) if is_ours else None
