"""Runs under a seeded plan of strikes and lost, late and doubled requests: the rules about runs hold.

The issues are told meanwhile, by a GitHub that loses replies, answers late, does writes late or twice, and limits them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from temporalio.common import RetryPolicy

import activities.run_reports
from localdaytona.testing import AdminClient
from proofs.chaos.comments import FATES, ToldGitHub
from proofs.chaos.run_strikes import FAULTS, MARKS, Strike, TimedStrike, kill_marked, plan_strikes
from proofs.checker.evidence import Evidence, Receipt, Violation
from proofs.checker.histories import read_histories
from proofs.checker.rules import check
from proofs.checker.sandboxes import read_sandboxes
from proofs.github_api import TOKEN, running
from tests.waiting import until
from tests.workflow.conftest import Stack, Started, daytona, start  # noqa: F401 -- fixtures
from tests.workflow.test_agent_runs import WORK, ask, runs
from workflows import options
from workflows.run_messages import SIGNAL_CANCEL_RUN, SIGNAL_RESUME

ISSUES, SECONDS, STRIKES = 4, 9.0, 24
SETTLED_WITHIN_S = 150.0
"""A follower that failed several times is tried again after half a minute."""
JOB = "(setsid sleep 1 &); i=0; while [ $i -lt 50 ]; do sleep 0.1; i=$((i+1)); done"
"""A job of some seconds, with a process in a session of its own."""
LATE_S, LOOK_AGAIN_S = 0.3, 1.0
"""In production a look comes 5 s later, and what GitHub carries out later than that is a documented limit."""
FINE = 2
CREATES = {f"create {fate}" for fate in FATES["create"]}


def test_plan_is_the_same_for_the_same_seed_and_has_each_kind() -> None:
    plan = plan_strikes(7, ISSUES, SECONDS, STRIKES)
    assert plan == plan_strikes(7, ISSUES, SECONDS, STRIKES) != plan_strikes(8, ISSUES, SECONDS, STRIKES)
    assert {each.strike for each in plan} == set(Strike)
    assert all(0 <= each.at_s <= SECONDS and 0 <= each.issue < ISSUES for each in plan)


class Chaos:
    """Several issues whose agents work, and what happens to them."""

    def __init__(self, stacks: list[Stack], github: ToldGitHub) -> None:
        self.stacks = stacks
        self.github = github
        self.admin: AdminClient = stacks[0].daytona.admin
        self.asked: dict[str, int] = {}
        """The issue of each request, by its key."""
        self.struck = Counter[Strike]()

    async def ask(self, issue: int) -> None:
        stack = self.stacks[issue]
        comment_id = self.github.say(stack.number, "@claude do it")
        self.asked[f"comment-{comment_id}"] = stack.issue_id
        await ask(stack, comment_id)

    async def carry_out(self, timed: TimedStrike) -> None:
        await asyncio.sleep(timed.at_s)
        stack = self.stacks[timed.issue]
        is_there = bool(await stack.live())
        self.struck[timed.strike] += 1
        if timed.strike is Strike.ASK:
            await self.ask(timed.issue)
        elif timed.strike is Strike.CANCEL:
            await stack.order(SIGNAL_CANCEL_RUN)
        elif timed.strike is Strike.CLOSE:
            await stack.close()
        elif is_there and timed.strike in MARKS:
            await kill_marked(self.admin, stack.name, timed.strike)
        elif is_there:
            with suppress(httpx.HTTPStatusError):  # It does not run, or nothing runs in it.
                await self.admin.act(stack.name, timed.strike)

    async def settled(self) -> None:
        await until(self.open_requests, lambda found: not found, "every request is over", SETTLED_WITHIN_S)

    async def open_requests(self) -> list[str]:
        """The requests that are not over. Whose runs are paused, a person resumes, as their comment says."""
        views = [await runs(stack) for stack in self.stacks]
        for stack, view in zip(self.stacks, views, strict=True):
            if view.pause:
                await stack.order(SIGNAL_RESUME)
        states = {each.key: each.state for view in views for each in view.receipts}
        return [key for key in self.asked if states.get(key) not in {"over", "refused"}]

    async def untold(self) -> list[Violation]:
        return check(await self.evidence(), only=frozenset("M"))

    async def evidence(self) -> Evidence:
        names = [stack.name for stack in self.stacks]
        recorded = await read_histories(self.stacks[0].temporal, names)
        ids = [row.id for stack in self.stacks for row in await stack.live()]
        inside = await read_sandboxes(self.admin, ids)
        receipts = [
            Receipt(issue=stack.issue_id, key=each.key, state=each.state, run=each.run)
            for stack in self.stacks
            for each in (await runs(stack)).receipts
        ]
        return Evidence(
            journal=await self.admin.journal(),
            deliveries=[],
            ledger=inside.ledger,
            left=inside.left,
            run_steps=recorded.run_steps,
            receipts=receipts,
            comments=self.github.told(),
        )


@pytest.fixture
async def github(seed: int) -> AsyncIterator[ToldGitHub]:
    """The stand-in. It does as it is asked at the end of the test, so that the workers come to their end."""
    async with running(ToldGitHub(seed, fine=FINE, late_s=LATE_S)) as server:
        assert isinstance(server, ToldGitHub)
        yield server
        server.is_calm = True


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some tenths of a second instead of seconds. What is late comes before one looks again, as in production."""
    retry = RetryPolicy(initial_interval=timedelta(seconds=0.2), non_retryable_error_types=["RefusedError"])
    monkeypatch.setattr(options, "REPORT_RETRY", retry)
    monkeypatch.setattr(options, "REPORT_PACE", timedelta(seconds=1))
    monkeypatch.setattr(activities.run_reports, "LOOK_AGAIN_S", LOOK_AGAIN_S)
    monkeypatch.setattr(activities.run_reports, "EDIT_PACE_S", 1.0)


