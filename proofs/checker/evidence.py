"""The evidence that a run leaves for the checker: a directory of JSON lines, with a file for each source.

`journal.jsonl` is localdaytona's journal. `deliveries.jsonl` and `orders.jsonl` are the sender's notes.
`histories.jsonl` and `blocks.jsonl` are Temporal's records; a system without Temporal has neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from localdaytona.journal import Entry

Line = TypeVar("Line", bound=BaseModel)


class Expectation(StrEnum):
    """What a delivery expects of the issue's sandbox, by the sender's own definition."""

    RUNNING = "running"
    STOPPED = "stopped"
    """The issue was closed: the sandbox goes down the ladder of a close, as far as the run's settings say."""
    GONE = "gone"
    KEPT = "kept"
    """The issue was reopened by somebody who may not ask: nothing is started for it, and no earlier close counts."""
    NOTHING = "nothing"


class _Noted(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Delivery(_Noted):
    """One POST of a webhook delivery, as its sender saw it. Each redelivery has its own line.

    Times are epoch seconds. `updated_at`: GitHub's time in the body, which orders the events of an issue. `closed_at`:
    the time of an earlier close that the body reports too, as a comment on a closed issue does. `status`: the HTTP
    status, None without an answer. `asks`: the key of the request for work that it makes, '' for none of its own.
    """

    delivery: str
    issue: int
    action: str
    expects: Expectation
    updated_at: float
    closed_at: float | None = None
    sent_at: float
    answered_at: float | None = None
    status: int | None = None
    asks: str = ""

    @property
    def is_acknowledged(self) -> bool:
        """Whether the sender got a 2xx."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004 -- HTTP


class Order(_Noted):
    """A person's order over REST or the command line: `stop`, `delete`, `replace`, `ensure`.

    Where the checker reads along, note it before it is sent and again with its answer: a forced delete can take effect
    before its answer arrives. `sandbox_id`: the sandbox that the answer hands over, '' for none; None: not noted.
    """

    order: str
    issue: int
    is_forced: bool = False
    sent_at: float
    answered_at: float | None = None
    status: int | None = None
    sandbox_id: str | None = None


class Signal(_Noted):
    """A delivery in a workflow's history. `is_handled`: a later workflow task completed, the first one `handled_at`."""

    workflow_id: str
    run_id: str
    event_id: int
    at: float
    name: str
    delivery: str
    is_handled: bool
    handled_at: float | None = None


class Block(_Noted):
    """An issue's workflow reported, in its history, that it is blocked, and by what cause."""

    workflow_id: str
    run_id: str
    event_id: int
    at: float
    cause: str


class Begun(_Noted):
    """A line of a ledger: at that second, an attempt of a run began in a sandbox. The service never reads it.

    ``ended_at``: when the job said that it ended; None where it did not, or is not asked to.
    """

    sandbox_id: str
    run: str
    attempt: int
    at: float
    ended_at: float | None = None


class Alive(_Noted):
    """A process that carries the mark of a run was alive in a sandbox at that time."""

    sandbox_id: str
    run: str
    at: float


class RunStep(_Noted):
    """An activity that carried out a step of a run, in a workflow's history.

    ``phase``: what its result says of the attempt; '' while it has none. ``keys``: the requests that it was given.
    """

    workflow_id: str
    step: str
    run: str
    attempt: int
    sandbox_id: str
    at: float
    ended_at: float | None = None
    phase: str = ""
    keys: tuple[str, ...] = ()


class Receipt(_Noted):
    """What the service said at the end of a request for work: ``state`` is waiting, given, over or refused."""

    issue: int
    key: str
    state: str
    run: str = ""


class Comment(_Noted):
    """A comment that the service wrote at GitHub, which begins with the marker of a run. Times are epoch seconds.

    `asked_at`: when the request for it came; it may have been carried out later, or twice. `looked_at`: when the
    issue's comments had last been listed before that; None for never. `body`: its last text.
    """

    issue: int
    run: str
    comment_id: int
    asked_at: float
    looked_at: float | None
    at: float
    deleted_at: float | None = None
    body: str = ""


class End(_Noted):
    """A workflow run that a person or a wrong setting ended, and not its issue: `canceled`, `terminated` or `failed`.

    What it remembered is gone: its orders, and the deliveries that it had taken. A reset ends nothing.
    """

    workflow_id: str
    run_id: str
    at: float
    kind: str


class Lost(_Noted):
    """Temporal's database was put back to how it was at `since`, and served again at `until` (epoch seconds).

    What was stored in between is in no history any more. GitHub knows its events still; the orders are forgotten.
    """

    since: float
    until: float

    def covers(self, at: float | None) -> bool:
        """Whether what was stored then is lost."""
        return at is not None and self.since <= at <= self.until


class Evidence(_Noted):
    """All evidence of a run. `histories` and `blocks` are None when nobody read Temporal's histories.

    `closed_rests_at`: the raw states in which a closed issue's sandbox may be at rest under the run's settings.
    `worked_in`: the IDs of the sandboxes in which the run left unsaved work; None: the run did not note them.
    `is_at_rest`: the faults have ended, and the run has come to rest; (c), (e) and (f) require it. `instance`: the name
    of the installation under test, which is on its sandboxes. `lost`: Temporal's database was restored in the run.
    `ledger`, `run_steps`, `receipts` and `comments` are None when nobody read the jobs' ledgers, the histories, the
    receipts of requests for work, or GitHub's comments. `left`: what of any run was alive at the end. `running_max`:
    how many sandboxes the service may have up, from the beginning of the journal; 0 for no cap. `queued`: the issues
    that, as the service says, wait at the end for others to go down.
    """

    journal: list[Entry]
    deliveries: list[Delivery]
    orders: list[Order] = []
    histories: list[Signal] | None = None
    blocks: list[Block] | None = None
    ends: list[End] = []
    closed_rests_at: frozenset[str] = frozenset({"stopped", "archived"})
    worked_in: frozenset[str] | None = None
    is_at_rest: bool = True
    instance: str = "default"
    lost: Lost | None = None
    ledger: list[Begun] | None = None
    run_steps: list[RunStep] | None = None
    receipts: list[Receipt] | None = None
    comments: list[Comment] | None = None
    left: list[Alive] = []
    running_max: int = 0
    queued: frozenset[int] = frozenset()


class Violation(_Noted):
    """One broken promise. `rule`: its letter. `entries`: the numbers of the journal entries that show it."""

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
    """Read what `write_lines` wrote. A missing file has no lines."""
    if not path.exists():
        return []
    with path.open() as file:
        return [kind.model_validate_json(line) for line in file if line.strip()]
