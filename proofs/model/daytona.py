"""The model's Daytona: the rows of one issue's sandboxes, and how commands and steps change them.

localdaytona's own code decides which command is accepted in which state, which states a transition passes through, and
how a failed one ends (`admission.judge`, `flights.depart`, `flights.advance`). The provider's own table of texts says
what a refusal means. A row also carries what the promise is about and Daytona does not know: whether the sandbox may
hold work, and whether a person abandoned it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from issuebox.domain.phase import AWAKE, TRANSITIONAL, Phase
from issuebox.domain.unsaved_work import WorkState
from issuebox.providers.daytona_errors import STATUSES, TEXTS
from issuebox.providers.daytona_states import phase_of
from localdaytona import admission, flights
from localdaytona.admission import Lifecycle, NoOp, Refuse
from localdaytona.config import Config
from localdaytona.fault_model import FailTransition
from localdaytona.flights import Cause
from localdaytona.model import DERIVED, Flight, Intervals, Sandbox, Spec
from proofs.model.jobs import End, Jobs, are_alive, stopped
from proofs.model.views import View

NAME = "the name"
ENDING = frozenset({"stop", "archive", "delete"})
"""Commands that end whatever runs in a sandbox."""
_CONFIG = Config()
_SCIP_STATUS = 409
_RUNS_STILL = frozenset({"started", "stopping"})
"""States of a sandbox in which something in it may still be alive."""


class Actor(StrEnum):
    """Who sent a command."""

    ISSUEBOX = "issuebox"
    PERSON = "a person"
    ANOTHER = "another installation"


class Fate(StrEnum):
    """How the transition ends that a command starts."""

    WELL = ""
    BROKEN = "error"
    RECOVERABLE = "recoverable"


class Trouble(StrEnum):
    """Whether something changed that the workflow has not taken into account."""

    NONE = "none"
    SINCE_READ = "since read"
    """A person or Daytona changed something, and no read has shown it yet."""
    READ = "read"
    """The same, and a read has shown it, but the workflow has not acted on it yet."""
    ASKED = "asked"
    """Something changed, and a request has come since: a read from before the request is no excuse."""


@dataclass(frozen=True, slots=True)
class Row:
    """One sandbox.

    ``before``: what a stale read shows; None for the present state, '' for not found. ``is_seen_since``: a read has
    shown the workflow what came after ``before``. ``may_hold_work``: it was handed over, or a person entered it, and
    no inspection since then, with nobody in it, found that nothing would be lost. ``is_occupied``: somebody may be at
    work in it now. ``is_used``: somebody was active in it since it was last seen asleep. ``is_abandoned``: a person
    said that its content may be lost. ``is_unchecked``: the last inspection had no result. ``is_seen``: the workflow
    knew its ID. ``is_denied``: the last read of it was a false 404. ``is_foreign``: it has the labels of another
    installation. ``is_hand_deleted``: a person deleted it at Daytona. ``is_handmade``: a person created it there, and
    enters it as soon as it runs. ``jobs``: the attempts of runs on its disk.
    """

    id: str
    state: str
    desired: str
    transition: str = ""
    step: int = 0
    fate: Fate = Fate.WELL
    is_recoverable: bool = False
    has_started: bool = False
    has_name: bool = True
    is_labelled: bool = True
    is_foreign: bool = False
    is_set_up: bool = False
    before: str | None = None
    is_seen_since: bool = False
    may_hold_work: bool = False
    is_occupied: bool = False
    is_used: bool = False
    is_abandoned: bool = False
    is_unchecked: bool = False
    is_seen: bool = False
    is_denied: bool = False
    is_hand_deleted: bool = False
    is_handmade: bool = False
    jobs: Jobs = ()

    @property
    def is_dying(self) -> bool:
        return self.desired == "destroyed"

    @property
    def shown(self) -> str:
        """The state that a reply shows."""
        return DERIVED.get((self.state, self.desired), self.state)

    @property
    def phase(self) -> Phase:
        return phase_of(self.shown, self.desired, recoverable=self.is_recoverable)

    def is_settled(self, *, for_archive: bool = False) -> bool:
        """Whether an attempt that waits for it is done. A repair under way shows as an error, and is waited for.

        `for_archive`: the attempt archives it. No other attempt waits for the end of an archive.
        """
        passing = TRANSITIONAL | {Phase.ARCHIVING} if for_archive else TRANSITIONAL
        return self.phase not in passing and not (self.state == "error" and self.transition)

    def view(self, *, is_proven_unrun: bool = False, is_stale: bool = False) -> View:
        """The row as a read shows it."""
        state, desired = self.shown, self.desired
        if is_stale and self.before is not None:
            state, _, desired = self.before.partition("/")
        return View(
            self.id,
            state,
            desired,
            is_recoverable=self.is_recoverable and state == "error",
            is_proven_unrun=is_proven_unrun,
            is_labelled=self.is_labelled,
            is_foreign=self.is_foreign,
            is_set_up=self.is_set_up,
            is_used=self.is_used,
            is_past=is_stale and self.is_seen_since,
        )


@dataclass(frozen=True, slots=True)
class Begun:
    """A line of the ledger: this attempt of a run began in this sandbox."""

    run: str
    attempt: int
    sandbox_id: str


@dataclass(frozen=True, slots=True)
class Errand:
    """A step of a run: what is sent to which sandbox, about which attempt."""

    activity: str
    sandbox_id: str
    run: str
    attempt: int


@dataclass(frozen=True, slots=True)
class World:
    """All rows that a client can see, oldest first.

    ``made``: how many were ever created. ``is_next_abandoned``: a person's order also abandons the sandbox that is
    being created. ``unbuilt``: how many failed before their first start. ``ledger``: the attempts of runs that ever
    began, and ``errands`` what was given up and may still be executed in a sandbox.
    """

    rows: tuple[Row, ...] = ()
    made: int = 0
    trouble: Trouble = Trouble.NONE
    is_next_abandoned: bool = False
    unbuilt: int = 0
    ledger: tuple[Begun, ...] = ()
    errands: tuple[Errand, ...] = ()

    @property
    def named(self) -> Row | None:
        """The sandbox that has the name."""
        return next((row for row in self.rows if row.has_name and not row.is_dying), None)

    @property
    def is_still(self) -> bool:
        """Whether no transition is under way."""
        return not any(row.transition for row in self.rows)

    def row(self, sandbox_id: str) -> Row | None:
        """The sandbox with this ID."""
        return next((row for row in self.rows if row.id == sandbox_id), None)

    def found(self, sandbox_id: str) -> Row | None:
        """What a lookup finds: by ID when one is known and visible, else by name."""
        return (self.row(sandbox_id) if sandbox_id else None) or self.named

    def put(self, row: Row) -> World:
        """The world with this row in place of the one with its ID."""
        return replace(self, rows=tuple(row if each.id == row.id else each for each in self.rows))


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a command: the world after it, the type of its error, and the promise that it broke ('': none)."""

    world: World
    error: str = ""
    broken: str = ""


