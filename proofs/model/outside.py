"""What comes from outside: deliveries, people's orders, and acts at Daytona; and how many of them are left.

`Allowance` also derives what the newest event asks for. It does so from what has come, without asking the workflow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from issuebox.domain.events import Intention
from issuebox.domain.issue import IssueState
from issuebox.domain.phase import Goal
from localdaytona.admission import Lifecycle
from proofs.model import daytona
from proofs.model.daytona import Actor, Row, Trouble, World
from proofs.model.deliveries import (
    CANCEL,
    CLOSED,
    CLOSED_AGAIN,
    COMMENTED,
    DELETED,
    EVENTS,
    LOOK,
    ORDERS,
    PAUSE,
    RESUME,
    STANDING,
    Order,
    key_of,
)
from proofs.model.views import Kind, Observation

ASKING = frozenset(number for number, event in enumerate(EVENTS) if event.intention is Intention.ENSURE)

BY_HAND: tuple[Lifecycle, ...] = ("start", "stop", "archive", "delete")


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may still come, and what has come.

    ``awaited``: deliveries that may come. ``taken``: deliveries that have come; ``repeats`` of them may come again.
    ``outlasts``: activities that may take so long that the next timer of a closed issue is due before their end.
    ``claims``: acts of another installation that uses the same names. ``handmade``: sandboxes that a person
    may make by hand, in place of the present one, to work in them. ``visits``: how often a person may enter a sandbox
    that runs.
    ``rolls``: how often the history may become long, so that the workflow continues as new.
    ``pairs``: workflow tasks that may bring two messages, or a message and the end of an activity or a timer.
    ``updates``: calls of the update `ensure` that may come; ``is_updated``: one has come. It asks now, and so after all
    that the deliveries are about.
    ``cancels``: how often a person may cancel what an agent does. ``pauses``: how often a person may pause it;
    ``is_paused``: nobody has resumed it since. ``strikes``: how often something may happen to a run
    in its sandbox. ``requested``: the keys of the requests for work that the workflow has to take.
    ``standing``: a person's order that no later request has ended. ``is_wanted``: somebody asked for a running sandbox,
    and nothing has called that off. ``abandoning_order``: the standing order by which a person abandoned the sandbox.
    """

    awaited: frozenset[int] = frozenset()
    repeats: int = 0
    orders: int = 0
    acts: int = 0
    faults: int = 0
    outlasts: int = 0
    updates: int = 0
    pairs: int = 0
    rolls: int = 0
    claims: int = 0
    handmade: int = 0
    visits: int = 0
    cancels: int = 0
    pauses: int = 0
    is_paused: bool = False
    strikes: int = 0
    requested: frozenset[str] = frozenset()
    taken: frozenset[int] = frozenset()
    standing: str = ""
    is_wanted: bool = False
    abandoning_order: str = ""
    is_updated: bool = False

    has_runs: bool = False
    """Whether runs are set up."""

    @property
    def newest(self) -> IssueState:
        """The state of the issue by the newest snapshot that has come."""
        if DELETED in self.taken:
            return IssueState.DELETED
        return EVENTS[max(self.taken)].issue.state if self.taken else IssueState.OPEN

    @property
    def goals(self) -> frozenset[Goal]:
        """The goals that the newest event and the standing order allow."""
        if self.newest is IssueState.DELETED or self.standing == "delete":
            return frozenset({Goal.DELETED})
        if self.newest is IssueState.CLOSED:
            # How far down the ladder is a matter of time.
            return frozenset(Goal) - ({Goal.RUNNING} if self.standing else set())
        return frozenset({Goal.STOPPED if self.standing else Goal.RUNNING})


@dataclass(frozen=True, slots=True)
class Message:
    """Something that reaches the workflow: a delivery, an order or an update. ``asks``: it asks for the sandbox."""

    label: str
    observation: Observation
    allowance: Allowance
    asks: bool = False
    abandons: bool = False
    takes_back: bool = False
    """No order to abandon the sandbox stands any more."""


def messages(allowance: Allowance) -> tuple[Message, ...]:
    """Everything that may reach the workflow next."""
    news = [_delivered(allowance, number) for number in sorted(allowance.awaited)]
    if allowance.standing:
        news += [_delivered(allowance, number, is_after_order=False) for number in sorted(allowance.awaited & ASKING)]
    again = [_repeated(allowance, number) for number in sorted(allowance.taken) if allowance.repeats]
    orders = [_ordered(allowance, order) for order in ORDERS if allowance.orders]
    updates = [_updated(allowance)] if allowance.updates else []
    cancels = [_cancelled(allowance)] if allowance.cancels else []
    pauses = [_paused(allowance)] if allowance.pauses else []
    resumes = [_resumed(allowance)] if allowance.is_paused else []
    return (*news, *again, *orders, *updates, *cancels, *pauses, *resumes)


