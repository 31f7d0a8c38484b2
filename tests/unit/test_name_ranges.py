"""The ranges of the audit: they hold every name, each in one of them, and what was missed shows in the counts."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuebox.domain.name_ranges import RANGES_MAX, SAMPLE_MAX, Sample, bounds_of, divided, joined, ranges_of
from issuebox.domain.records import OPEN, IssueRecord, NameRange, RangeRead

NAMES = st.lists(st.integers(1, 10**12).map(lambda number: f"claude-issue-{number}"), unique=True, max_size=300)


def sampled(names: list[str]) -> Sample:
    sample = Sample()
    for name in names:
        sample.add(name)
    return sample


def holds(name_range: NameRange, name: str) -> bool:
    return name >= name_range.first and (name_range.end == OPEN or name < name_range.end)


@given(NAMES, st.text(max_size=30), st.integers(1, 9))
def test_every_name_is_in_exactly_one_range(names: list[str], other: str, parts: int) -> None:
    """Also one that was not there when the ranges were cut; dividing them among shards changes nothing."""
    bounds = bounds_of(sampled(names), 7)
    whole = ranges_of(bounds)
    assert [name_range for part in divided(bounds, parts) for name_range in ranges_of(part)] == whole
    for name in [*names, other]:
        assert sum(holds(name_range, name) for name_range in whole) == 1


@given(NAMES)
def test_ranges_have_equal_numbers_of_workflows(names: list[str]) -> None:
    """A walk's heartbeats, and what a killed worker repeats, are as large as a range."""
    ranges = ranges_of(bounds_of(sampled(names), 7))
    sizes = [sum(holds(name_range, name) for name in names) for name_range in ranges]
    assert max(sizes) <= 7
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("ranges", "parts", "sizes"), [(1, 4, [1]), (3, 4, [1, 1, 1]), (10, 4, [2, 3, 2, 3])])
def test_shards_are_equal(ranges: int, parts: int, sizes: list[int]) -> None:
    """The slowest shard is the audit's time."""
    bounds = (OPEN, *map(str, range(1, ranges)), OPEN)
    divisions = divided(bounds, parts)
    assert [len(part) - 1 for part in divisions] == sizes
    assert all(before[-1] == after[0] for before, after in pairwise(divisions))


def test_ranges_of_a_million_names_are_bounded_and_nearly_equal() -> None:
    """The sample has bounded memory, and so has the payload with the bounds."""
    names = [f"claude-issue-{number:07}" for number in range(1_000_000)]
    sample = sampled(names)
    assert SAMPLE_MAX / 2 < len(sample.names) <= SAMPLE_MAX
    bounds = bounds_of(sample)
    assert len(bounds) == RANGES_MAX + 1
    edges = [0, *(int(bound.removeprefix("claude-issue-")) for bound in bounds[1:-1]), 1_000_000]
    assert max(later - earlier for earlier, later in pairwise(edges)) <= 2 * 1_000_000 / RANGES_MAX


@pytest.mark.parametrize(
    ("before", "rows", "after", "is_settled"),
    [
        (5, 5, 5, True),
        (0, 0, 0, True),
        (5, 4, 5, False),  # One moved to the front while the second page was read.
        (5, 4, 4, False),  # The same, and another one ended: the second count alone would agree.
        (4, 4, 5, False),  # One was between two workflow runs at first: the first count alone would agree.
        (5, 5, 4, False),
        (4, 5, 5, False),
        (5, 6, 5, False),
    ],
)
def test_range_is_settled_only_when_both_counts_are_its_rows(
    before: int, rows: int, after: int, is_settled: bool
) -> None:
    """Whatever changes between the counts makes a range be read again."""
    assert RangeRead((), rows, before, after).is_settled is is_settled


def test_readings_of_an_unsettled_range_are_joined() -> None:
    """What one reading missed another may have seen; the newest record of a workflow counts, once."""
    first = RangeRead((IssueRecord("a", phase="stopped"), IssueRecord("b")), 2, 3, 3)
    second = RangeRead((IssueRecord("a", phase="usable"), IssueRecord("c")), 2, 3, 2)
    both = joined([first, second])
    assert Counter(record.name for record in both.records) == {"a": 1, "b": 1, "c": 1}
    assert IssueRecord("a", phase="usable") in both.records
    assert (both.rows, both.before, both.after) == (2, 3, 2)
