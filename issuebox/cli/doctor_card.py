"""Renders the doctor's check results for people."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from issuebox.cli.screen import plain
from issuebox.doctor.check_results import Report, Verdict

TABLE_WIDTH_MIN = 72
"""In a narrower terminal each check result gets its own lines."""

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def report_card(found: Report, width: int) -> RenderableType:
    """A table, what to do, and a summary in one line. In a narrow terminal the table becomes a list."""
    rows = _list(found) if width < TABLE_WIDTH_MIN else _table(found)
    troubles = [result for result in found.checks if result.advice]
    advice = [
        Text.assemble((f"{result.part}, {result.check}: ", "bold"), plain(result.advice), "\n") for result in troubles
    ]
    heading = [Text("What to do", style="bold underline")] if advice else []
    return Group(rows, *heading, *advice, _sum(found))


def _table(found: Report) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in ("part", "check", "verdict", "seen"):
        table.add_column(name, overflow="fold", no_wrap=name in {"part", "verdict"})
    for result in found.checks:
        verdict = Text(str(result.verdict), style=_STYLES[result.verdict])
        table.add_row(str(result.part), result.check, verdict, Text(plain(result.seen)))
    return table


def _list(found: Report) -> Group:
    return Group(
        *(
            Text.assemble(
                (str(result.verdict), _STYLES[result.verdict]),
                f"  {result.part}, {result.check}: {plain(result.seen)}",
                overflow="fold",
            )
            for result in found.checks
        ),
        Text(),
    )


def _sum(found: Report) -> Text:
    failed = sum(result.verdict is Verdict.FAILED for result in found.checks)
    warned = sum(result.verdict is Verdict.WARNING for result in found.checks)
    if failed:
        return Text(f"{failed} of {len(found.checks)} checks failed.", style="bold red")
    if warned:
        return Text(f"Nothing failed; {warned} of {len(found.checks)} checks warn.", style="yellow")
    return Text(f"All {len(found.checks)} checks are ok.", style="bold green")
