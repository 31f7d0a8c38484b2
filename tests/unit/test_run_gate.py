"""Slots: never more than the limit, the first that asked first, and nobody waits for ever."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from issuebox.domain.run import Run, RunGoal, RunOutcome, RunPhase, RunTerms, Step
from issuebox.domain.run_gate import (
    ASK_AGAIN,
    CHECK_EVERY,
    HOLDERS_MAX,
    QUESTION_AFTER,
    REOPENS_AFTER,
    SAY_AGAIN,
    Answer,
    Letter,
    Need,
    RunGate,
    Said,
    Slot,
    Word,
)
from issuebox.domain.run_plan import Circumstances, plan

T0 = datetime(2026, 11, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)
KEEP_S = 7200.0


def said(holder: str, spoken: Word, asked_at: datetime, keep_s: float = KEEP_S) -> Said:
    return Said(holder, spoken, asked_at, keep_s)


def asked(gate: RunGate, *holders: str, now: datetime = T0) -> None:
    """Each asks, a second after the one before."""
    for place, holder in enumerate(holders):
        gate.hear(said(holder, Word.ASK, now + place * SECOND), now + place * SECOND)


def granted(letters: list[Letter]) -> list[str]:
    return [letter.holder for letter in letters if letter.answer.is_granted]


def holders(gate: RunGate) -> list[str]:
    return [lease.holder for lease in gate.leases]


def test_slots_are_granted_in_the_order_of_asking() -> None:
    """The first that asked first, and each other is told its place."""
    gate = RunGate(runs_max=2)
    asked(gate, "a", "b", "c", "d")
    letters = gate.step(T0 + 4 * SECOND)
    assert granted(letters) == ["a", "b"]
    assert [(each.holder, each.answer.place) for each in letters if not each.answer.is_granted] == [("c", 1), ("d", 2)]
    gate.hear(said("b", Word.RETURN, T0 + SECOND), T0 + 5 * SECOND)
    assert granted(gate.step(T0 + 5 * SECOND)) == ["c"]
    assert holders(gate) == ["a", "c"]


def test_words_that_arrive_in_another_order_change_no_place() -> None:
    """The place goes by the time of asking, not of arrival."""
    gate = RunGate(runs_max=1)
    gate.hear(said("late", Word.ASK, T0 + 5 * SECOND), T0 + 6 * SECOND)
    gate.hear(said("first", Word.ASK, T0), T0 + 7 * SECOND)
    assert granted(gate.step(T0 + 7 * SECOND)) == ["first"]


def test_without_a_limit_everybody_gets_a_slot() -> None:
    gate = RunGate(runs_max=0)
    asked(gate, "a", "b", "c")
    assert granted(gate.step(T0)) == ["a", "b", "c"]


def test_changed_limit_takes_effect() -> None:
    """A higher one at once. With a lower one nothing is taken away, and nothing granted until enough came back."""
    gate = RunGate(runs_max=1)
    asked(gate, "a", "b", "c", "d")
    gate.step(T0)
    gate.runs_max = 3
    assert granted(gate.step(T0)) == ["b", "c"]
    gate.runs_max = 1
    for place, holder in enumerate(("a", "b")):
        gate.hear(said(holder, Word.RETURN, T0 + place * SECOND), T0)
        assert granted(gate.step(T0)) == []
    gate.hear(said("c", Word.RETURN, T0 + 2 * SECOND), T0)
    assert granted(gate.step(T0)) == ["d"]


def test_asking_again_keeps_the_place_and_repeats_the_answer() -> None:
    """The answer may have been undone by a reset of the holder's workflow."""
    gate = RunGate(runs_max=1)
    asked(gate, "a", "b")
    gate.step(T0)
    asked(gate, "a")
    gate.hear(said("b", Word.ASK, T0 + SECOND), T0)
    assert gate.step(T0) == [
        Letter("a", Answer(T0, is_granted=True)),
        Letter("b", Answer(T0 + SECOND, place=1)),
    ]


@pytest.mark.parametrize("spoken", [Word.RETURN, Word.HOLD, Word.ASK])
def test_late_word_about_an_earlier_lease_changes_nothing(spoken: Word) -> None:
    gate = RunGate(runs_max=1)
    asked(gate, "a", now=T0 + 60 * SECOND)
    gate.step(T0 + 60 * SECOND)
    gate.hear(said("a", spoken, T0), T0 + 61 * SECOND)
    assert [(lease.holder, lease.asked_at) for lease in gate.leases] == [("a", T0 + 60 * SECOND)]
    assert gate.step(T0 + 61 * SECOND) == []


def test_newer_asking_gives_the_earlier_lease_up() -> None:
    """Who asks anew holds nothing: the return may come later, or never."""
    gate = RunGate(runs_max=1)
    asked(gate, "a", "b")
    gate.step(T0)
    gate.hear(said("a", Word.ASK, T0 + 60 * SECOND), T0 + 60 * SECOND)
    assert granted(gate.step(T0 + 60 * SECOND)) == ["b"]


