"""The states of the real workflow: each is built once, by running the real code, and then looked up.

A coroutine cannot be copied. So a state is kept as the way to it: the memory of the workflow when it was last idle,
and its observations since then. To work out the next observation, a new instance of the workflow replays them all.
States with the same fingerprint are one state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from temporalio.exceptions import ApplicationError

from issuebox.domain.goal import course
from issuebox.domain.issue import Issue
from issuebox.domain.memory import Answer, Memory
from issuebox.domain.phase import Action, Cause, Goal, Outcome, Phase
from issuebox.domain.policy import Policy
from issuebox.domain.records import IssueRecord
from issuebox.domain.retirement import retires_at
from issuebox.domain.sandbox import LABEL_INSTANCE
from issuebox.temporal.connect import DATA_CONVERTER
from proofs.model import deliveries, fingerprint
from proofs.model.policies import POLICY
from proofs.model.run_state import NO_RUNS, RunState, run_state_of
from proofs.model.run_steps import STEPS
from proofs.model.runtime import (
    EPOCH,
    NAME,
    ActivityCall,
    Awaited,
    Condition,
    Finished,
    Follower,
    RolledError,
    Runtime,
    Sleep,
    installed,
)
from proofs.model.stored_memory import StoredMemory
from proofs.model.views import (
    ANOTHER,
    BUDGET_SPENT,
    READS,
    SESSION,
    UNREACHABLE,
    Kind,
    Observation,
    answer,
    failure,
    seen_in,
)
from workflows.issue_sandbox import IssueSandboxWorkflow
from workflows.messages import EnsureRequest, Handover, StartInput

_MOMENT = timedelta(seconds=1)

NO_READ = frozenset({"label_sandbox", "refresh_activity", "inspect_sandbox", *STEPS})
"""Activities that bring no read of the sandbox."""


@dataclass(frozen=True, slots=True)
class Served:
    """A reconciliation succeeded in this step: a handover (USE) or rest. The sandbox is as the last read showed it.

    ``is_kept``: no timer that is already due ends the goal. ``is_foreign``: the labels were another installation's.
    """

    action: Action
    sandbox_id: str
    state: str
    is_usable: bool
    is_set_up: bool
    is_kept: bool
    is_foreign: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """An update was answered in this step.

    ``is_usable``: the answer has a sandbox that can be used, and so showed the last read of those that began after the
    update came. ``given``: the answer as the workflow gave it first, None while it was still at work. ``is_as_given``:
    it did not change until it was sent. Without an outcome, the workflow run ended before the answer.
    """

    outcome: Outcome | None
    given: Outcome | None
    is_usable: bool
    is_as_given: bool


@dataclass(frozen=True, slots=True)
class WorkflowState:
    """What the rest of the model needs to know of a state of the workflow.

    ``activity``: the activity that it waits for, '' for none. ``is_at_once``: a lookup that is repeated when it fails.
    ``is_confirming``: the lookup that makes sure that a sandbox is gone. ``only_at_rest``: the command is sent only to
    a sandbox that is still at rest. ``is_ours``: the sandbox had our labels when the workflow saw it.
    ``is_condition_met``: the condition that the workflow waits for is true. ``has_timer``: a timer runs; ``is_pause``:
    it lasts seconds at most; ``has_later_timer``: a second one runs too. ``can_outlast``: the next timer of the closed
    issue may be due before the activity ends. ``has_updates``: somebody waits for the answer to an update.
    ``has_open_order``: a person gave up a sandbox that nobody knew, and the next lookup will show which one that is.
    """

    activity: str
    sandbox_id: str
    is_at_once: bool
    is_confirming: bool
    only_at_rest: bool
    is_ours: bool
    is_idle: bool
    is_over: bool
    is_condition_met: bool
    has_timer: bool
    is_pause: bool
    has_later_timer: bool
    can_outlast: bool
    has_updates: bool
    has_open_order: bool
    goal: Goal
    known_id: str
    asleep_id: str
    is_asked: bool
    blocked: Cause | None
    is_tried_again: bool
    record: IssueRecord
    run: str = ""
    attempt: int = 0
    runs: RunState = NO_RUNS


@dataclass(frozen=True, slots=True)
class Transition:
    """What the workflow does on an observation: the number of its next state, and what ended.

    ``served``: the reconciliations that succeeded. ``answered``: the updates that got their answers.
    """

    state: int
    served: tuple[Served, ...] = ()
    answered: tuple[Answered, ...] = ()


@dataclass(frozen=True, slots=True)
class Merge:
    """A second way to a known state: from the state `before`, by an observation. The first way is its origin."""

    state: int
    before: int
    observation: Observation


@dataclass(slots=True)
class _Base:
    """An idle workflow: the state in which a workflow run that starts with this memory waits first."""

    memory: StoredMemory | None
    clock: datetime


@dataclass(slots=True)
class _Origin:
    base: _Base
    observations: tuple[Observation, ...]


@dataclass(slots=True)
class _Update:
    """The handler of an update, which waits for its answer beside the loop.

    ``is_later``: the activity under way began after the update came. ``is_shown``: the last such activity that read
    the sandbox showed that it can be used. ``given``: the answer as it was first given.
    """

    ticket: int
    handler: Coroutine[Any, Any, Handover]
    condition: Callable[[], bool]
    is_later: bool = False
    is_shown: bool = False
    given: Answer | None = None

    def take_reply(self, observation: Observation, activity: str) -> None:
        """Judge what the activity under way showed of the sandbox."""
        if self.is_later and activity not in NO_READ:
            view = observation.view
            self.is_shown = observation.kind in READS and view is not None and view.state == "started"

    def send(self) -> Answered:
        """Let the handler go on, which ends it."""
        try:
            self.handler.send(True)
        except StopIteration as end:
            answer: Handover = end.value
        else:
            raise RuntimeError("the handler of an update waits twice")
        sandbox, given = answer.sandbox, self.given
        is_usable = self.is_shown and sandbox is not None and sandbox.phase is Phase.USABLE
        is_as_given = given is None or (given.outcome, given.sandbox) == (answer.outcome, sandbox)
        return Answered(answer.outcome, given.outcome if given else None, is_usable, is_as_given)


class _Instance:
    """One instance of the workflow, driven step by step: its loop, and the handlers of its updates."""

    def __init__(self, base: _Base, runtime: Runtime) -> None:
        self._runtime = runtime
        self.clock = runtime.clock = base.clock
        self.finished: list[Finished] = []
        self.answered: list[Answered] = []
        self.updates: list[_Update] = []
        self.is_long = False
        self._meet(runtime)
        memory = None if base.memory is None else base.memory.read()
        start = StartInput(1, NAME, memory)
        self.entity = IssueSandboxWorkflow(start)
        self.coroutine: Coroutine[Any, Any, Any] = self.entity.serve()
        self.awaited: Awaited | None = self._go_on(None)

    @property
    def memory(self) -> Memory:
        return self.entity._memory  # noqa: SLF001 -- the model reads what it checks

    def observe(self, observation: Observation) -> None:
        """Let one thing happen to the workflow."""
        self._let_time_pass(observation)
        runtime = self._runtime
        self._meet(runtime)
        self.answered = []
        parts = observation.parts
        for part, before in zip(parts, (None, *parts), strict=False):
            self._take(part, before)
            self._note_answers()
        self.finished = runtime.finished
        self._send_answers()

    def _take(self, observation: Observation, before: Observation | None) -> None:
        """Take one observation. `before`: what the same workflow task brought before it."""
        runtime = self._runtime
        match observation.kind:
            case Kind.DELIVERED:
                is_in_task = before is not None and before.word in deliveries.STANDING
                if self.memory.orders.standing is not None and not is_in_task:
                    # Which of the two people did first is free: the order has the time that makes it so.
                    apart = timedelta(days=-2 if observation.is_after_order else 2)
                    self.memory.orders.ordered_at = EPOCH + apart
                has_runs = runtime.policy.runs.is_configured
                self.entity.issue_event(deliveries.event(observation.number, has_runs=has_runs))
            case Kind.ORDERED:
                deliveries.give(self.entity, observation.word)
            case Kind.UPDATED:
                self._update()
            case Kind.CONDITION_MET:
                self.awaited = self._go_on(True)
            case Kind.TIMER_FIRED | Kind.ALL_TIMERS_DUE:
                self.awaited = self._go_on(False)
            case Kind.GROWN:
                self.is_long = runtime.is_long = True
            case Kind.OUTLASTED:
                pass  # The code goes on when the activity ends.
            case Kind.FOLLOWED:
                self._return(observation.word)
            case _:
                self._reply(observation)

    def _reply(self, observation: Observation) -> None:
        """The activity that the loop waits for ends."""
        activity = self.awaited.activity if isinstance(self.awaited, ActivityCall) else ""
        for update in self.updates:
            update.take_reply(observation, activity)
        self.awaited = self._go_on(answer(observation, activity, self.clock))

    @property
    def follower(self) -> Follower | None:
        """The follower of the run, at work or returned."""
        return cast("Follower | None", self.entity._runs._following)  # noqa: SLF001 -- the model answers for it

    def _return(self, word: str) -> None:
        """The follower returns with what it saw, or with an error."""
        follower = self.follower
        if follower is None or follower.done():
            raise RuntimeError("no follower is at work")
        follower.word, follower.answer = word, failure(word[1:]) if word.startswith("!") else seen_in(word)

    def _meet(self, runtime: Runtime) -> None:
        """Have the runtime answer as this instance's runtime."""
        runtime.clock, runtime.finished = self.clock, []
        runtime.is_handling, runtime.is_long = self._is_handling, self.is_long

    def _is_handling(self) -> bool:
        return bool(self.updates)

    def _update(self) -> None:
        """The update comes: its validator judges it, and its handler runs until it waits for the answer."""
        request = EnsureRequest(Issue(1))
        try:
            self.entity.validate_ensure(request)
        except ApplicationError:
            return
        handler = cast("Coroutine[Any, Any, Handover]", cast("Any", self.entity).ensure(request))
        try:
            waits = handler.send(None)
        except StopIteration as end:
            answer: Handover = end.value
            self.answered.append(Answered(answer.outcome, None, is_usable=False, is_as_given=True))
            return
        self.updates.append(_Update(self.memory.requests.asked, handler, waits.condition))

    def _note_answers(self) -> None:
        """Note the answers that were given since the last look. From now on, none of them may change."""
        for update in self.updates:
            update.given = update.given or self.memory.requests.answers[update.ticket]

    def _send_answers(self) -> None:
        """Once nothing else can go on, Temporal looks whose condition is met."""
        met = [update for update in self.updates if update.condition()]
        self.updates = [update for update in self.updates if update not in met]
        self.answered += [update.send() for update in met]

    def moments(self) -> list[datetime]:
        """When the timers of an idle workflow are due, in order."""
        memory = self.memory
        blocked_until = memory.progress.blocked.next_try_at if memory.progress.blocked else None
        unsure_until = None if memory.orders.is_lookup_asked else memory.progress.unsure_until
        moments = (
            blocked_until,
            unsure_until,
            course(memory, self.clock)[1],
            retires_at(memory),
            self.entity._runs.due_at(),  # noqa: SLF001
        )
        return sorted(moment for moment in moments if moment is not None)

    def closing_moments(self) -> list[datetime]:
        """When the times of a closed issue will have passed, whatever the workflow counts them from. In order."""
        ended_at = self.memory.told.ended_at
        if ended_at is None:
            return []
        moments = (ended_at + timedelta(seconds=after_s) for _, after_s in self.memory.policy.closing.ladder)
        return [moment for moment in moments if moment > self.clock]

    def _go_on(self, value: object) -> Awaited | None:
        """Run the loop until it waits again. Returns what it waits for, or None when it ended."""
        for update in self.updates:
            update.is_later = True
        try:
            return cast("Awaited", self.coroutine.send(value))
        except StopIteration:
            return None
        except RolledError as rolled:
            return self._roll(rolled.start)

    def _roll(self, start: StartInput) -> Awaited | None:
        """Continue as new: the next workflow run gets what Temporal stores of the memory, and nothing else."""
        self.answered += [Answered(None, None, is_usable=False, is_as_given=True) for _ in self.updates]
        self.close()
        self.updates, self.is_long, self._runtime.is_long = [], False, False
        converter = DATA_CONVERTER.payload_converter
        (stored,) = converter.from_payloads(converter.to_payloads([start]), [StartInput])
        self.entity = IssueSandboxWorkflow(stored)
        self.coroutine = self.entity.serve()
        return self._go_on(None)

    def close(self) -> None:
        """End all that waits."""
        for coroutine in (self.coroutine, *(update.handler for update in self.updates)):
            coroutine.close()
        vars(self.entity).clear()  # It refers to itself: only the collector would find it.

    def _let_time_pass(self, observation: Observation) -> None:
        awaited, observation = self.awaited, observation.parts[-1]
        if observation.kind is Kind.ALL_TIMERS_DUE:
            self.clock = max(self.moments())
        elif observation.kind is Kind.OUTLASTED:
            self.clock = self.closing_moments()[0]
        elif observation.kind is Kind.TIMER_FIRED:
            seconds = awaited.seconds if isinstance(awaited, Sleep | Condition) else None
            self.clock += timedelta(seconds=seconds or 0.0)
        elif observation.word in {BUDGET_SPENT, UNREACHABLE} and isinstance(awaited, ActivityCall):
            self.clock += timedelta(seconds=awaited.within_s) + _MOMENT
        elif observation.view is not None and observation.view.is_used:
            self.clock += SESSION


