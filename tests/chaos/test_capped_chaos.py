"""A small chaos run with a cap: never more sandboxes are up by the service's doing, and who waits is served."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.chaos.commands import ended

SEED = os.environ.get("ISSUEBOX_CHAOS_SEED", "1")
ISSUES, MINUTES, RUNNING_MAX = "20", "0.25", 5

pytestmark = pytest.mark.timeout(400)


async def test_never_more_sandboxes_run_than_the_cap_in_a_chaos_run(tmp_path: Path) -> None:
    """All other rules hold as well. Who is queued at the end is at rest. `ISSUEBOX_CHAOS_SEED` chooses another plan."""
    run_dir = tmp_path / "run"
    size = ["--seed", SEED, "--issues", ISSUES, "--minutes", MINUTES, "--running-max", str(RUNNING_MAX)]
    code, output = await ended("proofs.chaos", *size, "--run-dir", str(run_dir))
    assert code == 0, output
    report = json.loads((run_dir / "report.json").read_text())
    verdicts = {verdict["rule"]: verdict for verdict in report["verdicts"]}
    assert verdicts["O"]["is_checked"]
    assert not [verdict for verdict in verdicts.values() if verdict["broken"]]
    slots = report["slots"]
    assert slots["up at most by the service"] <= slots["cap"] == RUNNING_MAX
    assert slots["queued waits"] >= 1, "nobody ever waited"
    assert (await ended("proofs.checker", str(run_dir)))[0] == 0
