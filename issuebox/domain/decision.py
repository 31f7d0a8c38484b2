"""The decision: one table from (phase, goal) to an action, and the overrides that may replace its action.

1. The table is total; a missing row fails at import.
2. ``Action.CREATE`` stands in exactly one cell. An unknown state is waited on and reported; it never leads to a create.
3. An override may replace the table's action with BLOCK. For an overdue sandbox that cannot hold work it may also
   choose DELETE.
4. Nothing here knows the time, the network or Temporal: the caller passes in how long it has waited,
   how often it has tried, and what was refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from issuebox.domain.issue import DEFAULT_NAME_PREFIX, sandbox_name
from issuebox.domain.phase import Action, Cause, Goal, Phase
from issuebox.domain.sandbox import DEFAULT_INSTANCE, Sandbox, foreign_labels
from issuebox.domain.unsaved_work import WorkState

_P, _A = Phase, Action


class Column(StrEnum):
    """The columns of the table: the goal, and for a delete what is known about unsaved work.

    ``deleted``: the sandbox has not been inspected yet. ``held``: it has unsaved work, or the inspection could not
    rule that out. ``cleared``: nothing can be lost, or a person gave the sandbox up.
    """

    RUNNING = "running"
    STOPPED = "stopped"
    ARCHIVED = "archived"
    DELETED = "deleted"
    HELD = "held"
    CLEARED = "cleared"


TABLE: Mapping[Phase, Mapping[Column, Action]] = {
    phase: dict(zip(Column, actions, strict=True))
    for phase, actions in {
        # phase:          running,    stopped,    archived,   deleted,    held,       cleared
        _P.MISSING: (_A.CREATE, _A.REST, _A.REST, _A.REST, _A.REST, _A.REST),
        _P.PENDING: (_A.WAIT, _A.WAIT, _A.WAIT, _A.WAIT, _A.WAIT, _A.WAIT),
        _P.THAWING: (_A.WAIT, _A.WAIT, _A.WAIT, _A.WAIT, _A.WAIT, _A.WAIT),
        _P.UNPREPARED: (_A.SET_UP, _A.INSPECT, _A.INSPECT, _A.INSPECT, _A.INSPECT, _A.STOP),
        _P.USABLE: (_A.USE, _A.INSPECT, _A.INSPECT, _A.INSPECT, _A.INSPECT, _A.STOP),
        _P.BUSY: (_A.WAIT, _A.WAIT, _A.WAIT, _A.WAIT, _A.WAIT, _A.WAIT),
        _P.STOPPING: (_A.WAIT, _A.WAIT, _A.WAIT, _A.WAIT, _A.WAIT, _A.WAIT),
        _P.STOPPED: (_A.START, _A.REST, _A.ARCHIVE, _A.START, _A.BLOCK, _A.DELETE),
        _P.PAUSED: (_A.START, _A.REST, _A.STOP, _A.START, _A.BLOCK, _A.DELETE),
        _P.ARCHIVING: (_A.START, _A.REST, _A.REST, _A.START, _A.BLOCK, _A.DELETE),
        _P.ARCHIVED: (_A.START, _A.REST, _A.REST, _A.START, _A.BLOCK, _A.DELETE),
        _P.RECOVERABLE: (_A.RECOVER, _A.REST, _A.REST, _A.RECOVER, _A.BLOCK, _A.DELETE),
        _P.BROKEN: (_A.BLOCK, _A.BLOCK, _A.BLOCK, _A.BLOCK, _A.BLOCK, _A.DELETE),
        _P.UNBUILT: (_A.DELETE, _A.DELETE, _A.DELETE, _A.DELETE, _A.DELETE, _A.DELETE),
        _P.LEAVING: (_A.WAIT, _A.WAIT, _A.WAIT, _A.WAIT, _A.WAIT, _A.WAIT),
        _P.UNKNOWN: (_A.WAIT, _A.WAIT, _A.WAIT, _A.WAIT, _A.WAIT, _A.WAIT),
    }.items()
}
"""INSPECT stands for a stop that needs an inspection first; `decide` turns it into STOP once there is a verdict."""

OVERDUE: Mapping[Phase, Cause] = dict.fromkeys(Phase, Cause.STUCK) | {_P.UNKNOWN: Cause.UNKNOWN_STATE}
"""The cause to report when a phase has used up its budget."""

FRUITLESS: Mapping[Action, Cause] = {
    _A.CREATE: Cause.NAME_HELD,
    _A.START: Cause.STUCK,
    _A.RECOVER: Cause.BROKEN,
    _A.SET_UP: Cause.SETUP,
    _A.INSPECT: Cause.UNSAVED,
    _A.STOP: Cause.STUCK,
    _A.ARCHIVE: Cause.STUCK,
    _A.DELETE: Cause.STUCK,
    _A.WAIT: Cause.STUCK,
}
"""The cause to report when a command was sent again and again and the phase did not change."""

assert set(TABLE) == set(Phase), "every phase has its row"  # noqa: S101
assert set(OVERDUE) == set(Phase), "every phase has its cause"  # noqa: S101


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait in each phase, in seconds, and how often to try. A phase that is not listed has no budget."""

    budget_s: Mapping[Phase, float] = field(
        default_factory=lambda: {
            # Daytona itself turns creating into error after 15 minutes and starting after 5.
            Phase.PENDING: 20 * 60.0,
            # 10 to 40 minutes were reported for large archives.
            Phase.THAWING: 45 * 60.0,
            Phase.BUSY: 60 * 60.0,
            # Daytona itself turns an unanswered stop into an error after 10 minutes.
            Phase.STOPPING: 15 * 60.0,
            Phase.LEAVING: 15 * 60.0,
            Phase.UNKNOWN: 10 * 60.0,
        }
    )
    builds_max: int = 3
    """Sandboxes in a row that may fail before they ever ran: more would only cost, the snapshot is broken."""
    recovers_max: int = 3
    """Recoveries tried before a person must act."""
    attempts_max: int = 9
    """Attempts of one command without effect before the issue is blocked: with the pauses, over a minute."""

    def attempts_for(self, action: Action) -> int:
        """How often the action may be tried in one reconciliation."""
        return self.recovers_max if action is Action.RECOVER else self.attempts_max


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command that the provider refuses until somebody acts."""

    action: Action
    cause: Cause
    reason: str


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that the decision depends on.

    ``waited_s`` is the time since the phase was first seen, ``attempts`` how often this reconciliation sent each
    command, ``trouble`` the cause of the last command's failure. ``verdict`` is the verdict on unsaved work that
    still counts; ``is_forced``: a person gave that work up. ``is_set_up`` is False while the sandbox needs a set-up
    before it can be used. ``instance`` is the name of this installation.
    """

    issue_id: int
    goal: Goal
    sandbox: Sandbox | None
    unbuilt_id: str = ""
    builds_failed: int = 0
    waited_s: float = 0.0
    attempts: Mapping[Action, int] = field(default_factory=dict)
    refusal: Refusal | None = None
    trouble: Cause | None = None
    verdict: WorkState | None = None
    findings: tuple[str, ...] = ()
    is_forced: bool = False
    is_set_up: bool = True
    instance: str = DEFAULT_INSTANCE
    name: str = ""
    name_prefix: str = DEFAULT_NAME_PREFIX

    @property
    def phase(self) -> Phase:
        """The phase that the lookup showed, refined by what the workflow remembers of the sandbox."""
        if self.sandbox is None:
            return Phase.MISSING
        if self.sandbox.phase is Phase.BROKEN and self.sandbox.id == self.unbuilt_id:
            return Phase.UNBUILT
        if self.sandbox.phase is Phase.USABLE and not self.is_set_up:
            return Phase.UNPREPARED
        return self.sandbox.phase

    @property
    def column(self) -> Column:
        """The column of the table that applies."""
        if self.goal is not Goal.DELETED:
            return Column(self.goal.value)
        if self.is_forced or self.verdict is WorkState.CLEAN:
            return Column.CLEARED
        return Column.DELETED if self.verdict is None else Column.HELD

    @property
    def nothing_to_lose(self) -> bool:
        """Whether nothing is lost when a sandbox that is stuck before its first start is deleted."""
        is_untouched = self.sandbox is not None and self.phase is Phase.PENDING and self.sandbox.never_ran
        return is_untouched or (self.column is Column.CLEARED and self.phase is Phase.PENDING)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do next, and why. ``cause`` is set exactly when the action is BLOCK."""

    action: Action
    phase: Phase
    reason: str
    cause: Cause | None = None


Override = Callable[[Situation, Action, Limits], Decision | None]


def decide(situation: Situation, limits: Limits) -> Decision:
    """The next action for this situation. Pure and total: every situation has exactly one answer."""
    phase = situation.phase
    action = TABLE[phase][situation.column]
    if action is Action.INSPECT and situation.verdict is not None:
        action = Action.STOP
    for override in OVERRIDES:
        decision = override(situation, action, limits)
        if decision is not None:
            return decision
    if action is Action.BLOCK:
        return _block(situation)
    return Decision(action, phase, f"{phase} with goal {situation.goal}")


def _wrong_name(situation: Situation, _action: Action, _limits: Limits) -> Decision | None:
    """One issue has one name, that which the worker derives: under another one it would get a second sandbox."""
    reason = name_objection(situation.issue_id, situation.name, situation.name_prefix)
    return Decision(Action.BLOCK, situation.phase, reason, Cause.WRONG_NAME) if reason else None


def name_objection(issue_id: int, name: str, prefix: str) -> str:
    """Why the workers do not serve the issue under this name; '' when they do, or when no name is given."""
    right = sandbox_name(issue_id, prefix)
    return "" if name in {"", right} else f"this is the workflow {name}, and the workers call issue {issue_id} {right}"


def _foreign(situation: Situation, _action: Action, _limits: Limits) -> Decision | None:
    """A sandbox that has our name and somebody else's labels is never touched."""
    sandbox = situation.sandbox
    if sandbox is None or situation.phase is Phase.LEAVING:
        return None
    whose = foreign_labels(sandbox.labels, situation.issue_id, situation.instance)
    if not whose:
        return None
    reason = f"sandbox {sandbox.id} has the name of issue {situation.issue_id}'s sandbox but is not ours: {whose}"
    return Decision(Action.BLOCK, situation.phase, reason, Cause.FOREIGN)


