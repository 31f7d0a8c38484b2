"""Slots: never more than the limit, the first that asked first, and nobody waits for ever."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from issuebox.domain.gate import (
    CHECK_EVERY,
    HOLDERS_MAX,
    PROBE_EVERY,
    QUESTION_AFTER,
    REOPENS_AFTER,
    Caps,
    Gate,
    Letter,
)
from issuebox.domain.run import Run, RunGoal, RunOutcome, RunPhase, RunTerms, Step
from issuebox.domain.run_plan import Circumstances, plan
from issuebox.domain.slot import (
    ASK_AGAIN,
    NEVER,
    SAY_AGAIN,
    UNHEARD_AGAIN,
    Answer,
    Asker,
    Kind,
    Limit,
    Need,
    Said,
    Slot,
    Word,
)

T0 = datetime(2026, 11, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)
KEEP_S = 7200.0


def said(holder: str, spoken: Word, asked_at: datetime, keep_s: float = KEEP_S) -> Said:
    return Said(holder, spoken, asked_at, keep_s)


def asked(gate: Gate, *holders: str, now: datetime = T0) -> None:
    """Each asks, a second after the one before."""
    for place, holder in enumerate(holders):
        gate.hear(said(holder, Word.ASK, now + place * SECOND), now + place * SECOND)


def granted(letters: list[Letter]) -> list[str]:
    return [letter.holder for letter in letters if letter.answer.is_granted]


def holders(gate: Gate) -> list[str]:
    return [lease.holder for lease in gate.leases]


def test_slots_are_granted_in_the_order_of_asking() -> None:
    """The first that asked first, and each other is told its place."""
    gate = Gate(Caps(2))
    asked(gate, "a", "b", "c", "d")
    letters = gate.step(T0 + 4 * SECOND)
    assert granted(letters) == ["a", "b"]
    assert [(each.holder, each.answer.place) for each in letters if not each.answer.is_granted] == [("c", 1), ("d", 2)]
    gate.hear(said("b", Word.RETURN, T0 + SECOND), T0 + 5 * SECOND)
    assert granted(gate.step(T0 + 5 * SECOND)) == ["c"]
    assert holders(gate) == ["a", "c"]


def test_words_that_arrive_in_another_order_change_no_place() -> None:
    """The place goes by the time of asking, not of arrival."""
    gate = Gate(Caps(1))
    gate.hear(said("late", Word.ASK, T0 + 5 * SECOND), T0 + 6 * SECOND)
    gate.hear(said("first", Word.ASK, T0), T0 + 7 * SECOND)
    assert granted(gate.step(T0 + 7 * SECOND)) == ["first"]


def test_without_a_limit_everybody_gets_a_slot() -> None:
    gate = Gate(Caps(0))
    asked(gate, "a", "b", "c")
    assert granted(gate.step(T0)) == ["a", "b", "c"]


def test_changed_limit_takes_effect() -> None:
    """A higher one at once. With a lower one nothing is taken away, and nothing granted until enough came back."""
    gate = Gate(Caps(1))
    asked(gate, "a", "b", "c", "d")
    gate.step(T0)
    gate.caps = Caps(3)
    assert granted(gate.step(T0)) == ["b", "c"]
    gate.caps = Caps(1)
    for place, holder in enumerate(("a", "b")):
        gate.hear(said(holder, Word.RETURN, T0 + place * SECOND), T0)
        assert granted(gate.step(T0)) == []
    gate.hear(said("c", Word.RETURN, T0 + 2 * SECOND), T0)
    assert granted(gate.step(T0)) == ["d"]


def test_asking_again_keeps_the_place_and_repeats_the_answer() -> None:
    """The answer may have been undone by a reset of the holder's workflow."""
    gate = Gate(Caps(1))
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
    gate = Gate(Caps(1))
    asked(gate, "a", now=T0 + 60 * SECOND)
    gate.step(T0 + 60 * SECOND)
    gate.hear(said("a", spoken, T0), T0 + 61 * SECOND)
    assert [(lease.holder, lease.asked_at) for lease in gate.leases] == [("a", T0 + 60 * SECOND)]
    assert gate.step(T0 + 61 * SECOND) == []


