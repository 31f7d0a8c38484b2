"""`make peers`: runs every algorithm and issuebox through the same rounds; writes a table, a JSON file and a page.

With `runs` among its arguments: every way to start an agent, `proofs.peers.agents`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from rich.console import Console

from bench.machine import describe, one_line
from issuebox.process import run_and_end
from proofs.peers.agents.command import main as runs
from proofs.peers.algorithms import ALL
from proofs.peers.campaign import Shares, run_issuebox, run_peer, shares
from proofs.peers.count import Counts
from proofs.peers.page import page
from proofs.peers.peer import Peer
from proofs.peers.plan import CALM, ROUNDS
from proofs.peers.report import PAGE, RESULTS, Report, SystemResult, terminal_table

ISSUES = 200
SEED = 1
CALM_ISSUES = 12
TERMINAL_COLUMNS = 140
RUNS = "runs"
ISSUEBOX = "issuebox"
ISSUEBOX_NOTES = (
    "default settings, those that wait for Daytona divided by the speed; a closed issue's sandbox is stopped after "
    "1 s instead of half an hour; a host that is down is passed over by the sender, as a load balancer does; an event "
    "whose host is killed before its 202 is refused, and its resync with GitHub, which would find it, is off"
)

Run = Callable[[Shares, int], Awaitable[dict[str, Counts]]]


def main() -> int:
    """Run what the arguments ask for. Returns 1 when issuebox broke a promise, or a peer fails even without faults."""
    if RUNS in sys.argv[1:]:
        return runs([each for each in sys.argv[1:] if each != RUNS])
    asked = _arguments()
    console = Console(width=TERMINAL_COLUMNS)
    if asked.render:
        report = Report.model_validate_json(RESULTS.read_text())
        _write_page(report)
        console.print(terminal_table(report))
        return 0
    machine = describe()
    console.print(f"seed {asked.seed}, {asked.issues} issues for each system\n{one_line(machine)}", highlight=False)
    began_s = time.monotonic()
    systems = asyncio.run(_all(asked, console))
    report = Report(
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
        _write_page(report)
    return _verdict(report, console)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m proofs.peers", description=__doc__)
    parser.add_argument("only", nargs="*", help="parts of titles: run only these systems, and write nothing")
    parser.add_argument("--seed", type=int, default=SEED, help="of deliveries and faults")
    parser.add_argument("--issues", type=int, default=ISSUES, help="for each system, divided over the rounds")
    parser.add_argument("--render", action="store_true", help="only rewrite the page from the stored results")
    return parser.parse_args()


async def _all(asked: argparse.Namespace, console: Console) -> list[SystemResult]:
    candidates: list[tuple[str, str, Run]] = [
        (ISSUEBOX, ISSUEBOX_NOTES, run_issuebox),
        *((kind.title, kind.notes, _runner(kind)) for kind in ALL),
    ]
    chosen = [each for each in candidates if not asked.only or any(part in each[0] for part in asked.only)]
    dealt = [*shares((CALM,), CALM_ISSUES, first=100), *shares(ROUNDS, asked.issues)]
    systems = []
    for number, (title, notes, run) in enumerate(chosen, 1):
        began_s = time.monotonic()
        rounds = await run(dealt, asked.seed)
        systems.append(SystemResult(title=title, notes=notes, rounds=rounds))
        total = systems[-1].total
        console.print(
            f"[{number}/{len(chosen)}] {title}: {total.duplicated_at_rest} duplicated, "
            f"{total.stranded_for_good} stranded for good, {total.leaks} leaks, {total.lost} lost, "
            f"{total.replaced} replaced ({time.monotonic() - began_s:.0f} s)",
            highlight=False,
            markup=False,
        )
    return systems


def _runner(kind: type[Peer]) -> Run:
    async def run(dealt: Shares, seed: int) -> dict[str, Counts]:
        return await run_peer(kind, dealt, seed)

    return run


def _write_page(report: Report) -> None:
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(report))


def _verdict(report: Report, console: Console) -> int:
    """Print what should not happen. Returns the exit code."""
    failing = [system.title for system in report.systems if not system.is_sane]
    for title in failing:
        console.print(f"{title} fails without any fault: its row proves nothing", style="red", markup=False)
    ours = next((system.total for system in report.systems if system.title == ISSUEBOX), Counts())
    broken = (
        ours.violations
        + ours.duplicated
        + ours.stranded_for_good
        + ours.leaks
        + ours.lost
        + ours.replaced
        + ours.outlived
    )
    if broken:
        console.print("issuebox broke its promise", style="red")
    return 1 if failing or broken else 0


if __name__ == "__main__":
    run_and_end(main)