def test_holder_that_says_so_is_believed_beyond_the_limit_and_asked() -> None:
    """A gate that lost its memory learns who holds a slot. A late word is found out by the question."""
    gate = RunGate(runs_max=1)
    asked(gate, "a")
    gate.step(T0)
    gate.hear(said("b", Word.HOLD, T0), T0)
    assert gate.step(T0) == [Letter("b", Answer(T0, is_granted=True))]
    assert holders(gate) == ["a", "b"]
    gate.hear(said("b", Word.RETURN, T0), T0)
    assert holders(gate) == ["a"]


def test_silent_holder_is_asked_and_keeps_its_slot_while_its_run_may_live() -> None:
    """It ends only when nothing of it can be alive any more."""
    gate = RunGate(runs_max=1)
    asked(gate, "a", "b")
    gate.step(T0)
    assert gate.step(T0 + QUESTION_AFTER - SECOND) == []
    question = [Letter("a", Answer(T0, is_granted=True))]
    assert gate.step(T0 + QUESTION_AFTER) == question
    assert gate.step(T0 + QUESTION_AFTER + SECOND) == []
    assert gate.step(T0 + 2 * QUESTION_AFTER) == question
    gate.step(T0 + timedelta(seconds=KEEP_S) - SECOND)
    assert holders(gate) == ["a"]
    gate.step(T0 + timedelta(seconds=KEEP_S))
    assert holders(gate) == ["b"]


def test_holder_that_says_that_it_works_is_neither_asked_nor_expired() -> None:
    gate = RunGate(runs_max=1)
    asked(gate, "a")
    gate.step(T0)
    now = T0
    while now < T0 + 2 * timedelta(seconds=KEEP_S):
        now += SAY_AGAIN
        gate.hear(said("a", Word.HOLD, T0), now)
        assert gate.step(now) == []
    assert holders(gate) == ["a"]


def test_ended_holder_is_reclaimed_unless_it_asked_since() -> None:
    gate = RunGate(runs_max=1)
    asked(gate, "a", "b")
    gate.step(T0)
    gate.reclaim([("a", T0 - SECOND)])
    assert holders(gate) == ["a"]
    gate.reclaim([("a", T0)])
    assert granted(gate.step(T0)) == ["b"]


def test_ended_holders_are_looked_for_only_while_somebody_waits() -> None:
    gate = RunGate(runs_max=1)
    asked(gate, "a")
    gate.step(T0)
    assert not gate.is_check_due(T0)
    asked(gate, "b")
    assert gate.is_check_due(T0)
    gate.checked_at = T0
    assert not gate.is_check_due(T0)
    assert gate.due_at() == T0 + CHECK_EVERY
    assert gate.is_check_due(T0 + CHECK_EVERY)


def test_gate_that_lost_its_memory_grants_nothing_until_holders_were_heard() -> None:
    gate = RunGate(runs_max=1, opens_at=T0 + REOPENS_AFTER)
    asked(gate, "b")
    assert granted(gate.step(T0)) == []
    gate.hear(said("a", Word.HOLD, T0 - SECOND), T0)
    assert granted(gate.step(T0)) == ["a"]
    assert gate.due_at() is not None
    gate.hear(said("a", Word.HOLD, T0 - SECOND), T0 + SAY_AGAIN)
    assert granted(gate.step(T0 + REOPENS_AFTER)) == []
    gate.hear(said("a", Word.RETURN, T0 - SECOND), T0 + REOPENS_AFTER)
    assert granted(gate.step(T0 + REOPENS_AFTER)) == ["b"]


def test_what_the_gate_remembers_is_bounded() -> None:
    gate = RunGate(runs_max=1)
    for number in range(HOLDERS_MAX + 5):
        gate.hear(said(f"i{number}", Word.ASK, T0 + number * timedelta(microseconds=1)), T0)
        gate.hear(said(f"h{number}", Word.HOLD, T0), T0)
    gate.step(T0)
    assert (len(gate.waiting), len(gate.leases), gate.unanswered) == (HOLDERS_MAX, HOLDERS_MAX, [])


@pytest.mark.parametrize("keep_s", [float("nan"), float("inf"), 1e300, -1.0])
def test_words_with_absurd_values_harm_nothing(keep_s: float) -> None:
    """Anybody with access to Temporal may send one."""
    gate = RunGate(runs_max=1)
    gate.hear(said("a", Word.HOLD, T0, keep_s), T0)
    gate.hear(said("b", Word.ASK, datetime.max.replace(tzinfo=UTC)), T0)
    gate.step(T0)
    assert holders(gate) == ["a"]
    assert gate.waiting == []