def test_newer_asking_gives_the_earlier_lease_up() -> None:
    """Who asks anew holds nothing: the return may come later, or never."""
    gate = Gate(Caps(1))
    asked(gate, "a", "b")
    gate.step(T0)
    gate.hear(said("a", Word.ASK, T0 + 60 * SECOND), T0 + 60 * SECOND)
    assert granted(gate.step(T0 + 60 * SECOND)) == ["b"]


def test_holder_that_says_so_is_believed_beyond_the_limit_and_asked() -> None:
    """A gate that lost its memory learns who holds a slot. A late word is found out by the question."""
    gate = Gate(Caps(1))
    asked(gate, "a")
    gate.step(T0)
    gate.hear(said("b", Word.HOLD, T0), T0)
    assert gate.step(T0) == [Letter("b", Answer(T0, is_granted=True))]
    assert holders(gate) == ["a", "b"]
    gate.hear(said("b", Word.RETURN, T0), T0)
    assert holders(gate) == ["a"]


def test_silent_holder_is_asked_and_keeps_its_slot_while_its_run_may_live() -> None:
    """It ends only when nothing of it can be alive any more."""
    gate = Gate(Caps(1))
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
    gate = Gate(Caps(1))
    asked(gate, "a")
    gate.step(T0)
    now = T0
    while now < T0 + 2 * timedelta(seconds=KEEP_S):
        now += SAY_AGAIN
        gate.hear(said("a", Word.HOLD, T0), now)
        assert gate.step(now) == []
    assert holders(gate) == ["a"]


def test_ended_holder_is_reclaimed_unless_it_asked_since() -> None:
    gate = Gate(Caps(1))
    asked(gate, "a", "b")
    gate.step(T0)
    gate.reclaim([("a", T0 - SECOND)])
    assert holders(gate) == ["a"]
    gate.reclaim([("a", T0)])
    assert granted(gate.step(T0)) == ["b"]


def test_ended_holders_are_looked_for_only_while_somebody_waits() -> None:
    gate = Gate(Caps(1))
    asked(gate, "a")
    gate.step(T0)
    assert not gate.is_check_due(T0)
    asked(gate, "b")
    assert gate.is_check_due(T0)
    gate.checked_at = T0
    assert not gate.is_check_due(T0)
    assert gate.due_at(T0) == T0 + CHECK_EVERY
    assert gate.is_check_due(T0 + CHECK_EVERY)


def test_gate_that_lost_its_memory_grants_nothing_until_holders_were_heard() -> None:
    gate = Gate(Caps(1), opens_at=T0 + REOPENS_AFTER)
    asked(gate, "b")
    assert granted(gate.step(T0)) == []
    gate.hear(said("a", Word.HOLD, T0 - SECOND), T0)
    assert granted(gate.step(T0)) == ["a"]
    assert gate.due_at(T0) is not None
    gate.hear(said("a", Word.HOLD, T0 - SECOND), T0 + SAY_AGAIN)
    assert granted(gate.step(T0 + REOPENS_AFTER)) == []
    gate.hear(said("a", Word.RETURN, T0 - SECOND), T0 + REOPENS_AFTER)
    assert granted(gate.step(T0 + REOPENS_AFTER)) == ["b"]


def test_what_the_gate_remembers_is_bounded() -> None:
    gate = Gate(Caps(1))
    for number in range(HOLDERS_MAX + 5):
        gate.hear(said(f"i{number}", Word.ASK, T0 + number * timedelta(microseconds=1)), T0)
        gate.hear(said(f"h{number}", Word.HOLD, T0), T0)
    gate.step(T0)
    assert (len(gate.waiting), len(gate.leases)) == (HOLDERS_MAX, HOLDERS_MAX)


