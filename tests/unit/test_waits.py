"""When a wait is over, row by row; and how often it looks."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from issuebox.domain.memory import Blocked
from issuebox.domain.phase import READY, Cause, Goal, Outcome, Phase
from issuebox.temporal.issues import EndedError, IssueDeletedError, StuckError, UnavailableError, UnknownIssueError
from issuebox.temporal.waits import PAUSE_MAX_S, PAUSE_MIN_S, WaitEnd, end_of, goes_on, pause_s
from workflows.messages import BLOCKED, IDLE, Status

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BLOCK = Blocked(Cause.QUOTA, "no room", "make room", NOW)


def status(doing: str = IDLE, **changes: object) -> Status:
    """The status of an issue whose sandbox was handed over."""
    given: dict[str, object] = {"goal": Goal.RUNNING, "phase": Phase.USABLE, "outcome": Outcome.REUSED}
    return Status(1, "claude-issue-1", doing=doing, **given | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("outcome", sorted(READY))
def test_wait_ends_after_each_handover(outcome: Outcome) -> None:
    """However the sandbox came to run, it can be used."""
    assert end_of(status(outcome=outcome)) is WaitEnd.USABLE


@pytest.mark.parametrize("phase", sorted(set(Phase) - {Phase.USABLE}))
def test_wait_goes_on_in_every_other_phase(phase: Phase) -> None:
    """Only a usable sandbox ends the wait, whatever was handed over before."""
    assert end_of(status(phase=phase)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"requests_waiting": 1},
        {"phase": None, "outcome": None},
        {"outcome": None},
        {"outcome": Outcome.STOPPED},
        *({"goal": goal} for goal in sorted(set(Goal) - {Goal.RUNNING})),
    ],
    ids=str,
)
def test_wait_goes_on_while_the_sandbox_is_nobodys(changes: dict[str, object]) -> None:
    """A sandbox that was not handed over yet, or is about to be stopped, is not usable although it runs."""
    assert end_of(status(**changes)) is None


@pytest.mark.parametrize("doing", [IDLE, BLOCKED])
def test_wait_ends_with_a_block(doing: str) -> None:
    """A workflow that has just continued as new says that it rests, and its issue is blocked all the same."""
    assert end_of(status(doing, blocked=BLOCK)) is WaitEnd.BLOCKED


@pytest.mark.parametrize("doing", [IDLE, BLOCKED])
def test_wait_goes_on_while_the_issue_is_queued(doing: str) -> None:
    """Its turn comes by itself. What Daytona's quota holds up is blocked: somebody may have to make room."""
    queued = Blocked(Cause.QUEUED, "place 1 in the queue", "nothing to do", NOW)
    assert end_of(status(doing, phase=Phase.MISSING, outcome=Outcome.QUEUED, blocked=queued)) is None


def test_wait_goes_on_while_a_blocked_issue_is_tried_again() -> None:
    """The block is about to end, or to be renewed."""
    assert end_of(status("looking the sandbox up", blocked=BLOCK)) is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UnknownIssueError("nobody asked"), True),
        (EndedError("it ended"), True),
        (UnavailableError("away"), False),
        (StuckError("it is stuck"), False),
        (IssueDeletedError("it is deleted"), False),
    ],
    ids=lambda each: type(each).__name__,
)
def test_only_what_a_delivery_may_change_is_waited_for(error: Exception, expected: object) -> None:
    """An unknown issue may be asked for any moment; the other answers are read anew, or are final."""
    assert goes_on(error) is expected  # type: ignore[arg-type]


def test_pause_grows_with_the_wait_and_has_bounds() -> None:
    """A short wait ends promptly, and a long one costs little."""
    pauses = [pause_s(waited_s) for waited_s in range(300)]
    assert (pauses[0], pauses[-1]) == (PAUSE_MIN_S, PAUSE_MAX_S)
    assert pauses == sorted(pauses)
    assert pause_s(10) == 1.0