def in_one_task(first: Message, after: Sequence[Message]) -> Iterator[tuple[Message, Observation]]:
    """Each message that may come in one workflow task after the first one, and the observation of both.

    `after`: the messages that may come after the first one. Nobody can say any more that what is delivered happened
    before an order of the same task.
    """
    is_order = first.observation.word in STANDING
    for second in after:
        if second.observation.is_after_order or not is_order:
            yield second, together(first.observation, second.observation)


def together(*parts: Observation) -> Observation:
    """What one workflow task brings."""
    return Observation(Kind.TOGETHER, together=parts)


def audit() -> Observation:
    """The audit's signal after a finding."""
    return Observation(Kind.ORDERED, word=LOOK)


def acts(world: World) -> Iterator[tuple[str, World]]:
    """Everything that a person, or Daytona by itself, may do to the sandbox that has the name."""
    row = world.named
    if row is None:
        yield "a person creates a sandbox under the name", _disturbed(daytona.create(world, Actor.PERSON).world, "s")
        return
    for operation in BY_HAND:
        answer = daytona.command(world, operation, row.id, Actor.PERSON)
        if not answer.error and answer.world != world:
            is_start = operation == "start"
            yield f"a person sends {operation} to {row.id}", _disturbed(answer.world, row.id, is_entered=is_start)
    if row.state == "started" and row.desired == "started":
        idle = daytona.command(world, "stop", row.id, Actor.PERSON).world
        yield f"Daytona stops the idle {row.id}", replace(idle, trouble=Trouble.SINCE_READ)
    if row.state != "error" and row.has_started:
        for recoverable in (True, False):
            word = "recoverably" if recoverable else "for good"
            broken = daytona.broken_down(world, row.id, recoverable=recoverable)
            yield f"{row.id} breaks {word}", replace(broken, trouble=Trouble.SINCE_READ)


def claims(world: World) -> Iterator[tuple[str, World]]:
    """Everything that another installation may do, which takes the same name for its own issue's."""
    row = world.named
    if row is None:
        created = daytona.create(world, Actor.ANOTHER).world
        yield "another installation creates a sandbox under the name", replace(created, trouble=Trouble.SINCE_READ)
    elif row.is_foreign:
        deleted = daytona.command(world, "delete", row.id, Actor.ANOTHER)
        yield f"the other installation deletes {row.id}", replace(deleted.world, trouble=Trouble.SINCE_READ)
    elif not row.is_labelled:
        claimed = world.put(replace(row, is_foreign=True))
        yield f"another installation puts its labels on {row.id}", replace(claimed, trouble=Trouble.SINCE_READ)


def handmade(world: World) -> Iterator[tuple[str, World]]:
    """A person creates a sandbox under the name, and enters it as soon as it runs. One that has the name is deleted."""
    row = world.named
    left = world if row is None else daytona.command(world, "delete", row.id, Actor.PERSON).world
    if left.named is not None:
        return
    made = daytona.create(left, Actor.PERSON).world
    label = f"a person makes s{made.made} by hand" + (f" in place of {row.id}" if row else "")
    yield label, replace(made.put(replace(made.rows[-1], is_handmade=True)), trouble=Trouble.SINCE_READ)


def visits(world: World) -> Iterator[tuple[str, World]]:
    """A person enters a sandbox that runs, as with `ssh`."""
    row = world.named
    if row is not None and is_awake(row) and not row.is_occupied:
        yield f"a person enters {row.id}", _disturbed(world, row.id, is_entered=True)


def abandoned(world: World, is_abandoned: bool, is_coming: bool) -> World:
    """A person abandons the present sandbox, or the order to do so ends.

    `is_coming`: the order also counts for the sandbox that a create, already sent, may still make.
    """
    rows = tuple(replace(row, is_abandoned=is_abandoned) for row in world.rows)
    return replace(world, rows=rows, is_next_abandoned=is_coming)


def _disturbed(world: World, sandbox_id: str, *, is_entered: bool = False) -> World:
    """The world after a person's act. A person who starts a sandbox enters it and works; any act counts as activity.

    No act takes back an order: orders go to issuebox, and stand until a later request there.
    """
    if is_entered:
        world = daytona.entered(world, sandbox_id, is_abandoned=True)
    row = world.row(sandbox_id)
    world = world if row is None else world.put(replace(row, is_used=True))
    return replace(world, trouble=Trouble.SINCE_READ)


