"""All rounds of one system."""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from localdaytona.testing import Server, running, running_inside
from proofs.checker.evidence import Evidence
from proofs.checker.rules import check
from proofs.checker.sandboxes import read_sandboxes
from proofs.peers.agents.count import RunCounts, count
from proofs.peers.agents.drive import Driver, Run
from proofs.peers.agents.plan import SPEED, Round
from proofs.peers.agents.starter import Starter
from proofs.peers.agents.system import IssueboxRuns, RunSystem, issuebox_runs, starter_system
from proofs.peers.campaign import side_by_side
from proofs.peers.drive import CALM_CONFIG

log = logging.getLogger(__name__)

ROUNDS_AT_ONCE = 7
"""Each round of a peer has its own Daytona. More at once would wait for the processor and not for Daytona."""

Shares = Sequence[tuple[Round, Sequence[int]]]
"""Rounds, each with its issues."""


async def play(system: RunSystem, server: Server, each: Round, issues: Sequence[int], seed: int) -> Run:
    """One round of one system."""
    return await Driver(system, server, each, issues, seed).run()


async def run_starter(kind: type[Starter], dealt: Shares, seed: int) -> dict[str, RunCounts]:
    """The counts by round of a way to start agents."""
    return await side_by_side(dealt, ROUNDS_AT_ONCE, lambda each, issues: _starter_round(kind, each, issues, seed))


async def _starter_round(kind: type[Starter], each: Round, issues: Sequence[int], seed: int) -> RunCounts:
    with tempfile.TemporaryDirectory(prefix="peers-") as scratch:
        async with running_inside(Path(scratch), speed=SPEED, seed=seed) as server:
            await server.admin.config(**CALM_CONFIG)
            async with starter_system(kind, server, SPEED, f"{seed}/{kind.title}/{each.key}") as system:
                return count(await play(system, server, each, issues, seed))


async def run_issuebox(dealt: Shares, seed: int) -> dict[str, RunCounts]:
    """issuebox's counts by round. All rounds run one after the other, on one Temporal, one Daytona and two hosts."""
    with tempfile.TemporaryDirectory(prefix="peers-") as scratch:
        async with running(Path(scratch) / "daytona", speed=SPEED, seed=seed) as server:
            await server.admin.config(**CALM_CONFIG)
            async with issuebox_runs(server, Path(scratch), SPEED) as system:
                return {each.key: await issuebox_round(system, server, each, issues, seed) for each, issues in dealt}


async def issuebox_round(
    system: IssueboxRuns, server: Server, each: Round, issues: Sequence[int], seed: int
) -> RunCounts:
    """One round, which the checker judges as well."""
    run = await play(system, server, each, issues, seed)
    if run.refusals:
        log.warning("%s: refused: %s", each.key, dict(Counter(run.refusals)))
    counts = count(run)
    counts.violations = await _violations(run, system, server)
    return counts


async def _violations(run: Run, system: IssueboxRuns, server: Server) -> int:
    """How many violations of its rules the checker finds in the round. Each is logged."""
    ids = [entry.sandbox_id for entry in run.journal if entry.kind == "created"]
    inside = await read_sandboxes(server.admin, [each for each in ids if each])
    recorded = await system.histories(run.issues)
    evidence = Evidence(
        journal=run.journal,
        deliveries=run.deliveries,
        histories=recorded.signals,
        blocks=recorded.blocks,
        ledger=inside.ledger,
        left=inside.left,
        run_steps=recorded.run_steps,
        receipts=await system.receipts(run.issues),
    )
    found = check(evidence)
    for violation in found:
        log.error("%s: %s", run.round.key, violation)
    return len(found)
