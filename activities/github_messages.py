"""What goes into and comes out of the activities that ask GitHub. Histories hold these shapes."""

from __future__ import annotations

from dataclasses import dataclass

from issuebox.domain.resync import Mark

SENT_NAMED_MAX = 25
"""Sent events that a report names for each repository; all of them are counted and logged."""


@dataclass(frozen=True, slots=True)
class RepositoryInput:
    """Which repository to read, from where on.

    With `is_sweep`, everything known as open is compared with GitHub too. With `takes_all`, every open issue
    counts as if it had just been opened: that starts sandboxes for issues of any age.
    """

    repository: str
    mark: Mark
    is_sweep: bool = False
    takes_all: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """One event that was missed and is sent."""

    issue_id: int
    repository: str
    number: int
    action: str
    reason: str
    delivery: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of what GitHub listed.

    ``known``: nothing was missed; ``unasked``: nobody asks for a sandbox; ``refused``: somebody asks who may
    not; ``unreadable``: known as open, and GitHub neither lists it nor says that it is gone. ``requests``
    were made to GitHub, ``unchanged`` of them were answered 304 and cost nothing.
    """

    listed: int = 0
    sent: int = 0
    known: int = 0
    unasked: int = 0
    refused: int = 0
    unreadable: int = 0
    requests: int = 0
    unchanged: int = 0


@dataclass(frozen=True, slots=True)
class RepositoryReply:
    """One repository, read to its end: the counts, the first of what was sent, and where to go on next time."""

    mark: Mark
    counts: Counts
    sent: tuple[Sent, ...] = ()
