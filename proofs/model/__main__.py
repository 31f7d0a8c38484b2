"""`python -m proofs.model`: the whole model check, or one planted mistake. Exits with 1 when a promise is broken.

The check is deterministic: the same code visits the same states in the same order, without a seed.
"""

from __future__ import annotations

import argparse
import sys

from bench.machine import describe, one_line
from issuebox.domain.policy import Policy
from proofs.model import report
from proofs.model.bounds import BOUNDS, ENDED_RUNS, LONG_RUNS, PREPARED, WIDER, WITH_RUNS
from proofs.model.outside import Allowance
from proofs.model.plants import PLANTS as PLANTS_OF_SANDBOXES
from proofs.model.plants import Plant
from proofs.model.policies import CANCELLING, POLICY, PREPARING, WORKING
from proofs.model.run_plants import PLANTS_OF_RUNS
from proofs.model.search import Found, Search, Violation, uncollected
from proofs.model.system import System
from proofs.model.workflow_states import WorkflowStates

GROUPS = (
    ("Deliveries, orders, acts and faults", BOUNDS, POLICY),
    ("Updates, long histories, long activities, several messages in a task, and others at Daytona", WIDER, POLICY),
    ("With a set-up in each sandbox", PREPARED, PREPARING),
    ("With runs", (*WITH_RUNS, *LONG_RUNS), WORKING),
    ("With runs that a close or a request ends", ENDED_RUNS, CANCELLING),
)
"""What `make model` checks: what it is about, its bounds, and the policy."""


PLANTS = PLANTS_OF_SANDBOXES | PLANTS_OF_RUNS


def check(bounds: tuple[Allowance, ...], policy: Policy = POLICY, states_max: int | None = None) -> Found:
    """Search these bounds with the unchanged code."""
    with uncollected():
        return Search(System(WorkflowStates(policy))).run(bounds, states_max)


def check_planted(plant: Plant) -> Found:
    """Search the bound of a plant with its mistake in place."""
    with plant.patch(), uncollected():
        return Search(System(WorkflowStates(plant.policy), plant.mistakes)).run([plant.bound])


def main() -> int:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m proofs.model", description="Check the decisions exhaustively.")
    parser.add_argument("--states", type=int, help="visit about this many states, then only follow each to its rest")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="plant this mistake, and show its counter-example")
    parser.add_argument("--list", action="store_true", help="list the mistakes that can be planted")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(f"{name:<24} {plant.about}" for name, plant in PLANTS.items()))
        return 0
    return _show_planted(PLANTS[arguments.plant]) if arguments.plant else _show_check(arguments.states)


def _show_check(states_max: int | None) -> int:
    print("Model check of the real workflow. Deterministic: no seed.")
    print(one_line(describe()))
    violations: list[Violation] = []
    for about, bounds, policy in GROUPS:
        print(f"{about}:")
        print(report.bounds(bounds), flush=True)
        found = check(bounds, policy, states_max)
        print(report.figures(found))
        violations += found.violations
    for violation in violations:
        print(report.counter_example(violation))
    return 1 if violations else 0


def _show_planted(plant: Plant) -> int:
    print(f"Planted: {plant.about}.")
    print(report.bounds((plant.bound,)))
    found = check_planted(plant)
    print(report.figures(found))
    for violation in found.violations:
        print(report.counter_example(violation))
    return 1 if found.violations else 0


if __name__ == "__main__":
    sys.exit(main())
