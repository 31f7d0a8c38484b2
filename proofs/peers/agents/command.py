"""`python -m proofs.peers runs`: every way to start an agent, and issuebox, through the same rounds."""

from __future__ import annotations

from functools import partial

from proofs.peers.agents.campaign import Shares, run_issuebox, run_starter
from proofs.peers.agents.count import RunCounts
from proofs.peers.agents.forget import FireAndForget
from proofs.peers.agents.page import page
from proofs.peers.agents.plan import CALM, ROUNDS
from proofs.peers.agents.queue import LockedQueue, Queue
from proofs.peers.agents.report import COLUMNS, PAGE, RESULTS, RunsReport, RunsResult
from proofs.peers.agents.server import ServerInTheBox
from proofs.peers.agents.starter import Starter
from proofs.peers.agents.steps import OneStep, TwoSteps
from proofs.peers.campaign import shares
from proofs.peers.command import ISSUEBOX, Campaign
from proofs.peers.results import terminal_table

ALL: tuple[type[Starter], ...] = (FireAndForget, OneStep, TwoSteps, Queue, LockedQueue, ServerInTheBox)
ISSUES = 72
CALM_ISSUES = 4
ISSUEBOX_NOTES = (
    "preset `command` with the script; default settings, except that a close cancels (by default the run may finish) "
    "and stops the sandbox after 1 s; what waits for Daytona is divided by the speed, the pauses between two probes "
    "(0.25 to 10 s) are not; a host that is down is passed over by the sender, as a load balancer does; its resync "
    "with GitHub, which would find a refused request, is off"
)


def deal(issues: int) -> Shares:
    """Every round with its issues, the one without faults first."""
    return [*shares((CALM,), CALM_ISSUES, first=100), *shares(ROUNDS, issues)]


def says(total: RunCounts) -> str:
    """A system's total in a few words."""
    return (
        f"{total.requests} requests, {total.doubled} executed twice, {total.crowded} beside another, "
        f"{total.lost} lost, {total.orphaned} orphaned, {total.refused} refused"
    )


CAMPAIGN = Campaign(
    prog="python -m proofs.peers runs",
    about=__doc__ or "",
    issues=ISSUES,
    seed_of="comments",
    candidates=[
        (ISSUEBOX, ISSUEBOX_NOTES, run_issuebox),
        *((kind.title, kind.notes, partial(run_starter, kind)) for kind in ALL),
    ],
    deal=deal,
    result=RunsResult,
    report=RunsReport,
    results_file=RESULTS,
    page_file=PAGE,
    page=page,
    table=partial(terminal_table, columns=COLUMNS),
    says=says,
)
