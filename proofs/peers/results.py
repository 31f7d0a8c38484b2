"""What the campaigns have in common: counts that add up, a system's result, the report, and its tables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from pydantic import BaseModel
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]


class Named(Protocol):
    """A round of a campaign, as the tables show it."""

    @property
    def key(self) -> str:
        """Short, such as ``F1``."""

    @property
    def title(self) -> str:
        """Its kind of fault."""


class Sums(BaseModel, ABC):
    """The counts of a system in a round, or in several."""

    def plus(self, other: Self) -> Self:
        """The sum of both."""
        mine, others = self.model_dump(), other.model_dump()
        return type(self)(**{name: mine[name] + others[name] for name in mine})

    @property
    @abstractmethod
    def is_sane(self) -> bool:
        """Whether the system did, in the round without faults, what it is for."""

    @property
    @abstractmethod
    def is_clean(self) -> bool:
        """Whether nothing went wrong that issuebox promises will not."""


C = TypeVar("C", bound=Sums)


class ResultOf(BaseModel, Generic[C]):
    """One system's counts by round."""

    calm_key: ClassVar[str]
    """The round without faults, which is in no total."""

    title: str
    notes: str
    rounds: dict[str, C]

    @property
    def total(self) -> C:
        """The sum of all rounds with faults."""
        total = type(next(iter(self.rounds.values())))()
        for key, counts in self.rounds.items():
            total = total if key == self.calm_key else total.plus(counts)
        return total

    @property
    def is_sane(self) -> bool:
        """Whether its row proves anything: it works without faults."""
        return self.calm_key not in self.rounds or self.rounds[self.calm_key].is_sane


R = TypeVar("R", bound=ResultOf[Any])


class ReportOf(BaseModel, ABC, Generic[R]):
    """The result of a whole campaign."""

    date: str
    seed: int
    issues: int
    took_s: float
    machine: dict[str, str]
    systems: list[R]

    @property
    @abstractmethod
    def command(self) -> str:
        """The command that repeats it."""

    @property
    @abstractmethod
    def scale(self) -> str:
        """What the main table counts by: its title on a terminal."""


Column = tuple[str, str, Callable[[Any], str]]
"""Short title, title, and the cell of a system's counts."""


def per_1000(name: str, of: str) -> Callable[[Any], str]:
    """The cell of a count, for 1,000 of another one."""

    def cell(counts: Any) -> str:
        whole = getattr(counts, of)
        return f"{1000 * getattr(counts, name) / whole:.0f}" if whole else "-"

    return cell


def terminal_table(report: ReportOf[Any], columns: Sequence[Column]) -> Table:
    """The main table for a terminal."""
    table = Table(title=report.scale, show_lines=False)
    table.add_column("system", no_wrap=True)
    for short, _, _ in columns:
        table.add_column(short, justify="right", no_wrap=True)
    for system in report.systems:
        table.add_row(system.title, *(cell(system.total) for _, _, cell in columns))
    return table


def main_table(report: ReportOf[Any], columns: Sequence[Column]) -> list[str]:
    """The main table in Markdown."""
    cells = [[system.title, *(cell(system.total) for _, _, cell in columns)] for system in report.systems]
    titles = ["system", *(title for _, title, _ in columns)]
    return [_row(titles), "|---|" + "--:|" * len(columns), *map(_row, cells), ""]


def fault_table(
    report: ReportOf[Any], rounds: Sequence[Named], legend: str, letters: Callable[[Any], str]
) -> list[str]:
    """The table of faults and their effects in Markdown, with what its letters mean."""
    cells = [
        [system.title, *(letters(system.rounds[each.key]) if each.key in system.rounds else "" for each in rounds)]
        for system in report.systems
    ]
    faults = "; ".join(f"{each.key} {each.title}" for each in rounds)
    head = [_row(["system", *(each.key for each in rounds)]), "|---|" + "---|" * len(rounds)]
    return [legend, "", f"{faults}.", "", *head, *map(_row, cells), ""]


def notes_table(report: ReportOf[Any], lead: str) -> list[str]:
    """What was read, inferred and chosen for each system, in Markdown."""
    rows = [_row([system.title, system.notes]) for system in report.systems]
    return [lead, "", _row(["system", "notes"]), "|---|---|", *rows]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
