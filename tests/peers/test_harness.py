"""The harness: the same deliveries for every system, and correct counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from localdaytona.admin_models import SandboxView
from localdaytona.fault_model import Plan
from localdaytona.testing import running_inside
from proofs.peers.algorithms import ALL
from proofs.peers.algorithms.lock import InProcessLock
from proofs.peers.algorithms.n8n import N8n
from proofs.peers.campaign import run_round, shares
from proofs.peers.count import Counts
from proofs.peers.drive import CALM_CONFIG
from proofs.peers.page import letters, page
from proofs.peers.peer import Event, Peer
from proofs.peers.plan import CALM, ROUNDS, Act, Send, life_of
from proofs.peers.report import Report, SystemResult
from proofs.peers.system import Crash, RefusedError, peer_system
from tests.peers.conftest import Start

SPEED = 10.0
BY_KEY = {each.key: each for each in ROUNDS}


async def _counted(kind: type[Peer], key: str, issues: int, tmp_path: Path) -> Counts:
    async with running_inside(tmp_path, speed=SPEED, seed=1) as server:
        await server.admin.config(**CALM_CONFIG)
        async with peer_system(kind, server, SPEED, "test") as system:
            system.quiet_s = 0.1
            return await run_round(system, server, BY_KEY[key], list(range(1, issues + 1)), seed=1)


class Tidy(Peer):
    """Deletes its sandbox in `finally`, which a kill must prevent."""

    title: ClassVar[str] = "tidy"
    notes: ClassVar[str] = "for the test"

    async def on_delivery(self, event: Event) -> None:
        sandbox = await self.host.create(event.issue)
        try:
            await self.host.sleep(1)
        finally:
            await self.host.delete(sandbox)

    def finds(self, issue: int, live: Sequence[SandboxView]) -> str | None:
        return None


@pytest.mark.parametrize(("crash", "left"), [(None, 0), (Crash(step=3, after_s=0), 1)])
async def test_killed_process_cleans_nothing_up(stage: Start, crash: Crash | None, left: int) -> None:
    """`finally` has no effect once the process is killed, as with SIGKILL."""
    peer = await stage(Tidy)
    try:
        await peer.send(crash=crash)
    except RefusedError:
        await peer.settle()
    assert len(await peer.live()) == left


def test_life_follows_from_seed_round_and_number_alone() -> None:
    """Every system gets the same deliveries; another seed gives others."""
    for each in (CALM, *ROUNDS):
        assert life_of(each, 1, 3) == life_of(each, 1, 3)
    assert any(life_of(each, 1, 3) != life_of(each, 2, 3) for each in ROUNDS)


def test_every_issue_is_in_one_round() -> None:
    """No issue is left out or used twice, for any number of issues."""
    for issues in (1, 12, 200):
        dealt = [issue for _, mine in shares(ROUNDS, issues) for issue in mine]
        assert len(dealt) == len(set(dealt)) == issues


@pytest.mark.parametrize("each", [CALM, *ROUNDS], ids=lambda each: each.key)
def test_localdaytona_accepts_each_round(each: object) -> None:
    """The rules are valid, and each issue's plan begins and ends with a delivery."""
    assert isinstance(each, type(CALM))
    Plan.model_validate({"seed": 1, "rules": each.rules})
    for number in range(20):
        life = life_of(each, 1, number)
        assert isinstance(life[0], Send)
        assert isinstance(life[-1], Send)
        assert all(isinstance(moment, Send | Act) for moment in life)


async def test_twins_on_two_hosts_are_counted_as_duplicates_of_a_process_lock(tmp_path: Path) -> None:
    """A lock in one process does not stop the other: two sandboxes at rest, and one of them cannot be found."""
    counts = await _counted(InProcessLock, "F6", 3, tmp_path)
    assert (counts.issues, counts.deliveries) == (3, 9)
    assert counts.duplicated_at_rest == counts.duplicated == counts.leaks == 3
    assert counts.requests_per_event > 1


async def test_twins_on_two_hosts_leave_one_sandbox_to_a_unique_name(tmp_path: Path) -> None:
    """The same deliveries, counted by the same code, show no duplicate."""
    counts = await _counted(N8n, "F6", 3, tmp_path)
    served = Counts(issues=3, deliveries=9, requests=counts.requests)
    assert counts == served


async def test_closed_issue_whose_sandbox_runs_is_counted(tmp_path: Path) -> None:
    """A peer that does not handle a close leaves a running sandbox behind."""
    counts = await _counted(InProcessLock, "F11", 2, tmp_path)
    assert (counts.closed, counts.outlived) == (2, 2)


def test_letters_show_the_worse_of_two_kinds() -> None:
    """A duplicate at rest is also one at some time, and shown once."""
    assert letters(Counts()) == "·"
    assert letters(Counts(duplicated=2, duplicated_at_rest=1, stranded=1, leaks=1)) == "DsL"


def test_page_names_every_system_its_counts_and_its_notes() -> None:
    """It is generated from the stored results alone, and scaled to 1,000 issues."""
    rounds = {CALM.key: Counts(issues=4, deliveries=12, requests=12), "F6": Counts(issues=20, deliveries=60, leaks=3)}
    systems = [SystemResult(title=kind.title, notes=kind.notes, rounds=rounds) for kind in ALL]
    report = Report(date="2026-11-24", seed=3, issues=20, took_s=60, machine={"cores": "2"}, systems=systems)
    text = page(report)
    assert "make peers SEED=3 ISSUES=20" in text
    for kind in ALL:
        assert f"| {kind.title} | 0 | 0 | 0 | 0 | 150 |" in text
        assert f"| {kind.title} | {kind.notes} |" in text


def test_titles_are_unique() -> None:
    """They identify the rows."""
    assert len({kind.title for kind in ALL}) == len(ALL)
