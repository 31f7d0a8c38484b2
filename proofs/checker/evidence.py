"""What a run leaves behind for the checker: one directory of JSON lines, one file for each witness.

`journal.jsonl` is localdaytona's journal, `deliveries.jsonl` and `orders.jsonl` are what the sender noted,
`histories.jsonl` and `blocks.jsonl` are what Temporal recorded. A system without Temporal has neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from localdaytona.journal import Entry

Line = TypeVar("Line", bound=BaseModel)


class Wish(StrEnum):
    """What a delivery asks for the issue's sandbox, by the sender's own definition."""

    RUNNING = "running"
    STOPPED = "stopped"
    """The issue was closed: the sandbox goes down the ladder, as far as the run's settings let it."""
    GONE = "gone"
    NOTHING = "nothing"


class _Noted(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Delivery(_Noted):
    """One POST of a webhook delivery, as its sender saw it. A redelivery is a line of its own.

    Times are epoch seconds. `updated_at` is GitHub's time in the body, which orders the events of an issue;
    `closed_at` is the time of an earlier close that the body tells of as well, as a comment on a closed issue does.
    `status` is the HTTP status, None when there was no answer.
    """

    delivery: str
    issue: int
    action: str
    wish: Wish
    updated_at: float
    closed_at: float | None = None
    sent_at: float
    answered_at: float | None = None
    status: int | None = None

    @property
    def is_acknowledged(self) -> bool:
        """Whether the sender may forget it."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004 -- HTTP


class Order(_Noted):
    """A person's order over REST or the command line: `stop`, `delete`, `replace`, `ensure`.

    To be noted before it is sent, and again when it is answered, where the checker reads along: a forced delete
    can take effect before its answer is there.
    """

    order: str
    issue: int
    is_forced: bool = False
    sent_at: float
    answered_at: float | None = None
    status: int | None = None


class Signal(_Noted):
    """A delivery as Temporal recorded it in a workflow's history; `is_handled` when a later workflow task completed."""

    workflow_id: str
    run_id: str
    event_id: int
    at: float
    name: str
    delivery: str
    is_handled: bool


class Block(_Noted):
    """The moment in which an issue's workflow said that it is blocked, and by what, as Temporal recorded it."""

    workflow_id: str
    run_id: str
    event_id: int
    at: float
    cause: str


class Evidence(_Noted):
    """All that is known of a run. `histories` and `blocks` are None where nobody read Temporal's histories.

    `closed_rests_at` holds the raw states in which a closed issue's sandbox may be at rest under the run's settings.
    `worked_in` holds the IDs of the sandboxes in which the run left unsaved work; None: it did not note any.
    `is_at_rest` says that faults are off and that the run waited for it to come to rest; (c), (e), (f) want that.
    """

    journal: list[Entry]
    deliveries: list[Delivery]
    orders: list[Order] = []
    histories: list[Signal] | None = None
    blocks: list[Block] | None = None
    closed_rests_at: frozenset[str] = frozenset({"stopped", "archived"})
    worked_in: frozenset[str] | None = None
    is_at_rest: bool = True


class Violation(_Noted):
    """One broken promise: `rule` is a letter from a to g, `entries` the numbers of the journal that show it."""

    rule: str
    issue: int | None
    at: float | None
    what: str
    entries: tuple[int, ...] = ()


def write_lines(path: Path, lines: Iterable[BaseModel]) -> None:
    """Write one JSON document a line."""
    with path.open("w") as file:
        file.writelines(f"{line.model_dump_json()}\n" for line in lines)


def read_lines(path: Path, kind: type[Line]) -> list[Line]:
    """Read what `write_lines` wrote. A missing file is an empty one."""
    if not path.exists():
        return []
    with path.open() as file:
        return [kind.model_validate_json(line) for line in file if line.strip()]
