"""What the workflow can observe: each observation as a small value, and as the object that the real code gets.

Observations are values, so that the workflow's reaction to each is worked out once and then looked up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, TimeoutType
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

from activities.failures import NOT_SETTLED, to_failure
from activities.messages import CommandReply, LookupResult
from activities.run_messages import AttemptSeen, Collected
from issuebox.domain.errors import ProviderError, RefusedError, TransientError
from issuebox.domain.phase import Cause
from issuebox.domain.run import Report, RunOutcome, RunPhase
from issuebox.domain.sandbox import (
    DEFAULT_INSTANCE,
    LABEL_INSTANCE,
    LABEL_ISSUE_ID,
    LABEL_MANAGED_BY,
    LABEL_SET_UP,
    MANAGED_BY,
    SET_UP_DONE,
    Sandbox,
)
from issuebox.domain.unsaved_work import SLACK, Inspection, WorkState
from issuebox.providers.daytona import as_never_ran
from issuebox.providers.daytona_states import NEVER_RAN, phase_of
from proofs.model.jobs import ORPHAN, End
from proofs.model.runtime import EPOCH, NAME

ANOTHER = "another"
"""The instance name of the other installation."""
SESSION = 2 * SLACK
"""The model assumes that a person's session outlasts the slack within which activity is an echo of the stop."""


@dataclass(frozen=True, slots=True)
class View:
    """A sandbox as one read shows it. ``is_used``: somebody was active in it since it was last seen asleep.

    ``is_past``: by Daytona's clock, the read is older than what the workflow has seen.
    """

    id: str
    state: str
    desired: str
    is_recoverable: bool = False
    is_proven_unrun: bool = False
    is_labelled: bool = True
    is_foreign: bool = False
    is_set_up: bool = False
    is_used: bool = False
    is_past: bool = False

    @property
    def labels(self) -> dict[str, str]:
        """The labels of this installation, of another one, or none."""
        if not (self.is_labelled or self.is_foreign):
            return {}
        instance = ANOTHER if self.is_foreign else DEFAULT_INSTANCE
        return {LABEL_MANAGED_BY: MANAGED_BY, LABEL_INSTANCE: instance, LABEL_ISSUE_ID: "1"}

    def at(self, now: datetime) -> Sandbox:
        """The sandbox as the provider would return it."""
        labels = self.labels
        if self.is_set_up:
            labels[LABEL_SET_UP] = SET_UP_DONE
        sandbox = Sandbox(
            id=self.id,
            name=NAME,
            phase=phase_of(self.state, self.desired, recoverable=self.is_recoverable),
            state=self.state,
            desired_state=self.desired,
            never_ran=self.state in NEVER_RAN,
            # So short that a sandbox which ran already gets its activity refreshed before each handover.
            auto_stop_interval_s=1,
            last_activity_at=now - timedelta(seconds=1) if self.is_used else EPOCH - timedelta(days=1),
            updated_at=EPOCH - timedelta(days=1) if self.is_past else EPOCH,
            labels=labels,
        )
        return as_never_ran(sandbox) if self.is_proven_unrun else sandbox


class Kind(StrEnum):
    """The kind of an observation."""

    SEEN = "seen"
    """An activity ended with this read of the sandbox. None: not found."""
    NOT_SENT = "not sent"
    """A command was not sent, because this read showed that the sandbox is no longer at rest."""
    INSPECTED = "inspected"
    FAILED = "failed"
    DELIVERED = "delivered"
    ORDERED = "ordered"
    CONDITION_MET = "condition met"
    """The workflow task in which the code goes on, because its condition is true."""
    TIMER_FIRED = "timer fired"
    """The next timer fires."""
    ALL_TIMERS_DUE = "all timers due"
    """The workers were down until the last timer was due."""
    TOGETHER = "together"
    """Several of the above in one workflow task: the handlers run first, in order, and then the loop goes on."""
    UPDATED = "updated"
    """The update `ensure` arrives: somebody asks for the sandbox, and waits for an answer."""
    GROWN = "grown"
    """The history is long: Temporal suggests to continue as new."""
    OUTLASTED = "outlasted"
    """The next timer of a closed issue is due, and the activity is still under way."""
    PROBED = "probed"
    """A step of a run ended with this probe of the attempt."""
    FOLLOWED = "followed"
    """The follower of a run returns, or fails, beside the loop."""


