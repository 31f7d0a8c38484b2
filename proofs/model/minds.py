"""The states of the real workflow: each is built once, by running the real code, and then looked up.

A coroutine cannot be copied. So a state of mind is kept as how it came about: the memory of its issue when
nothing was being done, and what the workflow was told since. What follows on one more observation is found by
telling a new instance all that again; states with the same fingerprint are one.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast

from issuebox.domain.goal import course
from issuebox.domain.memory import Memory
from issuebox.domain.phase import Action, Cause, Goal
from issuebox.domain.policy import Policy
from issuebox.domain.records import IssueRecord
from proofs.model import deliveries, fingerprint
from proofs.model.runtime import EPOCH, NAME, Asked, Finished, Paused, Runtime, Waiting, Wish, installed
from proofs.model.views import BUDGET_SPENT, SESSION, UNREACHABLE, Kind, Observation, answer
from workflows.issue_sandbox import IssueSandboxWorkflow
from workflows.messages import StartInput

POLICY = Policy(
    # Pauses and retries do not grow: in each of them everything may happen anyway.
    backoff_initial_s=0.0,
    backoff_max_s=0.0,
    blocked_retry_initial_s=60.0,
    blocked_retry_max_s=60.0,
    unreachable_after_s=60.0,
)
"""The defaults of the product, but for what would only make more states of the same kind."""

PREPARING = replace(POLICY, is_setup_configured=True)
"""The same where each sandbox is set up before it is used."""

_MOMENT = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Served:
    """A reconciliation ended well in this step: in a handover (USE) or at rest, as a read showed the sandbox."""

    action: Action
    sandbox_id: str
    state: str
    is_usable: bool
    is_set_up: bool


@dataclass(frozen=True, slots=True)
class Mind:
    """What the rest of the model has to know of a state of the workflow.

    ``activity`` is what it waits for, '' for none (``is_at_once``: a look that may be made anew;
    ``is_confirming``: to be sure that a sandbox is gone;
    ``only_at_rest``: the command is for a sandbox that nobody has woken);
    ``is_woken`` says that what it waits for has come true;
    ``is_timed`` that a timer runs (``is_pause``: of seconds at most), ``is_twice_timed`` that a later one does as well.
    """

    activity: str
    sandbox_id: str
    is_at_once: bool
    is_confirming: bool
    only_at_rest: bool
    is_idle: bool
    is_over: bool
    is_woken: bool
    is_timed: bool
    is_pause: bool
    is_twice_timed: bool
    goal: Goal
    known_id: str
    asleep_id: str
    is_asked: bool
    blocked: Cause | None
    is_tried_again: bool
    record: IssueRecord


@dataclass(frozen=True, slots=True)
class Thought:
    """What an observation did to the workflow: its next state, and what was finished on the way."""

    mind: int
    served: tuple[Served, ...] = ()


@dataclass(frozen=True, slots=True)
class Meeting:
    """A second way to a known state: from another state, by an observation. The first way is the state's origin."""

    mind: int
    by: int
    observation: Observation


@dataclass(slots=True)
class _Base:
    """An idle workflow: what a run that begins with its memory comes to at once."""

    memory: Memory | None
    clock: datetime


@dataclass(slots=True)
class _Origin:
    base: _Base
    told: tuple[Observation, ...]


