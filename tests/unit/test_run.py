"""Run requests, runs and attempts: the pure part."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from issuebox.domain.run import (
    BEGUN,
    CALLED_OFF,
    QUEUE_MAX,
    SETTLED,
    TEXTS_BYTES_MAX,
    Report,
    RequestKind,
    Run,
    RunGoal,
    RunOutcome,
    RunPhase,
    RunRequest,
    Runs,
    RunTerms,
    Step,
    run_id,
)
from issuebox.domain.run_plan import TABLE, Circumstances, finish, observe, plan, take_probe

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
TERMS = RunTerms(is_configured=True)


def request(key: str = "comment-1", kind: RequestKind = RequestKind.COMMENT, **more: object) -> RunRequest:
    return RunRequest(kind, "" if kind is RequestKind.START else key, "ann", "do it", at=NOW, **more)  # type: ignore[arg-type]


def a_run(**more: object) -> Run:
    return Run("r-1", (request(),), NOW, sandbox_id="s", **more)  # type: ignore[arg-type]


def at(now: datetime = NOW, **more: object) -> Circumstances:
    return Circumstances(now, TERMS, **more)  # type: ignore[arg-type]


def test_begin_stands_in_one_cell() -> None:
    cells = [(phase, goal) for phase, row in TABLE.items() for goal, step in row.items() if step is Step.BEGIN]
    assert cells == [(RunPhase.PREPARED, RunGoal.WORK)]


def test_what_is_unknown_or_lost_or_dead_brings_nothing_to_life() -> None:
    for phase in (RunPhase.UNKNOWN, RunPhase.LOST, RunPhase.DEAD):
        assert not {*TABLE[phase].values()} & {Step.BEGIN, Step.PREPARE}


def test_nothing_but_work_brings_anything_to_life() -> None:
    for phase in RunPhase:
        for goal in (RunGoal.PAUSE, RunGoal.CANCEL):
            assert TABLE[phase][goal] not in {Step.BEGIN, Step.PREPARE, Step.WAKE, Step.FOLLOW}


def test_a_run_is_closed_only_where_nothing_of_it_can_live() -> None:
    """A prepared attempt may be begun by a request whose reply was lost: it is fenced first."""
    closing = {phase for phase, row in TABLE.items() if Step.CLOSE in row.values()}
    assert closing <= SETTLED


@pytest.mark.parametrize("phase", sorted(RunPhase))
@pytest.mark.parametrize("goal", sorted(RunGoal))
def test_rules_never_begin_anything(phase: RunPhase, goal: RunGoal) -> None:
    """Whatever the circumstances: a rule only waits, interrupts or ends."""
    old = NOW - timedelta(days=2)
    run = a_run(phase=phase, goal=goal, cut_off=9, begun_at=old, quiet_since=old, seen_at=NOW, next_step_at=None)
    for circumstances in (at(), at(is_blocked=True), at(has_slot=False)):
        decided = plan(run, circumstances)
        assert decided.step in {TABLE[phase][goal], Step.REST, Step.INTERRUPT, Step.CLOSE}
        assert (decided.outcome is not None) == (decided.step is Step.CLOSE)


@pytest.mark.parametrize(
    ("run", "circumstances", "step"),
    [
        (a_run(), at(), Step.PREPARE),
        (a_run(), at(has_slot=False), Step.REST),
        (a_run(next_step_at=NOW + timedelta(seconds=1)), at(), Step.REST),
        (a_run(next_step_at=NOW), at(), Step.PREPARE),
        (a_run(phase=RunPhase.ASLEEP), at(), Step.WAKE),
        (a_run(phase=RunPhase.ASLEEP), at(is_blocked=True), Step.REST),
        (a_run(phase=RunPhase.ASLEEP, cut_off=3), at(), Step.CLOSE),
        (a_run(phase=RunPhase.RUNNING, begun_at=NOW), at(NOW + timedelta(seconds=3719)), Step.FOLLOW),
        (a_run(phase=RunPhase.RUNNING, begun_at=NOW), at(NOW + timedelta(seconds=3720)), Step.INTERRUPT),
        (a_run(phase=RunPhase.RUNNING, quiet_since=NOW, seen_at=NOW + timedelta(seconds=899)), at(), Step.FOLLOW),
        (a_run(phase=RunPhase.RUNNING, quiet_since=NOW, seen_at=NOW + timedelta(seconds=900)), at(), Step.INTERRUPT),
    ],
)
def test_rules(run: Run, circumstances: Circumstances, step: Step) -> None:
    assert plan(run, circumstances).step is step


def test_an_act_is_one_request_whatever_brings_it() -> None:
    runs = Runs()
    assert runs.take(request(), NOW) == "comment-1"
    assert runs.take(request(), NOW) == ""
    runs.next_run(7, "s", NOW).close(RunOutcome.DONE, "", NOW)
    assert runs.take(request(), NOW) == ""
    assert not runs.queue


def test_start_requests_join_while_one_is_open() -> None:
    """`opened`, `labeled` and their redeliveries are one piece of work; the label after its end is another."""
    runs = Runs()
    assert runs.take(request(kind=RequestKind.START), NOW) == "start-1"
    assert runs.take(request(kind=RequestKind.START), NOW) == ""
    run = runs.next_run(7, "s", NOW)
    assert runs.take(request(kind=RequestKind.START), NOW) == ""
    run.close(RunOutcome.DONE, "", NOW)
    assert runs.take(replace(request(kind=RequestKind.START), at=NOW + timedelta(seconds=1)), NOW) == "start-2"


def test_one_run_takes_all_that_wait_in_order() -> None:
    runs = Runs()
    for number in range(3):
        runs.take(request(f"comment-{number}"), NOW)
    run = runs.next_run(7, "s", NOW)
    assert run.keys == ("comment-0", "comment-1", "comment-2")
    assert run.id == run_id(7, "comment-0") == run_id(7, "comment-0")
    assert not runs.queue
    assert runs.active is run


def test_the_issues_own_text_is_kept_once() -> None:
    runs = Runs()
    runs.take(request("comment-1", body="first"), NOW)
    runs.take(request("comment-2", body="edited"), NOW)
    assert [each.body for each in runs.queue] == ["", "edited"]


def test_more_than_the_memory_holds_is_refused_and_said() -> None:
    runs = Runs()
    for number in range(QUEUE_MAX + 1):
        runs.take(request(f"comment-{number}"), NOW)
    assert len(runs.queue) == QUEUE_MAX
    assert [each.key for each in runs.refused] == [f"comment-{QUEUE_MAX}"]


@settings(deadline=None, max_examples=20)
@given(st.lists(st.sampled_from('x\n"\\漢'), min_size=1, max_size=4), st.integers(1, 40))
def test_texts_stay_within_their_limit(characters: list[str], count: int) -> None:
    runs = Runs()
    for number in range(count):
        runs.take(RunRequest(RequestKind.COMMENT, f"comment-{number}", text="".join(characters) * 9000, at=NOW), NOW)
        if number % 7 == 3 and runs.active is None:
            runs.next_run(7, "s", NOW)
    assert runs.texts_bytes <= TEXTS_BYTES_MAX


def test_cancel_takes_only_what_was_asked_before_it() -> None:
    """A cancel that comes late, or again, ends nothing that somebody asked for since."""
    later = NOW + timedelta(seconds=5)
    runs = Runs()
    runs.take(request("comment-1"), NOW)
    run = runs.next_run(7, "s", NOW)
    runs.take(replace(request("comment-2"), at=later), NOW)
    runs.call_off("called off", NOW, asked_at=NOW + timedelta(seconds=1))
    assert run.goal is RunGoal.CANCEL
    assert [each.key for each in runs.queue] == ["comment-2"]
    assert not runs.refused


@pytest.mark.parametrize(
    ("kind", "asked_after_s", "is_taken"),
    [
        (RequestKind.COMMENT, -1, False), (RequestKind.COMMENT, 0, True), (RequestKind.COMMENT, 1, True),
        (RequestKind.START, -1, False), (RequestKind.START, 0, True),
        # Its time is by another clock, and it never comes late.
        (RequestKind.CALL, -1, True),
    ],
)  # fmt: skip
def test_request_that_comes_after_what_called_it_off_is_refused(
    kind: RequestKind, asked_after_s: int, *, is_taken: bool
) -> None:
    """Deliveries come in any order, and some come by resync. Within one second the order of arrival counts."""
    runs = Runs()
    runs.call_off(CALLED_OFF, NOW, asked_at=NOW)
    runs.call_off(CALLED_OFF, NOW, asked_at=NOW - timedelta(seconds=5))
    runs.call_off("by the command line", NOW)
    asked = RunRequest(kind, "" if kind is RequestKind.START else "key", at=NOW + timedelta(seconds=asked_after_s))
    assert bool(runs.take(asked, NOW)) == is_taken
    assert [each.reason for each in runs.refused] == ([] if is_taken else [CALLED_OFF])
    assert len(runs.queue) == is_taken
    assert runs.take(asked, NOW) == "", "it is known, or called off"


def test_start_that_comes_once_more_after_its_run_is_over_begins_no_other() -> None:
    """Resync found the label, and then somebody has GitHub send its delivery again. A later label asks again."""
    runs = Runs()
    for asked_after_s, key in ((5, "start-1"), (5, ""), (4, ""), (6, "start-2")):
        assert runs.take(RunRequest(RequestKind.START, at=NOW + timedelta(seconds=asked_after_s)), NOW) == key
        if key:
            runs.next_run(7, "s", NOW).close(RunOutcome.DONE, "", NOW)


def test_start_that_was_refused_hides_no_later_one() -> None:
    """Each start has a number of its own, taken or not."""
    runs = Runs()
    runs.call_off(CALLED_OFF, NOW, asked_at=NOW)
    assert not runs.take(RunRequest(RequestKind.START, at=NOW - timedelta(seconds=1)), NOW)
    assert runs.take(RunRequest(RequestKind.START, at=NOW + timedelta(seconds=1)), NOW) == "start-2"


def test_a_cancel_is_final() -> None:
    runs = Runs()
    runs.take(request(), NOW)
    run = runs.next_run(7, "s", NOW)
    assert runs.want(RunGoal.CANCEL)
    assert not runs.want(RunGoal.WORK)
    assert run.goal is RunGoal.CANCEL


@pytest.mark.parametrize("shown", [RunPhase.ABSENT, RunPhase.PREPARED])
def test_what_had_begun_and_shows_less_is_lost(shown: RunPhase) -> None:
    """An older disk came back: nobody knows what the attempt did, so nothing begins it again."""
    run = a_run(phase=RunPhase.UNKNOWN, begun_at=NOW)
    take_probe(run, shown, NOW)
    assert run.phase is RunPhase.LOST
    assert plan(run, at()).outcome is RunOutcome.LOST


@pytest.mark.parametrize("shown", [RunPhase.ABSENT, RunPhase.PREPARED])
def test_begin_whose_reply_was_lost_before_the_sandbox_slept_is_fenced(shown: RunPhase) -> None:
    """It may have begun, and the disk may be an older one: that attempt never begins on it. The model found this."""
    run = a_run(phase=RunPhase.UNKNOWN, is_sent=True)
    observe(run, "s", NOW, is_up=False, is_down=True)
    observe(run, "s", NOW, is_up=True, is_down=False)
    take_probe(run, shown, NOW)
    assert plan(run, at()).step is Step.FENCE
    run.move_on()
    assert (run.attempt, run.is_sent, run.has_slept) == (2, True, False)


def test_begin_whose_reply_was_lost_is_sent_again_while_the_sandbox_stays_up() -> None:
    """The claim is on this very disk: a second request begins nothing that has begun."""
    run = a_run(phase=RunPhase.UNKNOWN, is_sent=True)
    take_probe(run, RunPhase.PREPARED, NOW)
    assert plan(run, at()).step is Step.BEGIN
    assert run.is_sent


@pytest.mark.parametrize("shown", sorted(BEGUN - {RunPhase.LOST}))
def test_probe_that_shows_it_begun_starts_its_clocks_once(shown: RunPhase) -> None:
    run = a_run(phase=RunPhase.UNKNOWN)
    take_probe(run, shown, NOW)
    take_probe(run, shown, NOW + timedelta(seconds=9))
    assert (run.is_begun, run.begun_at, run.first_begun_at, run.phase) == (True, NOW, NOW, shown)


@pytest.mark.parametrize(
    ("run", "sandbox_id", "is_up", "is_down", "phase"),
    [
        (a_run(phase=RunPhase.RUNNING, begun_at=NOW), "s", False, True, RunPhase.ASLEEP),
        (a_run(phase=RunPhase.ASLEEP, begun_at=NOW), "s", True, False, RunPhase.UNKNOWN),
        (a_run(phase=RunPhase.RUNNING, begun_at=NOW), "s", True, False, RunPhase.RUNNING),
        (a_run(phase=RunPhase.RUNNING, begun_at=NOW), "", False, True, RunPhase.ASLEEP),
        (a_run(phase=RunPhase.RUNNING, begun_at=NOW), "other", True, False, RunPhase.LOST),
        (a_run(phase=RunPhase.PREPARED), "other", True, False, RunPhase.ABSENT),
        # It may have begun in the sandbox that is gone, or an earlier attempt has.
        (a_run(phase=RunPhase.UNKNOWN, is_sent=True), "other", True, False, RunPhase.LOST),
        (a_run(attempt=2, first_begun_at=NOW), "other", True, False, RunPhase.LOST),
        (a_run(), "s", False, True, RunPhase.ABSENT),
        (a_run(phase=RunPhase.RUNNING, begun_at=NOW), "s", False, False, RunPhase.RUNNING),
    ],
)
def test_what_a_lookup_shows_of_the_sandbox(
    run: Run, sandbox_id: str, phase: RunPhase, *, is_up: bool, is_down: bool
) -> None:
    observe(run, sandbox_id, NOW, is_up=is_up, is_down=is_down)
    assert run.phase is phase


DONE = Report(RunOutcome.DONE, summary="fixed it", cost_usd=0.5)


@pytest.mark.parametrize(
    ("run", "why", "report", "outcome", "attempt"),
    [
        (a_run(), "finished", DONE, RunOutcome.DONE, 1),
        (a_run(goal=RunGoal.CANCEL), "finished", DONE, RunOutcome.DONE, 1),
        (a_run(goal=RunGoal.CANCEL), "interrupted", Report(RunOutcome.FAILED), RunOutcome.CANCELLED, 1),
        (a_run(goal=RunGoal.PAUSE), "interrupted", Report(RunOutcome.FAILED), None, 2),
        (a_run(), "stopped", Report(RunOutcome.FAILED), None, 2),
        (a_run(), "time_limit", Report(RunOutcome.FAILED), RunOutcome.TIME_LIMIT, 1),
        (a_run(ending="stalled"), "stalled", Report(RunOutcome.FAILED), RunOutcome.STALLED, 1),
        (a_run(), "finished", Report(None, "limit", wait_s=60), None, 2),
        (a_run(goal=RunGoal.CANCEL), "finished", Report(None, "limit", wait_s=60), RunOutcome.CANCELLED, 1),
    ],
)
def test_how_an_end_is_taken(run: Run, why: str, report: Report, outcome: RunOutcome | None, attempt: int) -> None:
    finish(run, why, 0, report, NOW)
    assert (run.outcome, run.attempt) == (outcome, attempt)
    assert run.cut_off == (why == "stopped")
    assert (run.next_step_at is not None) == (report.wait_s > 0 and outcome is None)


def test_texts_of_people_are_given_up_at_the_end() -> None:
    run = Run("r-1", (request(body="b"),), NOW)
    run.close(RunOutcome.DONE, "", NOW)
    assert [(each.key, each.text, each.body) for each in run.requests] == [("comment-1", "", "")]


def test_conversation_is_that_of_the_sandbox_until_it_is_given_up() -> None:
    runs = Runs()
    first = runs.session_in(7, "s")
    assert first == runs.session_in(7, "s") != runs.session_in(7, "other")
    runs.forget_session()
    assert runs.session_in(7, "s") != first
