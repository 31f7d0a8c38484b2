"""The rules about runs on records of the real parts: ledgers, histories and receipts of an agent's work."""

from __future__ import annotations

from proofs.checker.evidence import Evidence, Receipt, Violation
from proofs.checker.histories import read_histories
from proofs.checker.rules import check
from proofs.checker.sandboxes import read_sandboxes
from tests.waiting import until
from tests.workflow.conftest import Stack, Started, daytona, start  # noqa: F401 -- fixtures
from tests.workflow.test_agent_runs import UNTIL_TOLD, WORK, ask, in_the_sandbox, let_go, over, runs, working

ABOUT_RUNS = frozenset("GHIJK")


async def evidence_of(stack: Stack) -> Evidence:
    recorded = await read_histories(stack.temporal, [stack.name])
    (row,) = await stack.live()
    inside = await read_sandboxes(stack.daytona.admin, [row.id])
    receipts = [
        Receipt(issue=stack.issue_id, key=each.key, state=each.state, run=each.run)
        for each in (await runs(stack)).receipts
    ]
    return Evidence(
        journal=await stack.daytona.admin.journal(),
        deliveries=[],
        histories=recorded.signals,
        ledger=inside.ledger,
        left=inside.left,
        run_steps=recorded.run_steps,
        receipts=receipts,
    )


def broken(evidence: Evidence) -> list[Violation]:
    return check(evidence, only=ABOUT_RUNS)


async def test_killed_supervisor_and_what_follows_keep_the_rules(start: Started) -> None:  # noqa: F811
    """One attempt is cut off, the next one does the work; a further request is one more run; then it is stopped."""
    stack = await start(**WORK, run_command=UNTIL_TOLD)
    await ask(stack, 1)
    run = await working(stack)
    assert {violation.rule for violation in broken(await evidence_of(stack))} == {"H", "J"}, "it works: no rest yet"
    await in_the_sandbox(stack, f"read -r pid _ <~/.issuebox/runs/{run.id}/1/begun/supervisor; kill -9 $pid")
    await until(lambda: runs(stack), lambda seen: seen.runs[-1].attempt == 2, "the next attempt", 40.0)
    await working(stack)
    await let_go(stack)
    await over(stack)
    await ask(stack, 2)
    await over(stack, 2)
    evidence = await evidence_of(stack)
    assert evidence.ledger is not None
    assert [(line.run == run.id, line.attempt) for line in evidence.ledger] == [(True, 1), (True, 2), (False, 1)]
    assert broken(evidence) == []
    fences = [step for step in evidence.run_steps or () if step.step == "fence_run"]
    assert fences
    others = [step for step in evidence.run_steps or () if step not in fences]
    unfenced = evidence.model_copy(update={"run_steps": others})
    assert {violation.rule for violation in broken(unfenced)} >= {"I"}