class _Life:
    """One instance of the workflow, driven by hand."""

    def __init__(self, base: _Base, runtime: Runtime) -> None:
        self._runtime = runtime
        self.clock = runtime.clock = base.clock
        self.finished: list[Finished] = []
        memory = None if base.memory is None else _copied(base.memory)
        start = StartInput(1, NAME, memory)
        self.entity = IssueSandboxWorkflow(start)
        self.coroutine: Coroutine[Any, Any, Any] = self.entity.run(start)
        self.wish: Wish | None = self._go_on(None)

    @property
    def memory(self) -> Memory:
        return self.entity._memory  # noqa: SLF001 -- the model looks at what it checks

    def tell(self, observation: Observation) -> None:
        """Let one thing happen to the workflow."""
        self._let_time_pass(observation)
        runtime = self._runtime
        runtime.clock, runtime.finished = self.clock, []
        match observation.kind:
            case Kind.DELIVERED:
                self.entity.issue_event(deliveries.EVENTS[observation.number])
            case Kind.ORDERED:
                deliveries.give(self.entity, observation.word)
            case Kind.WOKEN:
                self.wish = self._go_on(True)
            case Kind.TIMED | Kind.OVERSLEPT:
                self.wish = self._go_on(False)
            case _:
                activity = self.wish.activity if isinstance(self.wish, Asked) else ""
                self.wish = self._go_on(answer(observation, activity, runtime.policy, self.clock))
        self.finished = runtime.finished

    def moments(self) -> list[datetime]:
        """When timers are due that an idle workflow waits for, in order."""
        memory = self.memory
        blocked_until = memory.progress.blocked.next_try_at if memory.progress.blocked else None
        moments = (blocked_until, course(memory, self.clock)[1], self.entity._forget_at())  # noqa: SLF001
        return sorted(moment for moment in moments if moment is not None)

    def _go_on(self, value: object) -> Wish | None:
        """Run the code until it waits again; None when it ended."""
        try:
            return cast("Wish", self.coroutine.send(value))
        except StopIteration:
            return None

    def _let_time_pass(self, observation: Observation) -> None:
        wish = self.wish
        if observation.kind is Kind.OVERSLEPT:
            self.clock = max(self.moments())
        elif observation.kind is Kind.TIMED:
            seconds = wish.seconds if isinstance(wish, Paused | Waiting) else None
            self.clock += timedelta(seconds=seconds or 0.0)
        elif observation.word in {BUDGET_SPENT, UNREACHABLE} and isinstance(wish, Asked):
            self.clock += timedelta(seconds=wish.within_s) + _MOMENT
        elif observation.view is not None and observation.view.is_used:
            self.clock += SESSION


