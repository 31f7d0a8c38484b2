"""How people see what the doctor found."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from issuebox.cli.screen import plain
from issuebox.doctor.findings import Report, Verdict

TABLE_WIDTH_MIN = 72
"""Below this each finding gets lines of its own."""

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def report_card(found: Report, width: int) -> RenderableType:
    """A table, what to do, and one line that says it all; the table becomes a list where it would not fit."""
    rows = _list(found) if width < TABLE_WIDTH_MIN else _table(found)
    troubles = [finding for finding in found.findings if finding.advice]
    advice = [
        Text.assemble((f"{finding.part}, {finding.check}: ", "bold"), plain(finding.advice), "\n")
        for finding in troubles
    ]
    heading = [Text("What to do", style="bold underline")] if advice else []
    return Group(rows, *heading, *advice, _sum(found))


def _table(found: Report) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in ("part", "check", "verdict", "seen"):
        table.add_column(name, overflow="fold", no_wrap=name in {"part", "verdict"})
    for finding in found.findings:
        verdict = Text(str(finding.verdict), style=_STYLES[finding.verdict])
        table.add_row(str(finding.part), finding.check, verdict, Text(plain(finding.seen)))
    return table


def _list(found: Report) -> Group:
    return Group(
        *(
            Text.assemble(
                (str(finding.verdict), _STYLES[finding.verdict]),
                f"  {finding.part}, {finding.check}: {plain(finding.seen)}",
                overflow="fold",
            )
            for finding in found.findings
        ),
        Text(),
    )


def _sum(found: Report) -> Text:
    failed = sum(finding.verdict is Verdict.FAILED for finding in found.findings)
    warned = sum(finding.verdict is Verdict.WARNING for finding in found.findings)
    if failed:
        return Text(f"{failed} of {len(found.findings)} checks failed.", style="bold red")
    if warned:
        return Text(f"Nothing failed; {warned} of {len(found.findings)} checks warn.", style="yellow")
    return Text(f"All {len(found.findings)} checks are ok.", style="bold green")