def _refused(situation: Situation, action: Action, _limits: Limits) -> Decision | None:
    """A refused command is not sent again while the table still asks for it.

    The lookup in between matters: Daytona checks the name last, so it may answer a duplicate create with a
    quota error although the first create succeeded.
    """
    refusal = situation.refusal
    if refusal is None or refusal.action is not action:
        return None
    return Decision(Action.BLOCK, situation.phase, refusal.reason, refusal.cause)


def _builds_exhausted(situation: Situation, action: Action, limits: Limits) -> Decision | None:
    """After ``builds_max`` sandboxes that failed before they ran, a person must check the snapshot."""
    if situation.goal is not Goal.RUNNING or situation.builds_failed < limits.builds_max:
        return None
    if situation.phase is Phase.UNBUILT or action is Action.CREATE:
        reason = f"{situation.builds_failed} sandboxes in a row failed before they ran"
        if situation.sandbox is not None and situation.sandbox.error_reason:
            reason += f": {situation.sandbox.error_reason}"
        return Decision(Action.BLOCK, situation.phase, reason, Cause.UNBUILT)
    return None


def _overdue(situation: Situation, action: Action, limits: Limits) -> Decision | None:
    """A wait beyond its budget blocks the issue, or ends in a delete where provably nothing can be lost."""
    phase = situation.phase
    if action is not Action.WAIT or situation.waited_s <= limits.budget_s.get(phase, 0.0):
        return None
    is_delete_refused = situation.attempts.get(Action.DELETE, 0) > 0
    if situation.nothing_to_lose and not is_delete_refused:
        return Decision(Action.DELETE, phase, f"{phase} for {situation.waited_s:.0f} s, with nothing to lose")
    state = situation.sandbox.state if situation.sandbox else "missing"
    reason = f"Daytona has reported {state} for {situation.waited_s:.0f} s"
    return Decision(Action.BLOCK, phase, reason, OVERDUE[phase])