class Minds:
    """All states of mind that were met, by number. The first is that of a workflow that was just started."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self._patience = policy
        self._runtime = Runtime(policy)
        self._spare: dict[int, _Life] = {}
        self.meetings: list[Meeting] = []
        self._by_mind: dict[int, list[tuple[Observation, Thought]]] = {}
        self._numbers: dict[object, int] = {}
        self._origins: list[_Origin] = []
        self.minds: list[Mind] = []
        self._thoughts: dict[tuple[int, Observation], Thought] = {}
        base = _Base(None, EPOCH)
        with self.at_work():
            self._number(_Life(base, self._runtime), _Origin(base, ()))

    def at_work(self) -> AbstractContextManager[None]:
        """Within it the workflow's modules run on the model's runtime; `after` works only there."""
        return installed(self._runtime)

    def after(self, mind: int, observation: Observation) -> Thought:
        """What the workflow does on one more observation."""
        thought = self._thoughts.get((mind, observation))
        if thought is None:
            thought = self._thoughts[mind, observation] = self._think(mind, observation)
        return thought

    @property
    def thoughts(self) -> int:
        """How many steps of the workflow were worked out."""
        return len(self._thoughts)

    def life(self, mind: int) -> _Life:
        """A new instance in this state of mind."""
        origin = self._origins[mind]
        life = _Life(origin.base, self._runtime)
        for observation in origin.told:
            life.tell(observation)
        return life

    def number_of(self, key: object) -> int | None:
        """The number of the state with this fingerprint."""
        return self._numbers.get(key)

    def go_on_alike(self, meeting: Meeting) -> bool:
        """Whether the second way to a state leads on as the first one did, for all that was tried from it.

        To be asked when the search is over.
        """
        for observation, thought in self._thoughts_of(meeting.mind):
            life = self.life(meeting.by)
            life.tell(meeting.observation)
            life.tell(observation)
            if self.number_of(print_of(life)) != thought.mind:
                return False
        return True

    def _thoughts_of(self, mind: int) -> list[tuple[Observation, Thought]]:
        if not self._by_mind:
            for (each, observation), thought in self._thoughts.items():
                self._by_mind.setdefault(each, []).append((observation, thought))
        return self._by_mind.get(mind, [])

    def _think(self, mind: int, observation: Observation) -> Thought:
        # The instance that came to this state first can go on once without being told all again.
        life = self._spare.pop(mind, None) or self.life(mind)
        life.tell(observation)
        served = tuple(_served(finished, self._patience) for finished in life.finished)
        origin = self._origins[mind]
        known = len(self.minds)
        number = self._number(life, _Origin(origin.base, (*origin.told, observation)))
        if number == known:
            self._spare[number] = life
        else:
            self.meetings.append(Meeting(number, mind, observation))
            life.coroutine.close()
        return Thought(number, served)

    def _number(self, life: _Life, origin: _Origin) -> int:
        key = print_of(life)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.minds)
            mind = _mind(life)
            self.minds.append(mind)
            self._origins.append(self._shortened(life, key, origin) if mind.is_idle else origin)
        return number

    def _shortened(self, life: _Life, key: object, origin: _Origin) -> _Origin:
        """The same state as a run that begins with its memory, where such a run comes to it."""
        base = _Base(_copied(life.memory), life.clock)
        again = _Life(base, self._runtime)
        is_same = print_of(again) == key
        again.coroutine.close()
        return _Origin(base, ()) if is_same else origin


def print_of(life: _Life) -> object:
    """The fingerprint of a workflow as it stands."""
    memory = life.memory
    if life.wish is None:
        return "over"
    return (
        fingerprint.of_memory(memory, life.clock),
        fingerprint.of_reconciliation(life.coroutine, memory, life.clock),
        fingerprint.of_wait(life.coroutine, memory, life.clock),
    )


def _mind(life: _Life) -> Mind:
    memory, wish = life.memory, life.wish
    functions = [] if wish is None else fingerprint.functions_of(life.coroutine)
    is_idle = "_next_work" in functions
    last_inspection = memory.last_inspection
    is_asleep = last_inspection is not None and last_inspection.stopped_at is not None
    is_timed = isinstance(wish, Paused) or (isinstance(wish, Waiting) and wish.seconds is not None)
    return Mind(
        activity=wish.activity if isinstance(wish, Asked) else "",
        sandbox_id=wish.sandbox_id if isinstance(wish, Asked) else "",
        is_at_once="lookup_at_once" in functions,
        is_confirming="_lookup_later" in functions,
        only_at_rest=isinstance(wish, Asked) and wish.only_at_rest,
        is_idle=is_idle,
        is_over=wish is None,
        is_woken=isinstance(wish, Waiting) and wish.condition(),
        is_timed=is_timed,
        is_pause=isinstance(wish, Paused),
        is_twice_timed=is_idle and len(life.moments()) > 1,
        goal=memory.progress.goal,
        known_id=memory.seen.sandbox_id,
        asleep_id=last_inspection.sandbox_id if last_inspection is not None and is_asleep else "",
        is_asked=memory.requests.is_waiting,
        blocked=memory.progress.blocked.cause if memory.progress.blocked else None,
        is_tried_again=memory.progress.blocked is not None and memory.progress.blocked.next_try_at is not None,
        record=IssueRecord(
            NAME,
            memory.seen.sandbox.id if memory.seen.sandbox else "",
            str(memory.seen.phase or ""),
            str(memory.progress.goal),
            str(memory.progress.blocked.cause) if memory.progress.blocked else "",
        ),
    )


def _served(finished: Finished, policy: Policy) -> Served:
    sandbox = finished.sandbox
    if sandbox is None:
        return Served(finished.action, "", "", is_usable=False, is_set_up=False)
    is_set_up = not policy.is_setup_configured or bool(sandbox.labels.get("issuebox-set-up"))
    return Served(finished.action, sandbox.id, sandbox.state, sandbox.state == "started", is_set_up)


def _copied(memory: Memory) -> Memory:
    """The same memory, whose value objects are its own. Notes are for people: they are left behind."""
    return deepcopy(replace(memory, notes=[]))
