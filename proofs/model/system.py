"""The whole model: its states, and every step from each.

A state is five small numbers: the workflow's state of mind, the world at Daytona, where the attempt under way
stands, a request that may still be executed late, and what may still come from outside. What each part does is
worked out once and kept, so that a step of the whole is a few look-ups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from issuebox.domain.phase import Action
from proofs.model import daytona, errands, outside, promises
from proofs.model.daytona import Trouble, World
from proofs.model.errands import COMMANDS, Attempt, Late, Mistakes, Outcome
from proofs.model.minds import Mind, Minds, Served
from proofs.model.outside import Allowance, Mail
from proofs.model.views import Kind, Observation

State = tuple[int, int, int, int, int]
"""The numbers of mind, world, attempt, late request and allowance."""

Thing = TypeVar("Thing")

_WOKEN, _TIMED, _OVERSLEPT = (Observation(kind) for kind in (Kind.WOKEN, Kind.TIMED, Kind.OVERSLEPT))


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
    """One step: who does what, and the state after it.

    ``is_fair``: it happens by itself in the end, without a fault, an event or a person. ``broken`` is the
    promise that the step breaks, '' for none.
    """

    label: str
    is_fair: bool
    after: State
    broken: str = ""


class System:
    """All parts, and the steps between their states."""

    def __init__(self, minds: Minds, mistakes: Mistakes | None = None) -> None:
        self._minds = minds
        self._mistakes = mistakes or Mistakes()
        self.worlds: Numbers[World] = Numbers()
        self._attempts: Numbers[Attempt | None] = Numbers()
        self._lates: Numbers[Late | None] = Numbers()
        self.allowances: Numbers[Allowance] = Numbers()
        for nothing in (self._attempts, self._lates):
            nothing.of(None)
        self._outcomes_of: dict[tuple[object, ...], list[tuple[Outcome, int, int, int]]] = {}
        self._moves_of: dict[tuple[str, int], list[tuple[str, int]]] = {}
        self._mails: dict[int, list[tuple[Mail, int]]] = {}
        self._fewer_faults: dict[int, int] = {}
        self._audits: dict[tuple[int, int], bool] = {}
        self._settled: dict[tuple[int, int, int, tuple[Served, ...], bool], tuple[int, str]] = {}

    def at_work(self) -> AbstractContextManager[None]:
        """Steps can be asked for within it."""
        return self._minds.at_work()

    def start(self, allowance: Allowance) -> State:
        """A workflow that was just started, no sandbox, and this much that may come."""
        return 0, self.worlds.of(World()), 0, 0, self.allowances.of(allowance)

    def mind(self, state: State) -> Mind:
        """What the workflow thinks in this state."""
        return self._minds.minds[state[0]]

    def world(self, state: State) -> World:
        """What is at Daytona in this state."""
        return self.worlds.things[state[1]]

    def allowance(self, state: State) -> Allowance:
        """What may still come in this state, and what has."""
        return self.allowances.things[state[4]]

    def describe(self, state: State) -> str:
        """The state for people: what the workflow waits for, and the sandboxes."""
        mind, rows = self.mind(state), self.world(state).rows
        doing = "ended" if mind.is_over else mind.activity.replace("_", " ") or ("idle" if mind.is_idle else "paused")
        blocked = f", blocked ({mind.blocked})" if mind.blocked else ""
        shown = ", ".join(f"{row.id} {row.shown}" for row in rows) or "no sandbox"
        return f"goal {mind.goal}, workflow {doing}{blocked}; {shown}"

    def steps(self, state: State) -> Iterator[Step]:
        """Every step from this state."""
        yield from self._of_workflow(state)
        yield from self._of_daytona(state)
        if not self.mind(state).is_over:
            yield from self._of_people(state)

    def _of_workflow(self, state: State) -> Iterator[Step]:
        mind, attempt = self.mind(state), self._attempts.things[state[2]]
        if mind.activity:
            if attempt is None:
                yield from self._sent(state, mind)
            elif attempt.reply is not None:
                yield self._told(state, attempt.reply, f"{_word(mind.activity)} returns", is_fair=True)
            else:
                yield from self._outcomes(
                    state,
                    mind,
                    ("follow", state[1], state[2], mind.activity),
                    lambda: errands.followed(self.world(state), attempt, mind.activity),
                )
            return
        if mind.is_woken:
            yield self._told(state, _WOKEN, "the workflow goes on", is_fair=True)
        elif mind.is_timed:
            # Once faults stop, Daytona ends what it began before the timer of an idle workflow fires.
            is_fair = not mind.is_idle or self.world(state).is_still
            label = "the timer fires" if mind.is_idle else "the pause ends"
            yield self._told(self._expired(state, mind), _TIMED, label, is_fair=is_fair)
        if mind.is_twice_timed and not mind.is_woken:
            label = "the workers were away until the last timer is due"
            yield self._told(self._expired(state, mind), _OVERSLEPT, label, is_fair=self.world(state).is_still)
        if mind.is_idle and self._is_audit_due(state):
            yield self._told(state, outside.audit(), "the audit asks the workflow to look", is_fair=True)

    def _is_audit_due(self, state: State) -> bool:
        key = state[:2]
        is_due = self._audits.get(key)
        if is_due is None:
            is_due = self._audits[key] = promises.is_audit_due(self.mind(state), self.world(state))
        return is_due

    def _sent(self, state: State, mind: Mind) -> Iterator[Step]:
        if mind.activity in COMMANDS and state[3]:
            state = (*state[:3], self._overtaken(state[3]), state[4])
        yield from self._outcomes(
            state,
            mind,
            ("send", state[1], mind.activity, mind.sandbox_id, mind.is_at_once, mind.is_confirming, mind.only_at_rest),
            lambda: errands.sent(
                self.world(state),
                mind.activity,
                mind.sandbox_id,
                self._mistakes,
                is_at_once=mind.is_at_once,
                is_confirming=mind.is_confirming,
                only_at_rest=mind.only_at_rest,
            ),
        )

    def _outcomes(
        self, state: State, mind: Mind, key: tuple[object, ...], work_out: Callable[[], Iterator[Outcome]]
    ) -> Iterator[Step]:
        outcomes = self._outcomes_of.get(key)
        if outcomes is None:
            outcomes = self._outcomes_of[key] = [self._numbered(outcome, mind) for outcome in work_out()]
        for outcome, world, attempt, late in outcomes:
            allowance = state[4]
            if outcome.is_fault:
                allowance = self._with_fault(allowance)
                if allowance < 0 or (late and state[3]):
                    continue
            after = (state[0], world, attempt, late or state[3], allowance)
            if outcome.told is None:
                yield Step(outcome.label, not outcome.is_fault, after, outcome.broken)
                continue
            step = self._told(after, outcome.told, outcome.label, is_fair=not outcome.is_fault)
            step.broken = outcome.broken or step.broken
            yield step

    def _numbered(self, outcome: Outcome, mind: Mind) -> tuple[Outcome, int, int, int]:
        """The outcome with its activity's name, and the numbers of what it leaves behind."""
        late = self._lates.of(Late(mind.activity, mind.sandbox_id)) if outcome.is_late else 0
        named = replace(outcome, label=f"{_word(mind.activity)} {outcome.label}".rstrip())
        return named, self.worlds.of(outcome.world), self._attempts.of(outcome.attempt), late

    def _of_daytona(self, state: State) -> Iterator[Step]:
        late = self._lates.things[state[3]]
        if late is not None:
            answer = errands.executed(self.world(state), late, self._mistakes)
            after = (state[0], self.worlds.of(answer.world), state[2], 0, state[4])
            yield Step(f"the late {_word(late.activity)} is executed after all", True, after, answer.broken)
        for label, world in self._moves(state[1], "advance", self._advanced):
            yield Step(label, True, (state[0], world, *state[2:]))

    def _of_people(self, state: State) -> Iterator[Step]:
        allowance = self.allowance(state)
        for mail, after_mail in self._mail(state[4]):
            world = state[1]
            # What was sent while the word stood is not taken back with it.
            is_sent = state[3] != 0 or self.mind(state).activity == "delete_sandbox"
            if mail.gives_up or (mail.takes_back and not is_sent):
                is_coming = mail.gives_up and self._is_create_sent(state)
                world = self.worlds.of(outside.given_up(self.world(state), mail.gives_up, is_coming))
            after = (state[0], world, state[2], state[3], after_mail)
            yield self._told(after, mail.observation, mail.label, is_fair=False)
        if allowance.acts:
            fewer = self.allowances.of(replace(allowance, acts=allowance.acts - 1))
            for label, world in self._moves(state[1], "act", outside.acts):
                late = 0 if self._is_entered(state, world) else state[3]
                yield Step(label, False, (state[0], world, state[2], late, fewer))

    def _mail(self, number: int) -> list[tuple[Mail, int]]:
        mails = self._mails.get(number)
        if mails is None:
            found = outside.mail(self.allowances.things[number])
            mails = self._mails[number] = [(mail, self.allowances.of(mail.allowance)) for mail in found]
        return mails

    def _is_entered(self, state: State, world: int) -> bool:
        """Whether a person went into the sandbox that a late delete is about: a stated limit, it is left out."""
        late = self._lates.things[state[3]]
        if late is None or late.activity != "delete_sandbox":
            return False
        before, after = self.world(state).row(late.sandbox_id), self.worlds.things[world].row(late.sandbox_id)
        return before is not None and after is not None and after.is_manned and not before.is_manned

    def _is_create_sent(self, state: State) -> bool:
        """Whether a create is scheduled or on its way that may still be executed."""
        late = self._lates.things[state[3]]
        is_late = late is not None and late.activity == "create_sandbox"
        return is_late or (self.mind(state).activity == "create_sandbox" and state[2] == 0)

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

    def _told(self, state: State, observation: Observation, label: str, *, is_fair: bool) -> Step:
        """The workflow hears of something; what it finishes thereby shows at Daytona and in what is known."""
        thought = self._minds.after(state[0], observation)
        if observation.view is not None and observation.view.is_used:
            state = self._later(state)  # A person's session takes longer than a request can be on its way.
        is_reply = observation.kind not in {Kind.DELIVERED, Kind.ORDERED}
        is_giving_up = bool(self.allowance(state).giving_up)
        world, broken = self._settle(state[1], state[0], thought.mind, thought.served, is_giving_up=is_giving_up)
        late = self._lates.things[state[3]]
        is_past = is_reply and late is not None and late.is_overtaken and self.mind(state).activity in COMMANDS
        after = (thought.mind, world, 0 if is_reply else state[2], 0 if is_past else state[3], state[4])
        return Step(label, is_fair, after, broken)

    def _settle(
        self, world: int, before: int, after: int, served: tuple[Served, ...], *, is_giving_up: bool
    ) -> tuple[int, str]:
        key = (world, before, after, served, is_giving_up)
        settled = self._settled.get(key)
        if settled is None:
            minds = self._minds.minds
            result = _known_by(self.worlds.things[world], minds[before], minds[after])
            broken = ""
            for each in served:
                broken = broken or promises.of_service(each)
                trouble = Trouble.NONE if result.trouble is Trouble.READ else result.trouble
                result = replace(result, trouble=trouble)
                if each.action is Action.USE and minds[before].is_asked:
                    result = daytona.entered(result, each.sandbox_id, is_given_up=is_giving_up)
            settled = self._settled[key] = self.worlds.of(result), broken
        return settled

    def _expired(self, state: State, mind: Mind) -> State:
        """Assumed: no request is on its way for longer than a minute, and no read is older."""
        return state if mind.is_pause else self._later(state)

    def _later(self, state: State) -> State:
        ((_, world),) = self._moves(state[1], "age", lambda world: iter([("", daytona.aged(world))]))
        return state[0], world, state[2], 0, state[4]

    def _overtaken(self, number: int) -> int:
        late = self._lates.things[number]
        return 0 if late is None else self._lates.of(replace(late, is_overtaken=True))

    def _with_fault(self, number: int) -> int:
        """The allowance with one fault fewer; -1 when there is none left."""
        fewer = self._fewer_faults.get(number)
        if fewer is None:
            allowance = self.allowances.things[number]
            left = replace(allowance, faults=allowance.faults - 1)
            fewer = self._fewer_faults[number] = self.allowances.of(left) if allowance.faults else -1
        return fewer


def _known_by(world: World, before: Mind, after: Mind) -> World:
    """What the rows' notes become by what the workflow has learned."""
    if after.asleep_id and after.asleep_id != before.asleep_id:
        row = world.row(after.asleep_id)
        world = world.put(replace(row, is_used=False)) if row is not None else world
    row = world.row(after.known_id) if after.known_id else None
    if row is not None and not row.is_seen:
        world = world.put(replace(row, is_seen=True))
    return world


def _word(activity: str) -> str:
    return activity.removesuffix("_sandbox").replace("_", " ")
