"""What the workflow learns about its installation, and that nobody's order gives up another installation's sandbox."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from issuebox.domain.goal import abandon, give, goal_for, is_forced
from issuebox.domain.memory import Memory, Order
from issuebox.domain.phase import Goal, Phase
from issuebox.domain.policy import Policy
from issuebox.domain.sandbox import Sandbox
from workflows.inputs import command_input

T0 = datetime(2026, 1, 1, tzinfo=UTC)
HERE = "blue"
OURS = {"managed-by": "issuebox", "issuebox-instance": HERE, "issue-id": "7"}
THEIRS = OURS | {"issuebox-instance": "green"}


def memory() -> Memory:
    return Memory(7, "claude-issue-7", policy=Policy(instance=HERE))


def sandbox(labels: dict[str, str]) -> Sandbox:
    return Sandbox("s1", "claude-issue-7", Phase.USABLE, "started", labels=labels)


@pytest.mark.parametrize(
    ("labels", "is_ours"),
    [(OURS, True), (THEIRS, False), ({}, False), ({"managed-by": "issuebox", "issue-id": "7"}, False)],
)
def test_command_says_whether_the_sandbox_was_seen_to_be_ours(labels: dict[str, str], is_ours: bool) -> None:
    """Any other sandbox is read once more before a command."""
    assert command_input(memory(), sandbox(labels)).is_ours is is_ours


@pytest.mark.parametrize("word", ["delete --force", "replace"])
def test_order_on_anothers_sandbox_does_not_apply_once_it_is_ours(word: str) -> None:
    """Nobody here can give it up: an order applies only to our own sandbox."""
    about = memory()
    if word == "replace":
        about.orders.is_replace_asked = True
    else:
        give(about, Order.DELETE, T0, is_forced=True)
    goal = about.progress.goal
    abandon(about, sandbox(THEIRS))
    for labels in (THEIRS, OURS):
        abandon(about, sandbox(labels))
        assert not is_forced(about, sandbox(labels))
        assert goal_for(about, sandbox(labels)) is goal


def test_order_on_our_own_sandbox_ends_when_it_is_given_away() -> None:
    """It was abandoned, then labelled as another's, then as ours again: somebody else may have worked in it."""
    about = memory()
    about.orders.is_replace_asked = True
    abandon(about, sandbox(OURS))
    assert goal_for(about, sandbox(OURS)) is Goal.DELETED
    abandon(about, sandbox(THEIRS))
    abandon(about, sandbox(OURS))
    assert goal_for(about, sandbox(OURS)) is Goal.RUNNING
