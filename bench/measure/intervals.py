"""An interval that holds the median of what was sampled, without assumptions about its distribution. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

from pydantic import BaseModel, ConfigDict

from bench.measure.quantiles import quantile

COVERAGE = 0.95


class Interval(BaseModel):
    """The median of samples, and an interval that holds that of what they were drawn from, so often at least."""

    model_config = ConfigDict(frozen=True)

    count: int
    low: float
    median: float
    high: float
    coverage: float

    @property
    def is_around_one(self) -> bool:
        """Whether it includes 1: a ratio that may be none."""
        return self.low <= 1.0 <= self.high


def median_interval(samples: Sequence[float]) -> Interval:
    """The narrowest pair of samples, as far from the least as from the most, with a coverage of 95 % or more.

    The median lies between two samples unless too many of them fell on one side, each with the chance of a coin. So
    the interval takes only that the samples are independent. Raises ValueError for fewer than six: they cannot say it.
    """
    count, ordered = len(samples), sorted(samples)
    cuts = [cut for cut in range(count // 2) if _covered(count, cut) >= COVERAGE]
    if not cuts:
        raise ValueError(f"{count} samples are too few for an interval")
    cut = cuts[-1]
    return Interval(
        count=count,
        low=ordered[cut],
        median=quantile(samples, 0.5),
        high=ordered[count - 1 - cut],
        coverage=_covered(count, cut),
    )


def _covered(count: int, cut: int) -> float:
    """How often the median lies within the samples that are left without the `cut` least and the `cut` most."""
    return 1.0 - 2.0 * sum(comb(count, fewer) for fewer in range(cut + 1)) / 2.0**count
