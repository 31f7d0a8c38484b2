"""The agents' ledgers are read and counted correctly, and the page says what was counted."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from issuebox.domain.issue import Issue
from issuebox.domain.prompt import request_json
from issuebox.domain.run import RequestKind, RunRequest
from localdaytona.fault_model import Plan
from proofs.checker.evidence import Delivery, Expectation
from proofs.peers.agents.agent import ISSUEBOX_COMMAND, LEDGER, Execution, Work, executions_of
from proofs.peers.agents.command import ALL
from proofs.peers.agents.count import RunCounts, count, crowded, doubled
from proofs.peers.agents.drive import Run
from proofs.peers.agents.page import letters, page
from proofs.peers.agents.plan import CALM, ROUNDS, Round, Send, comment_id, life_of
from proofs.peers.agents.report import RunsReport, RunsResult
from proofs.peers.agents.starter import Request
from proofs.peers.agents.system import IssueboxRuns, RunsOfIssue
from proofs.peers.campaign import shares
from tests.waiting import until

FIRST = Execution(1, "a", 10, began=100.0, last=104.0, is_whole=True)


def _cut_off(at: float) -> Execution:
    return Execution(1, "a", 10, began=100.0, last=at, is_whole=False)


@pytest.mark.parametrize(
    ("earlier", "later", "is_doubled", "is_crowded"),
    [
        (FIRST, Execution(1, "a", 11, 110.0, 112.0, is_whole=True), True, False),
        (_cut_off(102.0), Execution(1, "a", 11, 110.0, 112.0, is_whole=True), False, False),
        (_cut_off(111.0), Execution(1, "a", 11, 110.0, 112.0, is_whole=True), True, True),
        (FIRST, Execution(1, "b", 11, 103.0, 105.0, is_whole=True), False, True),
        (FIRST, Execution(1, "b", 10, 100.0, 104.0, is_whole=True), False, False),
        (FIRST, Execution(2, "a", 11, 103.0, 105.0, is_whole=True), False, False),
    ],
    ids=["after its end", "after a cut", "beside it", "another request", "one run for both", "another issue"],
)
def test_second_execution_counts_by_what_became_of_the_first(
    earlier: Execution, later: Execution, is_doubled: bool, is_crowded: bool
) -> None:
    """What goes on after the proven end of a cut-off execution is no second one."""
    for both in ([earlier, later], [later, earlier]):
        assert doubled(both) == ({later.key} if is_doubled else set())
        assert crowded(both) == ({later.key} if is_crowded else set())


def test_ledger_is_read_line_by_line() -> None:
    """Two agents, one of them for two requests and cut off; a line that was cut off counts for nothing."""
    ledger = b"begin a 7 1.00\nbegin b 7 1.00\nbeat a 7 1.20\nbeat b 7 1.20\nbegin c 8 2.00\nend c 8 2.50\nbeat a"
    assert executions_of(3, ledger) == [
        Execution(3, "a", 7, 1.0, 1.2, is_whole=False),
        Execution(3, "b", 7, 1.0, 1.2, is_whole=False),
        Execution(3, "c", 8, 2.0, 2.5, is_whole=True),
    ]


async def test_issueboxs_command_works_for_each_request_of_its_run(tmp_path: Path) -> None:
    """The same script, with the keys and the work from `request.json`."""
    asked = [RunRequest(RequestKind.COMMENT, f"comment-{n}", "ann", f"@claude {Work(1, True).text}") for n in (1, 2)]
    (tmp_path / "request.json").write_text(request_json(Issue(id=1), asked))
    helper = tmp_path / "setsid"
    helper.write_text('#!/bin/sh\n: >"$HOME/helped"\n')
    helper.chmod(0o755)
    environment = {**os.environ, "HOME": str(tmp_path), "ISSUEBOX_RUN_DIR": str(tmp_path)}
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    agent = await asyncio.create_subprocess_exec("sh", "-c", ISSUEBOX_COMMAND, env=environment)
    assert await agent.wait() == 0
    await until(_exists(tmp_path / "helped"), bool, "the helper was started")
    found = executions_of(1, (tmp_path / LEDGER).read_bytes())
    assert {(each.key, each.pid, each.is_whole) for each in found} == {
        ("comment-1", agent.pid, True),
        ("comment-2", agent.pid, True),
    }


class Known(IssueboxRuns):
    """An issuebox that says this of its runs."""

    async def _asked(self, issue: int) -> RunsOfIssue:
        receipts = [{"key": "a", "state": "over", "run": "r-1"}, {"key": "b", "state": "refused", "run": ""}]
        return {"runs": [{"id": "r-1", "attempt": "2"}] if issue == 1 else [], "receipts": receipts}


async def test_execution_beyond_a_runs_attempts_is_followed_by_nobody() -> None:
    """issuebox could tell of two. A third one, one of a refused request and one of another issue are nobody's."""
    mine = [Execution(1, "a", number, float(number), number + 1.0, is_whole=True) for number in (1, 2, 3)]
    others = [Execution(1, "b", 4, 1.0, 2.0, is_whole=True), Execution(2, "a", 5, 1.0, 2.0, is_whole=True)]
    async with httpx.AsyncClient() as http:
        assert await Known((), http).followed([*reversed(mine), *others]) == {*mine[:2]}


