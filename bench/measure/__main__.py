"""Run measurements, store their results, and render docs/benchmarks.md and its charts from them.

The exit code is 0 when every target is met. Results of quick runs are only stored with ``--keep``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.machine import ROOT, describe, one_line
from bench.measure import page, results
from bench.measure.catalogue import MEASUREMENTS
from bench.measure.frame import Context, Measurement, Record
from issuebox.process import run_and_end

SEED = 20_260_101


async def measure(measurement: Measurement[Any], *, is_quick: bool, seed: int, console: Console) -> Record:
    """Run one measurement in its own scratch directory."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="issuebox-bench-") as scratch:
        context = Context(
            seed=seed,
            is_quick=is_quick,
            scratch=Path(scratch),
            say=lambda line: console.print(f"  {line}", style="dim", highlight=False),
        )
        figures = await measurement.run(context)
    return Record(
        name=measurement.name,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=f'make bench ARGS="{measurement.name}{" --quick" if is_quick else ""}{_seed(seed)}"',
        seed=seed,
        is_quick=is_quick,
        took_s=round(time.monotonic() - began, 1),
        machine=describe(),
        targets=list(measurement.targets(figures)),
        figures=figures.model_dump(mode="json"),
    )


async def run(chosen: Sequence[Measurement[Any]], options: argparse.Namespace, console: Console) -> bool:
    """Run them one after the other, and return whether every target is met."""
    console.print(f"seed {options.seed}; {one_line(describe())}", highlight=False)
    is_met = True
    for measurement in chosen:
        console.print(f"\n[bold]{measurement.name}[/]: {measurement.title}")
        record = await measure(measurement, is_quick=options.quick, seed=options.seed, console=console)
        console.print(measurement.render(measurement.figures_of(record)), highlight=False, markup=False)
        for target in record.targets:
            is_met &= target.is_met
            mark = "[green]✓[/]" if target.is_met else "[bold red]✗[/]"
            value, limit = page.number(target.value, target.unit), page.number(target.limit, target.unit)
            console.print(f"{mark} {target.name}: {value}, {target.sense} {limit}")
        if options.keep or not options.quick:
            console.print(f"stored: {results.write(record).name}")
    return is_met


def render(*, is_check: bool) -> list[str]:
    """Write the stale files among the page and its charts, and return their names."""
    stale = []
    for path, text in page.files(MEASUREMENTS).items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(path.relative_to(ROOT)))
        if not is_check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return stale


def _seed(seed: int) -> str:
    return "" if seed == SEED else f" --seed {seed}"


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    names = [measurement.name for measurement in MEASUREMENTS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names)}; all without a name")
    parser.add_argument("--quick", action="store_true", help="take only a few samples, to see that it works")
    parser.add_argument("--keep", action="store_true", help="store the results of a quick run too")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of everything drawn at random")
    parser.add_argument("--render", action="store_true", help="measure nothing; render page and charts again")
    parser.add_argument("--check", action="store_true", help="with --render: write nothing, fail when they are stale")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(names):
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}")
    return options


def main(arguments: Sequence[str]) -> int:
    """Measure, store and render. Returns the exit code."""
    console = Console()
    options = _options(arguments)
    # As when deployed: the image contains compiled modules, and other installations keep them. Without them
    # each start compiles everything, and a worker compiles the workflow again for every issue.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    is_met = True
    if not options.render:
        chosen = [m for m in MEASUREMENTS if not options.names or m.name in options.names]
        is_met = asyncio.run(run(chosen, options, console))
    stale = render(is_check=options.check)
    if stale and options.check:
        console.print(f"stale: {', '.join(stale)}; run `make bench ARGS=--render`", style="red")
        return 1
    if stale:
        console.print(f"written: {', '.join(stale)}")
    return 0 if is_met else 1


if __name__ == "__main__":
    run_and_end(lambda: main(sys.argv[1:]))
