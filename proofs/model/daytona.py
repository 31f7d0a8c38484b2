"""The model's Daytona: the rows of one issue's sandboxes, and what commands and steps make of them.

Which command is accepted in which state, what each transition passes through, and how a failed one ends is
localdaytona's own code (`admission.judge`, `flights.depart`, `flights.advance`). What a refusal means for the
workflow is the provider's own table of texts. Beside what Daytona has, a row carries what the promise speaks
of and Daytona does not know: whether the sandbox may hold work, and whether a person gave it up.
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
from proofs.model.views import View

NAME = "the name"
_CONFIG = Config()
_SCIP_STATUS = 409


class Actor(StrEnum):
    """Who sent a command."""

    ISSUEBOX = "issuebox"
    PERSON = "a person"


class Fate(StrEnum):
    """How a transition ends that a command starts."""

    WELL = ""
    BROKEN = "error"
    RECOVERABLE = "recoverable"


class Trouble(StrEnum):
    """What kept a read or a reached goal from being the whole truth."""

    NONE = "none"
    SINCE_READ = "since read"
    """Somebody else, or a late command, changed something, and nobody has looked since."""
    READ = "read"
    """The same, and a look has seen it, but not acted on it yet."""


@dataclass(frozen=True, slots=True)
class Row:
    """One sandbox. ``before``: what a stale read shows, None for the same, '' for nothing. ``is_seen_since``: a read
    has shown the workflow what came after that.

    ``may_hold_work``: somebody was let into it and no look has found since, while nobody was in it, that nothing
    would be lost. ``is_manned``: somebody may be at work in it now. ``is_used``: somebody was active in it
    since it was last seen asleep. ``is_given_up``: a person said that what is in it may go.
    ``is_unchecked``: the last look into it did not find out.
    ``is_seen``: the workflow knew its ID.
    ``is_denied``: the last read said 404 of it, falsely. ``is_hand_deleted``: a person deleted it at Daytona.
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
    is_set_up: bool = False
    before: str | None = None
    is_seen_since: bool = False
    may_hold_work: bool = False
    is_manned: bool = False
    is_used: bool = False
    is_given_up: bool = False
    is_unchecked: bool = False
    is_seen: bool = False
    is_denied: bool = False
    is_hand_deleted: bool = False

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

    @property
    def is_settled(self) -> bool:
        """Whether an attempt that waits for it is done: a repair, which shows as an error, is held to its end."""
        return self.phase not in TRANSITIONAL and not (self.state == "error" and self.transition)

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
            is_proven_unrun=is_proven_unrun and not self.has_started,
            is_labelled=self.is_labelled,
            is_set_up=self.is_set_up,
            is_used=self.is_used,
            is_past=is_stale and self.is_seen_since,
        )