@pytest.mark.parametrize("keep_s", [float("nan"), float("inf"), 1e300, -1.0])
def test_words_with_absurd_values_harm_nothing(keep_s: float) -> None:
    """Anybody with access to Temporal may send one."""
    gate = Gate(Caps(1))
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
    slot.miss(T0)
    assert slot.due_at(Need.WANTED) == T0 + UNHEARD_AGAIN
    assert slot.next_word(Need.WANTED, T0 + UNHEARD_AGAIN - SECOND) is None
    assert slot.next_word(Need.WANTED, T0 + UNHEARD_AGAIN) is Word.ASK
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
    assert slot.say(Need.OCCUPIED, T0) == (Word.HOLD, T0)
    assert slot.say(Need.OCCUPIED, T0) == (Word.RETURN, T0 - SECOND)
    assert slot.say(Need.OCCUPIED, T0) is None


@pytest.mark.parametrize(("need", "word"), [(Need.OCCUPIED, Word.HOLD), (Need.WANTED, Word.ASK)])
def test_who_has_a_lease_of_its_own_says_so_before_it_returns_another(need: Need, word: Word) -> None:
    """The gate knows the other one alone: returned first, its slot would go to somebody else."""
    slot = Slot()
    slot.hear(Answer(T0, is_granted=True))
    assert slot.say(need, T0 + SECOND) == (word, T0 + SECOND)
    assert slot.say(need, T0 + SECOND) == (Word.RETURN, T0)


def test_who_holds_a_slot_says_so_when_the_gate_believes_in_another_one() -> None:
    slot = Slot()
    slot.say(Need.OCCUPIED, T0)
    slot.hear(Answer(NEVER, is_granted=True))
    assert slot.say(Need.OCCUPIED, T0 + SECOND) == (Word.HOLD, T0)
    assert slot.say(Need.OCCUPIED, T0 + SECOND) == (Word.RETURN, NEVER)


def test_lease_that_was_asked_for_later_than_anything_known_is_forgotten() -> None:
    """A reset undid the asking. The next word is later than that."""
    slot = Slot()
    assert not slot.is_forgotten(Answer(NEVER, is_granted=True)), "of that one the gate knows only that it runs"
    slot.say(Need.OCCUPIED, T0)
    assert not slot.is_forgotten(Answer(T0, is_granted=True))
    assert not slot.is_forgotten(Answer(T0 + SECOND))
    answer = Answer(T0 + SECOND, is_granted=True)
    assert slot.is_forgotten(answer)
    slot.start_over(answer, T0 + 60 * SECOND)
    assert (slot.is_held, slot.kept_until) == (False, T0 + 60 * SECOND)
    spoken, about = slot.say(Need.OCCUPIED, T0) or (None, T0)
    assert spoken is Word.HOLD
    assert about > answer.asked_at


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
        self.gate = Gate(Caps(runs_max))
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


# Caps, the order of the queue, and the organization's hold.


def asker(repository: str = "", author: str = "", *, is_person: bool = False, is_trusted: bool = False) -> Asker:
    return Asker(repository, author, is_person, is_trusted)


def wants(gate: Gate, holder: str, whose: Asker, at: datetime = T0) -> None:
    gate.hear(Said(holder, Word.ASK, at, kind=Kind.SANDBOX, asker=whose), at)


def capped(**caps: int) -> Gate:
    return Gate(Caps(**caps), Kind.SANDBOX)


def waits(letters: list[Letter]) -> dict[str, tuple[int, Limit]]:
    return {each.holder: (each.answer.place, each.answer.limit) for each in letters if not each.answer.is_granted}


