"""What a failed activity means for the loop: a new lookup, or a block. One table, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from temporalio.exceptions import ActivityError, ApplicationError, FailureError, TimeoutType
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

from issuebox.domain.memory import REASON_BYTES_MAX
from issuebox.domain.phase import Cause
from issuebox.domain.text import Clean, clean, prose, word

PASSING: Mapping[str, Cause | None] = {
    # The failure's type, and the cause to report when it keeps happening.
    "TransientError": Cause.UNREACHABLE,
    "AmbiguousError": Cause.UNREACHABLE,
    "RateLimitedError": Cause.RATE_LIMITED,
    "NameTakenError": Cause.NAME_HELD,
    "ChangeInProgressError": Cause.STUCK,
    "NotInStateError": Cause.STUCK,
    "GoneError": Cause.STUCK,
    "NotSettledError": None,
    # A worker died or was too slow: what it sent may have taken effect.
    "TimeoutError": Cause.UNREACHABLE,
    # The same for a worker that shuts down, or an activity that an operator paused or reset (temporalio 1.35.0:
    # the first comes from its core, the others from `worker/_activity.py`).
    "WorkerShutdown": Cause.UNREACHABLE,
    "ActivityPause": Cause.UNREACHABLE,
    "ActivityReset": Cause.UNREACHABLE,
    # The workflow waits no longer for the reply: a look has found the sandbox up.
    "CancelledError": Cause.UNREACHABLE,
}

UNSURE = frozenset({"AmbiguousError", "TimeoutError"})
"""Failures of commands that Daytona may execute late: 0.5 to 20 s later were seen (server v0.190.0)."""

CUT_OFF = frozenset({"WorkerShutdown", "ActivityPause", "ActivityReset", "CancelledError"})
"""Failures of activities that our side ended: nothing is wrong at Daytona, and the attempt does not count."""

CAUSES: Mapping[str, Cause] = {cause.value: cause for cause in Cause}
"""Causes by name. An unknown one, from a newer worker, must not fail the workflow task."""

_TEXTS: Mapping[str, Clean] = {
    "kind": partial(word, bytes_max=100),
    "reason": partial(prose, bytes_max=REASON_BYTES_MAX),
}

_OF_THE_WHOLE = frozenset({TimeoutType.SCHEDULE_TO_START, TimeoutType.SCHEDULE_TO_CLOSE})


@dataclass(frozen=True, slots=True)
class Failure:
    """What an activity raised, read. ``is_final``: a retry fails the same way until somebody acts.

    ``is_unattended``: its time was up and no attempt had failed. No worker had picked it up, or it was lost with one.
    """

    kind: str
    reason: str
    cause: Cause | None
    is_final: bool
    retry_after_s: float = 0.0
    is_unattended: bool = False

    def __post_init__(self) -> None:
        """What an activity raised is cleaned here: a bug's exception may quote anything, at any length."""
        clean(self, _TEXTS)

    @property
    def is_cut_off(self) -> bool:
        """Whether our side ended the activity, as each deploy does: there is no reason to pause."""
        return self.kind in CUT_OFF

    @property
    def is_unsure(self) -> bool:
        """Whether Daytona may still execute the command: the reply was lost, or the activity before it came."""
        return not self.is_unattended and (self.kind in UNSURE or self.is_cut_off)

    @property
    def is_refused(self) -> bool:
        """Whether Daytona itself refused."""
        return self.kind == "RefusedError"


class BlockedError(Exception):
    """Ends a reconciliation that can only go on after some time or when somebody acts. Never leaves `workflows`."""

    def __init__(self, cause: Cause, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.cause = cause
        self.reason = reason
        self.retry_after_s = retry_after_s


def read_failure(error: FailureError) -> Failure:
    """Read an activity's failure. A type that is in no table is a bug in issuebox and gets the cause *internal*.

    Failures come wrapped in an ActivityError, except those of local activities: what one raised comes unwrapped,
    and its timeout comes wrapped at first but unwrapped in a replay.
    """
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, TemporalTimeoutError):
        # A lookup that was retried until its time was up carries its last real failure inside.
        inner = cause.cause
        if isinstance(inner, ApplicationError) and inner.type in PASSING:
            return _of_application(inner)
        return Failure(
            "TimeoutError",
            str(cause.message or "no answer in time"),
            PASSING["TimeoutError"],
            is_final=False,
            is_unattended=cause.type in _OF_THE_WHOLE and inner is None,
        )
    if isinstance(cause, ApplicationError):
        return _of_application(cause)
    kind = type(cause).__name__
    return Failure(kind, str(cause), PASSING.get(kind, Cause.INTERNAL), is_final=kind not in PASSING)


def _of_application(failure: ApplicationError) -> Failure:
    kind, delay = failure.type or "", failure.next_retry_delay
    retry_after_s = delay.total_seconds() if delay else 0.0
    if kind == "RefusedError" and failure.details and isinstance(failure.details[0], str):
        cause = CAUSES.get(failure.details[0], Cause.INTERNAL)
        return Failure(kind, failure.message, cause, is_final=True, retry_after_s=retry_after_s)
    if kind in PASSING:
        return Failure(kind, failure.message, PASSING[kind], is_final=False, retry_after_s=retry_after_s)
    return Failure(kind, f"{kind}: {failure.message}", Cause.INTERNAL, is_final=True)
