"""The bounds of the model: what may come from outside in one history, and how many faults it may have.

The search explores each bound completely. A state that two bounds share is counted once. No bound lies within another
one of its group: it would be explored twice.
"""

from __future__ import annotations

from typing import Any

from proofs.model.deliveries import ASKED, CLOSED, CLOSED_AGAIN, COMMENTED, DELETED, EVENTS, OPENED, REOPENED
from proofs.model.outside import Allowance


def _of(*events: int, **more: Any) -> Allowance:
    return Allowance(frozenset(events), **more)


BOUNDS: tuple[Allowance, ...] = (
    # Smallest first, so that the shortest counter-example is found early.
    _of(OPENED, faults=3),
    _of(OPENED, acts=2, faults=1),
    _of(OPENED, CLOSED, COMMENTED, REOPENED, CLOSED_AGAIN, DELETED),
    _of(OPENED, CLOSED, REOPENED, repeats=1, faults=1),
    _of(OPENED, orders=2, faults=1),
    _of(OPENED, DELETED, acts=1, faults=1),
    _of(OPENED, orders=1, acts=1, faults=1),
    _of(OPENED, CLOSED, REOPENED, acts=1, faults=1),
)

WIDER: tuple[Allowance, ...] = (
    _of(OPENED, acts=1, visits=1),
    _of(OPENED, REOPENED, orders=1, faults=1),
    _of(OPENED, CLOSED, COMMENTED, outlasts=2),
    _of(OPENED, CLOSED, acts=1, outlasts=1),
    _of(OPENED, CLOSED, REOPENED, DELETED, updates=1),
    _of(OPENED, CLOSED, updates=1, acts=1),
    _of(OPENED, updates=1, orders=1, faults=1),
    _of(OPENED, CLOSED, REOPENED, DELETED, pairs=1),
    _of(OPENED, updates=1, orders=2, pairs=1),
    _of(OPENED, CLOSED, REOPENED, DELETED, rolls=1),
    _of(OPENED, updates=2, orders=1, rolls=1),
    _of(OPENED, orders=1, acts=1, rolls=1),
    _of(OPENED, REOPENED, orders=1, claims=2),
    _of(OPENED, orders=1, acts=1, claims=1),
    _of(OPENED, orders=1, handmade=1),
    _of(OPENED, DELETED, handmade=1, faults=1),
)
"""Bounds with more kinds of moves, each with few of them."""

PREPARED: tuple[Allowance, ...] = (_of(OPENED, acts=1, faults=1), _of(OPENED, CLOSED, faults=1))
"""The bounds of the model in which each sandbox has to be set up."""


def with_runs(*events: int, **more: Any) -> Allowance:
    """A bound in which runs are set up."""
    return _of(*events, has_runs=True, **more)


WITH_RUNS: tuple[Allowance, ...] = (
    with_runs(OPENED, faults=2),
    with_runs(OPENED, strikes=2),
    with_runs(OPENED, strikes=1, faults=1),
    with_runs(OPENED, ASKED, faults=1),
    with_runs(OPENED, ASKED, strikes=1),
    with_runs(OPENED, orders=1, faults=1),
    with_runs(OPENED, CLOSED, COMMENTED),
    with_runs(OPENED, CLOSED, faults=1),
    with_runs(OPENED, strikes=1, rolls=1),
    with_runs(OPENED, pauses=1, faults=1),
    with_runs(OPENED, pauses=1, strikes=1),
    with_runs(OPENED, CLOSED, pauses=1),
    with_runs(OPENED, ASKED, pauses=1, cancels=1),
)
"""The bounds of the model in which an agent works in the sandbox: a close lets it finish."""

ENDED_RUNS: tuple[Allowance, ...] = (
    with_runs(OPENED, cancels=1, strikes=1),
    with_runs(OPENED, cancels=1, faults=1),
    with_runs(OPENED, CLOSED, strikes=1),
    with_runs(OPENED, CLOSED, faults=1),
    with_runs(OPENED, ASKED, faults=1),
    with_runs(OPENED, DELETED, faults=1),
)
"""The same, where a close ends its work, and a request while it works, too."""

LONG_RUNS: tuple[Allowance, ...] = (
    with_runs(OPENED, strikes=2, faults=1),
    with_runs(OPENED, ASKED, strikes=1, faults=1),
    with_runs(OPENED, CLOSED, strikes=1, faults=1),
    with_runs(OPENED, cancels=1, strikes=1, faults=1),
    with_runs(OPENED, CLOSED, pauses=1, faults=1),
)
"""Wider bounds with runs, for `make model` alone."""


_KINDS = {
    "repeats": "repeated delivery",
    "orders": "order",
    "acts": "act at Daytona",
    "faults": "fault",
    "outlasts": "activity that outlasts a timer",
    "updates": "update",
    "pairs": "workflow task with two messages",
    "rolls": "continue-as-new",
    "claims": "act of another installation",
    "handmade": "sandbox made by hand",
    "visits": "visit",
    "cancels": "cancel",
    "pauses": "pause",
    "strikes": "strike at a run",
}
"""What a bound counts, in words."""


def is_within(bound: Allowance, wider: Allowance) -> bool:
    """Whether all that may happen within the bound may happen within the wider one, too."""
    is_narrower = all(getattr(bound, name) <= getattr(wider, name) for name in _KINDS)
    return is_narrower and bound.awaited <= wider.awaited and bound.has_runs == wider.has_runs


def describe(bound: Allowance) -> str:
    """The bound in words."""
    events = ", ".join(_name(number) for number in sorted(bound.awaited)) or "no delivery"
    counts = {kind: getattr(bound, name) for name, kind in _KINDS.items()}
    extras = [f"{count} {kind if count == 1 else _plural(kind)}" for kind, count in counts.items() if count]
    return "; ".join([events, *extras])


def _name(number: int) -> str:
    event = EVENTS[number]
    return "comment" if event.event == "issue_comment" else event.action


def _plural(kind: str) -> str:
    return _PLURALS.get(kind, f"{kind}s")


_PLURALS = {
    "sandbox made by hand": "sandboxes made by hand",
    "act of another installation": "acts of another installation",
    "act at Daytona": "acts at Daytona",
    "strike at a run": "strikes at a run",
    "repeated delivery": "repeated deliveries",
    "activity that outlasts a timer": "activities that outlast a timer",
    "workflow task with two messages": "workflow tasks with two messages",
}
