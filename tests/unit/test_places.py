"""Lists by start time: whatever continues as new between two pages, no issue that runs all the while is left out."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuebox.temporal.places import TICK, Place, is_place, read_on

BEGAN = datetime(2026, 11, 30, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Run:
    """A row."""

    name: str
    started_at: datetime


@dataclass
class World:
    """Running workflows as Temporal lists them: the newest run first, and those of one moment by their name."""

    began: dict[str, datetime]
    now: datetime = BEGAN
    queries: int = 0
    unread: list[tuple[int, ...]] = field(default_factory=list)
    """Which workflows continue as new after each query."""

    async def read(self, place: Place, at_most: int) -> tuple[Sequence[Run], bool]:
        rows = sorted((Run(*each) for each in self.began.items()), key=lambda row: row.name)
        rows.sort(key=lambda row: row.started_at, reverse=True)
        found = [
            row
            for row in rows
            if (place.at is None or row.started_at < place.at + TICK)
            and (place.since is None or row.started_at >= place.since + TICK)
        ]
        self.queries += 1
        for number in self.unread.pop(0) if self.unread else ():
            self.now += TICK
            self.began[f"n{number % len(self.began)}"] = self.now
        return found[:at_most], len(found) >= at_most

    async def listed(self, size: int) -> list[str]:
        """The names on all pages; each page's place goes through its token, as over REST."""
        names: list[str] = []
        token = b""
        while True:
            rows, place = await read_on(Place.read(token), size, self.read)
            assert len(rows) <= size
            names += [row.name for row in rows]
            if place is None:
                return names
            token = place.token()


def world(moments: list[int], rolls: list[tuple[int, ...]] | None = None) -> World:
    """Workflow `n0` and so on, each begun so many microseconds before now."""
    began = {f"n{number}": BEGAN - timedelta(microseconds=moment) for number, moment in enumerate(moments)}
    return World(began, unread=list(rolls or []))


ROLLS = st.lists(st.lists(st.integers(0, 30), max_size=4).map(tuple), max_size=12)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=20), st.integers(1, 7), ROLLS)
def test_each_issue_is_listed_whatever_continues_as_new(
    moments: list[int], size: int, rolls: list[tuple[int, ...]]
) -> None:
    """Also when many began in one moment; nobody who stayed as it was is listed twice."""
    there = world(moments, rolls)
    before = dict(there.began)
    listed = Counter(asyncio.run(there.listed(size)))
    assert set(listed) == set(before)
    stayed = {name for name, began in there.began.items() if began == before[name]}
    assert all(listed[name] == 1 for name in stayed)


def test_workflow_that_moves_to_the_front_between_two_pages_comes_at_the_end() -> None:
    """The case that a list by Temporal's own tokens misses: the oldest continues as new behind the reader."""
    there = world([1, 2, 3, 4, 5], [(4,)])
    assert asyncio.run(there.listed(2)) == ["n0", "n1", "n2", "n3", "n4"]


def test_what_moves_while_the_end_is_read_comes_in_another_end() -> None:
    """Four move behind the first page, and one of them once more while they are read there."""
    there = world([1, 2, 3, 4, 5, 6], [(2, 3, 4, 5), (), (2,)])
    assert asyncio.run(there.listed(2)) == ["n0", "n1", "n5", "n4", "n3", "n2"]


@pytest.mark.parametrize(("rows", "queries"), [(0, 1), (3, 1), (9, 1), (11, 3)])
def test_list_of_one_page_costs_one_query(rows: int, queries: int) -> None:
    """One query is one moment: only a list of several pages looks for what has begun meanwhile."""
    there = world(list(range(1, rows + 1)))
    assert len(asyncio.run(there.listed(10))) == rows
    assert there.queries == queries


@pytest.mark.parametrize("token", [b"\x00", b"{}x", b"[]", b'{"at": 7, "shown": 7}', b"nothing"])
def test_token_of_another_make_is_no_place(token: bytes) -> None:
    """Temporal's own tokens, with which earlier versions paged, are refused and not taken for the beginning."""
    assert not is_place(token)
    assert is_place(b"")
    assert is_place(Place(at=BEGAN, shown=("a",)).token())
