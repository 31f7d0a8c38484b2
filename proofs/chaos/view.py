"""Shows a run in progress: a live panel on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from proofs.chaos.tally import Tally

LINE_INTERVAL_S: Final = 5.0
MOST_COMMON: Final = 8


@asynccontextmanager
async def shown(tally: Tally, console: Console) -> AsyncIterator[None]:
    """Show the tally for the duration of the block."""
    if console.is_terminal:
        with Live(get_renderable=lambda: panel(tally), console=console, refresh_per_second=4):
            yield
        return
    printing = asyncio.create_task(_print_lines(tally, console))
    try:
        yield
    finally:
        printing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await printing


async def _print_lines(tally: Tally, console: Console) -> None:
    while True:
        console.print(line(tally), highlight=False, markup=False, soft_wrap=True)
        await asyncio.sleep(LINE_INTERVAL_S)


def line(tally: Tally) -> str:
    """The progress of the run in one line."""
    counts = tally.disturbances_by_kind()
    return (
        f"{tally.seconds:5.0f} s  {tally.phase:<11} deliveries {tally.deliveries_total - tally.waiting}"
        f"/{tally.deliveries_total} ({tally.redeliveries} sent again, {tally.given_up} given up)  "
        f"kills {counts['kill']}  freezes {counts['freeze']}  {_ended(counts)}  "
        f"stalled readers {counts['stall reader']}  faults {sum(tally.faults.values())}  "
        f"sandboxes {_counted(tally.states) or 'none'}  at rest {tally.at_rest}/{tally.workflows}  "
        f"violations {len(tally.violations)}"
    )


def panel(tally: Tally) -> Panel:
    """The progress of the run in detail, for a terminal."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", justify="right")
    table.add_column()
    done = tally.deliveries_total - tally.waiting
    bar = ProgressBar(total=max(1, tally.deliveries_total), completed=done, width=40)
    answers = f"{done} of {tally.deliveries_total} done, {tally.redeliveries} sent again, {tally.given_up} given up"
    counts = tally.disturbances_by_kind()
    violations = Text(str(len(tally.violations)), "bold red" if tally.violations else "bold green")
    table.add_row("phase", f"[bold]{tally.phase}[/], {tally.seconds:.0f} s")
    table.add_row("deliveries", bar)
    table.add_row("", answers)
    table.add_row("processes", f"{counts['kill']} killed, {counts['freeze']} frozen, {_ended(counts)}")
    table.add_row("logs", f"{counts['stall reader']} readers stalled")
    table.add_row("links", f"{counts['cut']} cut, {counts['stall']} stalled, {counts['slow']} slowed down")
    table.add_row("Daytona", f"{sum(tally.faults.values())} requests hit: {_counted(_effects(tally.faults))}")
    table.add_row("people", _counted(tally.acts))
    table.add_row("strangers", f"{sum(sum(answers.values()) for answers in tally.hostile.values())} hostile calls")
    table.add_row("sandboxes", _counted(tally.states))
    table.add_row("at rest", f"{tally.at_rest} of {tally.workflows} workflows" if tally.workflows else "")
    table.add_row("violations", violations)
    return Panel(table, title="issuebox chaos run", border_style="red" if tally.violations else "blue", expand=False)


def _ended(counts: Counter[str]) -> str:
    """How many processes ended after a SIGTERM, and how many did not."""
    not_ended = counts["did not end"]
    return f"{counts['terminate']} ended" + (f", {not_ended} did not end" if not_ended else "")


def _effects(faults: Counter[str]) -> Counter[str]:
    """Hits, by effect alone."""
    found: Counter[str] = Counter()
    for word, hits in faults.items():
        found[word.partition(" ")[2]] += hits
    return found


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counter.most_common(MOST_COMMON))