def test_slot_is_asked_for_held_and_returned() -> None:
    slot = Slot()
    assert slot.say(Need.NONE, T0) is None
    assert slot.say(Need.WANTED, T0) == (Word.ASK, T0)
    assert slot.say(Need.WANTED, T0) is None
    slot.hear(Answer(T0, place=3))
    assert (slot.is_waiting, slot.place, slot.due_at(Need.WANTED)) == (True, 3, T0 + ASK_AGAIN)
    assert slot.say(Need.WANTED, T0 + ASK_AGAIN) == (Word.ASK, T0)
    slot.hear(Answer(T0, is_granted=True))
    assert (slot.is_held, slot.place) == (True, 0)
    now = T0 + ASK_AGAIN
    assert slot.say(Need.OCCUPIED, now) is None
    assert slot.say(Need.OCCUPIED, now + SAY_AGAIN) == (Word.HOLD, T0)
    assert slot.say(Need.NONE, now + SAY_AGAIN) == (Word.RETURN, T0)
    assert (slot.is_held, slot.say(Need.NONE, now + SAY_AGAIN)) == (False, None)


def test_slot_of_a_run_that_is_over_is_returned_before_the_next_run_asks() -> None:
    """The next run stands behind those who wait, with an asking of its own even in the same moment."""
    slot = Slot()
    slot.say(Need.WANTED, T0)
    slot.hear(Answer(T0, is_granted=True))
    slot.spend()
    assert slot.say(Need.WANTED, T0) == (Word.RETURN, T0)
    assert slot.say(Need.WANTED, T0) == (Word.ASK, T0 + timedelta(microseconds=1))


def test_run_at_work_without_a_slot_says_so() -> None:
    """The limit was set while it worked."""
    slot = Slot()
    assert slot.say(Need.OCCUPIED, T0) == (Word.HOLD, T0)
    assert slot.is_held


def test_question_is_answered_and_a_strange_lease_returned() -> None:
    slot = Slot()
    slot.say(Need.WANTED, T0)
    slot.hear(Answer(T0, is_granted=True))
    slot.hear(Answer(T0, is_granted=True))
    slot.hear(Answer(T0 - SECOND, is_granted=True))
    slot.hear(Answer(T0 - 2 * SECOND, place=1))
    assert slot.say(Need.OCCUPIED, T0) == (Word.RETURN, T0 - SECOND)
    assert slot.say(Need.OCCUPIED, T0) == (Word.HOLD, T0)
    assert slot.say(Need.OCCUPIED, T0) is None


def a_run(phase: RunPhase, goal: RunGoal = RunGoal.WORK, **changes: object) -> Run:
    return replace(Run("r-1", (), T0), phase=phase, goal=goal, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("run", "is_held", "is_blocked", "need"),
    [
        (a_run(RunPhase.ABSENT), False, False, Need.WANTED),
        (a_run(RunPhase.ASLEEP), False, False, Need.WANTED),
        (a_run(RunPhase.ASLEEP), True, True, Need.NONE),
        (a_run(RunPhase.ABSENT, next_step_at=T0 + SECOND), True, False, Need.NONE),
        (a_run(RunPhase.ABSENT, next_step_at=T0), False, False, Need.WANTED),
        (a_run(RunPhase.ABSENT, RunGoal.PAUSE), True, False, Need.NONE),
        (a_run(RunPhase.ASLEEP, RunGoal.PAUSE), True, False, Need.NONE),
        (a_run(RunPhase.ABSENT, RunGoal.CANCEL), True, False, Need.NONE),
        (a_run(RunPhase.LOST), True, False, Need.NONE),
        (a_run(RunPhase.RUNNING), False, False, Need.OCCUPIED),
        (a_run(RunPhase.RUNNING, RunGoal.CANCEL), True, True, Need.OCCUPIED),
        (a_run(RunPhase.UNKNOWN, next_step_at=T0 + SECOND), True, True, Need.OCCUPIED),
        (a_run(RunPhase.DEAD, RunGoal.PAUSE), True, False, Need.OCCUPIED),
        # A sandbox that somebody else woke up is no way past those who wait.
        (a_run(RunPhase.UNKNOWN), False, False, Need.WANTED),
        (a_run(RunPhase.PREPARED), False, False, Need.WANTED),
        (a_run(RunPhase.RUNNING, outcome=RunOutcome.DONE), True, False, Need.NONE),
    ],
)
def test_run_needs_a_slot_while_it_works_or_is_about_to(run: Run, is_held: bool, is_blocked: bool, need: Need) -> None:
    """Not while it waits for a time, for its sandbox to be usable, or for a person."""
    assert run.slot_need(T0, is_held=is_held, is_blocked=is_blocked) is need


