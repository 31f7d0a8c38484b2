"""Where a list of running workflows goes on: pages by the time at which the workflow runs began.

Temporal lists running workflows with the newest run first. A workflow that continues as new between two pages begins
anew and moves to the front, so whoever only reads on towards the oldest never sees it. So a list that took several
pages ends with a stretch of what has begun since its first page, and that with another one, until one page was enough.
Each issue that runs all the while is listed, one that continued as new perhaps twice.

A place is ours: Temporal's own page tokens depend on its database, and it trusts them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from pydantic import TypeAdapter

TICK = timedelta(microseconds=1)
"""What we know of times is cut to this, and what the database compares may be finer."""


class Begun(Protocol):
    """A row of a list: a workflow run with its name, and when it began."""

    @property
    def name(self) -> str: ...
    @property
    def started_at(self) -> datetime: ...


R = TypeVar("R", bound=Begun)


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the list. Without anything it is the beginning.

    ``at``: when the last row began; ``shown``: the names of the rows that began in that microsecond. ``newest``: when
    the first row of this stretch began. ``since``: the ``newest`` of the stretch before; None in the first one.
    """

    at: datetime | None = None
    shown: tuple[str, ...] = ()
    newest: datetime | None = None
    since: datetime | None = None

    @classmethod
    def read(cls, token: bytes) -> Place:
        """The place that a token stands for; the beginning for an empty one. Raises ValueError for any other text."""
        return _PLACE.validate_json(token) if token else cls()

    def token(self) -> bytes:
        """The place as text."""
        return _PLACE.dump_json(self)

    @property
    def conditions(self) -> list[str]:
        """What the rows from here on meet."""
        found = []
        if self.at is not None:
            found.append(f"StartTime < '{(self.at + TICK).isoformat()}'")
        if self.since is not None:
            found.append(f"StartTime >= '{(self.since + TICK).isoformat()}'")
        return found

    def is_new(self, row: Begun) -> bool:
        """Whether the row was not on the page before this place."""
        return row.started_at != self.at or row.name not in self.shown

    def after(self, rows: Sequence[Begun], *, is_more: bool) -> Place | None:
        """The place after these rows, None after the last. `is_more`: this stretch goes on."""
        if is_more and rows:
            at = rows[-1].started_at
            shown = tuple(row.name for row in rows if row.started_at == at)
            if at == self.at:
                shown = (*self.shown, *shown)
            return replace(self, at=at, shown=shown, newest=self.newest or rows[0].started_at)
        # What was read by one query is as it was at one moment.
        return None if self.at is None or self.newest is None else Place(since=self.newest)


async def read_on(
    place: Place, size: int, read: Callable[[Place, int], Awaitable[tuple[Sequence[R], bool]]]
) -> tuple[list[R], Place | None]:
    """The next rows, at most `size`, and the place behind them; None when the list has ended.

    `read` returns at most so many rows from a place on, and whether there are more.
    """
    rows: list[R] = []
    going_on: Place | None = place
    while going_on is not None and len(rows) < size:
        wanted = size - len(rows)
        found, is_more = await read(going_on, wanted + len(going_on.shown))
        new = [row for row in found if going_on.is_new(row)]
        rows += new[:wanted]
        going_on = going_on.after(new[:wanted], is_more=is_more or len(new) > wanted)
    return rows, going_on


def is_place(token: bytes) -> bool:
    """Whether the token is one of ours: not, for example, one of an earlier version."""
    try:
        Place.read(token)
    except ValueError:
        return False
    return True


_PLACE = TypeAdapter(Place)
