"""What the workflow is told about its installation, and what a person's word is worth on another's sandbox."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from issuebox.domain.goal import doom, goal_for, is_forced
from issuebox.domain.memory import Memory, Order
from issuebox.domain.patience import Patience
from issuebox.domain.phase import Goal, Phase
from issuebox.domain.sandbox import Sandbox
from issuebox.temporal.connect import DATA_CONVERTER
from workflows.reconcile import command_input

HERE = "blue"
OURS = {"managed-by": "issuebox", "issuebox-instance": HERE, "issue-id": "7"}
THEIRS = OURS | {"issuebox-instance": "green"}


def memory(instance: str = HERE) -> Memory:
    return Memory(7, "claude-issue-7", patience=Patience(instance=instance))


def sandbox(labels: dict[str, str]) -> Sandbox:
    return Sandbox("s1", "claude-issue-7", Phase.USABLE, "started", labels=labels)


async def test_settings_that_an_earlier_version_recorded_say_no_instance() -> None:
    """Their histories replay: a field that is not there has its default."""
    [payload] = await DATA_CONVERTER.encode([Patience(instance=HERE)])
    payload.data = payload.data.replace(b',"instance":"blue"', b"")
    assert b"instance" not in payload.data
    [read] = await DATA_CONVERTER.decode([payload], [Patience])
    assert read == Patience()
    assert next(field.default for field in fields(Patience) if field.name == "instance") == ""


@pytest.mark.parametrize(
    ("labels", "instance", "is_ours"),
    [
        (OURS, HERE, True),
        (OURS, "", False),
        (THEIRS, HERE, False),
        ({}, HERE, False),
        ({"managed-by": "issuebox", "issue-id": "7"}, HERE, False),
    ],
)
def test_command_says_whether_the_sandbox_was_seen_to_be_ours(
    labels: dict[str, str], instance: str, is_ours: bool
) -> None:
    """Any other is read once more before something is done to it."""
    assert command_input(memory(instance), sandbox(labels)).is_ours is is_ours


@pytest.mark.parametrize("word", ["delete --force", "replace"])
def test_word_on_anothers_sandbox_is_not_kept_for_the_day_it_is_ours(word: str) -> None:
    """Nobody here can give it up. What a person gives up is what is in our own."""
    about = memory()
    if word == "replace":
        about.is_replace_asked = True
    else:
        about.give(Order.DELETE, is_forced=True)
        about.goal = Goal.DELETED
    goal = about.goal
    doom(about, sandbox(THEIRS))
    for labels in (THEIRS, OURS):
        doom(about, sandbox(labels))
        assert not is_forced(about, sandbox(labels))
        assert goal_for(about, sandbox(labels)) is goal


def test_word_on_our_own_sandbox_ends_when_it_is_given_away() -> None:
    """It was doomed, then labelled as another's, then as ours again: by then somebody else may have worked in it."""
    about = memory()
    about.is_replace_asked = True
    doom(about, sandbox(OURS))
    assert goal_for(about, sandbox(OURS)) is Goal.DELETED
    doom(about, sandbox(THEIRS))
    doom(about, sandbox(OURS))
    assert goal_for(about, sandbox(OURS)) is Goal.RUNNING


def test_word_counts_as_it_did_where_the_instance_is_not_known() -> None:
    """What a run of 0.4 recorded replays."""
    about = replace(memory(""), is_replace_asked=True)
    doom(about, sandbox(THEIRS | {"issue-id": "8"}))
    assert about.doomed_id == "s1"
