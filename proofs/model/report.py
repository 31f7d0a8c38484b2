"""The texts that a run prints: the bounds, the figures, and a counter-example as a numbered list."""

from __future__ import annotations

from proofs.model.bounds import describe
from proofs.model.outside import Allowance
from proofs.model.search import Found, Violation


def bounds(allowances: tuple[Allowance, ...]) -> str:
    """The bounds, one a line."""
    lines = [f"  {number}. {describe(bound)}" for number, bound in enumerate(allowances, 1)]
    return "\n".join(["Bounds (each explored completely; any of it may come, in any order and at any moment):", *lines])


def figures(found: Found) -> str:
    """The figures of a search."""
    rate = found.states / found.seconds if found.seconds else 0.0
    rows = {
        "distinct states": f"{found.states:,}",
        "transitions": f"{found.transitions:,}",
        "right at rest": f"{found.right:,}",
        "depth": str(found.depth),
        "longest queue": f"{found.queue_max:,}",
        "seconds": f"{found.seconds:.1f}",
        "states a second": f"{rate:,.0f}",
        "violations": str(len(found.violations)),
    }
    return "\n".join(f"  {name:<16} {value:>12}" for name, value in rows.items())


def counter_example(violation: Violation) -> str:
    """The shortest way to a broken promise, as text."""
    width = max((len(label) for label, _ in violation.steps), default=0)
    lines = [f"{number:>4}. {label:<{width}}  | {state}" for number, (label, state) in enumerate(violation.steps, 1)]
    return "\n".join([f"BROKEN after {len(violation.steps)} steps: {violation.what}", *lines])