async def test_two_hooks_send_issuebox_the_same_comment() -> None:
    """Only the delivery differs. A cancel says so in its text."""
    first = Request("d-0", 7, "comment", 1e9, "act", 700, "comment-1", Work(3))
    async with httpx.AsyncClient() as http:
        one, other = (Known((), http).built(replace(first, delivery=name)) for name in ("d-0", "d-1"))
        cancel = Known((), http).built(replace(first, act="end", action="cancel"))
    assert one.body == other.body
    assert (one.headers["X-GitHub-Delivery"], other.headers["X-GitHub-Delivery"]) == ("d-0", "d-1")
    assert json.loads(one.body)["comment"]["id"] == comment_id("act")
    assert json.loads(cancel.body)["comment"]["body"] == "@claude stop"


def _exists(path: Path) -> Callable[[], Awaitable[bool]]:
    async def exists() -> bool:
        return path.exists()

    return exists


def _sent(key: str, status: int | None, issue: int = 1, *, ends: bool = False) -> Delivery:
    return Delivery(
        delivery=f"{key}-{status}",
        issue=issue,
        action="cancel" if ends else "comment",
        expects=Expectation.NOTHING if ends else Expectation.RUNNING,
        updated_at=1.0,
        sent_at=1.0,
        status=status,
        asks="" if ends else key,
    )


def test_each_request_is_counted_by_its_deliveries_and_its_executions() -> None:
    """Lost: taken and never whole. Refused: never taken. Called off: neither, but what lives on is orphaned."""
    whole = [Execution(issue, key, pid, 1.0, 2.0, is_whole=True) for issue, key, pid in ((1, "a", 1), (2, "d", 2))]
    cut = Execution(1, "b", 3, 5.0, 6.0, is_whole=False)
    run = Run(
        CALM,
        [1, 2, 3],
        deliveries=[
            _sent("a", 500), _sent("a", 202), _sent("b", 202), _sent("c", None),
            _sent("d", 202, 2), _sent("e", 202, 3), _sent("end", 202, 3, ends=True),
        ],
        executions=[*whole, cut],
        followed={whole[0]},
        alive={1: {"a"}, 3: {"e"}},
    )  # fmt: skip
    assert count(run) == RunCounts(requests=5, lost=1, refused=1, called_off=1, orphaned=2, executions=3)


def test_life_follows_from_seed_round_and_number_alone() -> None:
    """Every system gets the same comments; another seed gives others."""
    for each in (CALM, *ROUNDS):
        assert life_of(each, 1, 3) == life_of(each, 1, 3)
    assert any(life_of(each, 1, 3) != life_of(each, 2, 3) for each in ROUNDS)


@pytest.mark.parametrize("each", [CALM, *ROUNDS], ids=lambda each: each.key)
def test_localdaytona_accepts_each_round(each: Round) -> None:
    """The rules are valid, each life begins with a comment, and what is called off is so in each life."""
    Plan.model_validate({"seed": 1, "rules": each.rules})
    for number in range(20):
        moments = life_of(each, 1, number).moments
        actions = [moment.action for moment in moments if isinstance(moment, Send)]
        assert actions[0] == "comment"
        assert (actions[-1] in {"closed", "cancel"}) is each.is_called_off


def test_every_issue_is_in_one_round() -> None:
    """No issue is left out or used twice."""
    dealt = [issue for _, mine in shares(ROUNDS, 50) for issue in mine]
    assert len(dealt) == len(set(dealt)) == 50


def test_page_names_every_system_its_counts_and_its_notes() -> None:
    """It is generated from the stored results alone, and scaled to 1,000 requests."""
    rounds = {CALM.key: RunCounts(requests=4, executions=4), "A5": RunCounts(requests=20, doubled=3, executions=23)}
    systems = [RunsResult(title=kind.title, notes=kind.notes, rounds=rounds) for kind in ALL]
    assert all(system.is_sane for system in systems)
    text = page(RunsReport(date="2026-11-30", seed=3, issues=20, took_s=60, machine={"cores": "2"}, systems=systems))
    assert "python -m proofs.peers runs --seed 3 --issues 20" in text
    assert "as read, not the product" in text
    for kind in ALL:
        assert f"| {kind.title} | 150 | 0 | 0 | 0 | 0 |" in text
        assert f"| {kind.title} | {kind.notes} |" in text
    assert letters(RunCounts()) == "·"
    assert letters(RunCounts(doubled=1, crowded=1, lost=1, orphaned=1, refused=1)) == "D2LOR"
    assert len({kind.title for kind in ALL}) == len(ALL)


def test_control_round_that_executes_twice_or_not_at_all_proves_nothing() -> None:
    """A way that fails without faults was rewritten wrongly."""
    for counts in (RunCounts(requests=4, executions=5), RunCounts(requests=4, executions=3, refused=1)):
        assert not RunsResult(title="", notes="", rounds={CALM.key: counts}).is_sane
