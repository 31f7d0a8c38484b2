"""A person gives a sandbox up, by a forced delete or for a new one: the one that was meant, and no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from issuebox.domain.goal import abandon, give, goal_for, is_forced
from issuebox.domain.memory import Memory, Order
from issuebox.domain.phase import Goal, Phase
from issuebox.domain.sandbox import LABEL_ISSUE_ID, Sandbox

T0 = datetime(2026, 1, 1, tzinfo=UTC)
OLD = Sandbox("old", "claude-issue-7", Phase.STOPPED, "stopped")
NEW = replace(OLD, id="new")
ANOTHERS = replace(OLD, labels={LABEL_ISSUE_ID: "8"})


def memory(*, seen: Sandbox | None = OLD) -> Memory:
    known = Memory(7, "claude-issue-7")
    known.see(seen, T0)
    return known


def forced(known: Memory) -> Memory:
    give(known, Order.DELETE, T0, is_forced=True)
    return known


def replaced(known: Memory) -> Memory:
    known.ask(T0)
    known.orders.is_replace_asked = True
    return known


def test_forced_delete_gives_up_the_first_sandbox_that_is_seen_and_no_later_one() -> None:
    """Somebody may delete it by hand meanwhile, and make another one under its name, with work in it."""
    known = forced(memory(seen=None))
    assert not is_forced(known, None)
    for seen in (OLD, NEW):
        abandon(known, seen)
    assert (is_forced(known, OLD), is_forced(known, NEW)) == (True, False)
    assert goal_for(known, NEW) is Goal.DELETED, "it is deleted too, unless it holds work"


def test_forced_delete_that_finds_nothing_was_meant_for_the_sandbox_that_was_known() -> None:
    """A single *not found* is no sign of another sandbox."""
    known = forced(memory())
    for seen in (None, NEW):
        abandon(known, seen)
    assert (is_forced(known, OLD), is_forced(known, NEW)) == (True, False)


def test_forced_delete_is_over_when_its_goal_was_reached() -> None:
    """The workflow then drops the force. If that very sandbox comes up again, it may hold new work."""
    known = forced(memory())
    abandon(known, OLD)
    known.orders.is_forced = False
    assert not is_forced(known, OLD)


def test_delete_that_is_not_forced_gives_nothing_up() -> None:
    """The verdict of an inspection decides."""
    known = memory()
    give(known, Order.DELETE, T0)
    abandon(known, OLD)
    assert (is_forced(known, OLD), known.orders.forced_id) == (False, "")


def test_replaced_sandbox_is_deleted_and_the_new_one_is_kept() -> None:
    """The order ends when the new sandbox is seen, and does not come back with the old one."""
    known = replaced(memory())
    for seen in (OLD, OLD, None):
        abandon(known, seen)
        assert (goal_for(known, OLD), is_forced(known, OLD)) == (Goal.DELETED, True)
    assert (goal_for(known, NEW), is_forced(known, NEW), goal_for(known, None)) == (Goal.RUNNING, False, Goal.RUNNING)
    abandon(known, NEW)
    assert (goal_for(known, OLD), is_forced(known, OLD)) == (Goal.RUNNING, False)


def test_replace_that_finds_nothing_was_meant_for_the_sandbox_that_was_known() -> None:
    """When the old one turns up again, it is not the new one."""
    known = replaced(memory())
    abandon(known, None)
    assert (goal_for(known, OLD), goal_for(known, NEW)) == (Goal.DELETED, Goal.RUNNING)


def test_request_for_a_replacement_counts_once() -> None:
    """The second sandbox is not exchanged as well."""
    known = replaced(memory())
    for seen in (OLD, NEW, NEW):
        abandon(known, seen)
    assert (goal_for(known, NEW), is_forced(known, NEW)) == (Goal.RUNNING, False)


@pytest.mark.parametrize("order", [forced, replaced])
@pytest.mark.parametrize("before", [(), (OLD,)], ids=["before it was seen", "after it was seen"])
def test_sandbox_of_another_owner_is_given_up_by_nobody_here(
    order: Callable[[Memory], Memory], before: tuple[Sandbox, ...]
) -> None:
    """Nor does the order come back when the labels change again: only a new one gives up what is in it."""
    known = order(memory())
    for seen in (*before, ANOTHERS):
        abandon(known, seen)
    assert (is_forced(known, ANOTHERS), known.orders.abandoned_id) == (False, "")
    abandon(known, OLD)
    assert not is_forced(known, OLD)


@pytest.mark.parametrize("order", [Order.STOP, Order.DELETE])
def test_order_calls_a_replacement_off(order: Order) -> None:
    """Whoever orders after it no longer wants a new sandbox."""
    known = replaced(memory())
    abandon(known, OLD)
    known.orders.is_replace_asked = True
    give(known, order, T0)
    assert (known.orders.is_replace_asked, known.orders.abandoned_id) == (False, "")
