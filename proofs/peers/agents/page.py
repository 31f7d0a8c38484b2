"""Writes the documentation's page on how others start agents, from a report. Text only."""

from __future__ import annotations

from bench.machine import one_line
from proofs.peers.agents.agent import BEAT_S
from proofs.peers.agents.count import RunCounts
from proofs.peers.agents.drive import CALLED_OFF_MAX_S
from proofs.peers.agents.plan import LONG, ROUNDS, SHORT, SPEED
from proofs.peers.agents.report import COLUMNS, RunsReport
from proofs.peers.results import fault_table, main_table, notes_table

HEAD = """\
<!-- Written by `python -m proofs.peers runs`; do not edit. -->

## Others' ways to start an agent under the same faults

`{command}` · {date} · {minutes:.0f} min · {machine}

Each row is a way to start an agent in the issue's sandbox when a comment asks for work. It was rewritten in Python
after a reading of public code and issues in 2026, and runs against the unmodified `daytona` SDK and localdaytona.
**It is the algorithm as read, not the product**, which may have changed, may run on another provider, and has layers
around it that are not here. Choices and inferences are listed below. All but issuebox get the sandbox by n8n's
algorithm, which did no lasting harm in [the other table](peers.md): what is counted here is the agent's start.

All get the same comments at the same times and the same fault plan from the same seed: {issues} issues, divided
over {rounds} rounds of one kind of fault each, on two processes that share a durable store. The rates are those of
the plan, far above those in production: compare rows, do not forecast with them. Which commands a fault hits depends
on the system. GitHub does not send a failed delivery again, and neither does the harness. Daytona's times and all
waits of the others pass {speed:g} times as fast.

The agent is a shell script that works for {short_s:.0f} to {long_s:.0f} s, and for longer than the round where it
is called off. It writes its begin, a beat each {beat_s:g} s, and its end into a ledger that no system reads. Some of
those that are called off have a helper in a session of its own, as the tools of a real agent may have; it counts like
the agent.

issuebox runs as in a deployment, with runs switched on: two APIs and two workers as processes on a real Temporal
server. Its kill is a SIGKILL to both processes of a host; a peer's process dies at a step of its handling. In
addition, the checker judges issuebox's rounds by all its rules, and no other system's: {violations} violations.

Counts are for 1,000 requests, which are comments, however often each was delivered:
- *Executed twice*: begun again although an execution of the same request had come to its end or was alive. One that
  goes on after the proven end of a cut-off one is not.
- *Two agents at once*: begun while another agent of the issue was at work in the same sandbox, on whichever request.
- *Lost*: answered with a 2xx, never called off, and never executed to an end, although the faults had ended.
- *Orphaned*: an agent or its helper lives {rest_s:.0f} s (two minutes of Daytona's time) after a close or a cancel that
  was answered with a 2xx; or one worked to its end to which no record of the system leads. That a system never
  learns how its run ended does not count.
- *Refused*: no delivery about it was answered with a 2xx. The sender knows.

Of the {requests} requests, {burst} are in A9, where six comments are six requests.
"""

LETTERS = (
    ("D", "doubled"),
    ("2", "crowded"),
    ("L", "lost"),
    ("O", "orphaned"),
    ("R", "refused"),
)


LEGEND = (
    "The effects of each fault: D executed twice; 2 two agents at once; L lost; O orphaned; R refused. "
    "A10 and A11 lose nothing by definition."
)
NOTES = "For which project each was read, what was inferred, and what was chosen as the best configuration:"


def letters(counts: RunCounts) -> str:
    """What went wrong in a round, one letter for each kind."""
    return "".join(letter for letter, name in LETTERS if getattr(counts, name)) or "·"


def page(report: RunsReport) -> str:
    """The whole page, in Markdown."""
    head = HEAD.format(
        command=report.command,
        date=report.date,
        minutes=report.took_s / 60,
        machine=one_line(report.machine),
        issues=report.issues,
        rounds=len(ROUNDS),
        speed=SPEED,
        short_s=SHORT * BEAT_S,
        long_s=LONG * BEAT_S,
        beat_s=BEAT_S,
        rest_s=CALLED_OFF_MAX_S,
        requests=max(system.total.requests for system in report.systems),
        burst=max(system.rounds.get("A9", RunCounts()).requests for system in report.systems),
        violations=sum(system.total.violations for system in report.systems),
    )
    by_fault = fault_table(report, ROUNDS, LEGEND, letters)
    return "\n".join([head, *main_table(report, COLUMNS), *by_fault, *notes_table(report, NOTES), ""])
