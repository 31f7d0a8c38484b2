"""The stored result of a run of all systems, its columns, and the table for the terminal. `page` writes the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import BaseModel
from rich.table import Table

from proofs.peers.agents.count import RunCounts
from proofs.peers.agents.plan import CALM
from proofs.peers.report import ROOT

RESULTS = ROOT / "bench" / "results" / "peers-runs.json"
PAGE = ROOT / "docs" / "proofs" / "peers-runs.md"


class RunsResult(BaseModel):
    """One system's counts by round."""

    title: str
    notes: str
    rounds: dict[str, RunCounts]

    @property
    def total(self) -> RunCounts:
        """The sum of all rounds with faults."""
        total = RunCounts()
        for key, counts in self.rounds.items():
            total = total if key == CALM.key else total.plus(counts)
        return total

    @property
    def is_sane(self) -> bool:
        """Whether it executed each request once in the round without faults."""
        calm = self.rounds.get(CALM.key, RunCounts())
        return calm.is_clean and not calm.refused and calm.executions == calm.requests


class RunsReport(BaseModel):
    """The result of a whole run."""

    date: str
    seed: int
    issues: int
    took_s: float
    machine: dict[str, str]
    systems: list[RunsResult]

    @property
    def command(self) -> str:
        """The command that repeats it."""
        return f"python -m proofs.peers runs --seed {self.seed} --issues {self.issues}"


Column = tuple[str, str, Callable[[RunCounts], str]]
"""Short title, title, cell."""


def _per_1000(name: str) -> Callable[[RunCounts], str]:
    return lambda counts: f"{1000 * getattr(counts, name) / counts.requests:.0f}" if counts.requests else "-"


COLUMNS: Sequence[Column] = (
    ("doubled", "executed twice", _per_1000("doubled")),
    ("two", "two agents at once", _per_1000("crowded")),
    ("lost", "lost", _per_1000("lost")),
    ("orphans", "orphaned", _per_1000("orphaned")),
    ("refused", "refused", _per_1000("refused")),
    ("calls", "requests to Daytona per execution", lambda counts: f"{counts.calls_per_execution:.1f}"),
)


def terminal_table(report: RunsReport) -> Table:
    """The main table, scaled to 1,000 requests."""
    table = Table(title=f"Per 1,000 requests ({report.issues} issues each, seed {report.seed})", show_lines=False)
    table.add_column("system", no_wrap=True)
    for short, _, _ in COLUMNS:
        table.add_column(short, justify="right", no_wrap=True)
    for system in report.systems:
        table.add_row(system.title, *(cell(system.total) for _, _, cell in COLUMNS))
    return table
