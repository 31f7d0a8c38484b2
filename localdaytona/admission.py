"""Which lifecycle call is accepted in which state: literal tables, read from the top; the first match counts.

`TABLES` says what each call answers, `ADMITTED` which calls each state admits; a test holds them together. Source:
Daytona's server v0.190.0, run and observed. No I/O, and no knowledge of HTTP beyond a status.
"""

from dataclasses import dataclass
from typing import Any, Literal

from localdaytona.model import ERRORED, Sandbox

Lifecycle = Literal["start", "stop", "archive", "delete", "recover", "pause"]

SCIP = "Sandbox state change in progress"
MODIFIED = "Sandbox was modified by another operation"
IN_PROGRESS = "An operation is already in progress for this resource"
IS_ERRORED = "Sandbox is in an errored state"
NOT_STARTABLE = "Sandbox is not in valid state"
NOT_RESUMABLE = "Sandbox cannot be resumed"
NOT_STOPPABLE = "Sandbox is not in a stoppable state"
NOT_STOPPED = "Sandbox is not stopped"
EPHEMERAL = "Ephemeral sandboxes cannot be archived"
NOT_RECOVERABLE = "Sandbox is not in a recoverable state"
NOT_STARTED = "Sandbox must be in started state to pause"
NO_PAUSE = "Pausing is not supported for this sandbox"


@dataclass(frozen=True, slots=True)
class Accept:
    """Accept, and run this transition (see transitions.py)."""

    transition: str


@dataclass(frozen=True, slots=True)
class NoOp:
    """Answer 200 and do nothing."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuse with this status and text. Status None: the configured status for SCIP."""

    message: str
    status: int | None = 400


Verdict = Accept | NoOp | Refuse


@dataclass(frozen=True, slots=True)
class When:
    """One row. An omitted condition always holds."""

    then: Verdict
    states: frozenset[str] | None = None
    desired: str | None = None
    agreed: bool | None = None  # whether state and desired state are the same word
    container: bool | None = None
    ephemeral: bool | None = None
    recoverable: bool | None = None
    recovering: bool | None = None

    def holds(self, sandbox: Sandbox) -> bool:
        """Return whether this row applies to the sandbox."""
        flight = sandbox.flight
        facts = (
            (self.agreed, sandbox.state == sandbox.desired),
            (self.container, sandbox.spec.sandbox_class == "container"),
            (self.ephemeral, sandbox.ephemeral),
            (self.recoverable, sandbox.recoverable),
            (self.recovering, flight is not None and flight.transition in {"recover", "repair"}),
        )
        return (
            (self.states is None or sandbox.state in self.states)
            and (self.desired is None or sandbox.desired == self.desired)
            and all(wanted is None or wanted == fact for wanted, fact in facts)
        )


def _is(*states: str) -> frozenset[str]:
    return frozenset(states)


_PENDING = Refuse(SCIP, status=None)

TABLES: dict[Lifecycle, tuple[When, ...]] = {
    "start": (
        When(Refuse(IS_ERRORED), ERRORED),
        When(NoOp(), _is("started"), desired="started"),
        When(Accept("start"), _is("archiving", "stopped"), desired="archived"),
        When(_PENDING, agreed=False),
        When(Accept("start"), _is("stopped")),
        When(Accept("restore"), _is("archived")),
        When(Refuse(NOT_RESUMABLE, 422), _is("paused"), container=True),
        When(Accept("resume"), _is("paused")),
        When(Refuse(NOT_STARTABLE)),
    ),
    "stop": (
        When(Refuse(IS_ERRORED), ERRORED),
        When(_PENDING, agreed=False),
        When(Accept("destroy"), _is("started"), ephemeral=True),
        When(Accept("stop"), _is("started", "paused")),
        When(Refuse(NOT_STOPPABLE)),
    ),
    "archive": (
        When(Refuse(IS_ERRORED), ERRORED),
        When(_PENDING, agreed=False),
        When(Refuse(EPHEMERAL), _is("stopped"), ephemeral=True),
        When(Accept("archive"), _is("stopped")),
        When(Refuse(NOT_STOPPED)),
    ),
    "delete": (
        When(Accept("discard_errored"), ERRORED),
        When(Accept("destroy"), _is("pending_build"), desired="started"),
        When(Accept("destroy"), _is("archiving", "stopped"), desired="archived"),
        When(_PENDING, agreed=False),
        When(Accept("discard_archived"), _is("archived")),
        When(Accept("destroy"), _is("started", "stopped", "paused")),
        When(_PENDING),
    ),
    "recover": (
        When(Refuse(IN_PROGRESS, 409), _is("error"), recovering=True),
        When(Accept("recover"), _is("error"), recoverable=True),
        When(Refuse(NOT_RECOVERABLE)),
    ),
    "pause": (
        When(_PENDING, _is("started"), agreed=False),
        When(Refuse(NO_PAUSE, 422), _is("started"), container=True),
        When(Accept("pause"), _is("started")),
        When(Refuse(NOT_STARTED)),
    ),
}


@dataclass(frozen=True, slots=True)
class Admission:
    """The calls that a sandbox admits in a raw state on its way to a desired one."""

    state: str
    desired: str
    admits: frozenset[Lifecycle]
    recoverable: bool = False
    sandbox_class: str = "container"


def _admission(state: str, desired: str, *admits: Lifecycle, **more: Any) -> Admission:
    return Admission(state, desired, frozenset(admits), **more)


ADMITTED: tuple[Admission, ...] = (
    _admission("unknown", "started"),
    _admission("creating", "started"),
    _admission("pending_build", "started", "delete"),
    _admission("building_snapshot", "started"),
    _admission("pulling_snapshot", "started"),
    _admission("starting", "started"),
    _admission("restoring", "started"),
    _admission("resuming", "started", sandbox_class="linux-vm"),
    _admission("started", "started", "start", "stop", "delete"),
    _admission("started", "started", "start", "stop", "delete", "pause", sandbox_class="linux-vm"),
    _admission("started", "stopped"),
    _admission("stopping", "stopped"),
    _admission("stopped", "stopped", "start", "archive", "delete"),
    _admission("stopped", "started"),
    _admission("stopped", "archived", "start", "delete"),
    _admission("archiving", "archived", "start", "delete"),
    _admission("archiving", "started"),
    _admission("archived", "archived", "start", "delete"),
    _admission("archived", "started"),
    _admission("pausing", "paused", sandbox_class="linux-vm"),
    _admission("paused", "paused", "start", "stop", "delete", sandbox_class="linux-vm"),
    _admission("paused", "started", sandbox_class="linux-vm"),
    _admission("resizing", "started"),
    _admission("snapshotting", "started"),
    _admission("forking", "started"),
    _admission("error", "started", "delete"),
    _admission("error", "started", "recover", "delete", recoverable=True),
    _admission("build_failed", "started", "delete"),
    _admission("started", "destroyed"),
    _admission("stopped", "destroyed"),
    _admission("destroying", "destroyed"),
)
"""Every pair of states that a client can meet, with what it admits. A start of a started sandbox changes nothing."""


def judge(operation: Lifecycle, sandbox: Sandbox) -> Verdict:
    """Return the verdict on a lifecycle call for a sandbox that is not hidden."""
    return next(row.then for row in TABLES[operation] if row.holds(sandbox))
