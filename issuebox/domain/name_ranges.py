"""The ranges of names in which an audit reads the running workflows. Pure.

Temporal lists workflow runs by when they began. A workflow that continues as new while the list is read begins anew,
and moves to the front of the list, behind the reader. Its name never changes: the ranges together are all names, and
each workflow stays in its range. A range is counted before and after it is read; only when both counts are the rows
that were read, nothing was missed.

How the ranges are cut decides only how large they are: no name is in none of them, whatever the index's sort order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from issuebox.domain.records import OPEN, IssueRecord, NameRange, RangeRead

RANGE_ROWS = 200
"""Workflows of one range: one page of the index, so that little changes between its two counts."""

RANGES_MAX = 4_000
"""Their bounds are in one payload, of which Temporal takes 2 MB. Beyond 800,000 issues the ranges become larger."""

SAMPLE_MAX = 20_000
"""Names of which the bounds are chosen. With fewer issues the ranges are equal, with more nearly so."""

READS_MAX = 5
"""How often a range is read when its counts disagree. Then the report says that it is not settled."""


@dataclass(slots=True)
class Sample:
    """Evenly chosen items of a list of unknown length, in bounded memory."""

    seen: int = 0
    names: list[str] = field(default_factory=list)
    every: int = 1

    def add(self, name: str) -> None:
        """See the next one."""
        if self.seen % self.every == 0:
            self.names.append(name)
        self.seen += 1
        if len(self.names) > SAMPLE_MAX:
            self.names, self.every = self.names[::2], 2 * self.every


def bounds_of(sample: Sample, rows: int = RANGE_ROWS) -> tuple[str, ...]:
    """The bounds of the ranges, the open ones at both ends included: each range has about so many workflows."""
    names = sorted(set(sample.names))
    ranges = min(math.ceil(sample.seen / rows), RANGES_MAX, len(names))
    inner = (names[number * len(names) // ranges] for number in range(1, ranges))
    return (OPEN, *inner, OPEN)


def ranges_of(bounds: Sequence[str]) -> list[NameRange]:
    """The ranges between consecutive bounds."""
    return [NameRange(first, end) for first, end in pairwise(bounds)]


def divided(bounds: Sequence[str], parts_max: int) -> list[tuple[str, ...]]:
    """The same ranges in as many equal parts, or fewer when there are fewer ranges. Each has its own bounds."""
    ranges = len(bounds) - 1
    parts = min(parts_max, ranges)
    edges = [number * ranges // parts for number in range(parts + 1)]
    return [tuple(bounds[first : last + 1]) for first, last in pairwise(edges)]


def joined(reads: Iterable[RangeRead]) -> RangeRead:
    """All that several readings of a range found: the newest record of each workflow, and the last counts."""
    records: dict[str, IssueRecord] = {}
    last = RangeRead((), 0, 0, 0)
    for last in reads:
        records |= {record.name: record for record in last.records}
    return RangeRead(tuple(records.values()), last.rows, last.before, last.after)
