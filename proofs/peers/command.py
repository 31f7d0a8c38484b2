"""A campaign from the command line: run every system through the same rounds; write a table, a JSON file and a page."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.machine import describe, one_line
from proofs.peers.results import ReportOf, ResultOf

SEED: Final = 1
TERMINAL_COLUMNS: Final = 140
ISSUEBOX: Final = "issuebox"

Dealt = Sequence[tuple[Any, Sequence[int]]]
"""Rounds, each with its issues."""

Candidate = tuple[str, str, Callable[[Dealt, int], Awaitable[dict[str, Any]]]]
"""A system: its title, its notes, and what runs the rounds with a seed and returns the counts by round."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """What makes a campaign: its systems, its rounds, and how its results are counted and shown."""

    prog: str
    about: str
    issues: int
    seed_of: str
    candidates: Sequence[Candidate]
    deal: Callable[[int], Dealt]
    result: type[ResultOf[Any]]
    report: type[ReportOf[Any]]
    results_file: Path
    page_file: Path
    page: Callable[[Any], str]
    table: Callable[[Any], Table]
    says: Callable[[Any], str]
    """A system's total in a few words, for the terminal."""


def play(campaign: Campaign, arguments: Sequence[str]) -> int:
    """Run what the arguments ask for. Returns 1 when issuebox broke a promise, or a peer fails even without faults."""
    asked = _arguments(campaign, arguments)
    console = Console(width=TERMINAL_COLUMNS)
    if asked.render:
        report = campaign.report.model_validate_json(campaign.results_file.read_text())
        campaign.page_file.write_text(campaign.page(report))
        console.print(campaign.table(report))
        return 0
    machine = describe()
    console.print(f"seed {asked.seed}, {asked.issues} issues for each system\n{one_line(machine)}", highlight=False)
    began_s = time.monotonic()
    systems = asyncio.run(_all(campaign, asked, console))
    report = campaign.report(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        seed=asked.seed,
        issues=asked.issues,
        took_s=time.monotonic() - began_s,
        machine=machine,
        systems=systems,
    )
    console.print(campaign.table(report))
    if not asked.only:
        campaign.results_file.parent.mkdir(parents=True, exist_ok=True)
        campaign.results_file.write_text(report.model_dump_json(indent=1, exclude_defaults=True) + "\n")
        campaign.page_file.write_text(campaign.page(report))
    return _verdict(report, console)


def _arguments(campaign: Campaign, arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=campaign.prog, description=campaign.about)
    parser.add_argument("only", nargs="*", help="parts of titles: run only these systems, and write nothing")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of {campaign.seed_of} and faults")
    parser.add_argument("--issues", type=int, default=campaign.issues, help="for each system, over the rounds")
    parser.add_argument("--render", action="store_true", help="only rewrite the page from the stored results")
    return parser.parse_args(arguments)


async def _all(campaign: Campaign, asked: argparse.Namespace, console: Console) -> list[ResultOf[Any]]:
    candidates = campaign.candidates
    chosen = [each for each in candidates if not asked.only or any(part in each[0] for part in asked.only)]
    dealt = campaign.deal(asked.issues)
    systems = []
    for number, (title, notes, run) in enumerate(chosen, 1):
        began_s = time.monotonic()
        systems.append(campaign.result(title=title, notes=notes, rounds=await run(dealt, asked.seed)))
        took_s = time.monotonic() - began_s
        console.print(
            f"[{number}/{len(chosen)}] {title}: {campaign.says(systems[-1].total)} ({took_s:.0f} s)",
            highlight=False,
            markup=False,
        )
    return systems


def _verdict(report: ReportOf[Any], console: Console) -> int:
    """Print what should not happen. Returns the exit code."""
    failing = [system.title for system in report.systems if not system.is_sane]
    for title in failing:
        console.print(f"{title} fails without any fault: its row proves nothing", style="red", markup=False)
    is_broken = any(system.title == ISSUEBOX and not system.total.is_clean for system in report.systems)
    if is_broken:
        console.print("issuebox broke its promise", style="red")
    return 1 if failing or is_broken else 0
