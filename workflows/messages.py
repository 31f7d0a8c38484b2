"""What goes into and comes out of `IssueSandboxWorkflow`: one object per message.

These shapes are public: the `temporal` CLI, the REST API and other programs send and read them, and
running workflows hold them in their histories. Add fields with defaults; never rename one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from issuebox.domain.issue import Issue
from issuebox.domain.memory import Blocked, Memory, Note
from issuebox.domain.phase import Goal, Outcome, Phase
from issuebox.domain.sandbox import Sandbox

WORKFLOW_TYPE = "IssueSandboxWorkflow"
TASK_QUEUE = "issuebox"
SIGNAL_EVENT = "issue_event"
SIGNAL_RETRY = "retry"
UPDATE_ENSURE = "ensure"
QUERY_STATUS = "status"
QUERY_WHY = "why"

ERROR_WRONG_ISSUE = "WrongIssueError"
ERROR_TOO_MANY_WAITING = "TooManyWaitingError"


@dataclass(frozen=True, slots=True)
class StartInput:
    """The input of a run. ``memory`` is set by continue-as-new alone."""

    issue_id: int
    name: str
    memory: Memory | None = None


@dataclass(frozen=True, slots=True)
class EnsureRequest:
    """A person's or a program's request to have the issue's sandbox running now."""

    issue: Issue
    requested_by: str = ""


@dataclass(frozen=True, slots=True)
class Handover:
    """The answer to `EnsureRequest`.

    With outcome ``blocked``, ``blocked`` says why and what would help; with ``pending`` the workflow is
    still at it. Otherwise ``sandbox`` was seen usable after the request arrived.
    """

    issue_id: int
    name: str
    outcome: Outcome
    sandbox: Sandbox | None = None
    blocked: Blocked | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """The state of an issue's sandbox as the workflow knows it; ``seen_at`` says from when that is.

    ``doing`` is one sentence about what the workflow does at this moment.
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


@dataclass(frozen=True, slots=True)
class Why:
    """The answer to *why is this sandbox in this state*: a sentence, and the last decisions, oldest first."""

    summary: str
    notes: tuple[Note, ...] = ()