def test_repositories_take_turns_and_people_go_first() -> None:
    """A flood of one repository is no reason for another one to wait; within one the first that asked is first."""
    gate = capped(total=1)
    wants(gate, "holder", asker("acme/flood"))
    gate.step(T0)
    for number in range(4):
        wants(gate, f"flood-{number}", asker("acme/flood"), T0 + number * SECOND)
    wants(gate, "quiet", asker("acme/quiet"), T0 + 10 * SECOND)
    wants(gate, "person", asker("acme/flood", is_person=True), T0 + 20 * SECOND)
    assert waits(gate.step(T0 + 30 * SECOND))["person"] == (1, Limit.TOTAL)
    order, holder, at = [], "holder", T0
    for number in range(6):
        gate.hear(Said(holder, Word.RETURN, at, kind=Kind.SANDBOX), T0 + (40 + number) * SECOND)
        (letter,) = gate.step(T0 + (40 + number) * SECOND)
        holder, at = letter.holder, letter.answer.asked_at
        order.append(holder)
    assert order == ["person", "flood-0", "quiet", "flood-1", "flood-2", "flood-3"]


def test_repository_that_was_just_served_comes_last() -> None:
    gate = capped(total=1)
    for number, repository in enumerate(("a", "b", "a", "b")):
        wants(gate, f"{repository}-{number}", asker(repository), T0 + number * SECOND)
    served = []
    for turn in range(4):
        (letter,) = [each for each in gate.step(T0 + (10 + turn) * SECOND) if each.answer.is_granted]
        served.append(letter.holder)
        gate.hear(Said(letter.holder, Word.RETURN, letter.answer.asked_at, kind=Kind.SANDBOX), T0 + 20 * SECOND)
    assert served == ["a-0", "b-1", "a-2", "b-3"]


@pytest.mark.parametrize(
    ("caps", "held", "asking", "limit"),
    [
        ({"total": 1}, asker("a/1", "x"), asker("b/1", "y", is_trusted=True), Limit.TOTAL),
        ({"total": 2, "reserve": 1}, asker("a/1", "x"), asker("b/1", "y"), Limit.RESERVE),
        ({"per_repository": 1}, asker("A/1", "x"), asker("a/1", "y", is_trusted=True), Limit.REPOSITORY),
        ({"per_author": 1}, asker("a/1", "Ann"), asker("b/1", "ann", is_person=True), Limit.AUTHOR),
    ],
)
def test_each_cap_says_what_is_waited_for(caps: dict[str, int], held: Asker, asking: Asker, limit: Limit) -> None:
    """GitHub compares names without regard to case. A person goes first, and passes no cap."""
    gate = capped(**caps)
    wants(gate, "holder", held)
    assert granted(gate.step(T0)) == ["holder"]
    wants(gate, "next", asking, T0 + SECOND)
    assert waits(gate.step(T0 + SECOND)) == {"next": (1, limit)}
    gate.hear(Said("holder", Word.RETURN, T0, kind=Kind.SANDBOX), T0 + 2 * SECOND)
    assert granted(gate.step(T0 + 2 * SECOND)) == ["next"]


def test_reserve_is_for_trusted_people_only() -> None:
    """Strangers can never fill the organization, and who is trusted passes them by."""
    gate = capped(total=3, reserve=1)
    for number in range(3):
        wants(gate, f"stranger-{number}", asker("a/1"), T0 + number * SECOND)
    assert granted(gate.step(T0 + 3 * SECOND)) == ["stranger-0", "stranger-1"]
    wants(gate, "trusted", asker("a/1", is_trusted=True), T0 + 4 * SECOND)
    assert granted(gate.step(T0 + 4 * SECOND)) == ["trusted"]


def test_who_may_go_on_is_not_held_up_by_who_may_not() -> None:
    """The first in the queue waits for its repository: the next one takes the slot."""
    gate = capped(total=5, per_repository=1)
    wants(gate, "holder", asker("a/1"))
    gate.step(T0)
    wants(gate, "same", asker("a/1"), T0 + SECOND)
    wants(gate, "other", asker("b/1"), T0 + 2 * SECOND)
    letters = gate.step(T0 + 2 * SECOND)
    assert granted(letters) == ["other"]
    assert waits(letters) == {"same": (1, Limit.REPOSITORY)}


