"""Counts the results of a round, from the checker's lives of the sandboxes and from what the system would find."""

from __future__ import annotations

import logging
from collections import defaultdict

from proofs.checker.evidence import Delivery, Evidence, Expectation
from proofs.checker.lives import SandboxLife, read_lives
from proofs.checker.measures import most_live, requests
from proofs.checker.rules import check
from proofs.peers.drive import RestState, Run
from proofs.peers.host import Handover
from proofs.peers.results import Sums
from proofs.peers.system import System

log = logging.getLogger(__name__)

Lives = dict[int, list[SandboxLife]]


class Counts(Sums):
    """The counts of a system. They count issues, unless stated otherwise.

    `duplicated`: issues that had two live sandboxes at once, at any moment; `duplicated_at_rest`: at the end.
    `stranded`: issues that should have a running sandbox and have none that the system would find;
    `stranded_for_good`: still so after one more event without faults. `leaks`: live sandboxes that the system would not
    find. `lost`: deliveries answered with a 2xx after which no sandbox was handed over. `refused`: deliveries that met
    an error or no answer. `replaced`: sandboxes that had been handed over, and that the system deleted unsaved or can
    no longer find. `outlived`: closed issues whose sandbox runs at rest, of `closed`. `requests`: to Daytona's API
    until rest. `violations`: of the checker's rules, which are issuebox's promise and checked for no other system.
    """

    issues: int = 0
    deliveries: int = 0
    duplicated: int = 0
    duplicated_at_rest: int = 0
    stranded: int = 0
    stranded_for_good: int = 0
    leaks: int = 0
    lost: int = 0
    refused: int = 0
    replaced: int = 0
    closed: int = 0
    outlived: int = 0
    requests: int = 0
    violations: int = 0

    @property
    def requests_per_event(self) -> float:
        """Requests to Daytona for each delivery sent."""
        return self.requests / self.deliveries if self.deliveries else 0.0

    @property
    def is_sane(self) -> bool:
        """Whether every issue was served with one sandbox, as it should be without faults."""
        wrong = (self.duplicated, self.stranded, self.stranded_for_good, self.leaks, self.lost, self.refused)
        return not any(wrong) and not self.replaced

    @property
    def is_clean(self) -> bool:
        """Whether nothing went wrong but refusals, and what one more event sets right."""
        lasting = (self.duplicated, self.stranded_for_good, self.leaks, self.lost, self.replaced, self.outlived)
        return not any(lasting) and not self.violations


def count(run: Run, system: System) -> Counts:
    """Count a round."""
    if run.at_rest is None:
        raise ValueError("the round did not end")
    lives: Lives = defaultdict(list)
    for life in read_lives(run.journal):
        if life.issue in run.issues:
            lives[life.issue].append(life)
    closed = run.issues if run.round.ends_closed else []
    return Counts(
        issues=len(run.issues),
        deliveries=len(run.deliveries),
        duplicated=sum(most_live(lives[issue]) > 1 for issue in run.issues),
        duplicated_at_rest=sum(len(there) > 1 for there in run.at_rest.live.values()),
        stranded=0 if closed else _stranded(run.at_rest),
        stranded_for_good=0 if run.later is None else _stranded(run.later),
        leaks=sum(len(there) - (run.at_rest.found[issue] is not None) for issue, there in run.at_rest.live.items()),
        lost=sum(_is_lost(each, lives, system.handovers) for each in run.deliveries) if not closed else 0,
        refused=sum(not each.is_acknowledged for each in run.deliveries),
        replaced=sum(_is_replaced(life, run.at_rest, system) for mine in lives.values() for life in mine),
        closed=len(closed),
        outlived=sum(any(row.state == "started" for row in run.at_rest.live[issue]) for issue in closed),
        requests=requests(run.journal),
        violations=0 if system.handovers is not None else _violations(run),
    )


def _violations(run: Run) -> int:
    """How many violations the checker finds in the round. Each is logged."""
    found = check(Evidence(journal=run.journal, deliveries=run.deliveries))
    for violation in found:
        log.error("%s: %s", run.round.key, violation)
    return len(found)


def _stranded(at_rest: RestState) -> int:
    return sum(not at_rest.is_served(issue) for issue in at_rest.live)


def _is_lost(each: Delivery, lives: Lives, handovers: list[Handover] | None) -> bool:
    """Whether it was answered with a 2xx and no sandbox was handed over."""
    if not each.is_acknowledged or each.expects is not Expectation.RUNNING:
        return False
    if handovers is None:
        return not any(life.was_started_since(each.sent_at) for life in lives[each.issue])
    return not any(done.issue == each.issue and done.at >= each.sent_at for done in handovers)


def _is_replaced(life: SandboxLife, at_rest: RestState, system: System) -> bool:
    """Whether somebody may have worked in it, and it was deleted unsaved or can no longer be found."""
    handovers = system.handovers
    is_used = life.ever_started if handovers is None else any(done.sandbox_id == life.id for done in handovers)
    if not is_used or life.issue is None or life.id in system.saved:
        return False
    if life.deletion is not None:
        return life.deletion.operation == "delete"
    return at_rest.found[life.issue] is not None and at_rest.found[life.issue] != life.id
