"""The inputs and outputs of `IssueSandboxWorkflow`: one object per message.

These shapes are public: the `temporal` CLI, the REST API and other programs send and read them, and
running workflows hold them in their histories. Add fields only with defaults; never rename one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial

from issuebox.domain.events import IssueEvent
from issuebox.domain.issue import Issue, in_utc
from issuebox.domain.memory import KEY_BYTES_MAX, Blocked, Memory, Note
from issuebox.domain.phase import Goal, Outcome, Phase
from issuebox.domain.run_pause import Pause
from issuebox.domain.sandbox import NAME_BYTES_MAX, Sandbox
from issuebox.domain.slot import Answer
from issuebox.domain.text import Clean, clean, prose, word
from issuebox.domain.unsaved_work import Inspection
from workflows.gate_messages import SIGNAL_SAID, SIGNAL_SLOT, SaidToGate
from workflows.run_messages import SIGNAL_CANCEL_RUN, SIGNAL_PAUSE, SIGNAL_RESUME, CancelRun, PauseOrder, RunView

WORKFLOW_TYPE = "IssueSandboxWorkflow"
TASK_QUEUE = "issuebox"
SIGNAL_EVENT = "issue_event"
SIGNAL_RETRY = "retry"
SIGNAL_LOOK = "look"
SIGNAL_STOP = "stop"
SIGNAL_DELETE = "delete"
SIGNAL_REPLACE = "replace"
UPDATE_ENSURE = "ensure"
QUERY_STATUS = "status"
QUERY_WHY = "why"
QUERY_ORDER_OF = "order_of"

ORDER_DELETE_FORCED = "delete-forced"
"""An order that came under a key is remembered by the name of its message; a forced delete is another one."""

ERROR_WRONG_ISSUE = "WrongIssueError"
ERROR_TOO_MANY_WAITING = "TooManyWaitingError"
ERROR_ISSUE_DELETED = "IssueDeletedError"

IDLE = "resting until the next event"
BLOCKED = "blocked until a retry"
QUEUED = "queued until its turn comes"
AT_REST = frozenset({IDLE, BLOCKED, QUEUED})
"""What `Status.doing` says while nothing is under way."""

MEMO_STATUS = "status"
"""The memo of each workflow: a flat object with the fields of `Published`."""


class Aside(StrEnum):
    """What has a task queue of its own beside the installation's, with task slots of its own: `workflows.options`."""

    WAITS = "waits"
    """Waits for Daytona, and walks over everything: some seconds to hours, in which little is done."""
    INSIDE = "inside"
    """What happens inside a sandbox: seconds to minutes, each with a request under way."""
    NOTICES = "notices"
    """Notices to a receiver that may be slow or away, and must hold up nothing else."""
    RUNS = "runs"
    """Followers of runs: minutes to hours, with a request every few seconds. What begins or ends one goes elsewhere."""

    def queue(self, task_queue: str) -> str:
        """The name of its task queue, beside the installation's own."""
        return f"{task_queue}-{self}"


_START_TEXTS: Mapping[str, Clean] = {"name": partial(word, bytes_max=NAME_BYTES_MAX)}
_KEY_TEXTS: Mapping[str, Clean] = {"key": partial(word, bytes_max=KEY_BYTES_MAX)}
_REQUEST_TEXTS: Mapping[str, Clean] = {"requested_by": partial(prose, bytes_max=128), **_KEY_TEXTS}


@dataclass(frozen=True, slots=True)
class StartInput:
    """The input of a workflow run. Only continue-as-new sets ``memory``."""

    issue_id: int
    name: str
    memory: Memory | None = None

    def __post_init__(self) -> None:
        """A name that is too long for a sandbox is refused with a sentence that does not repeat all of it."""
        clean(self, _START_TEXTS)


@dataclass(frozen=True, slots=True)
class EnsureRequest:
    """A person's or a program's request to have the issue's sandbox running now. ``key`` is as in `OrderKey`."""

    issue: Issue
    requested_by: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        """A note quotes who asks, and anybody with access to Temporal may write anything there."""
        clean(self, _REQUEST_TEXTS)


@dataclass(frozen=True, slots=True)
class StopRequest:
    """The argument of the signal ``stop``, which may be left out.

    ``ordered_at`` is when the person gave the order: the signal may wait for a worker, and what was asked for before
    the order must not undo it. None: when a worker took it. ``key`` is as in `OrderKey`.
    """

    ordered_at: datetime | None = None
    key: str = ""

    def __post_init__(self) -> None:
        clean(self, _KEY_TEXTS)
        object.__setattr__(self, "ordered_at", in_utc(self.ordered_at))