def test_sandbox_that_runs_unseen_counts_and_one_that_stopped_is_asked_about() -> None:
    """People start sandboxes by hand. What the list does not show any more is only doubted: its holder looks it up."""
    gate = capped(total=2)
    wants(gate, "a", asker("a/1"))
    gate.step(T0)
    wants(gate, "b", asker("a/1"), T0 + SECOND)
    wants(gate, "c", asker("a/1"), T0 + 2 * SECOND)
    later = T0 + timedelta(minutes=5)
    gate.opens_at = later
    gate.see([("by-hand", asker("b/1"))], [], later)
    gate.opens_at = None
    letters = gate.step(later)
    assert granted(letters) == ["a"], "a question: no slot is free"
    assert holders(gate) == ["a", "by-hand"]
    gate.hear(Said("a", Word.RETURN, T0, kind=Kind.SANDBOX), later)
    assert granted(gate.step(later)) == ["b"]


def test_the_quietest_holder_is_asked_whatever_the_list_says() -> None:
    """The list may lag for ever. Whose run is at work is not asked."""
    gate = capped(total=3)
    for number, holder in enumerate(("busy", "quiet", "loud")):
        wants(gate, holder, asker("a/1"), T0 + number * SECOND)
    gate.step(T0 + 3 * SECOND)
    later = T0 + timedelta(minutes=10)
    gate.hear(Said("loud", Word.HOLD, T0 + 2 * SECOND, kind=Kind.SANDBOX), later)
    gate.see([(name, asker()) for name in ("busy", "quiet", "loud")], ["busy"], later)
    assert granted(gate.step(later)) == ["quiet"]
    assert granted(gate.step(later)) == []


def test_who_lost_its_memory_goes_on_with_its_slot() -> None:
    """Its sandbox may run: asking anew gives nothing to anybody else, and it counts once."""
    gate = capped(total=1)
    wants(gate, "a", asker("a/1"))
    gate.step(T0)
    wants(gate, "b", asker("a/1"), T0 + SECOND)
    gate.step(T0 + SECOND)
    wants(gate, "a", asker("a/1"), T0 + 2 * SECOND)
    assert gate.step(T0 + 2 * SECOND) == [
        Letter("a", Answer(T0 + 2 * SECOND, is_granted=True, kind=Kind.SANDBOX)),
    ]
    assert holders(gate) == ["a"]


def test_silent_sandbox_keeps_its_slot_for_ever() -> None:
    """No time tells that a sandbox has stopped: only a lookup does."""
    gate = capped(total=1)
    wants(gate, "a", asker("a/1"))
    gate.step(T0)
    wants(gate, "b", asker("a/1"), T0 + SECOND)
    gate.step(T0 + SECOND)
    assert granted(gate.step(T0 + timedelta(days=400))) == []
    assert holders(gate) == ["a"]


def refuse(gate: Gate, holder: str, at: datetime, asked_at: datetime = T0) -> datetime:
    """It was refused for the quota, and asks anew with its old place. Returns the new asking's time."""
    gate.hear(Said(holder, Word.REFUSED, asked_at, kind=Kind.SANDBOX), at)
    gate.hear(Said(holder, Word.ASK, at, kind=Kind.SANDBOX, since=T0), at)
    return at


