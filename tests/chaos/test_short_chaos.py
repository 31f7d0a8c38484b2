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
ISSUES, MINUTES = "48", "0.75"

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
    """Kills, deploys, freezes, unread logs, broken wires, every fault of Daytona, and people: the promise holds.

    All comes to rest, and every process ends when it is told to. `ISSUEBOX_CHAOS_SEED` chooses another plan. The
    checker says the same of what the run left behind, and the page needs nothing but itself.
    """
    run_dir = tmp_path / "run"
    run = ["proofs.chaos", "--seed", SEED, "--issues", ISSUES, "--minutes", MINUTES, "--run-dir", str(run_dir)]
    code, said = await _ended(*run)
    assert said.startswith(f"seed {SEED} ")
    assert code == 0, said
    report = json.loads((run_dir / "report.json").read_text())
    assert all(verdict["is_asked"] and not verdict["broken"] for verdict in report["verdicts"])
    assert report["deliveries"] >= 480
    for word, least in (("kill ", 3), ("terminate worker", 3), ("terminate api", 1), ("stall reader ", 2)):
        assert sum(hits for blow, hits in report["blows"].items() if blow.startswith(word)) >= least, word
    assert report["full_pipes"], "nobody felt that a log was not read"
    assert report["blocks"], "nobody was blocked, or nobody read it"
    assert set(report["endings"]) <= {"ended in order", "was killed meanwhile"}
    assert len(report["faults"]) >= 5, "the faults met nobody"
    assert report["sandboxes_created"] >= 5
    assert (await _ended("proofs.checker", str(run_dir)))[0] == 0
    page = (run_dir / "report.html").read_text()
    assert "<svg" in page
    assert not re.search(r"""(?:src|href)=|url\(|@import""", page)
