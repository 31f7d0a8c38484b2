"""`issuebox demo`: runs the checks against a running stack, with live progress and a table at the end.

The exit code is 0 only when every check holds. ``--keep`` leaves the stack running.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from issuebox.dev.demo.checks import AT_ONCE, IN_ORDER, LAST, LOG_WORDS, SLOW, Check
from issuebox.dev.demo.life import LIFE
from issuebox.dev.demo.stack import Stack, running
from issuebox.dev.demo.work import ALONGSIDE, WORK

CHECKS = (*IN_ORDER, *AT_ONCE, SLOW, *LIFE, *ALONGSIDE, *WORK, *LAST)


@dataclass
class Result:
    """The progress and the result of a check."""

    began: float = 0.0
    took_s: float | None = None
    seen: str = ""
    holds: bool = False


@dataclass
class Board:
    """All results, and the table that shows them."""

    results: dict[str, Result] = field(default_factory=lambda: {check.number: Result() for check in CHECKS})

    async def run(self, check: Check, stack: Stack) -> None:
        """Run one check, and record what it saw or how it failed."""
        result = self.results[check.number]
        result.began = time.monotonic()
        try:
            result.seen = await check.run(stack)
            result.holds = True
        except AssertionError as failure:
            result.seen = str(failure)
        result.took_s = time.monotonic() - result.began

    async def run_in_order(self, checks: Iterable[Check], stack: Stack) -> None:
        """Run checks that build on one another."""
        for check in checks:
            await self.run(check, stack)

    @property
    def all_hold(self) -> bool:
        return all(result.holds for result in self.results.values())

    def __rich__(self) -> Group:
        table = Table(box=None, padding=(0, 1), header_style="bold", expand=False)
        for head in ("", "#", "what happens", "expected", "seen", "s"):
            table.add_column(head, justify="right" if head == "s" else "left", no_wrap=head in {"", "#", "s"})
        for check in CHECKS:
            result = self.results[check.number]
            took = f"{result.took_s:.1f}" if result.took_s is not None else ""
            table.add_row(_mark(result), check.number, check.title, check.expected, escape(result.seen), took)
        return Group(table)


def _mark(result: Result) -> Text | Spinner:
    if result.took_s is not None:
        return Text("✓", "green") if result.holds else Text("✗", "bold red")
    return Spinner("dots") if result.began else Text("·", "dim")


async def run_checks(stack: Stack, console: Console) -> Board:
    """Run all checks: the first five in order, then failures, one issue's life and an agent's work together, then the
    kills."""
    board = Board()
    with Live(board, console=console, refresh_per_second=8, transient=False):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(board.run(SLOW, stack))
            await board.run_in_order(IN_ORDER, stack)
            await asyncio.gather(
                board.run_in_order(LIFE, stack),
                board.run_in_order(ALONGSIDE, stack),
                *(board.run(check, stack) for check in AT_ONCE),
            )
        await board.run_in_order((*WORK, *LAST), stack)
    return board


def print_log(stack: Stack, console: Console) -> None:
    """Print what the worker logged about issue 1, which check 5 is about."""
    console.print(f"\n[bold]The worker's log of issue 1[/] ({stack.data_dir}/logs/worker.log)")
    for line in stack.log_lines(1):
        if line["event"] not in LOG_WORDS:
            continue
        fields = ("issue_id", "sandbox_id", "state", "delivery", "duration_ms")
        facts = " ".join(f"{name}={line[name]}" for name in fields if name in line)
        console.print(f"  {line['timestamp'][11:23]}  [cyan]{line['event']:<16}[/] {facts}", highlight=False)


async def run_demo(*, keep: bool) -> int:
    """Start the stack, check, report, and return the exit code. With `keep` the stack runs until Enter is pressed."""
    console = Console()
    data_dir = Path(tempfile.mkdtemp(prefix="issuebox-demo-"))
    console.print("[bold]issuebox[/]: exactly one Daytona sandbox per GitHub issue, on real parts.")
    console.print(f"Starting a Temporal server, localdaytona, a worker and the API in {data_dir} …")
    began = time.monotonic()
    try:
        async with running(data_dir) as stack:
            console.print(f"Ready after {time.monotonic() - began:.1f} s. Checking:\n")
            began = time.monotonic()
            board = await run_checks(stack, console)
            took_s = time.monotonic() - began
            print_log(stack, console)
            held = sum(result.holds for result in board.results.values())
            colour = "green" if board.all_hold else "red"
            console.print(f"\n[bold {colour}]{held} of {len(CHECKS)} checks hold[/], in {took_s:.0f} s.")
            if keep:
                await _keep_running(stack, console)
    except AssertionError as failure:
        console.print(f"[bold red]{escape(str(failure))}[/]")
        return 1
    if board.all_hold:
        shutil.rmtree(data_dir)
        return 0
    console.print(f"Logs are kept in {data_dir}/logs.")
    return 1


async def _keep_running(stack: Stack, console: Console) -> None:
    console.print(
        f"\nStill running. Temporal Web UI {stack.stack.temporal_ui_url} · sandboxes {stack.stack.daytona_page_url} · "
        f"API {stack.stack.api_url}/docs\nPress Enter (or Ctrl-C) to stop.",
        highlight=False,
    )
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
