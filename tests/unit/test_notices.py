"""Which states of a sandbox make a notice: those that somebody can act on, each once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from issuebox.domain.memory import Answer, Memory
from issuebox.domain.notices import Kind, take_notice
from issuebox.domain.phase import Cause, Goal, Outcome, Phase
from issuebox.domain.policy import Policy
from issuebox.domain.sandbox import Sandbox

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
SANDBOX = Sandbox("an-id", "claude-issue-7", Phase.USABLE, "started")

State = Callable[[Memory], object]


def ready(memory: Memory) -> None:
    """The sandbox runs and was handed over to all who asked."""
    memory.see(SANDBOX, NOW)
    memory.hand_over(memory.ask(NOW), Answer(Outcome.CREATED, SANDBOX), NOW)
    memory.progress.blocked, memory.progress.outcome = None, Outcome.CREATED


def reached(goal: Goal) -> State:
    def reach(memory: Memory) -> None:
        memory.progress.turn_to(goal)
        memory.progress.reached = goal

    return reach


def blocked(memory: Memory) -> None:
    memory.block(Cause.QUOTA, "no more CPUs", NOW, 0.0, lambda: 0.0)


def queued(memory: Memory) -> None:
    memory.block(Cause.QUEUED, "place 3 in the queue", LATER, 0.0, lambda: 0.0)


def asked_again(memory: Memory) -> None:
    memory.ask(LATER)


def on_its_way(memory: Memory) -> None:
    memory.progress.turn_to(Goal.STOPPED)


def only_looked_up(memory: Memory) -> None:
    memory.see(SANDBOX, NOW)


def memory_after(*states: State, has_receiver: bool = True) -> Memory:
    """A memory that went through these states, and noticed each."""
    memory = Memory(7, "claude-issue-7", policy=Policy(has_receiver=has_receiver))
    for state in states:
        state(memory)
        take_notice(memory, NOW)
    return memory


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (ready, Kind.READY),
        (blocked, Kind.BLOCKED),
        (reached(Goal.STOPPED), Kind.STOPPED),
        (reached(Goal.ARCHIVED), Kind.STOPPED),
        (reached(Goal.DELETED), Kind.DELETED),
        (on_its_way, None),
        (only_looked_up, None),
        (asked_again, None),
        (queued, None),
    ],
)
def test_state_that_somebody_can_act_on_makes_a_notice(state: State, kind: Kind | None) -> None:
    """What is on its way to another state makes none."""
    pending = memory_after(state).notices.pending
    assert (pending and pending.kind) == kind


@pytest.mark.parametrize("state", [ready, blocked, reached(Goal.STOPPED), reached(Goal.DELETED)])
def test_state_makes_its_notice_once(state: State) -> None:
    """The loop passes by many times. Only another state, or another request that was served, is news."""
    memory = memory_after(state)
    first = memory.notices.pending
    take_notice(memory, LATER)
    assert memory.notices.pending is first
    assert memory.notices.made == 1


def test_newer_notice_takes_the_place_of_one_that_is_not_delivered() -> None:
    """And what becomes of the older one then changes nothing."""
    memory = memory_after(ready)
    older = memory.notices.pending
    assert older is not None
    reached(Goal.STOPPED)(memory)
    take_notice(memory, LATER)
    newer = memory.notices.pending
    assert newer is not None
    assert (newer.kind, newer.at) == (Kind.STOPPED, LATER)
    assert newer.id != older.id
    memory.notices.settle(older, is_delivered=False)
    assert (memory.notices.pending, memory.notices.undelivered) == (newer, "")
    memory.notices.settle(newer, is_delivered=False)
    assert (memory.notices.pending, memory.notices.undelivered) == (None, Kind.STOPPED)


def test_each_request_that_is_served_makes_a_notice() -> None:
    """Who asks for a sandbox that runs is told that it is ready."""
    assert memory_after(ready, asked_again, ready).notices.made == 2


def test_nothing_is_noticed_without_a_receiver() -> None:
    """A receiver that is set later is told of the present state."""
    memory = memory_after(ready, has_receiver=False)
    assert memory.notices.pending is None
    memory.policy = Policy(has_receiver=True)
    take_notice(memory, LATER)
    assert memory.notices.pending is not None


def test_request_that_was_called_off_makes_no_notice() -> None:
    """Somebody asked, an order called that off, and the order was lifted: nothing was handed over again."""
    memory = memory_after(ready)
    memory.requests.serve(memory.ask(LATER), Answer(Outcome.STOPPED))
    take_notice(memory, LATER)
    assert memory.notices.made == 1


def test_issue_that_waits_for_its_turn_on_the_way_makes_no_notice() -> None:
    """It was blocked, is queued, and then handed over: the receiver hears of the block and of the sandbox."""
    memory = memory_after(blocked, queued)
    assert memory.notices.made == 1
    ready(memory)
    take_notice(memory, LATER)
    assert memory.notices.pending is not None
    assert (memory.notices.made, memory.notices.pending.kind) == (2, Kind.READY)


def test_id_has_no_full_stop() -> None:
    """The signed text is ID, time and body with full stops between them. A prefix may have some."""
    memory = Memory(7, "my.prefix-7", policy=Policy(has_receiver=True))
    ready(memory)
    take_notice(memory, NOW)
    assert memory.notices.pending is not None
    assert memory.notices.pending.id == "my_prefix-7-20260304050607-1"
