"""The model check: every interleaving up to the bound keeps the promise, and every planted mistake is found."""

from __future__ import annotations

import multiprocessing
import os
from itertools import permutations

import pytest

from issuebox.domain.policy import Policy
from proofs.model import report
from proofs.model.__main__ import PLANTS, check, check_planted
from proofs.model.bounds import (
    BOUNDS,
    ENDED_RUNS,
    PREPARED,
    WIDER,
    WITH_RUNS,
    describe,
    is_within,
    with_runs,
)
from proofs.model.deliveries import ASKED, CLOSED, COMMENTED, DELETED, OPENED, REOPENED
from proofs.model.outside import Allowance
from proofs.model.plants import Plant
from proofs.model.policies import CANCELLING, POLICY, PREPARING, WORKING
from proofs.model.search import Found, Search
from proofs.model.system import System
from proofs.model.workflow_states import WorkflowStates, print_of

STATES_MIN = 1_000_000
TESTED: tuple[tuple[Policy, tuple[Allowance, ...]], ...] = (
    (POLICY, (*BOUNDS, *WIDER)),
    (PREPARING, PREPARED),
    (WORKING, WITH_RUNS),
    (CANCELLING, ENDED_RUNS),
)
STEPS_MAX = 40
"""Nobody reads a longer counter-example."""


def counter_examples(found: Found) -> str:
    return "\n".join(report.counter_example(violation) for violation in found.violations)


def searched_beside(bounds: tuple[Allowance, ...]) -> Found:
    """The result of a search by a process of the lowest priority: other tests watch the clock, this one does not."""
    with multiprocessing.get_context("spawn").Pool(1, initializer=os.nice, initargs=(19,)) as pool:
        return pool.apply(check, (bounds,))


@pytest.mark.timeout(1_500)
def test_every_interleaving_keeps_the_promise_and_comes_to_rest() -> None:
    """No state within the bounds breaks the promise, and each comes to a right rest once faults stop."""
    found = searched_beside(BOUNDS)
    assert not found.violations, counter_examples(found)
    assert found.states >= STATES_MIN


@pytest.mark.timeout(1_500)
def test_every_interleaving_of_more_kinds_of_moves_keeps_the_promise() -> None:
    """The same with updates, long histories, long activities, several messages in a task, and others at Daytona."""
    found = searched_beside(WIDER)
    assert not found.violations, counter_examples(found)
    assert found.right > 0


def test_every_interleaving_with_a_set_up_keeps_the_promise() -> None:
    """The same where each sandbox has to be set up before it is handed over."""
    found = check(PREPARED, PREPARING)
    assert not found.violations, counter_examples(found)
    assert found.right > 0


@pytest.mark.parametrize(("bounds", "policy"), [(WITH_RUNS, WORKING), (ENDED_RUNS, CANCELLING)], ids=["finish", "end"])
def test_every_interleaving_with_runs_begins_each_attempt_once_and_ends_each_run(
    bounds: tuple[Allowance, ...], policy: Policy
) -> None:
    """No attempt begins twice, none beside another, none is stopped under its job, and every request gets its end."""
    found = check(bounds, policy)
    assert not found.violations, counter_examples(found)
    assert found.right > 0


@pytest.mark.parametrize("name", PLANTS)
def test_planted_mistake_is_found_by_a_short_counter_example(name: str) -> None:
    """The check finds known mistakes; without this, its silence would prove nothing."""
    plant = PLANTS[name]
    found = check_planted(plant)
    assert [violation.what for violation in found.violations if plant.breaks in violation.what], counter_examples(found)
    assert len(found.violations[0].steps) <= STEPS_MAX


def untested() -> dict[tuple[Allowance, str], Plant]:
    """A plant for each bound that does not lie within those of the tests above."""
    found: dict[tuple[Allowance, str], Plant] = {}
    for plant in PLANTS.values():
        tested = next(bounds for policy, bounds in TESTED if policy is plant.policy)
        if not any(is_within(plant.bound, bound) for bound in tested):
            found.setdefault((plant.bound, repr(plant.policy)), plant)
    return found


