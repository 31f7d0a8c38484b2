"""What a measurement is: how it runs, what it has to reach, how it is shown and stored. Measures nothing itself.

A measurement is one module with one `Measurement`, listed in `bench.measure.catalogue`. Its figures are a
pydantic model, stored as JSON; targets, text and charts are made from the stored figures alone, so that
`--render` shows an old run anew without running anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, TypeVar

from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict, computed_field

F = TypeVar("F", bound=BaseModel)


class Sense(StrEnum):
    """On which side of its limit a value has to be."""

    AT_MOST = "at most"
    AT_LEAST = "at least"


class Target(BaseModel):
    """One promise about a figure."""

    model_config = ConfigDict(frozen=True)

    name: str
    value: float
    limit: float
    unit: str = ""
    sense: Sense = Sense.AT_MOST

    @computed_field  # type: ignore[prop-decorator]
    @property
    def is_met(self) -> bool:
        """Whether the value is on the right side of the limit."""
        return self.value <= self.limit if self.sense is Sense.AT_MOST else self.value >= self.limit


class Record(BaseModel):
    """One run of one measurement, as it is stored."""

    model_config = ConfigDict(frozen=True)

    name: str
    measured_at: str
    """UTC, ISO 8601, to the second."""
    command: str
    """What repeats it."""
    seed: int
    is_quick: bool
    took_s: float
    machine: dict[str, str]
    targets: list[Target]
    figures: dict[str, Any]
    """The measurement's own model as plain data; `Measurement.figures_of` gives the model back."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a measurement is given."""

    seed: int
    is_quick: bool
    scratch: Path
    """A directory of its own, removed after the run."""
    say: Callable[[str], None]
    """Progress, one line."""

    def samples(self, full: int, quick: int) -> int:
        """How many samples to take in this run."""
        return quick if self.is_quick else full


def _no_charts(_: Any) -> Mapping[str, Figure]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement(Generic[F]):
    """One row of the catalogue."""

    name: str
    title: str
    sentence: str
    """What is measured and against what; it opens the section in the docs."""
    figures: type[F]
    run: Callable[[Context], Awaitable[F]]
    targets: Callable[[F], Sequence[Target]]
    render: Callable[[F], str]
    """The section's tables and text in Markdown. Pure, and without a heading."""
    charts: Callable[[F], Mapping[str, Figure]] = field(default=_no_charts)
    """Charts by file name without suffix; each name begins with the measurement's. Drawn with `charts.axes`."""
    chart_captions: Mapping[str, str] = field(default_factory=dict)
    """File name without suffix, and the sentence shown for it: every chart has one."""

    def figures_of(self, record: Record) -> F:
        """The stored figures as the model. Raises pydantic's ValidationError when the shape has changed since."""
        return self.figures.model_validate(record.figures)
