"""Counts what a round left, from the checker's lives of the sandboxes and from what the system would find."""

from __future__ import annotations

import logging
from collections import defaultdict

from pydantic import BaseModel

from proofs.checker.evidence import Delivery, Evidence, Wish
from proofs.checker.lives import SandboxLife, read_lives
from proofs.checker.measures import most_live, requests
from proofs.checker.rules import check
from proofs.peers.drive import Run, Scene
from proofs.peers.host import Handover
from proofs.peers.system import System

log = logging.getLogger(__name__)

Lives = dict[int, list[SandboxLife]]


class Counts(BaseModel):
    """What a system did; issues unless said otherwise.

    `duplicated`: had two live sandboxes at once, at any moment; `duplicated_at_rest`: at the end. `stranded`: wants
    a running sandbox and has none that the system would find; `stranded_for_good`: not even after one further event
    without faults. `leaks`: live sandboxes that the system would not find. `lost`: deliveries answered with 2xx
    after which no sandbox was handed over; `refused`: deliveries that met an error or no answer. `replaced`:
    sandboxes that had been handed over, and that the system deleted without saving them or has no longer a way to.
    `outlived`: closed issues whose sandbox runs at rest, of `closed`. `requests`: to Daytona's API until rest.
    `violations`: of the checker's rules, which are issuebox's promise and asked of nobody else.
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

    def plus(self, other: Counts) -> Counts:
        """Both together."""
        mine, others = self.model_dump(), other.model_dump()
        return Counts(**{name: mine[name] + others[name] for name in mine})

    @property
    def requests_per_event(self) -> float:
        """Requests to Daytona for each delivery that was sent."""
        return self.requests / self.deliveries if self.deliveries else 0.0


def count(run: Run, system: System) -> Counts:
    """Count a round."""
    if run.scene is None:
        raise ValueError("the round did not come to its end")
    lives: Lives = defaultdict(list)
    for life in read_lives(run.journal):
        if life.issue in run.issues:
            lives[life.issue].append(life)
    closed = run.issues if run.round.ends_closed else []
    return Counts(
        issues=len(run.issues),
        deliveries=len(run.deliveries),
        duplicated=sum(most_live(lives[issue]) > 1 for issue in run.issues),
        duplicated_at_rest=sum(len(there) > 1 for there in run.scene.live.values()),
        stranded=0 if closed else _stranded(run.scene),
        stranded_for_good=0 if run.later is None else _stranded(run.later),
        leaks=sum(len(there) - (run.scene.found[issue] is not None) for issue, there in run.scene.live.items()),
        lost=sum(_is_lost(each, lives, system.handovers) for each in run.deliveries) if not closed else 0,
        refused=sum(not each.is_acknowledged for each in run.deliveries),
        replaced=sum(_is_replaced(life, run.scene, system) for mine in lives.values() for life in mine),
        closed=len(closed),
        outlived=sum(any(row.state == "started" for row in run.scene.live[issue]) for issue in closed),
        requests=requests(run.journal),
        violations=0 if system.handovers is not None else _violations(run),
    )


def _violations(run: Run) -> int:
    """How often the round broke issuebox's promise, by the checker; each is logged."""
    found = check(Evidence(journal=run.journal, deliveries=run.deliveries))
    for violation in found:
        log.error("%s: %s", run.round.key, violation)
    return len(found)


def _stranded(scene: Scene) -> int:
    return sum(not scene.is_served(issue) for issue in scene.live)


def _is_lost(each: Delivery, lives: Lives, handovers: list[Handover] | None) -> bool:
    """Whether it was answered with 2xx and nothing came of it."""
    if not each.is_acknowledged or each.wish is not Wish.RUNNING:
        return False
    if handovers is None:
        return not any(life.was_started_since(each.sent_at) for life in lives[each.issue])
    return not any(done.issue == each.issue and done.at >= each.sent_at for done in handovers)


def _is_replaced(life: SandboxLife, scene: Scene, system: System) -> bool:
    """Whether somebody may have worked in it, and it was deleted unsaved or cannot be found any more."""
    handovers = system.handovers
    is_used = life.ever_started if handovers is None else any(done.sandbox_id == life.id for done in handovers)
    if not is_used or life.issue is None or life.id in system.saved:
        return False
    if life.doomed is not None:
        return life.doomed.operation == "delete"
    return scene.found[life.issue] is not None and scene.found[life.issue] != life.id
