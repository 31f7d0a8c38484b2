"""`make peers`: runs every algorithm and issuebox through the same rounds; writes a table, a JSON file and a page.

With `runs` among its arguments: every way to start an agent, `proofs.peers.agents`.
"""

from __future__ import annotations

import sys
from functools import partial

from issuebox.process import run_and_end
from proofs.peers.agents.command import CAMPAIGN as RUNS_CAMPAIGN
from proofs.peers.algorithms import ALL
from proofs.peers.campaign import Shares, run_issuebox, run_peer, shares
from proofs.peers.command import ISSUEBOX, Campaign, play
from proofs.peers.count import Counts
from proofs.peers.page import page
from proofs.peers.plan import CALM, ROUNDS
from proofs.peers.report import COLUMNS, PAGE, RESULTS, Report, SystemResult
from proofs.peers.results import terminal_table

ISSUES = 200
CALM_ISSUES = 12
RUNS = "runs"
ISSUEBOX_NOTES = (
    "default settings, those that wait for Daytona divided by the speed; a closed issue's sandbox is stopped after "
    "1 s instead of half an hour; a host that is down is passed over by the sender, as a load balancer does; an event "
    "whose host is killed before its 202 is refused, and its resync with GitHub, which would find it, is off"
)


def deal(issues: int) -> Shares:
    """Every round with its issues, the one without faults first."""
    return [*shares((CALM,), CALM_ISSUES, first=100), *shares(ROUNDS, issues)]


def says(total: Counts) -> str:
    """A system's total in a few words."""
    return (
        f"{total.duplicated_at_rest} duplicated, {total.stranded_for_good} stranded for good, {total.leaks} leaks, "
        f"{total.lost} lost, {total.replaced} replaced"
    )


CAMPAIGN = Campaign(
    prog="python -m proofs.peers",
    about=__doc__ or "",
    issues=ISSUES,
    seed_of="deliveries",
    candidates=[
        (ISSUEBOX, ISSUEBOX_NOTES, run_issuebox),
        *((kind.title, kind.notes, partial(run_peer, kind)) for kind in ALL),
    ],
    deal=deal,
    result=SystemResult,
    report=Report,
    results_file=RESULTS,
    page_file=PAGE,
    page=page,
    table=partial(terminal_table, columns=COLUMNS),
    says=says,
)


def main() -> int:
    """Play one of the campaigns. Returns the exit code."""
    arguments = sys.argv[1:]
    if RUNS in arguments:
        return play(RUNS_CAMPAIGN, [each for each in arguments if each != RUNS])
    return play(CAMPAIGN, arguments)


if __name__ == "__main__":
    run_and_end(main)
