"""The bounds of the model: what may come from outside in one history, and how many faults it may have.

The search explores each bound completely. A state that two bounds share is counted once.
"""

from __future__ import annotations

from proofs.model.deliveries import CLOSED, CLOSED_AGAIN, COMMENTED, DELETED, EVENTS, OPENED, REOPENED
from proofs.model.outside import Allowance


def _of(*events: int, repeats: int = 0, orders: int = 0, acts: int = 0, faults: int = 0) -> Allowance:
    return Allowance(frozenset(events), repeats=repeats, orders=orders, acts=acts, faults=faults)


BOUNDS: tuple[Allowance, ...] = (
    # Smallest first, so that the shortest counter-example is found early.
    _of(OPENED, faults=3),
    _of(OPENED, acts=2, faults=1),
    _of(OPENED, CLOSED, COMMENTED, REOPENED, CLOSED_AGAIN, DELETED),
    _of(OPENED, CLOSED, REOPENED, repeats=1, faults=1),
    _of(OPENED, orders=2, faults=1),
    _of(OPENED, DELETED, acts=1, faults=1),
    _of(OPENED, CLOSED, acts=1, faults=1),
    _of(OPENED, orders=1, acts=1, faults=1),
    _of(OPENED, CLOSED, REOPENED, acts=1, faults=1),
)

PREPARED: tuple[Allowance, ...] = (_of(OPENED, acts=1, faults=1), _of(OPENED, CLOSED, faults=1))
"""The bounds of the model in which each sandbox has to be set up."""


def describe(bound: Allowance) -> str:
    """The bound in words."""
    events = ", ".join(_name(number) for number in sorted(bound.awaited))
    kinds = {
        "repeated delivery": bound.repeats,
        "order": bound.orders,
        "act at Daytona": bound.acts,
        "fault": bound.faults,
    }
    extras = [f"{count} {kind if count == 1 else _plural(kind)}" for kind, count in kinds.items() if count]
    return "; ".join([events, *extras])


def _name(number: int) -> str:
    event = EVENTS[number]
    return "comment" if event.event == "issue_comment" else event.action


def _plural(kind: str) -> str:
    return {"act at Daytona": "acts at Daytona", "repeated delivery": "repeated deliveries"}.get(kind, f"{kind}s")
