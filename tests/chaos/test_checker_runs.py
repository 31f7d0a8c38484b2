"""The rules about runs, (G) to (K): each violation is found, and nothing else. Each story is a tape."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from proofs.checker.histories import run_steps_of
from tests.chaos.tape import GONE, RUNNING, STOPPED, Tape

Story = Callable[[Tape], object]


def works(tape: Tape) -> str:
    """The usual beginning: an issue was opened, and the first attempt of its run works."""
    tape.send("opened", RUNNING)
    sandbox = tape.create()
    tape.begin(sandbox)
    return sandbox


def _done(tape: Tape) -> None:
    tape.step("collect_run", works(tape), "ended")
    tape.receive("start-1")


def _begun_twice(tape: Tape) -> None:
    sandbox = works(tape)
    tape.step("collect_run", sandbox, "ended")
    tape.begin(sandbox)


def _two_runs_at_once(tape: Tape) -> None:
    tape.begin(works(tape), run="r-2")


def _one_run_after_the_other(tape: Tape) -> None:
    sandbox = works(tape)
    tape.step("collect_run", sandbox, "ended")
    tape.begin(sandbox, run="r-2")


def _run_after_a_stop_by_hand(tape: Tape) -> None:
    """Nothing outlives the stop of its sandbox."""
    sandbox = works(tape)
    tape.stop(sandbox, by="admin:stop")
    tape.start(sandbox)
    tape.begin(sandbox, run="r-2")


def _next_attempt(tape: Tape) -> None:
    sandbox = works(tape)
    tape.step("fence_run", sandbox, "dead")
    tape.begin(sandbox, 2)


def _next_attempt_without_proof(tape: Tape) -> None:
    sandbox = works(tape)
    tape.step("fence_run", sandbox, "running")
    tape.begin(sandbox, 2)


def _next_attempt_after_a_probe(tape: Tape) -> None:
    """A probe says that it is dead, and claims nothing."""
    sandbox = works(tape)
    tape.step("probe_run", sandbox, "dead")
    tape.begin(sandbox, 2)


def _next_attempt_after_the_fence_of_another(tape: Tape) -> None:
    sandbox = works(tape)
    tape.step("probe_run", sandbox, "dead")
    tape.step("fence_run", sandbox, "dead", run="r-2")
    tape.begin(sandbox, 2)


def _next_attempt_in_another_sandbox(tape: Tape) -> None:
    sandbox = works(tape)
    tape.step("fence_run", sandbox, "dead")
    tape.delete(sandbox, by="admin:delete")
    tape.send("created", RUNNING)
    tape.begin(tape.create(), 2)


def _left_alive(tape: Tape) -> None:
    sandbox = works(tape)
    tape.step("collect_run", sandbox, "ended")
    tape.find_alive(sandbox)


def _closed(tape: Tape) -> str:
    sandbox = works(tape)
    tape.send("closed", STOPPED)
    return sandbox


def _stopped_under_it(tape: Tape) -> None:
    tape.stop(_closed(tape))


def _stopped_after_its_end(tape: Tape) -> None:
    sandbox = _closed(tape)
    tape.step("collect_run", sandbox, "ended")
    tape.stop(sandbox)


def _stopped_and_only_then_said_to_have_ended(tape: Tape) -> None:
    sandbox = _closed(tape)
    tape.stop(sandbox)
    tape.step("collect_run", sandbox, "ended")


def _stopped_by_a_person(tape: Tape) -> None:
    sandbox = _closed(tape)
    tape.stop(sandbox, by="admin:stop")


def _replaced_under_it(tape: Tape) -> None:
    """A person gave up the sandbox with all that is in it."""
    sandbox = works(tape)
    tape.order("replace")
    tape.delete(sandbox)
    tape.create()


def _in_two_runs(tape: Tape) -> None:
    tape.step("collect_run", works(tape), "ended")
    tape.receive("comment-1", run="r-1")
    tape.receive("comment-1", run="r-2")


def _still_given(tape: Tape) -> None:
    tape.step("collect_run", works(tape), "ended")
    tape.receive("start-1", "given")


def _in_no_run(tape: Tape) -> None:
    tape.step("collect_run", works(tape), "ended")
    tape.send("created", RUNNING, asks="comment-1")
    tape.receive("start-1")


def _asked_before_the_close(tape: Tape) -> None:
    """It may have come after the close, which ended what was asked before. Then that is said of it."""
    _in_no_run(tape)
    tape.send("closed", STOPPED)


def _asked_before_the_issue_left(tape: Tape) -> None:
    _in_no_run(tape)
    tape.send("transferred", STOPPED)


def _asked_after_the_close(tape: Tape) -> None:
    tape.step("collect_run", works(tape), "ended")
    tape.receive("start-1")
    tape.send("closed", STOPPED)
    tape.send("created", RUNNING, asks="comment-1")


def _asked_of_an_ended_workflow(tape: Tape, *, again: bool) -> None:
    """With `again`, an earlier delivery of the same comment had come to the workflow that was ended."""
    tape.step("collect_run", works(tape), "ended")
    tape.receive("start-1")
    if again:
        tape.send("created", RUNNING, asks="comment-1")
    tape.terminate()
    tape.send("created", RUNNING, asks="comment-1")


def _by_its_own_word(tape: Tape) -> None:
    """Another workflow run begins the next one: it never knew of the first."""
    sandbox = works(tape)
    tape.ledger[-1] = tape.ledger[-1].model_copy(update={"ended_at": tape.now})
    tape.begin(sandbox, run="r-2")


def _told(tape: Tape, *runs: str) -> None:
    _done(tape)
    for run in runs:
        tape.comment(run)


def _told_of_a_deleted_issue(tape: Tape) -> None:
    _told(tape, "r-2")
    tape.send("deleted", GONE)


def _told_twice_by_a_proxy(tape: Tape, *, is_mended: bool) -> None:
    """The younger one is deleted, or not."""
    _done(tape)
    first = tape.comment()
    twin = first.model_copy(update={"comment_id": 2})
    tape.comments.append(twin)
    if is_mended:
        tape.uncomment(twin)


def _asked_for_again(tape: Tape, **facts: object) -> None:
    """The reply of the first create was lost, and then a second one was asked for; the younger comment is deleted."""
    _done(tape)
    tape.comment()
    second = tape.comment()
    tape.change(second, **facts, deleted_at=second.at + 1.0)


def _first_one_came_late(tape: Tape) -> None:
    """No look could have shown it."""
    _done(tape)
    tape.comment(late_s=10.0)
    tape.uncomment(tape.comment())


def _told_anew(tape: Tape) -> None:
    """The first one was deleted before the look that came before the second."""
    _done(tape)
    tape.uncomment(tape.comment())
    tape.comment()


def _told_anew_without_a_look(tape: Tape) -> None:
    _told_anew(tape)
    tape.change(tape.comments[-1], looked_at=None)


def _third_one_without_a_look(tape: Tape) -> None:
    """There was one before the second, which no look can have shown."""
    _done(tape)
    first, second, third = tape.comment(late_s=20.0), tape.comment(late_s=20.0), tape.comment()
    tape.change(third, looked_at=first.asked_at + 0.5)
    tape.uncomment(second)
    tape.uncomment(tape.comments[2])


def _told_on_another_issue(tape: Tape) -> None:
    _told(tape, "r-1")
    tape.comments.append(tape.comments[0].model_copy(update={"issue": 2, "comment_id": 2}))


def _another_issue_is_told(tape: Tape) -> None:
    """It was deleted, so whatever was written there is gone."""
    _told(tape, "r-1", "r-9", "r-9")
    for comment in tape.comments[1:]:
        tape.change(comment, issue=2)
    tape.send("deleted", GONE, issue=2)


def _not_told_to_its_end(tape: Tape, state: str) -> None:
    tape.step("collect_run", works(tape), "ended")
    tape.receive("start-1", state)
    tape.comment(body="The agent is at work. To stop it: comment.")
    if state != "over":
        tape.order("stop")


def _told_by_an_ended_workflow(tape: Tape, *, again: bool) -> None:
    """What it did not delete stays, and its run stays at work: nobody knows of it. With `again`, after that end."""
    _done(tape)
    tape.comment()
    if again:
        tape.terminate()
    first = tape.comment("r-0", body="The agent is at work. To stop it: comment.")
    tape.comments.append(first.model_copy(update={"comment_id": 9}))
    if not again:
        tape.terminate()


def _followed(tape: Tape, by: str) -> None:
    """The sandbox stops while an activity follows the run."""
    sandbox = works(tape)
    began = tape.now
    tape.stop(sandbox, by=by)
    tape.step("follow_run", sandbox, "running")
    tape.run_steps[-1] = tape.run_steps[-1].model_copy(update={"at": began})


def _made_idle(tape: Tape) -> None:
    sandbox = works(tape)
    began = tape.now
    tape.idle(sandbox)
    tape.stop(sandbox, by="auto_stop")
    tape.step("follow_run", sandbox, "running")
    tape.run_steps[-1] = tape.run_steps[-1].model_copy(update={"at": began})


def _idle_later(tape: Tape) -> None:
    sandbox = works(tape)
    tape.step("follow_run", sandbox, "ended")
    tape.stop(sandbox, by="auto_stop")


def _refused(tape: Tape) -> None:
    tape.step("collect_run", works(tape), "ended")
    tape.send("created", RUNNING, asks="comment-1")
    tape.receive("start-1")
    tape.receive("comment-1", "refused", "")


def _paused_by_an_order(tape: Tape) -> None:
    sandbox = works(tape)
    tape.order("stop")
    tape.step("interrupt_run", sandbox, "ended")
    tape.stop(sandbox)
    tape.receive("start-1", "given")


STORIES: dict[str, tuple[Story, str]] = {
    "a run is done": (_done, ""),
    "an attempt begins twice": (_begun_twice, "G"),
    "two runs at once": (_two_runs_at_once, "G"),
    "one run after the other": (_one_run_after_the_other, ""),
    "another run after a person stopped the sandbox": (_run_after_a_stop_by_hand, ""),
    "the next attempt after a fence": (_next_attempt, ""),
    "the next attempt after a fence that left something": (_next_attempt_without_proof, "GI"),
    "the next attempt after a probe alone": (_next_attempt_after_a_probe, "I"),
    "the next attempt after the fence of another run": (_next_attempt_after_the_fence_of_another, "I"),
    "the next attempt in another sandbox": (_next_attempt_in_another_sandbox, "I"),
    "something is left alive": (_left_alive, "J"),
    "a stop while it works": (_stopped_under_it, "K"),
    "a stop after its end": (_stopped_after_its_end, ""),
    "a stop before anybody knew of its end": (_stopped_and_only_then_said_to_have_ended, "K"),
    "a person's stop while it works": (_stopped_by_a_person, ""),
    "a replacement while it works": (_replaced_under_it, ""),
    "a request in two runs": (_in_two_runs, "H"),
    "a request that is not over at rest": (_still_given, "H"),
    "a request that nobody knows": (_in_no_run, "H"),
    "a request that nobody knows, from before a close": (_asked_before_the_close, "H"),
    "a request that nobody knows, of an issue that left": (_asked_before_the_issue_left, ""),
    "a request that nobody knows, from after a close": (_asked_after_the_close, "H"),
    "a request that nobody knows, of an ended workflow": (
        lambda tape: _asked_of_an_ended_workflow(tape, again=True),
        "",
    ),
    "a request that nobody knows, after a workflow was ended": (
        lambda tape: _asked_of_an_ended_workflow(tape, again=False),
        "H",
    ),
    "another run after the job wrote its end": (_by_its_own_word, ""),
    "a request that was refused": (_refused, ""),
    "a run that is told in one comment": (lambda tape: _told(tape, "r-1"), ""),
    "a run that is told twice": (lambda tape: _told(tape, "r-1", "r-1"), "M"),
    "a run that is not told": (lambda tape: _told(tape, "r-2"), "M"),
    "a run of an issue that was deleted": (_told_of_a_deleted_issue, ""),
    "a run that a proxy told twice": (lambda tape: _told_twice_by_a_proxy(tape, is_mended=False), "M"),
    "a run that a proxy told twice, mended": (lambda tape: _told_twice_by_a_proxy(tape, is_mended=True), ""),
    "a comment beside one that a look had shown": (_asked_for_again, "M"),
    "a comment without a look since the first": (lambda tape: _asked_for_again(tape, looked_at=1.0), "M"),
    "a comment without a look": (lambda tape: _asked_for_again(tape, looked_at=None), "M"),
    "a comment without a look, after one that was deleted": (_told_anew_without_a_look, "M"),
    "a third comment without a look since the second": (_third_one_without_a_look, "M"),
    "a run that is told on another issue as well": (_told_on_another_issue, "M"),
    "a deleted issue beside it, on which runs were told twice": (_another_issue_is_told, ""),
    "a comment beside one that came late": (_first_one_came_late, ""),
    "a comment after one that was deleted": (_told_anew, ""),
    "a run that is over and told to be at work": (lambda tape: _not_told_to_its_end(tape, "over"), "M"),
    "a run that is paused and told to be": (lambda tape: _not_told_to_its_end(tape, "given"), ""),
    "a run that an ended workflow told twice": (lambda tape: _told_by_an_ended_workflow(tape, again=False), ""),
    "a run that is told twice after that end": (lambda tape: _told_by_an_ended_workflow(tape, again=True), "M"),
    "a sandbox that was idle while a worker followed": (lambda tape: _followed(tape, "auto_stop"), "N"),
    "a sandbox that a person stopped meanwhile": (lambda tape: _followed(tape, "admin:stop"), ""),
    "a sandbox that a person made idle meanwhile": (_made_idle, ""),
    "a sandbox that was idle after its run": (_idle_later, ""),
    "a run that a person's stop pauses": (_paused_by_an_order, ""),
}


@pytest.mark.parametrize("name", STORIES)
def test_story_breaks_exactly_its_rules(name: str) -> None:
    story, letters = STORIES[name]
    tape = Tape()
    story(tape)
    assert "".join(letter for letter in tape.letters() if letter.isupper()) == letters


def test_rules_about_the_end_wait_for_rest() -> None:
    tape = Tape()
    _left_alive(tape)
    _still_given(tape)
    assert not set(tape.letters(is_at_rest=False)) & set("HJ")


def test_without_a_ledger_nothing_is_said_of_runs() -> None:
    tape = Tape()
    _begun_twice(tape)
    assert not any(letter.isupper() for letter in tape.letters(ledger=None))


def _payload(text: str) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=text.encode())


def test_steps_are_read_from_raw_events() -> None:
    scheduled = HistoryEvent(event_id=5, event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
    attributes = scheduled.activity_task_scheduled_event_attributes
    attributes.activity_type.name = "collect_run"
    attributes.input.payloads.append(_payload('{"run": "r-1", "attempt": 2, "sandbox_id": "s0"}'))
    other = HistoryEvent(event_id=6, event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
    other.activity_task_scheduled_event_attributes.activity_type.name = "stop_sandbox"
    prepared = HistoryEvent(event_id=7, event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
    attributes = prepared.activity_task_scheduled_event_attributes
    attributes.activity_type.name = "prepare_run"
    attributes.input.payloads.append(
        _payload('{"about": {"run": "r-1", "attempt": 3, "sandbox_id": "s0"}, "requests": [{"key": "start-1"}]}')
    )
    ended = HistoryEvent(event_id=8, event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)
    ended.event_time.FromSeconds(9)
    completed = ended.activity_task_completed_event_attributes
    completed.scheduled_event_id = 5
    completed.result.payloads.append(_payload('{"seen": {"phase": "ended"}, "report": {}}'))
    collect, prepare = run_steps_of("w", [scheduled, other, prepared, ended])
    assert (collect.step, collect.attempt, collect.phase, collect.ended_at) == ("collect_run", 2, "ended", 9.0)
    assert (prepare.attempt, prepare.keys, prepare.ended_at) == (3, ("start-1",), None)
