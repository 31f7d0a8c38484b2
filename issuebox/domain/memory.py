"""What the workflow of one issue remembers, and how an event changes it.

`Memory` is the one object that is carried from run to run: everything in it is bounded. `absorb` is
the only function that judges events; it is pure apart from the memory it is given, and the order in
which deliveries arrive does not change what is known at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.patience import Patience
from issuebox.domain.phase import Action, Cause, Goal, Outcome, Phase
from issuebox.domain.sandbox import Sandbox

DELIVERIES_MAX = 256
"""Remembered delivery IDs and body digests per issue. GitHub's redeliveries come within three days."""
NOTES_MAX = 40
"""Remembered decisions per issue, for `why`."""
WAITING_MAX = 64
"""Remembered deliveries that wait for the same sandbox, for the log only; '' for requests without one."""


class Verdict(StrEnum):
    """What became of a delivery. Completes "the event was …"."""

    TAKEN = "taken"
    RECORDED = "recorded"
    LATE = "late"
    REPEATED = "repeated"


@dataclass(frozen=True, slots=True)
class Note:
    """One decision or event, for the question *why is this sandbox in this state*."""

    at: datetime
    what: str
    reason: str = ""
    phase: Phase | None = None
    state: str = ""
    action: Action | None = None
    deliveries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why the issue cannot be served now, since when, and when it is tried again by itself."""

    cause: Cause
    reason: str
    advice: str
    since: datetime
    tries: int = 1
    next_try_at: datetime | None = None


@dataclass(slots=True)
class Memory:
    """The state of one issue's workflow.

    ``asked`` counts the requests for a running sandbox and ``served`` says up to which of them one
    was handed over: the workflow has work exactly while they differ. ``is_nudged`` says that something
    happened since the last pursuit which may end a block; it is kept here so that no new run loses it.
    """

    issue_id: int
    name: str
    issue: Issue | None = None
    goal: Goal = Goal.RUNNING
    closed_at: datetime | None = None
    sandbox: Sandbox | None = None
    sandbox_id: str = ""
    seen_at: datetime | None = None
    phase: Phase | None = None
    phase_since: datetime | None = None
    unbuilt_id: str = ""
    builds_failed: int = 0
    asked: int = 0
    served: int = 0
    is_nudged: bool = False
    outcome: Outcome | None = None
    blocked: Blocked | None = None
    waiting: list[str] = field(default_factory=list)
    deliveries: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    deliveries_seen: int = 0
    patience: Patience = field(default_factory=Patience)

    @property
    def has_work(self) -> bool:
        """Whether somebody asked for the sandbox and has not got it."""
        return self.asked > self.served

    def note(self, note: Note) -> None:
        """Remember a decision; the oldest is forgotten."""
        self.notes.append(note)
        del self.notes[:-NOTES_MAX]

    def ask(self, delivery: str = "") -> int:
        """Count one more request for a running sandbox; returns its ticket."""
        self.asked += 1
        self.goal = Goal.RUNNING
        self.waiting.append(delivery)
        del self.waiting[:-WAITING_MAX]
        return self.asked

    def serve(self, ticket: int) -> None:
        """All requests up to `ticket` have got their sandbox."""
        self.served = max(self.served, ticket)
        left = self.asked - self.served
        self.waiting = self.waiting[len(self.waiting) - min(left, len(self.waiting)) :]

    @property
    def waiting_deliveries(self) -> tuple[str, ...]:
        """The deliveries that wait for the sandbox, for the log."""
        return tuple(delivery for delivery in self.waiting if delivery)

    def see(self, sandbox: Sandbox | None, phase: Phase, now: datetime) -> None:
        """Remember what a look found. The known ID is kept on *not found*: one 404 proves nothing."""
        same_sandbox = (self.sandbox.id if self.sandbox else "") == (sandbox.id if sandbox else "")
        if phase is not self.phase or not same_sandbox or self.phase_since is None:
            self.phase_since = now
        self.phase, self.sandbox, self.seen_at = phase, sandbox, now
        if sandbox is not None:
            self.sandbox_id = sandbox.id
            if sandbox.phase is Phase.UNBUILT:
                self.unbuilt_id = sandbox.id


def absorb(memory: Memory, event: IssueEvent, now: datetime) -> Verdict:
    """Take one delivery into the memory and say what became of it. Safe to repeat: a repetition changes nothing."""
    memory.deliveries_seen += 1
    if _is_repeated(memory, event):
        return Verdict.REPEATED
    _remember(memory.deliveries, event.delivery)
    _remember(memory.digests, event.digest)
    is_late = memory.issue is not None and event.issue.is_older_than(memory.issue)
    if not is_late:
        memory.issue = _merged(memory.issue, event.issue)
    verdict = _judge(memory, event, is_late=is_late)
    what = f"{event.event}.{event.action}" if event.event else str(event.intention)
    memory.note(Note(now, what, f"{event.intention}: {verdict}", deliveries=(event.delivery,)))
    return verdict


def _judge(memory: Memory, event: IssueEvent, *, is_late: bool) -> Verdict:
    """Whether the event asks for work, given the newest known state of the issue."""
    match event.intention:
        case Intention.ENSURE:
            if _may_run(memory, event):
                memory.ask(event.delivery)
                return Verdict.TAKEN
            return Verdict.LATE
        case Intention.DELETE:
            # An issue ID never comes back, so a delete is final whenever it arrives.
            memory.goal = Goal.DELETED
            return Verdict.RECORDED
        case Intention.STOP:
            if is_late:
                return Verdict.LATE
            memory.goal = Goal.STOPPED
            memory.closed_at = event.issue.updated_at
            return Verdict.RECORDED
        case Intention.IGNORE | Intention.PONG:
            return Verdict.RECORDED


def _may_run(memory: Memory, event: IssueEvent) -> bool:
    """A late `opened` cannot wake a closed issue; a person's newer request on a closed issue can."""
    if memory.goal is Goal.DELETED:
        return False
    if memory.issue is None or memory.issue.state is IssueState.OPEN:
        return True
    if not event.is_explicit:
        return False
    if memory.closed_at is None or event.requested_at is None:
        return True
    return event.requested_at >= memory.closed_at


def _merged(known: Issue | None, newer: Issue) -> Issue:
    """The newer snapshot, completed from the known one where a hand-sent event left fields empty."""
    if known is None:
        return newer
    return replace(
        newer,
        repository=newer.repository or known.repository,
        number=newer.number or known.number,
        title=newer.title or known.title,
        url=newer.url or known.url,
        updated_at=newer.updated_at or known.updated_at,
    )


def _is_repeated(memory: Memory, event: IssueEvent) -> bool:
    return (bool(event.delivery) and event.delivery in memory.deliveries) or (
        bool(event.digest) and event.digest in memory.digests
    )


def _remember(known: list[str], item: str) -> None:
    if item:
        known.append(item)
        del known[:-DELIVERIES_MAX]