@dataclass(frozen=True, slots=True)
class DeleteRequest:
    """The argument of the signal ``delete``, which may be left out. With `force`, unsaved work is given up.

    ``ordered_at`` and ``key`` are as in `StopRequest`.
    """

    force: bool = False
    ordered_at: datetime | None = None
    key: str = ""

    def __post_init__(self) -> None:
        clean(self, _KEY_TEXTS)
        object.__setattr__(self, "ordered_at", in_utc(self.ordered_at))


@dataclass(frozen=True, slots=True)
class OrderKey:
    """The argument of the signals ``retry`` and ``replace``, which may be left out.

    What comes again under the same key is not carried out again, and a key that was used for another order not at all.
    Without a default, so that an argument which means something else is malformed.
    """

    key: str

    def __post_init__(self) -> None:
        clean(self, _KEY_TEXTS)


SIGNALS: Mapping[str, tuple[type, ...]] = {
    SIGNAL_EVENT: (IssueEvent,),
    SIGNAL_RETRY: (OrderKey,),
    SIGNAL_LOOK: (),
    SIGNAL_STOP: (StopRequest,),
    SIGNAL_DELETE: (DeleteRequest,),
    SIGNAL_REPLACE: (OrderKey,),
    SIGNAL_CANCEL_RUN: (CancelRun,),
    SIGNAL_PAUSE: (PauseOrder,),
    SIGNAL_RESUME: (PauseOrder,),
    SIGNAL_SLOT: (Answer,),
    SIGNAL_SAID: (SaidToGate,),
}
"""The arguments of each signal, of the issues' workflows and of the gate."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What the data converter passes on in place of a signal's argument that it cannot read."""


@dataclass(frozen=True, slots=True)
class Published:
    """What lists and sweeps read of an issue without querying its workflow. Times are in ISO 8601, '' for none.

    ``goal`` is what the sandbox should be now, ``goal_due_at`` when time alone changes that. ``timers`` are those that
    a closed issue goes by: `Closing.timers`. ``work`` is the last verdict on unsaved work, and ``undelivered`` the kind
    of the last notice, when its receiver did not take it in time. ``run`` is the state of the newest run of the agent,
    one of `RunState`.
    """

    phase: str = ""
    state: str = ""
    sandbox_id: str = ""
    outcome: str = ""
    blocked: str = ""
    goal: str = ""
    goal_due_at: str = ""
    timers: str = ""
    work: str = ""
    repository: str = ""
    number: int = 0
    title: str = ""
    issue_state: str = ""
    issue_updated_at: str = ""
    requested_at: str = ""
    undelivered: str = ""
    run: str = ""


@dataclass(frozen=True, slots=True)
class Handover:
    """The answer to `EnsureRequest`.

    With outcome ``blocked``, ``blocked`` has the reason and the advice; with ``pending`` the workflow is still
    working on it. Otherwise ``sandbox`` was seen usable after the request arrived.
    """

    issue_id: int
    name: str
    outcome: Outcome
    sandbox: Sandbox | None = None
    blocked: Blocked | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """The state of an issue's sandbox as the workflow saw it at ``seen_at``.

    ``doing`` is a phrase for what the workflow is doing now, ``goal_due_at`` when time alone changes the goal.
    ``inspection`` is the last inspection for unsaved work, ``run`` the newest run of the agent, and
    ``run_requests_waiting`` counts the requests that no run serves yet. ``run_pause`` says who has paused the agent's
    runs, since when and why.
    """

    issue_id: int
    name: str
    goal: Goal
    doing: str
    phase: Phase | None = None
    outcome: Outcome | None = None
    issue: Issue | None = None
    sandbox: Sandbox | None = None
    seen_at: datetime | None = None
    blocked: Blocked | None = None
    requests_waiting: int = 0
    deliveries_seen: int = 0
    goal_due_at: datetime | None = None
    inspection: Inspection | None = None
    run: RunView | None = None
    run_requests_waiting: int = 0
    run_pause: Pause | None = None


@dataclass(frozen=True, slots=True)
class Why:
    """The answer to *why is this sandbox in this state*: a summary and the last decisions, oldest first."""

    summary: str
    notes: tuple[Note, ...] = ()