@pytest.mark.parametrize("phase", [RunPhase.ABSENT, RunPhase.ASLEEP, RunPhase.PREPARED])
def test_nothing_begins_without_a_slot(phase: RunPhase) -> None:
    """Also no sandbox is woken up."""
    assert plan(a_run(phase), Circumstances(T0, RunTerms(), has_slot=False)).step is Step.REST


def test_run_that_was_cut_off_too_often_is_closed_without_a_slot() -> None:
    at = Circumstances(T0, RunTerms(), has_slot=False)
    assert plan(a_run(RunPhase.ASLEEP, cut_off=3), at).step is Step.CLOSE


class World:
    """Some issues and the gate. What they say to each other waits on the way, and may be delivered again."""

    def __init__(self, count: int, runs_max: int) -> None:
        self.now = T0
        self.gate = RunGate(runs_max=runs_max)
        self.slots = {f"i{number}": Slot() for number in range(count)}
        self.needs = dict.fromkeys(self.slots, Need.NONE)
        self.to_gate: list[Said] = []
        self.to_issues: list[Letter] = []

    def speak(self, name: str) -> None:
        slot, need = self.slots[name], self.needs[name]
        while (spoken := slot.say(need, self.now)) is not None:
            self.to_gate.append(said(name, *spoken, keep_s=30 * 86400.0))

    def act(self, name: str, *, begins: bool) -> None:
        """A run wants a slot, begins once it has one, or is over."""
        slot = self.slots[name]
        if self.needs[name] is Need.NONE and begins:
            self.needs[name] = Need.WANTED
        elif self.needs[name] is Need.WANTED and slot.is_held and not slot.is_spent and begins:
            self.needs[name] = Need.OCCUPIED
        elif self.needs[name] is not Need.WANTED or not begins:
            self.needs[name] = Need.NONE
            slot.spend()
        self.speak(name)

    def deliver(self, place: int, *, again: bool) -> None:
        """One message arrives, in any order. `again`: it stays on the way, to arrive once more."""
        ways: tuple[list[Said] | list[Letter], ...] = (self.to_gate, self.to_issues)
        way = ways[place % 2] or ways[1 - place % 2]
        if not way:
            return
        message = way[place % len(way)] if again else way.pop(place % len(way))
        if isinstance(message, Said):
            self.gate.hear(message, self.now)
            self.post()
        else:
            self.slots[message.holder].hear(message.answer)
            self.speak(message.holder)

    def post(self) -> None:
        before = {lease.holder for lease in self.gate.leases}
        letters = self.gate.step(self.now)
        self.to_issues += letters
        waited = [(each.asked_at, each.holder) for each in self.gate.waiting]
        for lease in self.gate.leases:
            if lease.holder not in before and waited:
                assert (lease.asked_at, lease.holder) < waited[0], "the first that asked first"

    def wait(self, so_long: timedelta) -> None:
        """Time passes, and everybody does what is due."""
        self.now += so_long
        for name in self.slots:
            self.speak(name)
        self.post()

    def move(self, kind: str, number: int, *, is_so: bool) -> None:
        if kind == "act":
            self.act(f"i{number}", begins=is_so)
        elif kind == "deliver":
            self.deliver(number, again=is_so)
        elif kind == "wait":
            self.wait(timedelta(seconds=number))
        elif way := self.to_gate if number % 2 else self.to_issues:
            way.pop(number % len(way))

    def settle(self) -> None:
        """Everything on the way arrives, and whatever that causes."""
        for _ in range(500):
            if not self.to_gate and not self.to_issues:
                return
            self.deliver(0 if self.to_gate else 1, again=False)
        raise AssertionError("they never stop talking")

    def at_work(self) -> int:
        return sum(need is Need.OCCUPIED for need in self.needs.values())


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("act"), st.integers(0, 4), st.booleans()),
        st.tuples(st.just("deliver"), st.integers(0, 30), st.booleans()),
        st.tuples(st.just("wait"), st.integers(1, 700), st.just(False)),
        st.tuples(st.just("lose"), st.integers(0, 30), st.just(False)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 3), MOVES)
def test_never_more_than_the_limit_and_everybody_is_served(runs_max: int, moves: list[tuple[str, int, bool]]) -> None:
    """However messages are repeated, delayed, reordered or lost."""
    world = World(5, runs_max)
    for kind, number, is_so in moves:
        world.move(kind, number, is_so=is_so)
        assert world.at_work() <= runs_max
    served: set[str] = set()
    for _ in range(40):
        world.wait(QUESTION_AFTER)
        for name in set(world.slots) - served:
            world.act(name, begins=True)
        world.settle()
        assert world.at_work() <= runs_max
        for name in [name for name, need in world.needs.items() if need is Need.OCCUPIED]:
            served.add(name)
            world.act(name, begins=False)
        world.settle()
    assert served == set(world.slots)
    assert not world.gate.leases
