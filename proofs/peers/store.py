"""A peer's durable store: it survives the kill of any process that uses it. One operation is one transaction."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Row = TypeVar("Row")

LATENCY_MIN_S = 0.0005
LATENCY_MAX_S = 0.002
"""One statement of a database in the same data centre; not divided by the speed of the run."""


class Tables:
    """All tables of one peer, shared by its processes."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[int, object]] = {}

    def rows(self, name: str) -> dict[int, object]:
        """The rows of one table by issue, made when it is asked for first."""
        return self._rows.setdefault(name, {})


class Table(Generic[Row]):
    """One table as one process sees it: each operation takes a moment, and the process may die before or after it."""

    def __init__(
        self, rows: dict[int, object], kind: type[Row], step: Callable[[], Awaitable[None]], rng: random.Random
    ) -> None:
        self._rows = rows
        self._kind = kind
        self._step = step
        self._rng = rng

    def peek(self, issue: int) -> Row | None:
        """The row as it is now, for the harness: no time passes and nothing fails."""
        row = self._rows.get(issue)
        if row is not None and not isinstance(row, self._kind):
            raise TypeError(f"not a {self._kind.__name__}: {row!r}")
        return row

    def put(self, issue: int, row: Row) -> None:
        """Write at once, for what another service than a database keeps."""
        self._rows[issue] = row

    async def read(self, issue: int) -> Row | None:
        """The row, or None."""
        await self._moment()
        row = self.peek(issue)
        await self._step()
        return row

    async def write(self, issue: int, row: Row) -> None:
        """Write blindly: the last one wins."""
        await self._moment()
        self._rows[issue] = row
        await self._step()

    async def insert(self, issue: int, row: Row) -> bool:
        """Insert on conflict do nothing; whether it was inserted."""
        await self._moment()
        is_new = issue not in self._rows
        self._rows.setdefault(issue, row)
        await self._step()
        return is_new

    async def swap(self, issue: int, seen: Row | None, row: Row) -> bool:
        """Compare and set; whether the row still was what was seen."""
        await self._moment()
        is_same = self._rows.get(issue) == seen
        if is_same:
            self._rows[issue] = row
        await self._step()
        return is_same

    async def all(self) -> dict[int, Row]:
        """Every row."""
        await self._moment()
        return {issue: row for issue in list(self._rows) if (row := self.peek(issue)) is not None}

    async def _moment(self) -> None:
        await self._step()
        await asyncio.sleep(self._rng.uniform(LATENCY_MIN_S, LATENCY_MAX_S))
