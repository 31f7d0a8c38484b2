"""The result of the campaign about agents, as stored, and its columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from proofs.peers.agents.count import RunCounts
from proofs.peers.agents.plan import CALM
from proofs.peers.results import ROOT, Column, ReportOf, ResultOf, per_1000

RESULTS = ROOT / "bench" / "results" / "peers-runs.json"
PAGE = ROOT / "docs" / "proofs" / "peers-runs.md"


class RunsResult(ResultOf[RunCounts]):
    """One system's counts by round."""

    calm_key: ClassVar[str] = CALM.key


class RunsReport(ReportOf[RunsResult]):
    """The result of a whole run."""

    @property
    def command(self) -> str:
        return f"python -m proofs.peers runs --seed {self.seed} --issues {self.issues}"

    @property
    def scale(self) -> str:
        return f"Per 1,000 requests ({self.issues} issues each, seed {self.seed})"


COLUMNS: Sequence[Column] = (
    ("doubled", "executed twice", per_1000("doubled", "requests")),
    ("two", "two agents at once", per_1000("crowded", "requests")),
    ("lost", "lost", per_1000("lost", "requests")),
    ("orphans", "orphaned", per_1000("orphaned", "requests")),
    ("refused", "refused", per_1000("refused", "requests")),
    ("calls", "requests to Daytona per execution", lambda counts: f"{counts.calls_per_execution:.1f}"),
)