def create(
    world: World, actor: Actor, fate: Fate = Fate.WELL, *, is_unnamed: bool = False, is_late: bool = False
) -> Answer:
    """Create a sandbox under the name. `is_unnamed` leaves the name out: a planted mistake."""
    if world.named is not None and not is_unnamed:
        return Answer(world, "NameTakenError")
    made = world.made + 1
    fresh = Row(
        f"s{made}",
        "unknown",
        "started",
        has_name=not is_unnamed,
        is_labelled=actor is Actor.ISSUEBOX,
        is_foreign=actor is Actor.ANOTHER,
        is_abandoned=world.is_next_abandoned,
        before="",
    )
    row = _departed(fresh, "create", actor, fate)
    after = replace(world, rows=(*world.rows, row), made=made, is_next_abandoned=False)
    return Answer(after, broken=_broken_by_create(world, actor, is_unnamed=is_unnamed, is_late=is_late))


def _broken_by_create(world: World, actor: Actor, *, is_unnamed: bool, is_late: bool) -> str:
    if actor is not Actor.ISSUEBOX:
        return ""
    if any(not row.is_dying for row in world.rows):
        return "(a) a second sandbox lives for the issue"
    if is_unnamed:
        return "(b) a create without the name was accepted"
    # Documented limits: issuebox cannot know of a sandbox that was deleted by hand before its first read; or since the
    # last read, together with a false 404; or while a create that was given up is still on its way.
    known = [
        row for row in world.rows if not row.is_hand_deleted or (row.is_seen and not row.is_denied and not is_late)
    ]
    return f"(b) a create was accepted while {known[0].id} is still dying" if known else ""


