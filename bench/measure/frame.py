"""What a measurement is: how it runs, its targets, and how it is rendered and stored. Measures nothing itself.

A measurement is one module with one `Measurement`, listed in `bench.measure.catalogue`. Its figures are a
pydantic model, stored as JSON. Targets, text and charts depend only on the stored figures, so that `--render`
can render an old run again.
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
    """On which side of its limit a value must be."""

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
    """One run of one measurement, as stored."""

    model_config = ConfigDict(frozen=True)

    name: str
    measured_at: str
    """UTC, ISO 8601, to the second."""
    command: str
    """The command that repeats it."""
    seed: int
    is_quick: bool
    took_s: float
    machine: dict[str, str]
    targets: list[Target]
    figures: dict[str, Any]
    """The measurement's own model as plain data; `Measurement.figures_of` returns the model."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a measurement gets for its run."""

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
    """What is measured and against what. It opens the section in the docs."""
    figures: type[F]
    run: Callable[[Context], Awaitable[F]]
    targets: Callable[[F], Sequence[Target]]
    render: Callable[[F], str]
    """The section's tables and text in Markdown. Pure, and without a heading."""
    charts: Callable[[F], Mapping[str, Figure]] = field(default=_no_charts)
    """Charts by file name without suffix; each name begins with the measurement's. Drawn with `charts.axes`."""
    chart_captions: Mapping[str, str] = field(default_factory=dict)
    """The caption of every chart, by file name without suffix."""

    def figures_of(self, record: Record) -> F:
        """The stored figures as the model. Raises pydantic's ValidationError when the shape has changed since."""
        return self.figures.model_validate(record.figures)
