"""Runs under a seeded plan of strikes and lost, late and doubled requests: the rules about runs hold."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

import httpx
import pytest

from localdaytona.testing import AdminClient
from proofs.chaos.run_strikes import FAULTS, MARKS, Strike, TimedStrike, kill_marked, plan_strikes
from proofs.checker.evidence import Evidence, Receipt
from proofs.checker.histories import read_histories
from proofs.checker.rules import check
from proofs.checker.sandboxes import read_sandboxes
from tests.waiting import until
from tests.workflow.conftest import Stack, Started, daytona, start  # noqa: F401 -- fixtures
from tests.workflow.test_agent_runs import WORK, ask, runs
from workflows.run_messages import SIGNAL_CANCEL_RUN, SIGNAL_RESUME

ISSUES, SECONDS, STRIKES = 4, 9.0, 24
SETTLED_WITHIN_S = 150.0
"""A follower that failed several times is tried again after half a minute."""
JOB = "(setsid sleep 1 &); i=0; while [ $i -lt 50 ]; do sleep 0.1; i=$((i+1)); done"
"""A job of some seconds, with a process in a session of its own."""


def test_plan_is_the_same_for_the_same_seed_and_has_each_kind() -> None:
    plan = plan_strikes(7, ISSUES, SECONDS, STRIKES)
    assert plan == plan_strikes(7, ISSUES, SECONDS, STRIKES) != plan_strikes(8, ISSUES, SECONDS, STRIKES)
    assert {each.strike for each in plan} == set(Strike)
    assert all(0 <= each.at_s <= SECONDS and 0 <= each.issue < ISSUES for each in plan)


class Chaos:
    """Several issues whose agents work, and what happens to them."""

    def __init__(self, stacks: list[Stack]) -> None:
        self.stacks = stacks
        self.admin: AdminClient = stacks[0].daytona.admin
        self.asked: dict[str, int] = {}
        """The issue of each request, by its key."""
        self.struck = Counter[Strike]()

    async def ask(self, issue: int) -> None:
        comment_id = len(self.asked) + 1
        self.asked[f"comment-{comment_id}"] = self.stacks[issue].issue_id
        await ask(self.stacks[issue], comment_id)

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
        )


@pytest.mark.timeout(2 * SETTLED_WITHIN_S)
@pytest.mark.parametrize("seed", [17])
async def test_strikes_and_lost_requests_break_no_rule_about_runs(
    start: Started,  # noqa: F811
    seed: int,
) -> None:
    """Nothing begins twice or beside another one, all ends, nothing is left, no request is lost."""
    # A request that is never answered takes as long as its timeout.
    first = await start(**WORK, run_command=JOB, run_attempts=4, run_script_timeout_s=4.0, close_stop_after_s=1.0,
                        close_archive_after_s=-1, close_delete_after_s=-1)  # fmt: skip
    chaos = Chaos([first, *(first.another() for _ in range(ISSUES - 1))])
    rules = [
        {"match": {"operation": "toolbox"}, "effect": effect, "times": None, "probability": 0.01} for effect in FAULTS
    ]
    await chaos.admin.set_faults(*rules, seed=seed)
    await asyncio.gather(*(chaos.ask(issue) for issue in range(ISSUES)))
    await asyncio.gather(*(chaos.carry_out(timed) for timed in plan_strikes(seed, ISSUES, SECONDS, STRIKES)))
    await chaos.admin.set_faults()

    async def open_requests() -> list[str]:
        """The requests that are not over. Whose runs are paused, a person resumes, as their comment says."""
        views = [await runs(stack) for stack in chaos.stacks]
        for stack, view in zip(chaos.stacks, views, strict=True):
            if view.pause:
                await stack.order(SIGNAL_RESUME)
        return [each.key for view in views for each in view.receipts if each.state not in {"over", "refused"}]

    await until(open_requests, lambda found: not found, "every request is over", SETTLED_WITHIN_S)
    evidence = await chaos.evidence()
    assert check(evidence, only=frozenset("GHIJKN")) == []
    assert {receipt.key: receipt.issue for receipt in evidence.receipts or ()} == chaos.asked, "no request is lost"
    assert evidence.ledger, "no attempt began"
    assert set(chaos.struck) == set(Strike)
