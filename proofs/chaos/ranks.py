"""What a list of measured values comes to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def at_ranks(values: Iterable[float], ranks: Mapping[str, float]) -> dict[str, float]:
    """By name, the value at each rank from 0.0 to 1.0; empty without a value."""
    in_order = sorted(values)
    if not in_order:
        return {}
    return {name: in_order[min(len(in_order) - 1, int(rank * len(in_order)))] for name, rank in ranks.items()}
