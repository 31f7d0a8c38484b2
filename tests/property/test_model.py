"""The model check: every interleaving up to the bound keeps the promise, and every planted mistake is found."""

from __future__ import annotations

import pytest

from proofs.model import report
from proofs.model.__main__ import check, check_planted
from proofs.model.bounds import BOUNDS, PREPARED
from proofs.model.deliveries import CLOSED, OPENED, REOPENED
from proofs.model.minds import PREPARING, Minds, print_of
from proofs.model.outside import Allowance
from proofs.model.plants import PLANTS
from proofs.model.search import Found, Search
from proofs.model.system import System

STATES_MIN = 1_000_000
STEPS_MAX = 40
"""A counter-example that is longer is not read."""


def told(found: Found) -> str:
    return "\n".join(report.counter_example(violation) for violation in found.violations)


@pytest.mark.timeout(900)
def test_every_interleaving_keeps_the_promise_and_comes_to_rest() -> None:
    """No state within the bounds breaks the promise, and each comes to a right rest once faults stop."""
    found = check(BOUNDS)
    assert not found.violations, told(found)
    assert found.states >= STATES_MIN


def test_every_interleaving_with_a_set_up_keeps_the_promise() -> None:
    """The same where each sandbox has to be set up before it is handed over."""
    found = check(PREPARED, PREPARING)
    assert not found.violations, told(found)
    assert found.right > 0


@pytest.mark.parametrize("name", PLANTS)
def test_planted_mistake_is_found_by_a_short_counter_example(name: str) -> None:
    """The check finds what it is for: without this, finding nothing would say nothing."""
    plant = PLANTS[name]
    found = check_planted(plant)
    assert [violation.what for violation in found.violations if plant.breaks in violation.what], told(found)
    assert len(found.violations[0].steps) <= STEPS_MAX


@pytest.mark.parametrize("name", [name for name, plant in PLANTS.items() if plant.bound not in BOUNDS])
def test_bound_of_a_plant_is_clean_without_its_mistake(name: str) -> None:
    """What a plant shows comes from its mistake alone. Bounds of the whole check are checked there."""
    plant = PLANTS[name]
    found = check((plant.bound,), plant.policy)
    assert not found.violations, told(found)


def test_search_visits_the_same_states_each_time() -> None:
    """There is no chance in it: two runs agree in every figure."""
    bound = (Allowance(frozenset({OPENED, CLOSED}), faults=1),)
    one, two = check(bound), check(bound)
    assert (one.states, one.transitions, one.by_depth) == (two.states, two.transitions, two.by_depth)


def test_full_search_only_follows_states_to_their_rest() -> None:
    """Beyond the number asked for no event, act or fault is taken, and each state still comes to rest."""
    bound = (Allowance(frozenset({OPENED, CLOSED, REOPENED}), faults=1),)
    part, whole = check(bound, states_max=2_000), check(bound)
    assert 2_000 <= part.states < whole.states
    assert not part.violations, told(part)


def test_states_that_are_taken_for_one_go_on_alike() -> None:
    """Two ways to one fingerprint: told the same thing next, they come to the same fingerprint again."""
    minds = Minds()
    search = Search(System(minds))
    assert not search.run([Allowance(frozenset({OPENED, CLOSED, REOPENED}), repeats=1, faults=1)]).violations
    with minds.at_work():
        differing = [meeting for meeting in minds.meetings[::3] if not minds.go_on_alike(meeting)]
    assert len(minds.meetings) > 1_000
    assert differing == []


def test_fingerprint_of_a_rebuilt_state_is_its_own() -> None:
    """A state that is built again from how it came about is the state."""
    minds = Minds()
    Search(System(minds)).run([Allowance(frozenset({OPENED, CLOSED}), faults=1)])
    with minds.at_work():
        rebuilt = [print_of(minds.life(number)) for number in range(len(minds.minds))]
    assert [minds.number_of(each) for each in rebuilt] == list(range(len(minds.minds)))
