"""The stored result of a run of all systems, its columns, and the table for the terminal. `page` writes the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel
from rich.table import Table

from proofs.peers.count import Counts
from proofs.peers.plan import CALM

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results" / "peers.json"
PAGE = ROOT / "docs" / "proofs" / "peers.md"


class SystemResult(BaseModel):
    """One system's counts by round."""

    title: str
    notes: str
    rounds: dict[str, Counts]

    @property
    def total(self) -> Counts:
        """The sum of all rounds with faults."""
        total = Counts()
        for key, counts in self.rounds.items():
            total = total if key == CALM.key else total.plus(counts)
        return total

    @property
    def is_sane(self) -> bool:
        """Whether it served every issue with one sandbox in the round without faults."""
        calm = self.rounds.get(CALM.key, Counts())
        wrong = (calm.duplicated, calm.stranded, calm.stranded_for_good, calm.leaks, calm.lost, calm.refused)
        return not any(wrong) and not calm.replaced


class Report(BaseModel):
    """The result of a whole run."""

    date: str
    seed: int
    issues: int
    took_s: float
    machine: dict[str, str]
    systems: list[SystemResult]

    @property
    def command(self) -> str:
        """The command that repeats it."""
        return f"make peers SEED={self.seed} ISSUES={self.issues}"


Column = tuple[str, str, Callable[[Counts], str]]
"""Short title, title, cell."""


def _per_1000(name: str) -> Callable[[Counts], str]:
    return lambda counts: f"{1000 * getattr(counts, name) / counts.issues:.0f}" if counts.issues else "-"


COLUMNS: Sequence[Column] = (
    ("dup.", "duplicates at rest", _per_1000("duplicated_at_rest")),
    ("ever", "at any time", _per_1000("duplicated")),
    ("strand.", "stranded", _per_1000("stranded")),
    ("for good", "after one more event", _per_1000("stranded_for_good")),
    ("leaks", "leaks", _per_1000("leaks")),
    ("lost", "lost events", _per_1000("lost")),
    ("repl.", "data-loss replacements", _per_1000("replaced")),
    ("refused", "refused events", _per_1000("refused")),
    ("closed", "outlived a close", lambda counts: f"{counts.outlived} of {counts.closed}"),
    ("req./ev.", "requests per event", lambda counts: f"{counts.requests_per_event:.1f}"),
)


def terminal_table(report: Report) -> Table:
    """The main table, scaled to 1,000 issues."""
    table = Table(title=f"Per 1,000 issues ({report.issues} each, seed {report.seed})", show_lines=False)
    table.add_column("system", no_wrap=True)
    for short, _, _ in COLUMNS:
        table.add_column(short, justify="right", no_wrap=True)
    for system in report.systems:
        table.add_row(system.title, *(cell(system.total) for _, _, cell in COLUMNS))
    return table
