"""The decision's commands beside what Daytona's server admits: `localdaytona.admission.ADMITTED` is that table."""

from __future__ import annotations

import itertools

import pytest

from issuebox.domain.decision import TABLE, Column
from issuebox.domain.phase import ASLEEP, Action, Phase
from issuebox.providers.daytona_states import phase_of
from localdaytona.admission import ADMITTED, TABLES, Admission
from localdaytona.model import DERIVED


def _id(row: Admission) -> str:
    marks = ("recoverable" if row.recoverable else "", "" if row.sandbox_class == "container" else row.sandbox_class)
    return "-".join(word for word in (row.state, row.desired, *marks) if word)


CELLS = [pytest.param(row, column, id=f"{_id(row)}-{column}") for row, column in itertools.product(ADMITTED, Column)]

SERVES: dict[Column, frozenset[str]] = {
    Column.RUNNING: frozenset({"start", "recover"}),
    Column.STOPPED: frozenset({"stop"}),
    Column.ARCHIVED: frozenset({"stop", "archive"}),
    Column.DELETED: frozenset({"start", "recover", "stop"}),
    Column.HELD: frozenset({"stop"}),
    Column.CLEARED: frozenset({"stop", "delete"}),
}
"""The calls that bring a sandbox nearer to the goal of each column."""

WAITED_FOR = {"pending_build": "it lasts for milliseconds, and issuebox creates nothing from an image"}
"""States that are waited for although they admit a call, and why."""


def phase(row: Admission) -> Phase:
    """The phase of a sandbox in the states of the row, as a read shows it."""
    shown = DERIVED.get((row.state, row.desired), row.state)
    return phase_of(shown, row.desired, recoverable=row.recoverable)


@pytest.mark.parametrize(("row", "column"), CELLS)
def test_command_is_one_that_daytona_admits(row: Admission, column: Column) -> None:
    """No command is sent in a state in which Daytona is known to refuse it."""
    action = TABLE[phase(row)][column]
    assert action not in TABLES or action.value in row.admits


@pytest.mark.parametrize(("row", "column"), CELLS)
def test_nothing_is_waited_for_that_daytona_admits_at_once(row: Admission, column: Column) -> None:
    """Where Daytona takes a command that serves the goal, the decision sends one, rests, or blocks; it never waits."""
    if TABLE[phase(row)][column] is Action.WAIT and row.state not in WAITED_FOR:
        assert not SERVES[column] & row.admits


@pytest.mark.parametrize("row", ADMITTED, ids=_id)
def test_sandbox_asleep_admits_a_start_and_a_delete(row: Admission) -> None:
    """*Asleep* means what its definition says, in each of Daytona's states that map to it."""
    assert (phase(row) in ASLEEP) == ({"start", "delete"} <= row.admits and "started" not in {row.state, row.desired})
