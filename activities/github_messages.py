"""The inputs and outputs of the activities that read GitHub. Histories hold these shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from issuebox.domain.resync import Mark
from issuebox.domain.text import Clean, clean, prose

SENT_NAMED_MAX = 25
"""Sent events that a report lists per repository; all of them are counted and logged."""

_TEXTS: Mapping[str, Clean] = {"reason": partial(prose, bytes_max=300)}


@dataclass(frozen=True, slots=True)
class RepositoryInput:
    """Which repository to read, and from where.

    With `is_sweep`, everything known as open is compared with GitHub too. With `takes_all`, every open issue
    counts as just opened, which starts sandboxes for issues of any age.
    """

    repository: str
    mark: Mark
    is_sweep: bool = False
    takes_all: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """One missed event that was sent."""

    issue_id: int
    repository: str
    number: int
    action: str
    reason: str
    delivery: str

    def __post_init__(self) -> None:
        """The reason may quote settings of any length."""
        clean(self, _TEXTS)


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of what GitHub listed.

    ``known``: nothing was missed; ``unasked``: nobody asks for a sandbox; ``refused``: somebody asks who may
    not; ``unreadable``: known as open, and GitHub neither lists it nor reports it gone; ``left_out``: a missed comment
    that asks for a run, on an issue for whose agent too many requests wait. ``requests`` counts requests to GitHub,
    ``unchanged`` those that were answered 304 and cost nothing.
    """

    listed: int = 0
    sent: int = 0
    known: int = 0
    unasked: int = 0
    refused: int = 0
    unreadable: int = 0
    requests: int = 0
    unchanged: int = 0
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class RepositoryReply:
    """One repository, read to its end: the counts, the first events sent, and where the next run begins."""

    mark: Mark
    counts: Counts
    sent: tuple[Sent, ...] = ()
