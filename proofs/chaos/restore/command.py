"""``python -m proofs.chaos restore``: Temporal's database is put back, with the workers stopped and with them running.

Prints the seed first. The exit code is 0 only when the documented recovery brought everything back in both ways, and no
promise was broken. Each way has its directory, with the evidence for ``python -m proofs.checker``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from proofs.chaos.parts import PartError
from proofs.chaos.restore.desk import DeskError
from proofs.chaos.restore.plan import RestorePlan, make_restore_plan
from proofs.chaos.restore.scenario import Mode, Outcome, Scenario
from proofs.chaos.tally import Tally
from proofs.chaos.view import shown
from proofs.checker.rules import RULES, is_checked

ISSUES_DEFAULT: Final = 100
SECONDS_DEFAULT: Final = 40.0
SETTLE_S: Final = 120.0
RUNS_DIR: Final = Path(".issuebox/chaos/restore")


def start(arguments: Sequence[str]) -> int:
    """Run the scenario in each of the chosen ways. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m proofs.chaos restore", description=__doc__)
    parser.add_argument("--seed", type=int, help="of the load; drawn when left out, and printed first")
    parser.add_argument("--issues", type=int, default=ISSUES_DEFAULT, help="with ten deliveries each (%(default)s)")
    parser.add_argument("--seconds", type=float, default=SECONDS_DEFAULT, help="of load (%(default)s)")
    parser.add_argument("--workers", choices=[*Mode], help="in one way only; default: both, one after the other")
    parser.add_argument("--run-dir", type=Path, help=f"for everything that the run leaves ({RUNS_DIR}/SEED)")
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    console = Console()
    console.print(f"seed {seed}", highlight=False)
    plan = make_restore_plan(seed, options.issues, options.seconds)
    modes = [Mode(options.workers)] if options.workers else list(Mode)
    run_dir = options.run_dir or RUNS_DIR / str(seed)
    return max(_run(plan, mode, run_dir / mode, console) for mode in modes)


def _run(plan: RestorePlan, mode: Mode, run_dir: Path, console: Console) -> int:
    shutil.rmtree(run_dir, ignore_errors=True)
    run_dir.mkdir(parents=True)
    try:
        outcome = asyncio.run(_played(plan, mode, run_dir, console))
    except (PartError, DeskError) as error:
        console.print(f"[bold red]{error}[/]")
        return 1
    text = "\n".join(as_text(plan, outcome))
    (run_dir / "report.txt").write_text(text + "\n")
    (run_dir / "report.json").write_text(json.dumps(as_document(plan, outcome), indent=1) + "\n")
    console.print(text, highlight=False, markup=False, soft_wrap=True)
    return 0 if outcome.is_good else 1


async def _played(plan: RestorePlan, mode: Mode, run_dir: Path, console: Console) -> Outcome:
    tally = Tally()
    async with shown(tally, console):
        return await Scenario(plan, mode, run_dir, tally, SETTLE_S).play()


def as_document(plan: RestorePlan, outcome: Outcome) -> dict[str, object]:
    """The figures of one way, for programs."""
    return {
        "seed": plan.seed,
        "issues": plan.issues,
        "workers": outcome.mode,
        "lost_deliveries": outcome.lost_deliveries,
        "lost_orders": outcome.lost_orders,
        "told": [
            {"when": told.when, "doctor": told.doctor, "audit": told.findings, "list": told.listed}
            for told in outcome.findings.told
        ],
        "stuck": len(outcome.findings.stuck_names),
        "recovered": dict(outcome.findings.recovered),
        "unrest": outcome.unrest,
        "promise_holds": outcome.promise_holds,
        "violations": [violation.model_dump(mode="json") for violation in outcome.violations],
        "checked": [letter for letter in RULES if is_checked(letter, outcome.evidence)],
        "is_good": outcome.is_good,
    }


def as_text(plan: RestorePlan, outcome: Outcome) -> Iterator[str]:
    """The same, for people."""
    broken = Counter(violation.rule for violation in outcome.violations)
    yield f"\nRestored with the workers {outcome.mode}: {plan.issues} issues, {outcome.seconds:.0f} s"
    yield f"Forgotten by Temporal: {outcome.lost_deliveries} deliveries, {outcome.lost_orders} orders"
    for told in outcome.findings.told:
        findings = ", ".join(f"{count} {kind}" for kind, count in sorted(told.findings.items())) or "nothing"
        doctor = "; ".join(f"{check} {seen}" for check, seen in told.doctor.items()) or "nothing"
        yield f"Told when {told.when}: the audit finds {findings}; the list marks {told.listed}; the doctor: {doctor}"
    yield f"Stuck: {len(outcome.findings.stuck_names)} workflows"
    recovered = ", ".join(f"{count} by {what}" for what, count in sorted(outcome.findings.recovered.items()))
    yield f"Recovered: {recovered or 'nothing'}"
    yield f"At rest: {outcome.unrest or 'yes'}. The last audit: {'holds' if outcome.promise_holds else 'BROKEN'}"
    for letter, rule in RULES.items():
        word = f"BROKEN {broken[letter]} x" if broken[letter] else "holds"
        yield f"({letter}) {word if is_checked(letter, outcome.evidence) else 'not checked':<12} {rule.says}"
    for violation in outcome.violations[:20]:
        yield f"({violation.rule}) issue {violation.issue}: {violation.what} {list(violation.entries)}"
