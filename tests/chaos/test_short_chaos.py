"""The chaos run in its short form, with everything that the long form has."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from proofs.chaos.fault_schedule import MEDDLINGS, Door
from proofs.chaos.receiver import Mood
from proofs.chaos.terms import STRAYS
from tests.chaos.commands import ended

SEED = os.environ.get("ISSUEBOX_CHAOS_SEED", "1")
ISSUES, MINUTES = "48", "0.75"

pytestmark = pytest.mark.timeout(400)


async def test_promise_holds_in_a_chaos_run(tmp_path: Path) -> None:
    """The promise holds through kills, deploys, freezes, unread logs, broken links, every fault of Daytona, and people.

    Everything comes to rest, and every process ends after a SIGTERM. `ISSUEBOX_CHAOS_SEED` chooses another plan. The
    checker reports the same from the run's evidence, and the page loads nothing from elsewhere.
    """
    run_dir = tmp_path / "run"
    run = ["proofs.chaos", "--seed", SEED, "--issues", ISSUES, "--minutes", MINUTES, "--run-dir", str(run_dir)]
    code, output = await ended(*run)
    assert output.startswith(f"seed {SEED} ")
    assert code == 0, output
    report = json.loads((run_dir / "report.json").read_text())
    assert not [verdict for verdict in report["verdicts"] if verdict["broken"]]
    # No cap is set here.
    assert {verdict["rule"] for verdict in report["verdicts"] if not verdict["is_checked"]} <= {"O"}
    assert report["deliveries"] >= 480
    for word, least in (("kill ", 3), ("terminate worker", 3), ("terminate api", 1), ("stall reader ", 2)):
        assert (
            sum(hits for disturbance, hits in report["disturbances"].items() if disturbance.startswith(word)) >= least
        ), word
    acts = report["acts"]
    for word in MEDDLINGS:
        assert sum(hits for act, hits in acts.items() if act.startswith(f"{word} ")) >= 1, word
    for worker in STRAYS:
        assert report["disturbances"].get(f"wrong settings {worker}") == 1
    assert not report["breaches"]
    for door in Door:
        calls = [sum(hits.values()) for kind, hits in report["hostile"].items() if kind.startswith(door)]
        assert sum(calls) >= 150, door
    assert report["full_pipes"], "no process waited for the reader of its log"
    assert report["blocks"], "no block was recorded"
    assert set(report["told"]) == set(Mood), "the receiver of notices had not each of its moods"
    assert set(report["endings"]) <= {"ended in order", "was killed meanwhile"}
    assert len(report["faults"]) >= 5, "the faults hit no request"
    assert report["sandboxes_created"] >= 5
    assert report["agents"]["executions"] >= 5
    assert sum(times for word, times in report["agents"].items() if word.startswith("fake agent: ")) >= 1
    assert report["at_github"]["comments"] >= 5
    creates = {word for word in report["at_github"] if word.startswith("create ")}
    assert creates - {"create answered"}, "no create was disturbed"
    assert (await ended("proofs.checker", str(run_dir)))[0] == 0
    page = (run_dir / "report.html").read_text()
    assert "<svg" in page
    assert not re.search(r"""(?:src|href)=|url\(|@import""", page)
