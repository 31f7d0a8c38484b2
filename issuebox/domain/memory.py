"""What the workflow of one issue remembers.

`Memory` is the one object that is carried from run to run: everything in it is bounded. Events change
it in `issuebox.domain.intake`, time does in `issuebox.domain.goal`, and looks in `Memory.see`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.patience import Patience
from issuebox.domain.phase import ASLEEP, HAS_RUN, REMEDIES, Action, Cause, Goal, Outcome, Phase
from issuebox.domain.sandbox import Sandbox
from issuebox.domain.unsaved_work import LABEL_SET_UP, SET_UP_DONE, Evidence

DELIVERIES_MAX = 256
"""Remembered delivery IDs and body digests per issue. GitHub's redeliveries come within three days."""
NOTES_MAX = 40
"""Remembered decisions per issue, for `why`."""
PAST_SHOWN_MAX = timedelta(seconds=30)
"""How long a read may show the past: Daytona keeps its answers for up to 10 s. After that its clock is not believed."""
WAITING_MAX = 64
"""Remembered deliveries that wait for the same sandbox, for the log only; '' for requests without one."""


class Order(StrEnum):
    """What a person told us to do with the sandbox; it stands until somebody asks for the sandbox again."""

    STOP = "stop"
    DELETE = "delete"


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
    was handed over or called off. ``is_nudged`` says that something happened since the last pursuit which
    may end a block; it is kept here so that no new run loses it.

    ``closed_at`` and ``requested_at`` are GitHub's times of the newest close and of the newest request that
    a person made; which is later decides whether a closed issue has a running sandbox. ``ended_at`` is when
    we learned of the close, or of a request after it: from then on the timers of a closed issue count. None
    while the issue is open. ``is_contradicted`` says that two snapshots of the same second disagree.

    ``reached`` is the goal that the sandbox was last seen to have reached, ``order`` what a person wants done
    with it, ``forced_id`` the sandbox that a forced delete was meant for, ``doomed_id`` the one that a person gave
    up for a new one. ``prepared_id`` is the sandbox whose set-up was seen to finish, ``counted_id`` the last one in
    ``builds_failed``, ``evidence`` the last look for unsaved work.

    ``is_create_open`` says that a create was sent and that no sandbox was seen since. ``edition`` is what a
    worker calls its settings in ``patience``; '' while no worker has told them.
    """

    issue_id: int
    name: str
    issue: Issue | None = None
    goal: Goal = Goal.RUNNING
    goal_due_at: datetime | None = None
    reached: Goal | None = None
    closed_at: datetime | None = None
    requested_at: datetime | None = None
    ended_at: datetime | None = None
    is_contradicted: bool = False
    order: Order | None = None
    is_order_forced: bool = False
    forced_id: str = ""
    is_replace_asked: bool = False
    doomed_id: str = ""
    is_look_asked: bool = False
    sandbox: Sandbox | None = None
    sandbox_id: str = ""
    seen_at: datetime | None = None
    phase: Phase | None = None
    phase_since: datetime | None = None
    unbuilt_id: str = ""
    builds_failed: int = 0
    counted_id: str = ""
    prepared_id: str = ""
    evidence: Evidence | None = None
    asked: int = 0
    served: int = 0
    called_off_after: int = 0
    called_off_to: int = 0
    is_nudged: bool = False
    outcome: Outcome | None = None
    blocked: Blocked | None = None
    waiting: list[str] = field(default_factory=list)
    deliveries: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    deliveries_seen: int = 0
    patience: Patience = field(default_factory=Patience)
    is_create_open: bool = False
    edition: str = ""

    @property
    def is_asked(self) -> bool:
        """Whether somebody asked for the sandbox and has not got it."""
        return self.asked > self.served

    @property
    def has_work(self) -> bool:
        """Whether there is anything to do: a request, a look, or a goal that is not reached yet."""
        is_reached = self.goal is Goal.RUNNING or self.goal is self.reached
        return self.is_asked or self.is_look_asked or not is_reached

    @property
    def is_issue_deleted(self) -> bool:
        """Whether GitHub deleted the issue. Final: its ID never comes back."""
        return self.issue is not None and self.issue.state is IssueState.DELETED

    @property
    def waiting_deliveries(self) -> tuple[str, ...]:
        """The deliveries that wait for the sandbox, for the log."""
        return tuple(delivery for delivery in self.waiting if delivery)

    def note(self, note: Note) -> None:
        """Remember a decision; the oldest is forgotten."""
        self.notes.append(note)
        del self.notes[:-NOTES_MAX]

    def ask(self, now: datetime, delivery: str = "") -> int:
        """Count one more request for a running sandbox; returns its ticket. A standing order ends with it."""
        self.asked += 1
        self.order, self.is_order_forced, self.forced_id = None, False, ""
        if self.ended_at is not None:
            self.ended_at = now
        self.waiting.append(delivery)
        del self.waiting[:-WAITING_MAX]
        return self.asked

    def request(self, moment: datetime | None) -> None:
        """Remember when a person asked. In whole seconds, as GitHub's closes are: within one, the close wins."""
        if moment is not None:
            second = moment.replace(microsecond=0)
            self.requested_at = max(second, self.requested_at or second)

    def serve(self, ticket: int) -> None:
        """All requests up to `ticket` have got their sandbox."""
        self.served = max(self.served, ticket)
        left = self.asked - self.served
        self.waiting = self.waiting[len(self.waiting) - min(left, len(self.waiting)) :]

    def call_off(self) -> None:
        """The requests that wait get no sandbox: something newer says that none is wanted."""
        if self.is_asked:
            self.called_off_after, self.called_off_to = self.served, self.asked
        self.is_replace_asked, self.doomed_id = False, ""
        self.serve(self.asked)

    def block(
        self, cause: Cause, reason: str, now: datetime, retry_after_s: float, chance: Callable[[], float]
    ) -> None:
        """Remember why nothing can be done now, and when it is tried again.

        That is after `retry_after_s`, which who asks for it means however often; 0 leaves it to the patience.
        """
        remedy = REMEDIES[cause]
        tries = self.blocked.tries + 1 if self.blocked else 1
        next_try_at = None
        if remedy.passes:
            pause_s = retry_after_s or self.patience.blocked_retry_s(tries, chance())
            next_try_at = now + timedelta(seconds=pause_s)
        since = self.blocked.since if self.blocked else now
        self.blocked = Blocked(cause, reason, remedy.advice, since, tries, next_try_at)
        self.outcome = Outcome.BLOCKED
        self.note(Note(now, "blocked", f"{cause}: {reason}", self.phase))

    def unblock(self) -> None:
        """Nothing is in the way any more, or nothing has to be done."""
        self.blocked = None
        if self.outcome is Outcome.BLOCKED:
            self.outcome = None

    def is_called_off(self, ticket: int) -> bool:
        """Whether this request was called off rather than served."""
        return self.called_off_after < ticket <= self.called_off_to

    def give(self, order: Order, *, is_forced: bool = False) -> None:
        """Take a person's order. It calls off who waits for the sandbox."""
        self.call_off()
        self.order, self.is_order_forced, self.forced_id = order, is_forced, ""
        self.reached = None

    def see(self, sandbox: Sandbox | None, phase: Phase, now: datetime) -> None:
        """Remember what a look found. The known ID is kept on *not found*: one 404 proves nothing."""
        same_sandbox = (self.sandbox.id if self.sandbox else "") == (sandbox.id if sandbox else "")
        if phase is not self.phase or not same_sandbox or self.phase_since is None:
            self.phase_since = now
        self.phase, self.sandbox, self.seen_at = phase, sandbox, now
        if sandbox is None:
            return
        self.sandbox_id = sandbox.id
        self.is_create_open = False
        if sandbox.phase is Phase.UNBUILT:
            self.unbuilt_id = sandbox.id
        elif sandbox.id == self.unbuilt_id and sandbox.phase in HAS_RUN:
            self.unbuilt_id = ""  # Somebody brought it up by hand, and may have worked in it since.

    def shows_past(self, read: Sandbox | None, now: datetime) -> bool:
        """Whether a read shows what the sandbox was before it was seen last."""
        if read is None or self.sandbox is None or self.seen_at is None:
            return False
        return now - self.seen_at < PAST_SHOWN_MAX and read.is_older_than(self.sandbox)

    def waited_s(self, now: datetime) -> float:
        """Seconds since the sandbox came into its phase, as far as was seen."""
        return 0.0 if self.phase_since is None else (now - self.phase_since).total_seconds()

    def is_set_up(self, sandbox: Sandbox | None) -> bool:
        """Whether the sandbox needs no set-up before it is used, or has had it."""
        if sandbox is None or not self.patience.is_setup_configured:
            return True
        return sandbox.id == self.prepared_id or sandbox.labels.get(LABEL_SET_UP) == SET_UP_DONE

    def settle_evidence(self, now: datetime) -> None:
        """The sandbox that was looked into is seen asleep: from now on, any activity in it makes the look stale."""
        evidence, sandbox = self.evidence, self.sandbox
        if evidence is None or evidence.stopped_at is not None or sandbox is None:
            return
        if sandbox.id == evidence.sandbox_id and sandbox.phase in ASLEEP:
            self.evidence = replace(evidence, stopped_at=now)
