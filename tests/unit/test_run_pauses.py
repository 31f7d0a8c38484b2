"""A pause of an issue's runs: who made it, what it keeps from beginning, and what ends it. The pure part."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.goal import course, give, give_up, steer
from issuebox.domain.intake import absorb, cancel_runs, pause_runs, resume_runs, take_request
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.memory import Memory, Order, Requests
from issuebox.domain.phase import Goal
from issuebox.domain.policy import Closing, Policy
from issuebox.domain.run import (
    Report,
    RequestKind,
    Run,
    RunGoal,
    RunOutcome,
    RunPhase,
    RunRequest,
    RunTerms,
)
from issuebox.domain.run_pause import STOPPED_AGAIN_WITHIN, Pause
from issuebox.domain.run_plan import Circumstances, finish, observe, pause_for_stops, plan
from issuebox.domain.slot import Need
from workflows import display
from workflows.run_messages import RunState, newest_state, receipts_of, view_of

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
TERMS = RunTerms(is_configured=True)
BY_ANN = Pause(NOW, "ann")
STOPS = Pause(NOW, reason="its sandbox was stopped under it twice within 10 minutes")


def request(number: int = 1, at: datetime = NOW) -> RunRequest:
    return RunRequest(RequestKind.COMMENT, f"comment-{number}", "ann", "do it", at=at)


def a_memory(*, is_at_work: bool = True, waiting: int = 0, **terms: Any) -> Memory:
    """An issue whose agent works, with so many requests behind it."""
    policy = Policy(runs=replace(TERMS, **terms), closing=Closing(60.0, 3600.0, 7200.0))
    memory = Memory(7, "claude-issue-7", policy=policy, policy_hash="x")
    memory.told.issue = Issue(7, "octo/repo", 5, updated_at=NOW)
    memory.requests = Requests(asked=1, served=1)
    if is_at_work:
        memory.runs.take(request(), NOW)
        run = memory.runs.next_run(7, "s", NOW)
        run.phase, run.begun_at, run.first_begun_at = RunPhase.RUNNING, NOW, NOW
    for number in range(2, 2 + waiting):
        memory.runs.take(request(number), NOW)
    return memory


def rest(memory: Memory) -> Run:
    """The attempt was interrupted, and has ended."""
    run = memory.runs.active
    assert run is not None
    finish(run, "interrupted", 3, Report(RunOutcome.FAILED), NOW)
    return run


def test_pause_interrupts_what_works_and_resume_goes_on_with_the_next_attempt() -> None:
    memory = a_memory(waiting=1)
    pause_runs(memory, BY_ANN, NOW)
    run = memory.runs.active
    assert run is not None
    assert plan(run, Circumstances(NOW, TERMS)).step == "interrupt"
    rest(memory)
    assert (run.goal, run.attempt, run.cut_off, run.outcome) == (RunGoal.PAUSE, 2, 0, None)
    assert plan(run, Circumstances(NOW, TERMS)).step == "rest"
    assert run.slot_need(NOW, is_held=True, is_blocked=False) is Need.NONE
    resume_runs(memory, "ann", LATER)
    assert (memory.runs.pause, run.goal, memory.requests.is_waiting) == (None, RunGoal.WORK, True)
    assert plan(run, Circumstances(LATER, TERMS)).step == "prepare"


def test_first_pause_of_a_person_stands() -> None:
    """A repetition changes neither who nor when, and nothing is noted of it. One from the future is from now."""
    memory = a_memory()
    pause_runs(memory, Pause(LATER, "ann"), NOW)
    pause_runs(memory, Pause(LATER, "bob"), LATER)
    assert memory.runs.pause == BY_ANN
    assert [note.what for note in memory.notes] == ["pause of the runs"]


def test_pause_and_resume_wake_the_workflow_up() -> None:
    """Even where nothing works: what lists and pages show has changed."""
    memory = a_memory(is_at_work=False)
    for change in (lambda: pause_runs(memory, BY_ANN, NOW), lambda: resume_runs(memory, "ann", NOW)):
        memory.progress.is_woken = False
        change()
        assert memory.progress.is_woken


def test_person_may_pause_what_issuebox_has_paused_and_not_the_other_way_round() -> None:
    """Then it is the issue's, and outlasts the run."""
    runs = a_memory().runs
    assert runs.hold(STOPS)
    assert not runs.hold(STOPS)
    assert runs.hold(BY_ANN)
    assert not runs.hold(STOPS)
    assert runs.pause == BY_ANN