def _fruitless(situation: Situation, action: Action, limits: Limits) -> Decision | None:
    """A command that had no effect in several attempts is not sent again."""
    attempts = situation.attempts.get(action, 0)
    if action not in FRUITLESS or action is Action.WAIT or attempts < limits.attempts_for(action):
        return None
    state = situation.sandbox.state if situation.sandbox else "missing"
    reason = f"after {attempts} attempts to {action.replace('_', ' ')} the sandbox, it is still {state}"
    return Decision(Action.BLOCK, situation.phase, reason, situation.trouble or FRUITLESS[action])


OVERRIDES: tuple[Override, ...] = (_wrong_name, _foreign, _refused, _builds_exhausted, _overdue, _fruitless)


def _block(situation: Situation) -> Decision:
    """The block that the table asks for: work may be lost, or a person must repair the sandbox."""
    sandbox, phase = situation.sandbox, situation.phase
    state = sandbox.state if sandbox else "missing"
    if situation.column is Column.HELD:
        found = "; ".join(situation.findings) or str(situation.verdict)
        return Decision(Action.BLOCK, phase, f"the sandbox may hold unsaved work: {found}", Cause.UNSAVED)
    detail = sandbox.error_reason if sandbox and sandbox.error_reason else "no reason given"
    if situation.goal is Goal.DELETED:
        reason = f"the sandbox is {state} ({detail}) and cannot be inspected for unsaved work"
        return Decision(Action.BLOCK, phase, reason, Cause.UNSAVED)
    return Decision(Action.BLOCK, phase, f"Daytona reports the sandbox as {state}: {detail}", Cause.BROKEN)