@dataclass(frozen=True, slots=True)
class World:
    """All rows that a client can see, oldest first, how many were ever made, and whether it was disturbed.

    ``is_next_given_up``: a person's word is also about the one that is being made. ``unbuilt``: how many failed
    before they ever ran.
    """

    rows: tuple[Row, ...] = ()
    made: int = 0
    trouble: Trouble = Trouble.NONE
    is_next_given_up: bool = False
    unbuilt: int = 0

    @property
    def named(self) -> Row | None:
        """The sandbox that has the name."""
        return next((row for row in self.rows if row.has_name and not row.is_dying), None)

    @property
    def is_still(self) -> bool:
        """Whether nothing is on its way."""
        return not any(row.transition for row in self.rows)

    def row(self, sandbox_id: str) -> Row | None:
        """The sandbox with this ID."""
        return next((row for row in self.rows if row.id == sandbox_id), None)

    def found(self, sandbox_id: str) -> Row | None:
        """What a lookup finds: by ID when one is known and visible, else by name."""
        return (self.row(sandbox_id) if sandbox_id else None) or self.named

    def put(self, row: Row) -> World:
        """The world with this row in the place of the one with its ID."""
        return replace(self, rows=tuple(row if each.id == row.id else each for each in self.rows))


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command: the world after it, the type of the error, and the broken promise, '' for none."""

    world: World
    error: str = ""
    broken: str = ""


def create(
    world: World, actor: Actor, fate: Fate = Fate.WELL, *, is_unnamed: bool = False, is_late: bool = False
) -> Answer:
    """Make a sandbox under the name. `is_unnamed` leaves the name out, as a planted mistake does."""
    if world.named is not None and not is_unnamed:
        return Answer(world, "NameTakenError")
    made = world.made + 1
    fresh = Row(
        f"s{made}",
        "unknown",
        "started",
        has_name=not is_unnamed,
        is_labelled=actor is Actor.ISSUEBOX,
        is_given_up=world.is_next_given_up,
        before="",
    )
    row = _departed(fresh, "create", actor, fate)
    after = replace(world, rows=(*world.rows, row), made=made, is_next_given_up=False)
    return Answer(after, broken=_broken_by_create(world, actor, is_unnamed=is_unnamed, is_late=is_late))


def _broken_by_create(world: World, actor: Actor, *, is_unnamed: bool, is_late: bool) -> str:
    if actor is Actor.PERSON:
        return ""
    if any(not row.is_dying for row in world.rows):
        return "(a) a second sandbox lives for the issue"
    if is_unnamed:
        return "(b) a create without the name was accepted"
    # Stated limits: nobody can know of a sandbox that was deleted by hand before anybody looked; or, together with
    # a false 404, since the last look; or while a create that was given up is still on its way.
    known = [
        row for row in world.rows if not row.is_hand_deleted or (row.is_seen and not row.is_denied and not is_late)
    ]
    return f"(b) a create was accepted while {known[0].id} is still dying" if known else ""


def command(world: World, operation: Lifecycle, sandbox_id: str, actor: Actor, fate: Fate = Fate.WELL) -> Answer:
    """Send a lifecycle command by ID."""
    row = world.row(sandbox_id)
    if row is None:
        return Answer(world, "GoneError")
    verdict = admission.judge(operation, _sandbox(row))
    if isinstance(verdict, Refuse):
        return Answer(world, _error_of(verdict))
    if isinstance(verdict, NoOp):
        return Answer(world)
    broken = ""
    if operation == "delete" and actor is Actor.ISSUEBOX and row.may_hold_work and not row.is_given_up:
        broken = f"(d) {row.id}, which may hold work, was deleted without a person's word"
    return Answer(_put(world, _departed(row, verdict.transition, actor, fate)), broken=broken)


def guarded_delete(world: World, sandbox_id: str, *, is_unguarded: bool = False) -> Answer:
    """As the activity `delete_sandbox` does: read, refuse what runs, delete."""
    row = world.row(sandbox_id)
    if row is not None and row.phase in AWAKE and not is_unguarded:
        return Answer(world, "NotInStateError")
    return command(world, "delete", sandbox_id, Actor.ISSUEBOX)


def advanced(world: World) -> Iterator[tuple[str, World]]:
    """Each next step of Daytona's own, with the sandbox that takes it."""
    for row in world.rows:
        if row.transition:
            after = _row(flights.advance(_sandbox(row), 0.0, _CONFIG), row)
            # Of what was made a moment ago, a read that shows nothing is one of the false 404s.
            after = replace(after, before=None) if after.before == "" and after.shown != row.shown else after
            is_up = after.desired == "started" and after.state != "error"
            is_unbuilt = after.state == "error" != row.state and not after.has_started
            moved = replace(world, unbuilt=world.unbuilt + is_unbuilt)
            yield row.id, _put(moved, replace(after, is_manned=after.is_manned and is_up))


def aged(world: World) -> World:
    """The world a minute later: no read shows any more what was before."""
    return replace(world, rows=tuple(_aged(row) for row in world.rows))


def broken_down(world: World, sandbox_id: str, *, recoverable: bool) -> World:
    """The sandbox fails by itself, or a person breaks it."""
    row = world.row(sandbox_id)
    if row is None:
        return world
    failed = flights.break_down(_sandbox(row), "error", None, 0.0, recoverable=recoverable)
    return _put(world, _aged(replace(_row(failed, row), is_manned=False)))


def entered(world: World, sandbox_id: str, *, is_given_up: bool = False) -> World:
    """Somebody is let into the sandbox: from now on it may hold work, and no earlier word is about that.

    With `is_given_up` a person's word that came before is still being carried out, and stays.
    """
    row = world.row(sandbox_id)
    if row is None or row.is_dying:
        return world
    is_up = row.phase in {Phase.USABLE, Phase.PENDING, Phase.THAWING}
    is_given_up = is_given_up and row.is_given_up
    return world.put(replace(row, may_hold_work=True, is_manned=is_up, is_given_up=is_given_up))


def looked_into(world: World, sandbox_id: str) -> Iterator[tuple[WorkState, World]]:
    """Each verdict that a look into the sandbox may have, and the world after it. The last one needs a fault."""
    row = world.row(sandbox_id)
    if row is None:
        yield WorkState.UNCHECKED, world
        return
    seen = replace(row, is_unchecked=False)
    if row.phase is Phase.USABLE:
        # Who is in it may write after the look: only a look while nobody is clears it.
        yield WorkState.CLEAN, world.put(replace(seen, may_hold_work=row.may_hold_work and row.is_manned))
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
        after = replace(after, has_name=False, is_hand_deleted=actor is Actor.PERSON)
    return replace(after, before=before, is_seen_since=False, is_manned=after.is_manned and after.desired == "started")


def _sandbox(row: Row) -> Sandbox:
    """The row as localdaytona keeps it, at no particular time."""
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
    """The name of the provider's error for a refusal of localdaytona's, by the provider's own tables."""
    text, status = refusal.message.lower(), refusal.status or _SCIP_STATUS
    maker = next((maker for fragment, maker in TEXTS if fragment in text), STATUSES[status])
    error = maker(refusal.message, status)
    cause = getattr(error, "cause", None)
    return f"{type(error).__name__}:{cause.value}" if cause is not None else type(error).__name__