def test_one_tries_each_minute_while_the_quota_is_used_up_and_all_follow_when_it_has_room() -> None:
    """Twenty wait. Who was refused keeps its place; after a success two follow, then four, …."""
    gate = Gate(kind=Kind.SANDBOX)
    names = [f"i{number:02}" for number in range(20)]
    for name in names:
        refuse(gate, name, T0 + SECOND, T0)
    now = T0 + SECOND
    asked_at = dict.fromkeys(names, now)
    for _ in range(5):
        assert granted(gate.step(now + PROBE_EVERY - SECOND)) == []
        now += PROBE_EVERY
        (letter,) = gate.step(now)
        assert (letter.holder, letter.answer.is_trial) == ("i00", True)
        asked_at["i00"] = refuse(gate, "i00", now, asked_at["i00"])
    now += PROBE_EVERY
    batches = []
    batch = gate.step(now)
    while batch:
        batches.append(granted(batch))
        for letter in batch:
            gate.hear(Said(letter.holder, Word.HOLD, letter.answer.asked_at, kind=Kind.SANDBOX), now)
        batch = [each for each in gate.step(now) if each.answer.is_granted and each.answer.is_trial]
    assert [len(each) for each in batches] == [1, 2, 4, 8, 5]
    assert [name for each in batches for name in each] == names
    gate.step(now)
    assert gate.hold is None


def test_hold_outlasts_the_moment_in_which_nobody_waits() -> None:
    """Who was refused asks anew a moment later. Else it would be let in at once, and again and again."""
    gate = Gate(kind=Kind.SANDBOX)
    gate.hear(Said("a", Word.REFUSED, T0, kind=Kind.SANDBOX), T0)
    assert gate.step(T0) == []
    wants(gate, "a", asker(), T0 + SECOND)
    assert waits(gate.step(T0 + SECOND)) == {"a": (1, Limit.QUOTA)}
    assert granted(gate.step(T0 + PROBE_EVERY)) == ["a"]


def test_refusal_in_the_middle_puts_the_organization_on_hold_again() -> None:
    gate = Gate(kind=Kind.SANDBOX)
    for name in ("a", "b", "c", "d"):
        refuse(gate, name, T0 + SECOND, T0)
    now = T0 + SECOND + PROBE_EVERY
    (first,) = [each for each in gate.step(now) if each.answer.is_granted]
    gate.hear(Said("a", Word.RETURN, first.answer.asked_at, kind=Kind.SANDBOX), now)
    assert granted(gate.step(now)) == ["b", "c"]
    refuse(gate, "b", now + SECOND, T0 + SECOND)
    assert granted(gate.step(now + SECOND)) == []
    assert gate.due_at(now) == now + SECOND + PROBE_EVERY


def test_slot_that_was_refused_is_returned_and_asked_for_with_the_same_place() -> None:
    """A late repetition of the old grant is no grant of the new asking."""
    slot = Slot()
    assert slot.say(Need.WANTED, T0) == (Word.ASK, T0)
    slot.hear(Answer(T0, is_granted=True, kind=Kind.SANDBOX, is_trial=True))
    assert slot.is_usable
    slot.is_refused = True
    assert not slot.is_usable
    assert slot.say(Need.WANTED, T0 + SECOND) == (Word.REFUSED, T0)
    assert slot.say(Need.WANTED, T0 + SECOND) == (Word.ASK, T0 + SECOND)
    assert slot.since == T0
    slot.hear(Answer(T0, is_granted=True, kind=Kind.SANDBOX))
    assert not slot.is_held
    assert slot.say(Need.WANTED, T0 + SECOND) == (Word.RETURN, T0)


def test_successful_trial_is_told_at_once() -> None:
    """Others wait for it. Any other holder says nothing for a quarter of an hour."""
    for is_trial, word in ((True, Word.HOLD), (False, None)):
        slot = Slot()
        slot.say(Need.WANTED, T0)
        slot.hear(Answer(T0, is_granted=True, is_trial=is_trial))
        assert slot.next_word(Need.WANTED, T0) is None, "it has not tried yet"
        assert slot.next_word(Need.OCCUPIED, T0) is word


def test_who_asks_for_more_is_heard_at_once() -> None:
    """A person asks for what an event had asked for: it goes to the front."""
    slot = Slot()
    slot.say(Need.WANTED, T0, asker("a/1"))
    assert slot.next_word(Need.WANTED, T0, asker("a/1")) is None
    assert slot.next_word(Need.WANTED, T0, asker("a/1", is_person=True)) is Word.ASK