@pytest.mark.timeout(3 * SETTLED_WITHIN_S)
@pytest.mark.parametrize("seed", [17])
async def test_strikes_and_lost_requests_break_no_rule_about_runs(
    github: ToldGitHub,
    start: Started,  # noqa: F811
    seed: int,
) -> None:
    """Nothing begins twice or beside another one, all ends, nothing is left, no request is lost, each run told once."""
    # A request that is never answered takes as long as its timeout.
    first = await start(
        **WORK, run_command=JOB, run_attempts=4, run_script_timeout_s=4.0, close_stop_after_s=1.0,
        close_archive_after_s=-1, close_delete_after_s=-1, github_token=TOKEN, github_api_url=github.url,
        github_writes_per_minute=10_000,
    )  # fmt: skip
    others = [replace(first.another(), number=first.number + more) for more in range(1, ISSUES)]
    chaos = Chaos([first, *others], github)
    github.know(((stack.issue_id, stack.number) for stack in chaos.stacks), "octo/repo")
    rules = [
        {"match": {"operation": "toolbox"}, "effect": effect, "times": None, "probability": 0.01} for effect in FAULTS
    ]
    await chaos.admin.set_faults(*rules, seed=seed)
    await asyncio.gather(*(chaos.ask(issue) for issue in range(ISSUES)))
    await asyncio.gather(*(chaos.carry_out(timed) for timed in plan_strikes(seed, ISSUES, SECONDS, STRIKES)))
    await chaos.admin.set_faults()
    await chaos.settled()
    while not set(github.dealt) >= CREATES:  # Few requests made runs of their own.
        await chaos.ask(0)
        await chaos.settled()
    github.is_calm = True
    await until(chaos.untold, lambda found: not found, "each run is told in one comment, to its end", SETTLED_WITHIN_S)
    evidence = await chaos.evidence()
    assert check(evidence, only=frozenset("GHIJKMN")) == []
    assert {receipt.key: receipt.issue for receipt in evidence.receipts or ()} == chaos.asked, "no request is lost"
    assert evidence.ledger, "no attempt began"
    assert set(chaos.struck) == set(Strike)
    assert any(comment.deleted_at for comment in evidence.comments or ()), "no run was ever told twice"