@pytest.mark.parametrize(("pause", "left"), [(BY_ANN, BY_ANN), (STOPS, None)])
def test_end_of_the_run_ends_only_the_pause_that_was_made_under_it(pause: Pause, left: Pause | None) -> None:
    runs = a_memory().runs
    runs.hold(pause)
    run = runs.active
    assert run is not None
    runs.forget_pause_of(run)
    assert runs.pause == pause
    run.close(RunOutcome.CANCELLED, "", NOW)
    runs.forget_pause_of(run)
    assert runs.pause == left


def test_request_for_the_sandbox_lifts_the_pause_of_a_stop_and_no_other() -> None:
    for is_ordered in (False, True):
        memory = a_memory()
        if is_ordered:
            pause_runs(memory, BY_ANN, NOW)
        give(memory, Order.STOP, NOW)
        memory.ask(LATER)
        assert memory.runs.active is not None
        assert memory.runs.active.goal is (RunGoal.PAUSE if is_ordered else RunGoal.WORK)


def test_resume_lifts_a_stop_where_something_can_go_on() -> None:
    """What a stop has paused, too. Where nothing is paused, or nothing is left to do, it asks for nothing."""
    memory = a_memory()
    give(memory, Order.STOP, NOW)
    resume_runs(memory, "ann", LATER)
    assert (memory.orders.standing, course(memory, LATER)[0]) == (None, Goal.RUNNING)
    assert memory.runs.active is not None
    assert memory.runs.active.goal is RunGoal.WORK
    asked = memory.requests.asked
    resume_runs(memory, "ann", LATER)
    assert memory.requests.asked == asked
    assert [note.what for note in memory.notes] == ["resume of the runs"]
    idle = a_memory(is_at_work=False)
    give(idle, Order.STOP, NOW)
    pause_runs(idle, BY_ANN, NOW)
    resume_runs(idle, "ann", LATER)
    assert (idle.runs.pause, idle.orders.standing, idle.requests.asked) == (None, Order.STOP, 1)


def test_resume_of_a_run_that_is_being_cancelled_lets_only_what_waits_go_on() -> None:
    memory = a_memory(waiting=1)
    pause_runs(memory, BY_ANN, NOW)
    memory.runs.want(RunGoal.CANCEL)
    resume_runs(memory, "ann", LATER)
    assert memory.runs.active is not None
    assert (memory.runs.active.goal, memory.requests.is_waiting) == (RunGoal.CANCEL, True)


def test_request_while_paused_interrupts_nothing() -> None:
    """Where the settings let a follow-up end the run: the run is paused in order, and both wait."""
    memory = a_memory(interrupts_for_follow_up=True)
    pause_runs(memory, BY_ANN, NOW)
    assert take_request(memory, request(2), NOW) == "comment-2"
    assert memory.runs.active is not None
    assert memory.runs.active.goal is RunGoal.PAUSE


def test_paused_run_does_not_hold_the_ladder_and_its_last_rung_cancels_it() -> None:
    """As much as without a run. What waits is refused then, and asks again."""
    memory = a_memory()
    pause_runs(memory, BY_ANN, NOW)
    rest(memory)
    absorb(memory, closed(), NOW)
    for after_s, goal in ((59, Goal.RUNNING), (60, Goal.STOPPED), (3600, Goal.ARCHIVED)):
        steer(memory, NOW + timedelta(seconds=after_s))
        assert (after_s, memory.progress.goal) == (after_s, goal)
        assert memory.runs.active is not None
        assert memory.runs.active.goal is RunGoal.PAUSE
    memory.runs.queue.append(request(2))
    steer(memory, NOW + timedelta(seconds=7200))
    assert memory.progress.goal is Goal.DELETED
    assert memory.runs.active is not None
    assert (memory.runs.active.goal, memory.runs.queue) == (RunGoal.CANCEL, [])
    assert [each.key for each in memory.runs.refused] == ["comment-2"]


