"""`python -m proofs.peers runs`: runs every way to start an agent, and issuebox, through the same rounds.

It writes a table, a JSON file and a page.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from rich.console import Console

from bench.machine import describe, one_line
from proofs.peers.agents.campaign import Shares, run_issuebox, run_starter, shares
from proofs.peers.agents.count import RunCounts
from proofs.peers.agents.forget import FireAndForget
from proofs.peers.agents.page import page
from proofs.peers.agents.plan import CALM, ROUNDS
from proofs.peers.agents.queue import LockedQueue, Queue
from proofs.peers.agents.report import PAGE, RESULTS, RunsReport, RunsResult, terminal_table
from proofs.peers.agents.server import ServerInTheBox
from proofs.peers.agents.starter import Starter
from proofs.peers.agents.steps import OneStep, TwoSteps

ALL: tuple[type[Starter], ...] = (FireAndForget, OneStep, TwoSteps, Queue, LockedQueue, ServerInTheBox)
ISSUES = 72
SEED = 1
CALM_ISSUES = 4
TERMINAL_COLUMNS = 140
ISSUEBOX = "issuebox"
ISSUEBOX_NOTES = (
    "preset `command` with the script; default settings, except that a close cancels (by default the run may finish) "
    "and stops the sandbox after 1 s; what waits for Daytona is divided by the speed, the pauses between two probes "
    "(3 to 10 s) are not; a host that is down is passed over by the sender, as a load balancer does; its resync with "
    "GitHub, which would find a refused request, is off"
)

Play = Callable[[Shares, int], Awaitable[dict[str, RunCounts]]]


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments ask for. Returns 1 when issuebox broke a promise, or a peer fails even without faults."""
    asked = _arguments(arguments)
    console = Console(width=TERMINAL_COLUMNS)
    if asked.render:
        report = RunsReport.model_validate_json(RESULTS.read_text())
        PAGE.write_text(page(report))
        console.print(terminal_table(report))
        return 0
    machine = describe()
    console.print(f"seed {asked.seed}, {asked.issues} issues for each system\n{one_line(machine)}", highlight=False)
    began_s = time.monotonic()
    systems = asyncio.run(_all(asked, console))
    report = RunsReport(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        seed=asked.seed,
        issues=asked.issues,
        took_s=time.monotonic() - began_s,
        machine=machine,
        systems=systems,
    )
    console.print(terminal_table(report))
    if not asked.only:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(report.model_dump_json(indent=1, exclude_defaults=True) + "\n")
        PAGE.write_text(page(report))
    return _verdict(report, console)


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m proofs.peers runs", description=__doc__)
    parser.add_argument("only", nargs="*", help="parts of titles: run only these systems, and write nothing")
    parser.add_argument("--seed", type=int, default=SEED, help="of comments and faults")
    parser.add_argument("--issues", type=int, default=ISSUES, help="for each system, divided over the rounds")
    parser.add_argument("--render", action="store_true", help="only rewrite the page from the stored results")
    return parser.parse_args(arguments)


async def _all(asked: argparse.Namespace, console: Console) -> list[RunsResult]:
    candidates: list[tuple[str, str, Play]] = [
        (ISSUEBOX, ISSUEBOX_NOTES, run_issuebox),
        *((kind.title, kind.notes, _player(kind)) for kind in ALL),
    ]
    chosen = [each for each in candidates if not asked.only or any(part in each[0] for part in asked.only)]
    dealt = [*shares((CALM,), CALM_ISSUES, first=100), *shares(ROUNDS, asked.issues)]
    systems = []
    for number, (title, notes, run) in enumerate(chosen, 1):
        began_s = time.monotonic()
        systems.append(RunsResult(title=title, notes=notes, rounds=await run(dealt, asked.seed)))
        total = systems[-1].total
        console.print(
            f"[{number}/{len(chosen)}] {title}: {total.requests} requests, {total.doubled} executed twice, "
            f"{total.crowded} beside another, {total.lost} lost, {total.orphaned} orphaned, {total.refused} refused "
            f"({time.monotonic() - began_s:.0f} s)",
            highlight=False,
            markup=False,
        )
    return systems


def _player(kind: type[Starter]) -> Play:
    async def run(dealt: Shares, seed: int) -> dict[str, RunCounts]:
        return await run_starter(kind, dealt, seed)

    return run


def _verdict(report: RunsReport, console: Console) -> int:
    """Print what should not happen. Returns the exit code."""
    failing = [system.title for system in report.systems if not system.is_sane]
    for title in failing:
        console.print(f"{title} fails without any fault: its row proves nothing", style="red", markup=False)
    is_broken = not next((system.total for system in report.systems if system.title == ISSUEBOX), RunCounts()).is_clean
    if is_broken:
        console.print("issuebox broke its promise", style="red")
    return 1 if failing or is_broken else 0