def command(
    world: World,
    operation: Lifecycle,
    sandbox_id: str,
    actor: Actor,
    fate: Fate = Fate.WELL,
    *,
    is_late: bool = False,
) -> Answer:
    """Send a lifecycle command by ID. `is_late`: it was sent, and given up, some time ago."""
    row = world.row(sandbox_id)
    if row is None:
        return Answer(world, "GoneError")
    verdict = admission.judge(operation, _sandbox(row))
    if isinstance(verdict, Refuse):
        return Answer(world, _error_of(verdict))
    broken = touched(row, operation) if actor is Actor.ISSUEBOX else ""
    if isinstance(verdict, NoOp):
        return Answer(world, broken=broken)
    if operation == "delete" and actor is Actor.ISSUEBOX and row.may_hold_work and not row.is_abandoned:
        broken = f"(d) {row.id}, which may hold work, was deleted and nobody abandoned it"
    is_ours = actor is Actor.ISSUEBOX and not is_late and not row.is_abandoned
    if is_ours and operation in ENDING and are_alive(row.jobs):
        broken = f"(K) {operation} was sent to {row.id}, and something of a run is alive in it"
    return Answer(_put(world, _departed(row, verdict.transition, actor, fate)), broken=broken)


def touched(row: Row, operation: str) -> str:
    """The promise that is broken when issuebox does this to the sandbox, '' for none."""
    return f"{operation} touches {row.id}, which is another installation's" if row.is_foreign else ""


def checked_delete(world: World, sandbox_id: str, *, is_unchecked: bool = False, is_late: bool = False) -> Answer:
    """The activity `delete_sandbox`: read, refuse to delete a running sandbox, delete."""
    row = world.row(sandbox_id)
    if row is not None and row.phase in AWAKE and not is_unchecked:
        return Answer(world, "NotInStateError")
    return command(world, "delete", sandbox_id, Actor.ISSUEBOX, is_late=is_late)


def advanced(world: World) -> Iterator[tuple[str, World]]:
    """Each next step of a transition, with the sandbox that takes it."""
    for row in world.rows:
        if row.transition:
            after = _row(flights.advance(_sandbox(row), 0.0, _CONFIG), row)
            # Once a new sandbox has changed its state, a read that does not find it is a false 404.
            after = replace(after, before=None) if after.before == "" and after.shown != row.shown else after
            is_up = after.desired == "started" and after.state != "error"
            is_unbuilt = after.state == "error" != row.state and not after.has_started
            moved = replace(world, unbuilt=world.unbuilt + is_unbuilt)
            stepped = _put(moved, replace(after, is_occupied=after.is_occupied and is_up))
            is_theirs = row.is_handmade and after.has_started and not row.has_started
            for each in _with_jobs(stepped, row.id):
                yield row.id, entered(each, row.id, is_abandoned=True) if is_theirs else each


def _with_jobs(world: World, sandbox_id: str) -> Iterator[World]:
    """The world with what becomes of the jobs: none outlives its sandbox, and a supervisor may or may not write so."""
    row = world.row(sandbox_id)
    if row is None or row.state in _RUNS_STILL or not are_alive(row.jobs):
        yield world
        return
    for end in (End.STOPPED, End.NONE) if row.state == "stopped" else (End.NONE,):
        yield world.put(replace(row, jobs=stopped(row.jobs, end)))


def aged(world: World) -> World:
    """The world a minute later: no read is stale any more, and nothing that was given up is still on its way."""
    return replace(world, rows=tuple(_aged(row) for row in world.rows), errands=())


def broken_down(world: World, sandbox_id: str, *, recoverable: bool) -> World:
    """The sandbox fails by itself, or a person breaks it."""
    row = world.row(sandbox_id)
    if row is None:
        return world
    failed = flights.break_down(_sandbox(row), "error", None, 0.0, recoverable=recoverable)
    jobs = stopped(row.jobs, End.NONE)
    return _put(world, _aged(replace(_row(failed, row), is_occupied=False, jobs=jobs)))