def closed() -> IssueEvent:
    issue = Issue(7, "octo/repo", 5, state=IssueState.CLOSED, updated_at=NOW, closed_at=NOW)
    return IssueEvent(issue, intention=Intention.STOP, event="issues", action="closed", delivery="d")


def stopped(run: Run, now: datetime) -> None:
    """The sandbox is seen stopped under the attempt."""
    observe(run, "s", now, is_up=False, is_down=True)


def begun_again(run: Run) -> None:
    """The sandbox was started, the end of the attempt was read, and the next one works."""
    observe(run, "s", NOW, is_up=True, is_down=False)
    finish(run, "stopped", None, Report(RunOutcome.FAILED), NOW)
    run.phase, run.begun_at, run.is_sent = RunPhase.RUNNING, NOW, True


@pytest.mark.parametrize(
    ("gap", "attempts_max", "is_paused"),
    [
        (STOPPED_AGAIN_WITHIN, 3, True),
        (STOPPED_AGAIN_WITHIN + timedelta(seconds=1), 3, False),
        (timedelta(seconds=5), 2, False),  # They are as many as attempts are allowed: the run ends.
        (timedelta(seconds=5), 1, False),
    ],
)
def test_second_stop_within_ten_minutes_pauses(gap: timedelta, attempts_max: int, *, is_paused: bool) -> None:
    """By the clock of the workflow. The sandbox is not started for it once more."""
    runs = a_memory().runs
    run = runs.active
    assert run is not None
    terms = replace(TERMS, attempts_max=attempts_max)
    stopped(run, NOW)
    assert pause_for_stops(run, terms, NOW) is None
    begun_again(run)
    stopped(run, NOW + gap)
    made = pause_for_stops(run, terms, NOW + gap)
    assert made == (replace(STOPS, at=NOW + gap) if is_paused else None)
    if made is not None:
        runs.hold(made)
        assert pause_for_stops(run, terms, NOW + gap) is None
        assert plan(run, Circumstances(NOW + gap, terms)).step == "rest"
    else:
        begun_again(run)
        run.phase = RunPhase.ABSENT
        assert (plan(run, Circumstances(NOW + gap, terms)).outcome is RunOutcome.ATTEMPTS) == (attempts_max < 3)


@pytest.mark.parametrize("phase", [RunPhase.ENDED, RunPhase.DEAD, RunPhase.PREPARED])
def test_stop_of_what_does_not_work_is_none_under_it(phase: RunPhase) -> None:
    """It had ended before, or had not begun."""
    run = a_memory().runs.active
    assert run is not None
    run.phase = phase
    run.begun_at = None if phase is RunPhase.PREPARED else run.begun_at
    stopped(run, NOW)
    assert (run.phase, run.stops) == (RunPhase.ASLEEP, ())


def test_one_attempt_is_stopped_once() -> None:
    """However often the sandbox is stopped before the attempt's end is read."""
    run = a_memory().runs.active
    assert run is not None
    run.is_sent = True
    for _ in range(3):
        stopped(run, NOW)
        observe(run, "s", NOW, is_up=True, is_down=False)
    assert run.stops == (NOW,)


def test_stops_count_anew_after_a_pause() -> None:
    """Somebody has looked at it, and let it go on."""
    runs = a_memory().runs
    run = runs.active
    assert run is not None
    stopped(run, NOW)
    begun_again(run)
    stopped(run, NOW)
    runs.hold(STOPS)
    runs.release()
    begun_again(run)
    stopped(run, NOW)
    assert (run.stops, pause_for_stops(run, replace(TERMS, attempts_max=9), NOW)) == ((NOW,), None)


def test_stop_of_a_paused_run_counts_for_nothing() -> None:
    run = a_memory().runs.active
    assert run is not None
    run.goal = RunGoal.PAUSE
    stopped(run, NOW)
    finish(run, "stopped", None, Report(RunOutcome.FAILED), NOW)
    assert (run.cut_off, run.stops) == (0, ())


