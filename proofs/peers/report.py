"""The result of the campaign about sandboxes, as stored, and its columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from proofs.peers.count import Counts
from proofs.peers.plan import CALM
from proofs.peers.results import ROOT, Column, ReportOf, ResultOf, per_1000

RESULTS = ROOT / "bench" / "results" / "peers.json"
PAGE = ROOT / "docs" / "proofs" / "peers.md"


class SystemResult(ResultOf[Counts]):
    """One system's counts by round."""

    calm_key: ClassVar[str] = CALM.key


class Report(ReportOf[SystemResult]):
    """The result of a whole run."""

    @property
    def command(self) -> str:
        return f"make peers SEED={self.seed} ISSUES={self.issues}"

    @property
    def scale(self) -> str:
        return f"Per 1,000 issues ({self.issues} each, seed {self.seed})"


COLUMNS: Sequence[Column] = (
    ("dup.", "duplicates at rest", per_1000("duplicated_at_rest", "issues")),
    ("ever", "at any time", per_1000("duplicated", "issues")),
    ("strand.", "stranded", per_1000("stranded", "issues")),
    ("for good", "after one more event", per_1000("stranded_for_good", "issues")),
    ("leaks", "leaks", per_1000("leaks", "issues")),
    ("lost", "lost events", per_1000("lost", "issues")),
    ("repl.", "data-loss replacements", per_1000("replaced", "issues")),
    ("refused", "refused events", per_1000("refused", "issues")),
    ("closed", "outlived a close", lambda counts: f"{counts.outlived} of {counts.closed}"),
    ("req./ev.", "requests per event", lambda counts: f"{counts.requests_per_event:.1f}"),
)
