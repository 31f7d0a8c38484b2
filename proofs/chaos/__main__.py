"""``make chaos``: the promise under a seeded plan of kills, deploys, freezes, unread logs, cuts and Daytona's faults.

Operators end and reset workflows meanwhile, and strangers send hostile calls. Prints the seed first. The exit code is 0
only when no promise was broken, everything came to rest, every process ended in order, and no hostile call or cancel
had an effect that it should not have. The run directory has the logs, the databases, the checker's evidence
(``python -m proofs.checker RUN_DIR``) and the report. ``python -m proofs.chaos restore --help`` is another scenario.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from bench.machine import describe, one_line
from issuebox.process import run_and_end
from proofs.chaos.parts import PartError
from proofs.chaos.plan import Plan, make_plan
from proofs.chaos.report import write_report
from proofs.chaos.restore import command as restore
from proofs.chaos.run import Run
from proofs.chaos.summary import as_text, summarize
from proofs.chaos.tally import Tally
from proofs.chaos.view import shown

ISSUES_DEFAULT: Final = 1000
MINUTES_DEFAULT: Final = 5.0
RUNS_DIR: Final = Path(".issuebox/chaos")
_SILENT: Final = TelemetryFilter(core_level="ERROR", other_level="ERROR")
SETTLE_MIN_S: Final = 120.0
SETTLE_S_PER_ISSUE: Final = 0.4


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line. Without a seed, one is drawn."""
    parser = argparse.ArgumentParser(prog="python -m proofs.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="of the plan; drawn when left out, and printed first")
    parser.add_argument("--issues", type=int, default=ISSUES_DEFAULT, help="with ten deliveries each (%(default)s)")
    parser.add_argument("--minutes", type=float, default=MINUTES_DEFAULT, help="of load and faults (%(default)s)")
    parser.add_argument("--settle-s", type=float, help="deadline for the rest after the last fault, in seconds")
    parser.add_argument("--running-max", type=int, default=0, help="cap of running sandboxes, as the workers know it")
    parser.add_argument("--run-dir", type=Path, help=f"for everything that the run leaves ({RUNS_DIR}/SEED)")
    parser.add_argument("--plan", action="store_true", help="print the plan, and do nothing")
    options = parser.parse_args(arguments)
    options.seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    options.settle_s = options.settle_s or max(SETTLE_MIN_S, SETTLE_S_PER_ISSUE * options.issues)
    options.run_dir = options.run_dir or RUNS_DIR / str(options.seed)
    return options


def command(options: argparse.Namespace) -> str:
    """The command that repeats this run."""
    capped = f" ARGS='--running-max {options.running_max}'" if options.running_max else ""
    return f"make chaos SEED={options.seed} ISSUES={options.issues} MINUTES={options.minutes:g}{capped}"


async def main(options: argparse.Namespace, plan: Plan, console: Console) -> int:
    """Run the plan, judge it and write the report. Returns the exit code."""
    # Temporal is killed: that the run's own clients try again then is no news.
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=_SILENT))))
    machine = describe()
    console.print(one_line(machine), highlight=False, soft_wrap=True)
    shutil.rmtree(options.run_dir, ignore_errors=True)
    options.run_dir.mkdir(parents=True)
    tally = Tally(running_max=options.running_max)
    try:
        async with shown(tally, console):
            outcome = await Run(plan, options.run_dir, tally, options.settle_s).play()
    except PartError as error:
        console.print(f"[bold red]{error}[/]")
        return 1
    summary = summarize(plan, outcome, tally, machine, command(options))
    write_report(options.run_dir, summary, plan, outcome, tally)
    console.print(as_text(summary), highlight=False, markup=False, soft_wrap=True)
    console.print(f"\nReport: {options.run_dir}/report.html", highlight=False)
    return 0 if outcome.is_good else 1


def start() -> int:
    """Print the seed before anything can fail, then run. Returns the exit code. `restore` is a scenario of its own."""
    if sys.argv[1:2] == ["restore"]:
        return restore.start(sys.argv[2:])
    options = parse()
    console = Console()
    console.print(f"seed {options.seed}   (again: {command(options)})", highlight=False, soft_wrap=True)
    plan = make_plan(options.seed, options.issues, options.minutes * 60)
    if options.plan:
        for line in plan.lines():
            print(line)
        return 0
    return asyncio.run(main(options, plan, console))


if __name__ == "__main__":
    try:
        run_and_end(start)
    except KeyboardInterrupt:
        sys.exit(130)
