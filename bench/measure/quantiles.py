"""Quantiles of samples. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict


class Spread(BaseModel):
    """The distribution of samples, in the unit that the field's name ends with."""

    model_config = ConfigDict(frozen=True)

    count: int
    least: float
    p50: float
    p90: float
    p99: float
    most: float
    mean: float


def quantile(samples: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the samples do not exceed, interpolated between neighbours.

    This is NumPy's default definition (Hyndman and Fan, type 7). Raises ValueError without samples.
    """
    if not samples or not 0 <= share <= 1:
        raise ValueError(f"no quantile {share} of {len(samples)} samples")
    ordered = sorted(samples)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def spread(samples: Sequence[float]) -> Spread:
    """The distribution of these samples. Raises ValueError without samples."""
    return Spread(
        count=len(samples),
        least=min(samples),
        p50=quantile(samples, 0.5),
        p90=quantile(samples, 0.9),
        p99=quantile(samples, 0.99),
        most=max(samples),
        mean=math.fsum(samples) / len(samples),
    )