MESSAGES = frozenset({Kind.DELIVERED, Kind.ORDERED, Kind.UPDATED})
COMES_BY_ITSELF = MESSAGES | {Kind.OUTLASTED, Kind.GROWN, Kind.FOLLOWED}
"""Observations that end no wait of the workflow's code."""
READS = frozenset({Kind.SEEN, Kind.NOT_SENT})
"""Observations that show the sandbox."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One observation of the workflow. ``word``, by kind: an error's type, an order, a verdict, or what a probe shows.

    ``is_after_order``: what a delivery is about happened after the person's order that stands. ``together``: the
    observations of one workflow task.
    """

    kind: Kind
    view: View | None = None
    word: str = ""
    number: int = -1
    is_after_order: bool = True
    together: tuple[Observation, ...] = ()

    @property
    def parts(self) -> tuple[Observation, ...]:
        """The observations of this workflow task."""
        return self.together or (self,)

    @property
    def ends_wait(self) -> bool:
        """Whether what the workflow's code waits for ends by this."""
        return self.parts[-1].kind not in COMES_BY_ITSELF

    @property
    def is_message(self) -> bool:
        """Whether something reaches the workflow from outside."""
        return self.parts[0].kind in MESSAGES


TIMEOUT = "TimeoutError"
CUT_OFF = "CancelledError"
UNREACHABLE = "Unreachable"
"""A lookup that failed until its retries were used up."""
BUDGET_SPENT = "BudgetSpent"
"""A wait for a state change that used up its time."""


def answer(observation: Observation, activity: str, now: datetime) -> object:
    """What the awaited activity returns, or the error with which it ends."""
    match observation.kind:
        case Kind.INSPECTED:
            return Inspection(WorkState(observation.word))
        case Kind.FAILED:
            return failure(observation.word)
        case Kind.PROBED:
            return _collected(observation.word) if activity == "collect_run" else seen_in(observation.word)
        case _:
            sandbox = observation.view.at(now) if observation.view is not None else None
            if activity == "lookup_sandbox":
                return LookupResult(sandbox)  # The workflow has read the settings by itself.
            return CommandReply(sandbox, is_sent=observation.kind is not Kind.NOT_SENT)


def seen_in(word: str) -> AttemptSeen:
    """What a probe showed, as the workflow gets it."""
    phase, _, end = word.partition(":")
    if phase == ORPHAN:
        return AttemptSeen(RunPhase.RUNNING, is_orphan=True)
    return AttemptSeen(phase, exit_code=_CODES.get(end), why=_WHY.get(end, end))


_WHY = {End.DONE.value: "finished", End.KILLED.value: "finished"}
_CODES = {End.DONE.value: 0, End.KILLED.value: 137, End.INTERRUPTED.value: 130, End.STOPPED.value: 143}


def _collected(word: str) -> Collected:
    seen = seen_in(word)
    is_well = seen.exit_code == 0
    return Collected(seen, Report(RunOutcome.DONE) if is_well else Report(RunOutcome.FAILED, f"exit {seen.exit_code}"))


def failure(word: str) -> ActivityError:
    """The error with which the workflow sees an activity end."""
    error = ActivityError(
        "the activity failed",
        scheduled_event_id=0,
        started_event_id=0,
        identity="",
        activity_type="",
        activity_id="",
        retry_state=None,
    )
    error.__cause__ = _cause(word)
    return error


def _cause(word: str) -> BaseException:
    if word == TIMEOUT:
        return TemporalTimeoutError("heartbeat missed", type=TimeoutType.HEARTBEAT, last_heartbeat_details=[])
    if word == CUT_OFF:
        return CancelledError("cut off")
    if word in {UNREACHABLE, BUDGET_SPENT}:
        late = TemporalTimeoutError("out of time", type=TimeoutType.SCHEDULE_TO_CLOSE, last_heartbeat_details=[])
        last = to_failure(TransientError("Daytona is unreachable"))
        late.__cause__ = last if word == UNREACHABLE else ApplicationError("still changing", type=NOT_SETTLED)
        return late
    kind, _, cause = word.partition(":")
    if cause:
        return to_failure(RefusedError("refused", cause=Cause(cause)))
    return to_failure(next(each for each in _provider_errors() if each.__name__ == kind)("modelled"))


def _provider_errors() -> list[type[ProviderError]]:
    found: list[type[ProviderError]] = []
    open_ones: list[type[ProviderError]] = [ProviderError]
    while open_ones:
        error = open_ones.pop()
        found.append(error)
        open_ones.extend(error.__subclasses__())
    return found