def test_people_are_told_who_paused_since_when_and_what_helps() -> None:
    """In the receipts, the run's view, the sentence, and in the word for lists."""
    memory = a_memory(waiting=1)
    pause_runs(memory, BY_ANN, NOW)
    run = rest(memory)
    run.reason = "it was killed"
    said = "paused by ann since 2026-11-30 12:00 UTC"
    assert [(each.state, each.reason) for each in receipts_of(memory.runs)] == [("given", said), ("waiting", said)]
    assert all("issuebox resume ISSUE" in each.next_step for each in receipts_of(memory.runs))
    view = view_of(run, memory.runs.pause)
    assert (view.state, view.reason, view.next_step) == (RunState.PAUSED, said, "Resume it: issuebox resume ISSUE.")
    assert display.about_run(memory) == (
        f"Run {run.id}, attempt 2 is paused. 1 request waits for the next run. "
        f"The agent's work is {said}. To let it go on: issuebox resume 7."
    )
    assert display.status(memory, "resting", NOW).run_pause == BY_ANN
    run.close(RunOutcome.DONE, "", NOW)
    assert newest_state(memory.runs) is RunState.PAUSED
    memory.runs.queue.clear()
    assert newest_state(memory.runs) is RunState.DONE
    assert display.about_run(memory).endswith(f"is {said}. To let it go on: issuebox resume 7.")


def test_pause_that_came_with_a_stop_says_that_a_request_continues_it() -> None:
    memory = a_memory()
    give(memory, Order.STOP, NOW)
    run = rest(memory)
    assert view_of(run, memory.runs.pause).next_step == "It is paused. A further request continues it."
    assert display.about_run(memory) == f"Run {run.id}, attempt 2 is paused."


def _end(memory: Memory, now: datetime) -> None:
    """The attempt has ended, by an interruption if there was one."""
    run = memory.runs.active
    if run is not None and run.phase is RunPhase.RUNNING:
        why = "finished" if run.goal is RunGoal.WORK else "interrupted"
        finish(run, why, 0, Report(RunOutcome.DONE), now)
        memory.runs.forget_pause_of(run)


def _begin(memory: Memory, now: datetime) -> None:
    """What the workflow does when the sandbox runs: by the table, and by the one condition for a new run."""
    runs = memory.runs
    if runs.active is None and runs.queue and runs.pause is None:
        runs.next_run(7, "s", now)
    if runs.active is not None and plan(runs.active, Circumstances(now, TERMS)).step == "prepare":
        assert runs.pause is None
        runs.active.phase, runs.active.begun_at, runs.active.first_begun_at = RunPhase.RUNNING, now, now


ACTS: dict[str, Any] = {
    "pause": lambda memory, now: pause_runs(memory, Pause(now, "ann"), now),
    "stops": lambda memory, now: memory.runs.hold(replace(STOPS, at=now)) if memory.runs.active else None,
    "resume": lambda memory, now: resume_runs(memory, "ann", now),
    "ask": lambda memory, now: memory.ask(now),
    "request": lambda memory, now: take_request(memory, request(int(now.timestamp()), now), now),
    "stop": lambda memory, now: give(memory, Order.STOP, now),
    "delete": lambda memory, now: give(memory, Order.DELETE, now),
    "replace": give_up,
    "cancel": lambda memory, now: cancel_runs(memory, RunRequest(RequestKind.CANCEL, at=now), now),
    "close": lambda memory, now: absorb(memory, closed(), now),
    "end": _end,
    "begin": _begin,
    "time": steer,
}
"""What may come, as a function of the memory and the time."""


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(sorted(ACTS)), max_size=40))
def test_nothing_works_while_there_is_a_pause_and_no_request_is_lost(acts: list[str]) -> None:
    """Whatever comes in whatever order. Each request that was taken stands in one place; a resume lets all go on."""
    memory = a_memory(waiting=1)
    for number, act in enumerate(acts):
        now = NOW + timedelta(seconds=60 * (number + 1))
        before = memory.runs.pause
        ACTS[act](memory, now)
        runs = memory.runs
        if runs.pause is not None:
            assert runs.active is None or runs.active.goal is not RunGoal.WORK
        if before is not None and before.by and act != "resume":
            assert runs.pause == before
        places = [key for run in runs.runs for key in run.keys]
        places += [each.key for each in runs.queue] + [each.key for each in runs.refused]
        assert sorted(places) == sorted(set(places))
    resume_runs(memory, "ann", NOW + timedelta(days=1))
    assert not memory.runs.is_paused
