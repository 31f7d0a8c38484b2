"""Searches all states breadth-first, and checks that each of them comes to rest.

Safety: no step from any state breaks a promise. The first violation that the search meets has the shortest way there.
Liveness: from each state, *every* order of fair steps reaches a state that is at rest and right. Fair steps need no
fault, event or person. Liveness is worked out backwards: from the right states to all whose fair steps lead there.
"""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

from proofs.model import promises
from proofs.model.outside import Allowance
from proofs.model.system import State, Step, System

_NO_ONE = 0xFFFFFFFF


@dataclass(slots=True)
class Violation:
    """A broken promise, and the shortest way to it: for each step its label and the state after it."""

    what: str
    steps: list[tuple[str, str]]


@dataclass(slots=True)
class Found:
    """The result of a search."""

    states: int
    transitions: int
    depth: int
    queue_max: int
    seconds: float
    right: int
    violations: list[Violation]
    by_depth: list[int] = field(default_factory=list)


@contextmanager
def uncollected() -> Iterator[None]:
    """Python collects no garbage: a million live states are none, and nearly all that dies refers to nothing else.

    Drop a search within such a block: to look through all its states once takes as long as to visit a tenth of them.
    """
    is_outermost = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_outermost:
            gc.enable()


class Search:
    """One search from all allowances at once. A state that several share is visited once."""

    def __init__(self, system: System, *, violations_max: int = 1) -> None:
        self._system = system
        self._violations_max = violations_max
        self._numbers: dict[State, int] = {}
        self._states: list[State] = []
        self._parents = array("I")
        self._fair = array("I")
        self._offsets = array("I", [0])
        self._transitions = 0
        self._by_depth: list[int] = []
        self._queue_max = 0
        self._violations: list[Violation] = []

    def run(self, allowances: Sequence[Allowance], states_max: int | None = None) -> Found:
        """Search everything, or until `states_max` states were reached; after that, follow only fair steps."""
        began = time.perf_counter()
        for allowance in allowances:
            self._number(self._system.start(allowance), _NO_ONE)
        with self._system.at_work(), uncollected():
            right = self._search(states_max)
        return Found(
            states=len(self._states),
            transitions=self._transitions,
            depth=len(self._by_depth) - 1,
            queue_max=self._queue_max,
            seconds=time.perf_counter() - began,
            right=right,
            violations=self._violations,
            by_depth=self._by_depth,
        )

    def _search(self, states_max: int | None) -> int:
        """Visit all states. Returns how many are right."""
        at = 0
        while at < len(self._states) and len(self._violations) < self._violations_max:
            layer_end = len(self._states)
            self._by_depth.append(layer_end - at)
            while at < layer_end and len(self._violations) < self._violations_max:
                is_full = states_max is not None and len(self._states) >= states_max
                self._expand(at, is_full=is_full)
                self._queue_max = max(self._queue_max, len(self._states) - at)
                at += 1
        return 0 if self._violations else self._judge_rest()

    def _number(self, state: State, parent: int) -> int:
        number = self._numbers.get(state)
        if number is None:
            number = self._numbers[state] = len(self._states)
            self._states.append(state)
            self._parents.append(parent)
        return number

    def _expand(self, at: int, *, is_full: bool) -> None:
        for step in self._system.steps(self._states[at]):
            if is_full and not step.is_fair:
                continue
            self._transitions += 1
            if step.broken:
                self._violations.append(Violation(step.broken, [*self._way(at), self._described(step)]))
                if len(self._violations) >= self._violations_max:
                    break
            number = self._number(step.after, at)
            if step.is_fair:
                self._fair.append(number)
        self._offsets.append(len(self._fair))

    def _judge_rest(self) -> int:
        """Mark the states that come to a right rest, and report the first that does not. Returns how many are right."""
        is_right = bytearray(len(self._states))
        system = self._system
        for number, state in enumerate(self._states):
            workflow = system.workflow(state)
            if workflow.is_idle or workflow.is_over:
                is_right[number] = promises.is_right(workflow, system.world(state), system.allowance(state))
        right = sum(is_right)
        comes_to_rest = bytearray(is_right)
        open_states = [number for number in range(len(self._states) - 1, -1, -1) if not comes_to_rest[number]]
        while open_states:
            # Backwards, so that one pass settles nearly everything.
            left = [number for number in open_states if not self._comes_to_rest(number, comes_to_rest)]
            if len(left) == len(open_states):
                self._report_unrest(left)
                break
            open_states = left
        return right

    def _comes_to_rest(self, number: int, comes_to_rest: bytearray) -> bool:
        fair = self._fair[self._offsets[number] : self._offsets[number + 1]]
        if fair and all(comes_to_rest[each] for each in fair):
            comes_to_rest[number] = 1
            return True
        return False

    def _report_unrest(self, left: list[int]) -> None:
        """Report the way to the first state that does not come to rest, on to where it ends or repeats."""
        bad = set(left)
        number = min(left)
        way = self._way(number)
        seen: set[int] = set()
        what = "(e) these steps repeat for ever"
        while number not in seen:
            seen.add(number)
            step = next((each for each in self._fair_steps(number) if self._numbers[each.after] in bad), None)
            if step is None:
                what = "(e) no step leads on, and this is not right"
                break
            way.append(self._described(step))
            number = self._numbers[step.after]
        self._violations.append(Violation(what, way))

    def _fair_steps(self, number: int) -> list[Step]:
        return [step for step in self._system.steps(self._states[number]) if step.is_fair]

    def _way(self, number: int) -> list[tuple[str, str]]:
        """The shortest way to a state."""
        numbers = [number]
        while self._parents[numbers[-1]] != _NO_ONE:
            numbers.append(self._parents[numbers[-1]])
        numbers.reverse()
        way: list[tuple[str, str]] = []
        for before, after in pairwise(numbers):
            steps = self._system.steps(self._states[before])
            step = next(step for step in steps if self._numbers.get(step.after) == after)
            way.append(self._described(step))
        return way

    def _described(self, step: Step) -> tuple[str, str]:
        return step.label, self._system.describe(step.after)
