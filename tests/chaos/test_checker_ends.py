"""Workflow runs that an operator ended: what the checker reads of them, and what it excuses after them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent

from proofs.checker.ends import bad_cancels, ends_of, is_reset
from proofs.checker.histories import failed_tasks_of, signals_of
from tests.chaos.tape import KEPT, RUNNING, STOPPED, Tape
from tests.chaos.test_checker import served

Story = Callable[[Tape], object]


def _stop_forgotten(tape: Tape) -> None:
    """Ordered to stop; then the workflow was ended, and a redelivered request started the sandbox."""
    sandbox = served(tape)
    tape.order("stop")
    tape.stop(sandbox)
    tape.terminate()
    tape.start(sandbox)


def _stop_after_the_end(tape: Tape) -> None:
    sandbox = served(tape)
    tape.terminate()
    tape.order("stop")
    tape.stop(sandbox)
    tape.start(sandbox)


def _stop_without_an_end(tape: Tape) -> None:
    sandbox = served(tape)
    tape.order("stop")
    tape.stop(sandbox)
    tape.start(sandbox)


def _stop_remembered(tape: Tape) -> None:
    """The sandbox stays as it is: that is right as well."""
    sandbox = served(tape)
    tape.order("stop")
    tape.stop(sandbox)
    tape.terminate()


def _ensure_forgotten(tape: Tape) -> None:
    tape.stop(served(tape), by="auto_stop")
    tape.order("ensure")
    tape.terminate()


def _ensure_not_served(tape: Tape) -> None:
    tape.stop(served(tape), by="auto_stop")
    tape.order("ensure")


def _request_not_served(tape: Tape) -> None:
    """A resync brings it again, so it is no excuse that the workflow was ended."""
    tape.send("opened", RUNNING)
    tape.terminate()


def _taken_again_after_an_order(tape: Tape) -> None:
    """A comment, an order to stop two seconds later, and the redelivered comment: either may be the later one."""
    sandbox = served(tape)
    comment = tape.send("created", RUNNING)
    tape.terminate()
    tape.order("stop")
    tape.stop(sandbox)
    tape.send("created", RUNNING, delivery=comment, second=tape.deliveries[-1].updated_at)
    tape.start(sandbox)


def _repeated_after_an_order(tape: Tape) -> None:
    """The same without an end: the workflow knows the comment."""
    sandbox = served(tape)
    comment = tape.send("created", RUNNING)
    tape.order("stop")
    tape.stop(sandbox)
    tape.send("created", RUNNING, delivery=comment, second=tape.deliveries[-1].updated_at)
    tape.start(sandbox)


def _close(tape: Tape, *, is_ended: bool = False, is_undone: bool = True, is_sent_again: bool = False) -> None:
    """An issue was closed and then reopened by somebody who may not ask, while no workflow ran that took it."""
    served(tape)
    label = tape.send("labeled", RUNNING)
    second = tape.deliveries[-1].updated_at
    closed = tape.send("closed", STOPPED)
    closed_at = tape.deliveries[-1].updated_at
    if is_ended:
        tape.terminate()
    if is_undone:
        tape.send("reopened", KEPT, is_recorded=False)
    tape.send("labeled", RUNNING, delivery=label, second=second)
    if is_sent_again:
        tape.send("closed", STOPPED, delivery=closed, second=closed_at)


def _created_beside_a_dying_one(tape: Tape, *, is_ended: bool = False) -> None:
    sandbox = served(tape)
    tape.order("delete", is_forced=True)
    tape.stop(sandbox)
    tape.delete(sandbox, is_finished=False)
    if is_ended:
        tape.terminate()
    tape.send("created", RUNNING)
    tape.create()
    tape.finish(sandbox)


STORIES: dict[str, tuple[Story, str]] = {
    "an order is forgotten": (_stop_forgotten, ""),
    "an order is forgotten, and still kept": (_stop_remembered, ""),
    "an order after the end": (_stop_after_the_end, "e"),
    "an order without an end": (_stop_without_an_end, "e"),
    "a request by order is forgotten": (_ensure_forgotten, ""),
    "a request by order without an end": (_ensure_not_served, "ce"),
    "a delivery is not forgotten": (_request_not_served, "ce"),
    "a close is forgotten": (partial(_close, is_ended=True), ""),
    "a close is forgotten and comes again": (partial(_close, is_ended=True, is_sent_again=True), "e"),
    "a close is forgotten and stands": (partial(_close, is_ended=True, is_undone=False), "e"),
    "a close without an end": (_close, "ce"),
    "a delivery comes again after an order": (_taken_again_after_an_order, ""),
    "a delivery is repeated after an order": (_repeated_after_an_order, "e"),
    "the next workflow does not know the dying one": (
        lambda tape: _created_beside_a_dying_one(tape, is_ended=True),
        "",
    ),
    "the same workflow knows the dying one": (lambda tape: _created_beside_a_dying_one(tape, is_ended=False), "b"),
}


@pytest.mark.parametrize("story", STORIES)
def test_end_excuses_what_the_next_workflow_cannot_know(story: str) -> None:
    """Its orders and which deliveries it took, and the sandbox that it had deleted. Nothing else."""
    write, letters = STORIES[story]
    tape = Tape()
    write(tape)
    assert tape.letters() == letters


def _event(number: int, kind: str, **attributes: Any) -> HistoryEvent:
    event = HistoryEvent(event_id=number, event_type=EventType.Value(f"EVENT_TYPE_{kind}"), **attributes)
    event.event_time.FromSeconds(1_000 + number)
    return event


def _scheduled(number: int, name: str) -> HistoryEvent:
    return _event(
        number, "ACTIVITY_TASK_SCHEDULED", activity_task_scheduled_event_attributes={"activity_type": {"name": name}}
    )


def _completed(number: int, scheduled: int) -> HistoryEvent:
    return _event(
        number, "ACTIVITY_TASK_COMPLETED", activity_task_completed_event_attributes={"scheduled_event_id": scheduled}
    )


def _reset(number: int, base: str) -> HistoryEvent:
    cause = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW
    return _event(
        number, "WORKFLOW_TASK_FAILED", workflow_task_failed_event_attributes={"cause": cause, "base_run_id": base}
    )


START = _event(1, "WORKFLOW_EXECUTION_STARTED")
ASKED = _event(2, "WORKFLOW_EXECUTION_CANCEL_REQUESTED")
CANCELED, TERMINATED = "WORKFLOW_EXECUTION_CANCELED", "WORKFLOW_EXECUTION_TERMINATED"


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (CANCELED, "canceled"),
        (TERMINATED, "terminated"),
        ("WORKFLOW_EXECUTION_FAILED", "failed"),
        ("WORKFLOW_EXECUTION_TIMED_OUT", "timed out"),
        ("WORKFLOW_EXECUTION_COMPLETED", ""),
        ("WORKFLOW_EXECUTION_CONTINUED_AS_NEW", ""),
        ("WORKFLOW_TASK_COMPLETED", ""),
    ],
)
def test_ends_by_hand_are_read(last: str, kind: str) -> None:
    """The end of an issue, the next run and a run that goes on are none."""
    ends = ends_of("w", {"r": [START, _event(2, last)]})
    assert [(end.run_id, end.kind, end.at) for end in ends] == ([("r", kind, 1_002.0)] if kind else [])


def test_reset_ends_nothing() -> None:
    """The run that was reset is terminated by Temporal, and its successor goes on with what it had been told."""
    runs = {"base": [START, _event(2, TERMINATED)], "next": [START, _reset(2, "base")]}
    assert ends_of("w", runs) == []
    assert is_reset(runs["next"][1])
    assert failed_tasks_of(runs["next"]) == {}


def test_run_that_was_terminated_after_a_reset_ended() -> None:
    runs = {"base": [START, _event(2, TERMINATED)], "next": [START, _reset(2, "base"), _event(3, TERMINATED)]}
    assert [end.run_id for end in ends_of("w", runs)] == ["next"]


CANCELS: dict[str, tuple[Sequence[HistoryEvent], str]] = {
    "settled": ([_scheduled(2, "create_sandbox"), ASKED, _completed(4, 2), _event(5, CANCELED)], ""),
    "cut off": ([_scheduled(2, "create_sandbox"), ASKED, _event(4, CANCELED)], "cut create_sandbox off"),
    "a wait": ([_scheduled(2, "settle_sandbox"), ASKED, _event(4, CANCELED)], ""),
    "a lookup": ([_scheduled(2, "lookup_sandbox"), ASKED, _event(4, CANCELED)], ""),
    "not ended": ([ASKED], "did not end"),
    "terminated meanwhile": ([_scheduled(2, "create_sandbox"), ASKED, _event(4, TERMINATED)], ""),
    "never cancelled": ([_scheduled(2, "create_sandbox")], ""),
}


@pytest.mark.parametrize("case", CANCELS)
def test_cancel_settles_the_command_in_flight_and_ends(case: str) -> None:
    """What it may cut off is a wait."""
    events, says = CANCELS[case]
    found = bad_cancels("w", {"r": [START, *events]})
    assert len(found) == bool(says)
    assert says in "".join(found)


def test_signal_that_is_no_json_is_no_delivery() -> None:
    """Anybody may send a signal to a workflow, with any bytes."""
    payload = {"metadata": {"encoding": b"json/plain"}, "data": b'{"delivery": '}
    signalled = {"signal_name": "issue_event", "input": {"payloads": [payload]}}
    event = _event(2, "WORKFLOW_EXECUTION_SIGNALED", workflow_execution_signaled_event_attributes=signalled)
    assert list(signals_of("w", "r", [START, event])) == []