class WorkflowStates:
    """All states that were reached, by number. Number 0 is a workflow that was just started."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self._policy = policy
        self._runtime = Runtime(policy)
        self._spare: dict[int, _Instance] = {}
        self.merges: list[Merge] = []
        self._by_state: dict[int, list[tuple[Observation, Transition]]] = {}
        self._numbers: dict[object, int] = {}
        self._origins: list[_Origin] = []
        self.states: list[WorkflowState] = []
        self._transitions: dict[tuple[int, Observation], Transition] = {}
        base = _Base(None, EPOCH)
        with self.at_work():
            self._number(_Instance(base, self._runtime), _Origin(base, ()))

    def at_work(self) -> AbstractContextManager[None]:
        """A block in which the workflow's modules run on the model's runtime. `after` works only there."""
        return installed(self._runtime)

    def after(self, state: int, observation: Observation) -> Transition:
        """What the workflow does in this state on one more observation."""
        transition = self._transitions.get((state, observation))
        if transition is None:
            transition = self._transitions[state, observation] = self._work_out(state, observation)
        return transition

    @property
    def transitions(self) -> int:
        """How many transitions were worked out."""
        return len(self._transitions)

    def instance(self, state: int) -> _Instance:
        """A new instance in this state."""
        origin = self._origins[state]
        instance = _Instance(origin.base, self._runtime)
        for observation in origin.observations:
            instance.observe(observation)
        return instance

    def number_of(self, key: object) -> int | None:
        """The number of the state with this fingerprint."""
        return self._numbers.get(key)

    def behaves_alike(self, merge: Merge) -> bool:
        """Whether, after the second way to a state, every observation leads where it led after the first.

        Call it when the search is over.
        """
        for observation, transition in self._transitions_from(merge.state):
            instance = self.instance(merge.before)
            instance.observe(merge.observation)
            instance.observe(observation)
            if self.number_of(print_of(instance)) != transition.state:
                return False
        return True

    def _transitions_from(self, state: int) -> list[tuple[Observation, Transition]]:
        if not self._by_state:
            for (each, observation), transition in self._transitions.items():
                self._by_state.setdefault(each, []).append((observation, transition))
        return self._by_state.get(state, [])

    def _work_out(self, state: int, observation: Observation) -> Transition:
        # The instance that reached this state first can go on once without a replay.
        instance = self._spare.pop(state, None) or self.instance(state)
        instance.observe(observation)
        served = tuple(_served(finished, self._policy) for finished in instance.finished)
        origin = self._origins[state]
        known = len(self.states)
        number = self._number(instance, _Origin(origin.base, (*origin.observations, observation)))
        if number == known:
            self._spare[number] = instance
        else:
            self.merges.append(Merge(number, state, observation))
            instance.close()
        return Transition(number, served, tuple(instance.answered))

    def _number(self, instance: _Instance, origin: _Origin) -> int:
        key = print_of(instance)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.states)
            state = _state_of(instance)
            self.states.append(state)
            self._origins.append(self._shortened(instance, key, origin) if state.is_idle else origin)
        return number

    def _shortened(self, instance: _Instance, key: object, origin: _Origin) -> _Origin:
        """The same state as the start of a workflow run with its memory, if such a run reaches it."""
        base = _Base(StoredMemory.of(instance.memory), instance.clock)
        again = _Instance(base, self._runtime)
        is_same = print_of(again) == key
        again.close()
        return _Origin(base, ()) if is_same else origin


def print_of(instance: _Instance) -> object:
    """The fingerprint of a workflow in its present state."""
    memory = instance.memory
    if instance.awaited is None:
        return "over"
    reconciliation = fingerprint.reconciliation_of(instance.coroutine)
    refused = None if reconciliation is None else reconciliation._tries.refused_ticket  # noqa: SLF001
    return (
        fingerprint.of_memory(memory, instance.clock),
        fingerprint.of_reconciliation(reconciliation, memory, instance.clock),
        fingerprint.of_wait(instance.coroutine, memory, instance.clock),
        instance.is_long,
        _print_of_follower(instance.follower),
        frozenset(Counter(_print_of_update(update, memory, refused) for update in instance.updates).items()),
    )


def _print_of_follower(follower: Follower | None) -> object:
    if follower is None:
        return None
    about = follower.about
    return about.sandbox_id, about.run, about.attempt, follower.word


def _print_of_update(update: _Update, memory: Memory, refused: int | None) -> object:
    requests, is_answered = memory.requests, refused is not None and update.ticket <= refused
    known = update.is_later, update.is_shown
    return update.ticket <= requests.observed, update.ticket <= requests.served, is_answered, *known


def _state_of(instance: _Instance) -> WorkflowState:
    memory, awaited = instance.memory, instance.awaited
    orders = memory.orders
    functions = [] if awaited is None else fingerprint.functions_of(instance.coroutine)
    is_idle, is_at_once = "_next_work" in functions, "lookup_at_once" in functions
    last_inspection = memory.last_inspection
    is_asleep = last_inspection is not None and last_inspection.stopped_at is not None
    has_timer = isinstance(awaited, Sleep) or (isinstance(awaited, Condition) and awaited.seconds is not None)
    return WorkflowState(
        activity=awaited.activity if isinstance(awaited, ActivityCall) else "",
        sandbox_id=awaited.sandbox_id if isinstance(awaited, ActivityCall) else "",
        is_at_once=is_at_once,
        is_confirming="_lookup_later" in functions,
        only_at_rest=isinstance(awaited, ActivityCall) and awaited.only_at_rest,
        is_ours=isinstance(awaited, ActivityCall) and awaited.is_ours,
        is_idle=is_idle,
        is_over=awaited is None,
        is_condition_met=isinstance(awaited, Condition) and awaited.condition(),
        has_timer=has_timer,
        is_pause=isinstance(awaited, Sleep) or (is_idle and _is_run_next(instance)),
        has_later_timer=is_idle and len(instance.moments()) > 1,
        can_outlast=isinstance(awaited, ActivityCall) and not is_at_once and bool(instance.closing_moments()),
        has_updates=bool(instance.updates),
        has_open_order=memory.seen.sandbox is None
        and (orders.is_replace_asked or (orders.is_forced and not orders.forced_id)),
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
        run=awaited.run if isinstance(awaited, ActivityCall) else "",
        attempt=awaited.attempt if isinstance(awaited, ActivityCall) else 0,
        runs=run_state_of(memory.runs, instance.follower),
    )


def _is_run_next(instance: _Instance) -> bool:
    """Whether the next timer is the pause after a step of a run that failed."""
    run, moments = instance.memory.runs.active, instance.moments()
    return run is not None and bool(moments) and run.next_step_at == moments[0]


def _served(finished: Finished, policy: Policy) -> Served:
    sandbox, is_kept = finished.sandbox, finished.is_kept
    if sandbox is None:
        return Served(finished.action, "", "", is_usable=False, is_set_up=False, is_kept=is_kept)
    is_set_up = not policy.is_setup_configured or bool(sandbox.labels.get("issuebox-set-up"))
    is_foreign = sandbox.labels.get(LABEL_INSTANCE) == ANOTHER
    is_usable = sandbox.state == "started"
    return Served(finished.action, sandbox.id, sandbox.state, is_usable, is_set_up, is_kept, is_foreign)