def entered(world: World, sandbox_id: str, *, is_abandoned: bool = False) -> World:
    """Somebody enters the sandbox: from now on it may hold work, which no earlier order abandons.

    With `is_abandoned`, an earlier order to abandon it is still being carried out, and stands.
    """
    row = world.row(sandbox_id)
    if row is None or row.is_dying:
        return world
    is_up = row.phase in {Phase.USABLE, Phase.PENDING, Phase.THAWING}
    is_abandoned = is_abandoned and row.is_abandoned
    return world.put(replace(row, may_hold_work=True, is_occupied=is_up, is_abandoned=is_abandoned))


def inspected(world: World, sandbox_id: str) -> Iterator[tuple[WorkState, World]]:
    """Each possible verdict of an inspection, and the world after it. The last one needs a fault."""
    row = world.row(sandbox_id)
    if row is None:
        yield WorkState.UNCHECKED, world
        return
    seen = replace(row, is_unchecked=False)
    if row.phase is Phase.USABLE:
        # Somebody in the sandbox may write after the inspection: it clears the sandbox only while nobody is in it.
        yield WorkState.CLEAN, world.put(replace(seen, may_hold_work=row.may_hold_work and row.is_occupied))
    if row.phase is Phase.USABLE and row.may_hold_work:
        yield WorkState.UNSAVED, world.put(seen)
    yield WorkState.UNCHECKED, world.put(replace(row, is_unchecked=True))


def _aged(row: Row) -> Row:
    return replace(row, before=None, is_seen_since=False)


def _put(world: World, row: Row) -> World:
    is_hidden = row.state == "destroyed" or (row.state == "error" and row.is_dying)
    if is_hidden:
        return replace(world, rows=tuple(each for each in world.rows if each.id != row.id))
    return world.put(row)


def _departed(row: Row, transition: str, actor: Actor, fate: Fate) -> Row:
    effect = None if fate is Fate.WELL else FailTransition(kind="fail_transition", recoverable=fate is Fate.RECOVERABLE)
    departed = flights.depart(_sandbox(row), transition, Cause(""), 0.0, _CONFIG, effect=effect)
    after = _row(departed, row)
    before = row.before if transition == "create" else f"{row.shown}/{row.desired}"
    if after.is_dying:
        after = replace(after, has_name=False, is_hand_deleted=actor is not Actor.ISSUEBOX)
    return replace(
        after, before=before, is_seen_since=False, is_occupied=after.is_occupied and after.desired == "started"
    )


def _sandbox(row: Row) -> Sandbox:
    """The row as localdaytona keeps it, without times."""
    fails = row.fate is not Fate.WELL
    flight = Flight(
        row.transition,
        step=row.step,
        due_at=0.0,
        operation="",
        request_id=None,
        fail_state="error" if fails else None,
        fail_recoverable=row.fate is Fate.RECOVERABLE,
    )
    return Sandbox(
        id=row.id,
        name=NAME,
        state=row.state,
        desired=row.desired,
        spec=Spec(),
        labels={},
        intervals=Intervals(),
        created_at=0.0,
        updated_at=0.0,
        last_activity_at=0.0,
        state_since=0.0,
        flight=flight if row.transition else None,
        recoverable=row.is_recoverable,
        ever_started=row.has_started,
    )


def _row(sandbox: Sandbox, row: Row) -> Row:
    flight = sandbox.flight
    fate = Fate.WELL
    if flight is not None and flight.fail_state is not None:
        fate = Fate.RECOVERABLE if flight.fail_recoverable else Fate.BROKEN
    return replace(
        row,
        state=sandbox.state,
        desired=sandbox.desired,
        transition=flight.transition if flight else "",
        step=flight.step if flight else 0,
        fate=fate,
        is_recoverable=sandbox.recoverable,
        has_started=sandbox.ever_started,
    )


def _error_of(refusal: Refuse) -> str:
    """The name of the provider's error for a refusal of localdaytona, from the provider's own tables."""
    text, status = refusal.message.lower(), refusal.status or _SCIP_STATUS
    maker = next((maker for fragment, maker in TEXTS if fragment in text), STATUSES[status])
    error = maker(refusal.message, status)
    cause = getattr(error, "cause", None)
    return f"{type(error).__name__}:{cause.value}" if cause is not None else type(error).__name__
