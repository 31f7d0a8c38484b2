"""What people are told of a run: one word, one sentence, and what became of each request."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from issuebox.domain.memory import Memory
from issuebox.domain.run import Refused, RequestKind, Run, RunGoal, RunOutcome, RunPhase, RunRequest, Runs
from workflows import display
from workflows.run_messages import GIVEN_MAX, UNDER_WAY, RunState, newest_state, receipts_of, state_of, view_of

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def request(number: int = 1) -> RunRequest:
    return RunRequest(RequestKind.COMMENT, f"comment-{number}", "ann", "do it", at=NOW)


def a_run(**changes: Any) -> Run:
    return Run("r-0123456789ab", (request(),), NOW, **changes)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, RunState.WAITING),
        ({"phase": RunPhase.ASLEEP}, RunState.WAITING),
        ({"phase": RunPhase.PREPARED}, RunState.WAITING),
        ({"phase": RunPhase.RUNNING}, RunState.WORKING),
        ({"phase": RunPhase.RUNNING, "ending": "time_limit"}, RunState.ENDING),
        ({"phase": RunPhase.RUNNING, "goal": RunGoal.CANCEL}, RunState.ENDING),
        ({"goal": RunGoal.CANCEL}, RunState.ENDING),
        ({"phase": RunPhase.RUNNING, "goal": RunGoal.PAUSE}, RunState.ENDING),
        ({"phase": RunPhase.ASLEEP, "goal": RunGoal.PAUSE}, RunState.PAUSED),
        *(({"outcome": outcome, "phase": RunPhase.ENDED}, RunState(outcome)) for outcome in RunOutcome),
    ],
)
def test_state_is_one_word(changes: dict[str, Any], state: RunState) -> None:
    """Under way until there is an outcome, and then that."""
    run = a_run(**changes)
    assert state_of(run) is view_of(run).state is state
    assert (state in UNDER_WAY) is (run.outcome is None)


def test_newest_state_is_that_of_what_comes_next() -> None:
    """A request that waits behind a run which is over is news; one behind a run at work is not."""
    assert newest_state(Runs()) is None
    assert newest_state(Runs(queue=[request()])) is RunState.WAITING
    done = a_run(outcome=RunOutcome.DONE)
    assert newest_state(Runs(runs=[done])) is RunState.DONE
    assert newest_state(Runs(runs=[done], queue=[request(2)])) is RunState.WAITING
    assert newest_state(Runs(runs=[a_run(phase=RunPhase.RUNNING)], queue=[request(2)])) is RunState.WORKING


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (Runs(), ""),
        (Runs(queue=[request()]), "1 request waits for the next run."),
        (
            Runs(
                runs=[a_run(phase=RunPhase.RUNNING, progress="Bash: Run the tests", attempt=2)], queue=[request(2)] * 2
            ),
            "Run r-0123456789ab, attempt 2 is working: Bash: Run the tests. 2 requests wait for the next run.",
        ),
        (
            Runs(runs=[a_run(outcome=RunOutcome.FAILED, reason="exit code 1.")]),
            "Run r-0123456789ab is failed: exit code 1.",
        ),
        (
            Runs(runs=[a_run(outcome=RunOutcome.TIME_LIMIT, reason="the time limit ended it")]),
            "Run r-0123456789ab is over, ended by its time limit: the time limit ended it.",
        ),
    ],
)
def test_sentence_says_what_the_agent_does(runs: Runs, said: str) -> None:
    """Nothing where nobody asked."""
    assert display.about_run(Memory(1, "claude-issue-1", runs=runs)) == said


def test_details_of_the_web_ui_speak_of_the_run_and_disarm_its_words() -> None:
    """An agent may write what would be a link or an image there."""
    runs = Runs(runs=[a_run(phase=RunPhase.RUNNING, progress="![x](https://evil.example) <img>")])
    details = display.details(Memory(1, "claude-issue-1", runs=runs), "resting", NOW)
    assert "Run r-0123456789ab is working: !\\[x\\](https://evil.example) \\<img\\>" in details


def test_receipts_are_bounded_and_the_newest_stay() -> None:
    """What waits and what was refused is not pushed out by what is over."""
    requests = tuple(request(number) for number in range(50))
    runs = [Run(f"r-{number:012x}", requests, NOW, outcome=RunOutcome.DONE) for number in range(20)]
    refused = [Refused("comment-99", "bob", "too many", NOW)]
    receipts = receipts_of(Runs(runs=runs, queue=[request(77)], refused=refused))
    assert [receipt.state for receipt in receipts] == ["refused", *["over"] * GIVEN_MAX, "waiting"]
    assert receipts[-2].run == runs[-1].id