def _delivered(allowance: Allowance, number: int, *, is_after_order: bool = True) -> Message:
    event = EVENTS[number]
    after = replace(allowance, awaited=allowance.awaited - {number}, taken=allowance.taken | {number})
    asks = event.intention is Intention.ENSURE and _may_ask(after, number) and is_after_order
    if asks:
        after = replace(
            after, standing="", is_wanted=True, abandoning_order=_unless(allowance.abandoning_order, "delete --force")
        )
        if after.has_runs:
            after = replace(after, requested=after.requested | {key_of(number)})
    elif after.newest is not IssueState.OPEN and not _is_asked_since_close(after):
        after = replace(after, is_wanted=False, abandoning_order=_unless(allowance.abandoning_order, "replace"))
    observation = Observation(Kind.DELIVERED, number=number, is_after_order=is_after_order)
    label = f"{event.action} arrives" if is_after_order else f"{event.action} from before the order arrives"
    return Message(
        label, observation, after, asks=asks, takes_back=allowance.abandoning_order != after.abandoning_order
    )


def _unless(order: str, ended: str) -> str:
    """The order, or '' when it is the one that has ended."""
    return "" if order == ended else order


def _repeated(allowance: Allowance, number: int) -> Message:
    after = replace(allowance, repeats=allowance.repeats - 1)
    return Message(f"{EVENTS[number].action} arrives again", Observation(Kind.DELIVERED, number=number), after)


def _ordered(allowance: Allowance, order: Order) -> Message:
    after = replace(allowance, orders=allowance.orders - 1)
    is_void = order.name == "replace" and allowance.newest is IssueState.DELETED
    if order.name == "replace" and not is_void:
        after = replace(after, standing="", is_wanted=True, abandoning_order="replace")
    elif order.name == "retry":
        after = replace(after, is_wanted=after.is_wanted or Goal.RUNNING in after.goals)
    elif order.sets_goal and not is_void:
        abandoning_order = order.name if order.abandons else ""
        after = replace(after, standing=order.name.split()[0], is_wanted=False, abandoning_order=abandoning_order)
    observation = Observation(Kind.ORDERED, word=order.name)
    return Message(
        f"a person orders {order.name}",
        observation,
        after,
        asks=order.name == "replace" and not is_void,
        abandons=order.abandons and not is_void,
        takes_back=bool(allowance.abandoning_order) and not after.abandoning_order,
    )


def _updated(allowance: Allowance) -> Message:
    after = replace(allowance, updates=allowance.updates - 1)
    is_refused = allowance.newest is IssueState.DELETED
    if not is_refused:
        order = _unless(allowance.abandoning_order, "delete --force")
        after = replace(after, standing="", is_wanted=True, is_updated=True, abandoning_order=order)
    return Message(
        "an update asks for the sandbox",
        Observation(Kind.UPDATED),
        after,
        asks=not is_refused,
        takes_back=allowance.abandoning_order != after.abandoning_order,
    )


def _cancelled(allowance: Allowance) -> Message:
    after = replace(allowance, cancels=allowance.cancels - 1)
    return Message("a person cancels the run", Observation(Kind.ORDERED, word=CANCEL), after)


def _paused(allowance: Allowance) -> Message:
    after = replace(allowance, pauses=allowance.pauses - 1, is_paused=True)
    return Message("a person pauses the runs", Observation(Kind.ORDERED, word=PAUSE), after)


def _resumed(allowance: Allowance) -> Message:
    after = replace(allowance, is_paused=False)
    return Message("a person resumes the runs", Observation(Kind.ORDERED, word=RESUME), after)


def _may_ask(allowance: Allowance, number: int) -> bool:
    if allowance.newest is IssueState.OPEN:
        return True
    return allowance.newest is IssueState.CLOSED and number == COMMENTED and CLOSED_AGAIN not in allowance.taken


def _is_asked_since_close(allowance: Allowance) -> bool:
    if allowance.is_updated:
        return allowance.is_wanted and allowance.newest is IssueState.CLOSED
    is_first_close = CLOSED_AGAIN not in allowance.taken
    return is_first_close and COMMENTED in allowance.taken and allowance.is_wanted and CLOSED in allowance.taken


def is_awake(row: Row | None) -> bool:
    """Whether the sandbox runs."""
    return row is not None and row.state == "started" and row.desired == "started"