@pytest.mark.parametrize("plant", untested().values(), ids=lambda plant: describe(plant.bound))
def test_bound_of_a_plant_is_clean_without_its_mistake(plant: Plant) -> None:
    """A plant's counter-example comes from its mistake alone."""
    found = check((plant.bound,), plant.policy)
    assert not found.violations, counter_examples(found)


@pytest.mark.parametrize("bounds", [(*BOUNDS, *WIDER), PREPARED, WITH_RUNS, ENDED_RUNS])
def test_no_bound_lies_within_another(bounds: tuple[Allowance, ...]) -> None:
    """It would be explored twice."""
    assert [(one, other) for one, other in permutations(bounds, 2) if is_within(one, other)] == []


def test_search_visits_the_same_states_each_time() -> None:
    """The search is deterministic: two runs agree in every figure."""
    bound = (Allowance(frozenset({OPENED, CLOSED}), faults=1),)
    one, two = check(bound), check(bound)
    assert (one.states, one.transitions, one.by_depth) == (two.states, two.transitions, two.by_depth)


def test_full_search_only_follows_states_to_their_rest() -> None:
    """Beyond `states_max` the search takes no event, act or fault, and each state still comes to rest."""
    bound = (Allowance(frozenset({OPENED, CLOSED, REOPENED}), faults=1),)
    part, whole = check(bound, states_max=2_000), check(bound)
    assert 2_000 <= part.states < whole.states
    assert not part.violations, counter_examples(part)


@pytest.mark.parametrize(
    ("bound", "policy"),
    [
        (Allowance(frozenset({OPENED, CLOSED, REOPENED}), repeats=1, faults=1), POLICY),
        (Allowance(frozenset({OPENED, CLOSED, COMMENTED}), outlasts=2), POLICY),
        (Allowance(frozenset({OPENED}), updates=2, orders=1, pairs=1, rolls=1), POLICY),
        (Allowance(frozenset({OPENED, REOPENED}), orders=1, faults=1), POLICY),
        (with_runs(OPENED, ASKED, cancels=1, strikes=1), CANCELLING),
        (with_runs(OPENED, ASKED, pauses=1, cancels=1), WORKING),
    ],
    ids=lambda value: describe(value) if isinstance(value, Allowance) else "",
)
def test_states_with_the_same_fingerprint_behave_alike(bound: Allowance, policy: Policy) -> None:
    """After two ways to one fingerprint, the same observation leads to the same fingerprint again."""
    states = WorkflowStates(policy)
    search = Search(System(states))
    assert not search.run([bound]).violations
    with states.at_work():
        differing = [merge for merge in states.merges[::3] if not states.behaves_alike(merge)]
    assert len(states.merges) > 1_000
    assert differing == []


@pytest.mark.parametrize(
    ("bound", "policy"),
    [
        (Allowance(frozenset({OPENED}), orders=1, faults=1), POLICY),
        (Allowance(frozenset({OPENED, DELETED}), faults=1), POLICY),
        (Allowance(frozenset({OPENED}), acts=1, faults=1), PREPARING),
        (with_runs(OPENED, orders=1, faults=1), WORKING),
        (with_runs(OPENED, CLOSED, faults=1), CANCELLING),
    ],
    ids=lambda value: describe(value) if isinstance(value, Allowance) else "",
)
def test_all_ways_to_the_same_fingerprint_behave_alike_in_small_bounds(bound: Allowance, policy: Policy) -> None:
    """The same for every second way, and not only for a third of them."""
    states = WorkflowStates(policy)
    Search(System(states)).run([bound])
    with states.at_work():
        differing = [merge for merge in states.merges if not states.behaves_alike(merge)]
    assert len(states.merges) > 200
    assert differing == []


def test_rebuilt_state_has_the_same_fingerprint() -> None:
    """A state that is rebuilt from its origin has its own number again."""
    states = WorkflowStates()
    Search(System(states)).run([Allowance(frozenset({OPENED, CLOSED}), faults=1)])
    with states.at_work():
        rebuilt = [print_of(states.instance(number)) for number in range(len(states.states))]
    assert [states.number_of(each) for each in rebuilt] == list(range(len(states.states)))
