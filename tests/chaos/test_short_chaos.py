"""The chaos run in its short form, as it is run in its long one: processes, wires, faults, people, one checker."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest

SEED = os.environ.get("ISSUEBOX_CHAOS_SEED", "1")
ISSUES, MINUTES = "24", "0.75"

pytestmark = pytest.mark.timeout(400)


async def _ended(*arguments: str) -> tuple[int | None, str]:
    """The exit code of a command, and all that it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, said.decode(errors="replace")


async def test_promise_holds_under_fire(tmp_path: Path) -> None:
    """Kills, freezes, broken wires, every fault of Daytona, and people: nothing is broken, and all comes to rest.

    `ISSUEBOX_CHAOS_SEED` chooses another plan. The checker says the same of what the run left behind, and the
    page needs nothing but itself.
    """
    run_dir = tmp_path / "run"
    run = ["proofs.chaos", "--seed", SEED, "--issues", ISSUES, "--minutes", MINUTES, "--run-dir", str(run_dir)]
    code, said = await _ended(*run)
    assert said.startswith(f"seed {SEED} ")
    assert code == 0, said
    report = json.loads((run_dir / "report.json").read_text())
    assert all(verdict["is_asked"] and not verdict["broken"] for verdict in report["verdicts"])
    assert report["deliveries"] == 240
    assert sum(hits for word, hits in report["blows"].items() if word.startswith("kill ")) >= 3
    assert len(report["faults"]) >= 5, "the faults met nobody"
    assert report["sandboxes_created"] >= 5
    assert (await _ended("proofs.checker", str(run_dir)))[0] == 0
    page = (run_dir / "report.html").read_text()
    assert "<svg" in page
    assert not re.search(r"""(?:src|href)=|url\(|@import""", page)
