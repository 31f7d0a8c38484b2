"""A peer's durable store: it survives a kill of its processes. Each operation is one transaction."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Row = TypeVar("Row")

LATENCY_MIN_S = 0.0005
LATENCY_MAX_S = 0.002
"""The latency of one statement to a database in the same data centre; the run's speed does not divide it."""


class Tables:
    """All tables of one peer, shared by its processes."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[int, object]] = {}

    def rows(self, name: str) -> dict[int, object]:
        """The rows of one table by issue; a new table when it does not exist."""
        return self._rows.setdefault(name, {})


class Table(Generic[Row]):
    """One table in one process: each operation takes a moment, and the process may be killed before or after it."""

    def __init__(
        self, rows: dict[int, object], kind: type[Row], step: Callable[[], Awaitable[None]], rng: random.Random
    ) -> None:
        self._rows = rows
        self._kind = kind
        self._step = step
        self._rng = rng

    def peek(self, issue: int) -> Row | None:
        """The present row, for the harness: it takes no time and never fails."""
        row = self._rows.get(issue)
        if row is not None and not isinstance(row, self._kind):
            raise TypeError(f"not a {self._kind.__name__}: {row!r}")
        return row

    def put(self, issue: int, row: Row) -> None:
        """Write at once, for a service that is not a database."""
        self._rows[issue] = row

    async def read(self, issue: int) -> Row | None:
        """The row, or None."""
        await self._moment()
        row = self.peek(issue)
        await self._step()
        return row

    async def write(self, issue: int, row: Row) -> None:
        """Write without a condition: the last write wins."""
        await self._moment()
        self._rows[issue] = row
        await self._step()

    async def insert(self, issue: int, row: Row) -> bool:
        """Insert on conflict do nothing. Returns whether it was inserted."""
        await self._moment()
        is_new = issue not in self._rows
        self._rows.setdefault(issue, row)
        await self._step()
        return is_new

    async def swap(self, issue: int, seen: Row | None, row: Row) -> bool:
        """Compare and set. Returns whether the row was still `seen`."""
        await self._moment()
        is_same = self._rows.get(issue) == seen
        if is_same:
            self._rows[issue] = row
        await self._step()
        return is_same

    async def all(self) -> dict[int, Row]:
        """Every row."""
        await self._moment()
        return self.everything()

    def everything(self) -> dict[int, Row]:
        """Every row, for the harness: it takes no time and never fails."""
        return {issue: row for issue in list(self._rows) if (row := self.peek(issue)) is not None}

    async def _moment(self) -> None:
        await self._step()
        await asyncio.sleep(self._rng.uniform(LATENCY_MIN_S, LATENCY_MAX_S))
