"""What comes from outside: deliveries, people's orders, and acts at Daytona; and how many of them are left.

`Allowance` also derives what the newest event asks for. It does so from what has come, without asking the workflow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from issuebox.domain.events import Intention
from issuebox.domain.issue import IssueState
from issuebox.domain.phase import Goal
from localdaytona.admission import Lifecycle
from proofs.model import daytona
from proofs.model.daytona import Actor, Row, Trouble, World
from proofs.model.deliveries import CLOSED, CLOSED_AGAIN, COMMENTED, DELETED, EVENTS, LOOK, ORDERS, Order
from proofs.model.views import Kind, Observation

ASKING = frozenset(number for number, event in enumerate(EVENTS) if event.intention is Intention.ENSURE)

BY_HAND: tuple[Lifecycle, ...] = ("start", "stop", "archive", "delete")


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may still come, and what has come.

    ``awaited``: deliveries that may come. ``taken``: deliveries that have come; ``repeats`` of them may come again.
    ``standing``: a person's order that no later request has ended. ``is_wanted``: somebody asked for a running sandbox,
    and nothing has called that off. ``abandoning_order``: the standing order by which a person abandoned the sandbox.
    """

    awaited: frozenset[int] = frozenset()
    repeats: int = 0
    orders: int = 0
    acts: int = 0
    faults: int = 0
    taken: frozenset[int] = frozenset()
    standing: str = ""
    is_wanted: bool = False
    abandoning_order: str = ""

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
    """Something that reaches the workflow: a delivery or an order."""

    label: str
    observation: Observation
    allowance: Allowance
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
    return (*news, *again, *orders)


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
    if event.intention is Intention.ENSURE and _may_ask(after, number) and is_after_order:
        after = replace(
            after, standing="", is_wanted=True, abandoning_order=_unless(allowance.abandoning_order, "delete --force")
        )
    elif after.newest is not IssueState.OPEN and not _is_asked_since_close(after):
        after = replace(after, is_wanted=False, abandoning_order=_unless(allowance.abandoning_order, "replace"))
    observation = Observation(Kind.DELIVERED, number=number, is_after_order=is_after_order)
    label = f"{event.action} arrives" if is_after_order else f"{event.action} from before the order arrives"
    return Message(label, observation, after, takes_back=allowance.abandoning_order != after.abandoning_order)


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
        abandons=order.abandons and not is_void,
        takes_back=bool(allowance.abandoning_order) and not after.abandoning_order,
    )


def _may_ask(allowance: Allowance, number: int) -> bool:
    if allowance.newest is IssueState.OPEN:
        return True
    return allowance.newest is IssueState.CLOSED and number == COMMENTED and CLOSED_AGAIN not in allowance.taken


def _is_asked_since_close(allowance: Allowance) -> bool:
    is_first_close = CLOSED_AGAIN not in allowance.taken
    return is_first_close and COMMENTED in allowance.taken and allowance.is_wanted and CLOSED in allowance.taken


def is_awake(row: Row | None) -> bool:
    """Whether the sandbox runs."""
    return row is not None and row.state == "started" and row.desired == "started"
