"""The whole model: its states, and every step from each.

A state is five small numbers: the workflow's state, the world at Daytona, the attempt under way, a request that may
still be executed late, and what may still come from outside. The behaviour of each part is worked out once and kept, so
that a step of the whole takes a few dictionary reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from issuebox.domain.phase import Action, Goal
from proofs.model import activity_outcomes, daytona, outside, promises, run_steps
from proofs.model.activity_outcomes import COMMANDS, Attempt, Late, Mistakes, Outcome
from proofs.model.daytona import Errand, Trouble, World
from proofs.model.outside import Allowance, Message
from proofs.model.run_steps import STEPS
from proofs.model.views import Kind, Observation
from proofs.model.workflow_states import Served, WorkflowState, WorkflowStates

State = tuple[int, int, int, int, int]
"""The numbers of workflow state, world, attempt, late request and allowance."""

Thing = TypeVar("Thing")

FOLLOWED = frozenset({"stop_sandbox", "archive_sandbox"})
"""Commands that may be executed late although the attempt of a later one has ended: issuebox looks again."""

_CONDITION_MET, _TIMER_FIRED, _ALL_TIMERS_DUE = (
    Observation(kind) for kind in (Kind.CONDITION_MET, Kind.TIMER_FIRED, Kind.ALL_TIMERS_DUE)
)
_OUTLASTED, _GROWN = Observation(Kind.OUTLASTED), Observation(Kind.GROWN)


class Numbers(Generic[Thing]):
    """Gives each distinct thing a number."""

    def __init__(self) -> None:
        self.things: list[Thing] = []
        self._numbers: dict[Thing, int] = {}

    def of(self, thing: Thing) -> int:
        """The number of the thing, new if it is."""
        number = self._numbers.get(thing)
        if number is None:
            number = self._numbers[thing] = len(self.things)
            self.things.append(thing)
        return number


@dataclass(slots=True)
class Step:
    """One step: what happens, and the state after it.

    ``is_fair``: it happens in the end without a fault, an event or a person. ``broken``: the promise that it breaks,
    '' for none.
    """

    label: str
    is_fair: bool
    after: State
    broken: str = ""


class System:
    """All parts, and the steps between their states."""

    def __init__(self, workflow_states: WorkflowStates, mistakes: Mistakes | None = None) -> None:
        self._workflow_states = workflow_states
        self._mistakes = mistakes or Mistakes()
        self.worlds: Numbers[World] = Numbers()
        self._attempts: Numbers[Attempt | None] = Numbers()
        self._lates: Numbers[Late | None] = Numbers()
        self.allowances: Numbers[Allowance] = Numbers()
        for nothing in (self._attempts, self._lates):
            nothing.of(None)
        self._outcomes_of: dict[tuple[object, ...], list[tuple[Outcome, int, int, int]]] = {}
        self._moves_of: dict[tuple[str, int], list[tuple[str, int]]] = {}
        self._messages_of: dict[int, list[tuple[Message, int]]] = {}
        self._with_fewer: dict[tuple[int, str], int] = {}
        self._audits: dict[tuple[int, int], bool] = {}
        self._settled: dict[tuple[int, int, int, tuple[Served, ...], bool, bool], tuple[int, str]] = {}

    def at_work(self) -> AbstractContextManager[None]:
        """A block in which `steps` may be called."""
        return self._workflow_states.at_work()

    def start(self, allowance: Allowance) -> State:
        """The state with a workflow that was just started, no sandbox, and this allowance."""
        return 0, self.worlds.of(World()), 0, 0, self.allowances.of(allowance)

    def workflow(self, state: State) -> WorkflowState:
        """The workflow in this state."""
        return self._workflow_states.states[state[0]]

    def world(self, state: State) -> World:
        """Daytona in this state."""
        return self.worlds.things[state[1]]

    def allowance(self, state: State) -> Allowance:
        """What may still come in this state, and what has come."""
        return self.allowances.things[state[4]]

    def describe(self, state: State) -> str:
        """The state as text: what the workflow waits for, and the sandboxes."""
        workflow, rows = self.workflow(state), self.world(state).rows
        doing = (
            "ended"
            if workflow.is_over
            else workflow.activity.replace("_", " ") or ("idle" if workflow.is_idle else "paused")
        )
        blocked = f", blocked ({workflow.blocked})" if workflow.blocked else ""
        shown = ", ".join(f"{row.id} {row.shown}" for row in rows) or "no sandbox"
        return f"goal {workflow.goal}, workflow {doing}{blocked}; {shown}{_described(workflow, self.world(state))}"

    def steps(self, state: State) -> Iterator[Step]:
        """Every step from this state."""
        yield from self._of_workflow(state)
        yield from self._of_daytona(state)
        if not self.workflow(state).is_over:
            yield from self._of_people(state)

    def _of_workflow(self, state: State) -> Iterator[Step]:
        workflow, attempt = self.workflow(state), self._attempts.things[state[2]]
        if workflow.runs.follows is not None:
            label, seen = run_steps.followed(self.world(state), *workflow.runs.follows)
            # A slice that is over changes nothing; it may last as long as the job.
            yield self._observed(state, seen, f"the follower {label}", is_fair=seen.word != "running")
        if workflow.activity:
            if attempt is None:
                yield from self._sent(state, workflow)
            elif attempt.reply is not None:
                yield self._observed(state, attempt.reply, f"{_word(workflow.activity)} returns", is_fair=True)
            else:
                yield from self._outcomes(
                    state,
                    workflow,
                    ("follow", state[1], state[2], workflow.activity, workflow.only_at_rest),
                    lambda: activity_outcomes.followed(
                        self.world(state),
                        attempt,
                        workflow.activity,
                        self._mistakes,
                        only_at_rest=workflow.only_at_rest,
                    ),
                )
            return
        if workflow.is_condition_met:
            yield self._observed(state, _CONDITION_MET, "the workflow goes on", is_fair=True)
        elif workflow.has_timer:
            # Once faults stop, Daytona ends its transitions before the timer of an idle workflow fires.
            is_fair = not workflow.is_idle or self.world(state).is_still
            label = "the timer fires" if workflow.is_idle else "the pause ends"
            yield self._observed(self._expired(state, workflow), _TIMER_FIRED, label, is_fair=is_fair)
        if workflow.has_later_timer and not workflow.is_condition_met:
            label = "the workers are down until the last timer is due"
            yield self._observed(
                self._expired(state, workflow), _ALL_TIMERS_DUE, label, is_fair=self.world(state).is_still
            )
        if workflow.is_idle and self._is_audit_due(state):
            yield self._observed(state, outside.audit(), "the audit signals the workflow to look", is_fair=True)

    def _is_audit_due(self, state: State) -> bool:
        key = state[:2]
        is_due = self._audits.get(key)
        if is_due is None:
            is_due = self._audits[key] = promises.is_audit_due(self.workflow(state), self.world(state))
        return is_due

    def _sent(self, state: State, workflow: WorkflowState) -> Iterator[Step]:
        if workflow.activity in COMMANDS and state[3]:
            state = (*state[:3], self._overtaken(state[3]), state[4])
        if workflow.activity in STEPS:
            errand = Errand(workflow.activity, workflow.sandbox_id, workflow.run, workflow.attempt)
            yield from self._outcomes(
                state,
                workflow,
                ("step", state[1], errand),
                lambda: run_steps.sent(self.world(state), errand, self._mistakes),
            )
            return
        yield from self._outcomes(
            state,
            workflow,
            (
                "send",
                state[1],
                workflow.activity,
                workflow.sandbox_id,
                workflow.is_at_once,
                workflow.is_confirming,
                workflow.only_at_rest,
                workflow.is_ours,
            ),
            lambda: activity_outcomes.sent(
                self.world(state),
                workflow.activity,
                workflow.sandbox_id,
                self._mistakes,
                is_at_once=workflow.is_at_once,
                is_confirming=workflow.is_confirming,
                only_at_rest=workflow.only_at_rest,
                is_ours=workflow.is_ours,
            ),
        )

    def _outcomes(
        self, state: State, workflow: WorkflowState, key: tuple[object, ...], work_out: Callable[[], Iterator[Outcome]]
    ) -> Iterator[Step]:
        outcomes = self._outcomes_of.get(key)
        if outcomes is None:
            outcomes = self._outcomes_of[key] = [self._numbered(outcome, workflow) for outcome in work_out()]
        for outcome, world, attempt, late in outcomes:
            allowance = state[4]
            if outcome.is_fault:
                allowance = self._fewer(allowance, "faults")
                if allowance < 0 or (late and state[3]):
                    continue
            still_late = state[3]
            if outcome.shows_session and self._is_overtaken(still_late):
                still_late = 0  # A person's session lasts longer than a request can be on its way.
            after = (state[0], world, attempt, late or still_late, allowance)
            if outcome.observed is None:
                yield Step(outcome.label, not outcome.is_fault, after, outcome.broken)
                continue
            step = self._observed(after, outcome.observed, outcome.label, is_fair=not outcome.is_fault)
            step.broken = outcome.broken or step.broken
            yield step

    def _numbered(self, outcome: Outcome, workflow: WorkflowState) -> tuple[Outcome, int, int, int]:
        """The outcome with its activity's name, and the numbers of the world, attempt and late request after it."""
        late = self._lates.of(Late(workflow.activity, workflow.sandbox_id)) if outcome.is_late else 0
        named = replace(outcome, label=f"{_word(workflow.activity)} {outcome.label}".rstrip())
        return named, self.worlds.of(outcome.world), self._attempts.of(outcome.attempt), late

    def _of_daytona(self, state: State) -> Iterator[Step]:
        late = self._lates.things[state[3]]
        if late is not None:
            answer = activity_outcomes.executed(self.world(state), late, self._mistakes)
            after = (state[0], self.worlds.of(answer.world), state[2], 0, state[4])
            yield Step(f"the late {_word(late.activity)} is executed after all", True, after, answer.broken)
        for label, world in self._moves(state[1], "advance", self._advanced):
            yield Step(label, True, (state[0], world, *state[2:]))
        yield from self._of_jobs(state, self.world(state))

    def _of_jobs(self, state: State, world: World) -> Iterator[Step]:
        """What happens to the jobs of runs by itself: they end, and what was given up is executed after all."""
        if not world.ledger and not world.errands:
            return
        for label, after in self._moves(state[1], "end", run_steps.ends):
            yield Step(label, True, (state[0], after, *state[2:]))
        for errand in dict.fromkeys(world.errands):
            left = list(world.errands)
            left.remove(errand)
            executed = run_steps.executed(replace(world, errands=tuple(left)), errand, self._mistakes)
            for effect in executed:
                if effect.is_fault:
                    continue
                broken = effect.broken or promises.of_jobs(effect.world, self.workflow(state))
                label = f"a late or second {_word(errand.activity)} {effect.label}"
                yield Step(label, True, (state[0], self.worlds.of(effect.world), *state[2:]), broken)

    def _of_people(self, state: State) -> Iterator[Step]:
        allowance = self.allowance(state)
        if allowance.outlasts and self.workflow(state).can_outlast:
            label = f"{_word(self.workflow(state).activity)} outlasts the next timer of the closed issue"
            after = self._later((*state[:4], self._fewer(state[4], "outlasts")))
            yield self._observed(after, _OUTLASTED, label, is_fair=False)
        if allowance.rolls:
            after = (*state[:4], self._fewer(state[4], "rolls"))
            yield self._observed(after, _GROWN, "Temporal suggests to continue as new", is_fair=False)
        for message, after_mail in self._messages(state[4]):
            after = self._given(state, message, after_mail)
            yield self._observed(after, message.observation, message.label, is_fair=False)
            if allowance.pairs:
                yield from self._in_one_task(after, message)
        yield from self._of_others(state)
        if allowance.acts:
            fewer = self._fewer(state[4], "acts")
            for label, world in self._moves(state[1], "act", outside.acts):
                late = 0 if self._is_entered(state, world) else state[3]
                yield Step(label, False, (state[0], world, state[2], late, fewer))

    def _given(self, state: State, message: Message, after_mail: int) -> State:
        """The state with what the message means for the sandboxes. The workflow has not taken it yet."""
        world = state[1]
        # A delete that was sent while the order stood is not taken back with it.
        is_sent = state[3] != 0 or self.workflow(state).activity == "delete_sandbox"
        if message.abandons or (message.takes_back and not is_sent):
            is_coming = message.abandons and self._is_create_sent(state)
            world = self.worlds.of(outside.abandoned(self.world(state), message.abandons, is_coming))
        if message.asks:
            world = self._asked(world)
        return state[0], world, state[2], state[3], after_mail

    def _in_one_task(self, state: State, first: Message) -> Iterator[Step]:
        """What may come in one workflow task after this message: another one, or the end of what the loop waits for."""
        workflow = self.workflow(state)
        state = (*state[:4], self._fewer(state[4], "pairs"))
        attempt = self._attempts.things[state[2]]
        if attempt is not None and attempt.reply is not None:
            both = outside.together(first.observation, attempt.reply)
            label = f"{first.label}, and in the same task {_word(workflow.activity)} returns"
            yield self._observed(state, both, label, is_fair=False)
        if workflow.has_timer and not workflow.is_condition_met:
            both = outside.together(first.observation, _TIMER_FIRED)
            label = f"{first.label}, and in the same task the timer fires"
            yield self._observed(self._expired(state, workflow), both, label, is_fair=False)
        for second, both in outside.in_one_task(first, [message for message, _ in self._messages(state[4])]):
            after = self._given(state, second, self.allowances.of(second.allowance))
            yield self._observed(after, both, f"{first.label}, and in the same task {second.label}", is_fair=False)

    def _of_others(self, state: State) -> Iterator[Step]:
        """Acts at Daytona that only some bounds have."""
        allowance = self.allowance(state)
        for kind, left, work_out in (
            ("claims", allowance.claims, outside.claims),
            ("handmade", allowance.handmade, self._handmade_for(state)),
            ("visits", allowance.visits, outside.visits),
            ("strikes", allowance.strikes, run_steps.strikes),
        ):
            if left:
                fewer = self._fewer(state[4], kind)
                for label, after in work_out(self.world(state)):
                    yield Step(label, False, (state[0], self.worlds.of(after), *state[2:4], fewer))

    def _handmade_for(self, state: State) -> Callable[[World], Iterator[tuple[str, World]]]:
        """What a person may make by hand.

        A documented limit: what a person gave up is what the next lookup finds.
        """
        is_given_up = self.workflow(state).has_open_order

        def handmade(world: World) -> Iterator[tuple[str, World]]:
            for label, after in outside.handmade(world):
                yield label, after.put(replace(after.rows[-1], is_abandoned=is_given_up))

        return handmade

    def _messages(self, number: int) -> list[tuple[Message, int]]:
        messages = self._messages_of.get(number)
        if messages is None:
            found = outside.messages(self.allowances.things[number])
            messages = self._messages_of[number] = [
                (message, self.allowances.of(message.allowance)) for message in found
            ]
        return messages

    def _asked(self, number: int) -> int:
        """The world once somebody asks for the sandbox: what a read before the request missed is no excuse any more."""
        world = self.worlds.things[number]
        if world.trouble is Trouble.NONE:
            return number
        return self.worlds.of(replace(world, trouble=Trouble.ASKED))

    def _is_entered(self, state: State, world: int) -> bool:
        """Whether a person entered the sandbox of a late delete. That is a documented limit, and left out."""
        late = self._lates.things[state[3]]
        if late is None or late.activity != "delete_sandbox":
            return False
        before, after = self.world(state).row(late.sandbox_id), self.worlds.things[world].row(late.sandbox_id)
        return before is not None and after is not None and after.is_occupied and not before.is_occupied

    def _is_create_sent(self, state: State) -> bool:
        """Whether a create is scheduled or on its way, and may still be executed."""
        late = self._lates.things[state[3]]
        is_late = late is not None and late.activity == "create_sandbox"
        return is_late or (self.workflow(state).activity == "create_sandbox" and state[2] == 0)

    def _advanced(self, world: World) -> Iterator[tuple[str, World]]:
        for sandbox_id, after in daytona.advanced(world):
            row = after.row(sandbox_id)
            yield f"Daytona: {sandbox_id} is {row.shown if row else 'gone'}", after

    def _moves(
        self, world: int, kind: str, work_out: Callable[[World], Iterator[tuple[str, World]]]
    ) -> list[tuple[str, int]]:
        key = (kind, world)
        moves = self._moves_of.get(key)
        if moves is None:
            things = work_out(self.worlds.things[world])
            moves = self._moves_of[key] = [(label, self.worlds.of(after)) for label, after in things]
        return moves

    def _observed(self, state: State, observation: Observation, label: str, *, is_fair: bool) -> Step:
        """The step by which the workflow observes something. What it finishes by that changes the world's rows."""
        transition = self._workflow_states.after(state[0], observation)
        view, is_reply = observation.parts[-1].view, observation.ends_wait
        if view is not None and view.is_used:
            state = self._later(state)  # A person's session takes longer than a request can be on its way.
        is_abandoning = bool(self.allowance(state).abandoning_order)
        world, broken = self._settle(
            state[1],
            state[0],
            transition.state,
            transition.served,
            is_abandoning=is_abandoning,
            is_told=observation.is_message,
        )
        for answered in transition.answered:
            broken = broken or promises.of_answer(answered)
        broken = broken or promises.of_pause(self._workflow_states.states[transition.state], self.allowance(state))
        late = self._lates.things[state[3]]
        is_past = is_reply and late is not None and late.is_overtaken and self._is_lost(late, self.workflow(state))
        after = (transition.state, world, 0 if is_reply else state[2], 0 if is_past else state[3], state[4])
        return Step(label, is_fair, after, broken)

    def _is_lost(self, late: Late, workflow: WorkflowState) -> bool:
        """Whether a late request counts as lost because the attempt of this later command ends.

        A stop or an archive does not, except on the way to a delete: that is assumed.
        """
        is_kept = late.activity in FOLLOWED and workflow.goal is not Goal.DELETED
        return workflow.activity in COMMANDS and not is_kept

    def _settle(
        self, world: int, before: int, after: int, served: tuple[Served, ...], *, is_abandoning: bool, is_told: bool
    ) -> tuple[int, str]:
        key = (world, before, after, served, is_abandoning, is_told)
        settled = self._settled.get(key)
        if settled is None:
            states = self._workflow_states.states
            result = _known_by(self.worlds.things[world], states[before], states[after])
            broken = "" if is_told else promises.of_requests(states[before], states[after], served)
            broken = broken or promises.of_run_requests(states[after]) or promises.of_jobs(result, states[after])
            for each in served:
                broken = broken or promises.of_service(each)
                trouble = Trouble.NONE if result.trouble is Trouble.READ else result.trouble
                result = replace(result, trouble=trouble)
                if each.action is Action.USE and states[before].is_asked:
                    result = daytona.entered(result, each.sandbox_id, is_abandoned=is_abandoning)
            settled = self._settled[key] = self.worlds.of(result), broken
        return settled

    def _expired(self, state: State, workflow: WorkflowState) -> State:
        """Assumed: no request is on its way for more than a minute, and no read is older than that."""
        return state if workflow.is_pause else self._later(state)

    def _later(self, state: State) -> State:
        ((_, world),) = self._moves(state[1], "age", lambda world: iter([("", daytona.aged(world))]))
        return state[0], world, state[2], 0, state[4]

    def _is_overtaken(self, number: int) -> bool:
        late = self._lates.things[number]
        return late is not None and late.is_overtaken

    def _overtaken(self, number: int) -> int:
        late = self._lates.things[number]
        return 0 if late is None else self._lates.of(replace(late, is_overtaken=True))

    def _fewer(self, number: int, kind: str) -> int:
        """The allowance with one fewer of this kind; -1 when none is left."""
        fewer = self._with_fewer.get((number, kind))
        if fewer is None:
            allowance = self.allowances.things[number]
            left: int = getattr(allowance, kind)
            change: dict[str, Any] = {kind: left - 1}
            fewer = self._with_fewer[number, kind] = self.allowances.of(replace(allowance, **change)) if left else -1
        return fewer


def _known_by(world: World, before: WorkflowState, after: WorkflowState) -> World:
    """The rows, updated by what the workflow has learned."""
    if after.asleep_id and after.asleep_id != before.asleep_id:
        row = world.row(after.asleep_id)
        world = world.put(replace(row, is_used=False)) if row is not None else world
    row = world.row(after.known_id) if after.known_id else None
    if row is not None and not row.is_seen:
        world = world.put(replace(row, is_seen=True))
    return world


def _word(activity: str) -> str:
    return activity.removesuffix("_sandbox").replace("_", " ")


def _described(workflow: WorkflowState, world: World) -> str:
    runs = workflow.runs
    if not (runs.keys or world.ledger):
        return ""
    jobs = [f"{row.id}/{job.attempt} {job.word}" for row in world.rows for job in row.jobs]
    now = f"attempt {runs.attempt} {runs.phase} ({runs.goal})" if runs.goal else "none open"
    return f"; run: {now}, {runs.waiting} waiting, {len(runs.over)} over; on disk: {', '.join(jobs) or 'nothing'}"
