"""Writes the documentation's page on the peers from a report. Text only."""

from __future__ import annotations

from bench.machine import one_line
from proofs.peers.count import Counts
from proofs.peers.plan import ROUNDS, SPEED
from proofs.peers.report import COLUMNS, Report
from proofs.peers.results import fault_table, main_table, notes_table

HEAD = """\
<!-- Written by `python -m proofs.peers`; do not edit. -->

## Others' algorithms under the same faults

`{command}` · {date} · {minutes:.0f} min · {machine}

Each row is an algorithm that gets or creates a sandbox for a key. It was rewritten in Python after a reading of the
project's public code and issues in 2026, and runs against the unmodified `daytona` SDK and a fresh localdaytona.
**It is the algorithm as read at that date, not the product**, which may have changed, may run on another provider,
and has layers around it that are not here. Each has its own retries; choices and inferences are listed below.
How others start an agent in the sandbox has [a table of its own](peers-runs.md).

All get the same deliveries at the same times and the same fault plan from the same seed: {issues} issues, divided
over {rounds} rounds of one kind of fault each, on two processes that share the project's durable store. The rates
are those of the plan, far above those in production: compare rows, do not forecast with them. Which requests a fault
hits depends on the system. GitHub does not send a failed delivery again, and neither does the harness.
Daytona's times and all waits pass {speed:g} times as fast.

issuebox runs as in a deployment: two APIs and two workers as processes on a real Temporal server. Its kill is a
SIGKILL to both processes of a host, a moment after the delivery; a peer's process dies at a step of its handling.
The harness does not see issuebox's handovers, so it reads Daytona's journal: a started sandbox counts as handed over.
In addition, the checker judges issuebox's rounds by its rules, and no other system's.

Counts are for 1,000 issues:
- *Duplicates*: issues with two live sandboxes, at rest and at any time.
- *Stranded*: issues whose next event would find no running sandbox, at rest, and again after one more event without
  faults.
- *Leaks*: live sandboxes that the system would not find.
- *Lost events*: events answered with a 2xx after which no sandbox was handed over.
- *Data-loss replacements*: sandboxes that had been handed over, and were deleted unsaved or can no longer be found.
- *Refused events*: the sender got an error or no answer, or hung up, which it does in F4.
- *Outlived a close*: of {closed} issues that were closed during the create, those whose sandbox runs at rest. Most
  projects do not handle closes.
"""

LETTERS = (
    ("D", "duplicated_at_rest"),
    ("d", "duplicated"),
    ("S", "stranded_for_good"),
    ("s", "stranded"),
    ("L", "leaks"),
    ("E", "lost"),
    ("W", "replaced"),
    ("C", "outlived"),
)
"""A capital D replaces a small one, and so does S."""


LEGEND = (
    "The effects of each fault: D duplicates at rest, d for a time only; S stranded even after one more event, "
    "s until then; L leaks; E lost events; W data-loss replacements; C outlived a close."
)
NOTES = "What was inferred, and what was chosen as the best configuration:"


def letters(counts: Counts) -> str:
    """What went wrong in a round, one letter for each kind."""
    found = "".join(letter for letter, name in LETTERS if getattr(counts, name))
    found = found.replace("Dd", "D").replace("Ss", "S")
    return found or "·"


def page(report: Report) -> str:
    """The whole page, in Markdown."""
    closed = next((each.rounds["F11"].issues for each in report.systems if "F11" in each.rounds), 0)
    head = HEAD.format(
        command=report.command,
        date=report.date,
        minutes=report.took_s / 60,
        machine=one_line(report.machine),
        issues=report.issues,
        rounds=len(ROUNDS),
        speed=SPEED,
        closed=closed,
    )
    by_fault = fault_table(report, ROUNDS, LEGEND, letters)
    return "\n".join([head, *main_table(report, COLUMNS), *by_fault, *notes_table(report, NOTES), ""])
