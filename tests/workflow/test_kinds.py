"""What operators, the clock and late commands do to a workflow: each ends as it is documented."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError

from issuebox.domain.issue import Issue
from issuebox.domain.phase import Cause, Goal, Outcome, Phase
from issuebox.worker import build_worker
from tests.waiting import until
from tests.workflow.conftest import Stack, Started
from workflows import options
from workflows.messages import MEMO_STATUS, SIGNAL_EVENT, SIGNAL_STOP, WORKFLOW_TYPE, StartInput
from workflows.search_attributes import REPOSITORY

NEVER = -1.0
STOPS = {"close_stop_after_s": 0.0, "close_archive_after_s": NEVER, "close_delete_after_s": NEVER}
RUNNING, CANCELED = WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CANCELED


async def _status(stack: Stack) -> WorkflowExecutionStatus | None:
    return (await stack.handle.describe()).status


async def _published(stack: Stack) -> dict[str, object]:
    memo = await (await stack.handle.describe()).memo()
    published: dict[str, object] = memo.get(MEMO_STATUS, {})
    return published


async def _doing(stack: Stack, word: str) -> None:
    await until(stack.status, lambda status: word in status.doing, f"{word} under way")


async def test_request_on_a_closed_issue_whose_timer_is_zero_is_handed_over_and_then_stopped(start: Started) -> None:
    """The timer is due at the moment of the handover: no other event reminds the workflow of it."""
    stack = await start(close_stop_after_s=0, close_archive_after_s=-1, close_delete_after_s=-1)
    await stack.ensure()
    await stack.close()
    await stack.reached(Goal.STOPPED)
    handover = await stack.ensure()
    assert handover.outcome is Outcome.STARTED
    await stack.reached(Goal.STOPPED)
    assert await stack.state() == "stopped"


async def test_request_on_a_closed_issue_outlasts_the_stop_timer(start: Started) -> None:
    """A start that takes longer than the time to the stop is handed over; the time counts from there."""
    stack = await start(close_stop_after_s=1.5, close_archive_after_s=NEVER, close_delete_after_s=NEVER)
    await stack.ensure()
    await stack.close()
    await stack.reached(Goal.STOPPED)
    await stack.daytona.admin.config(durations={"start_s": 3.0})
    handover = await stack.ensure()
    assert handover.outcome is Outcome.STARTED
    assert handover.sandbox is not None
    assert handover.sandbox.phase is Phase.USABLE
    status = await stack.status()
    assert status.goal_due_at is not None
    await stack.reached(Goal.STOPPED)
    assert await stack.state() == "stopped"


async def test_late_delivery_does_not_undo_a_stop(stack: Stack) -> None:
    """What somebody asked for before a person's order is late, however it arrives; a newer request counts."""
    await stack.ensure()
    await stack.order(SIGNAL_STOP)
    await stack.reached(Goal.STOPPED)
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    await stack.deliver(stack.event(requested_at=an_hour_ago, is_explicit=True, action="labeled"))
    status = await until(stack.status, lambda status: status.deliveries_seen == 1, "the delivery seen")
    assert (status.goal, status.requests_waiting, await stack.state()) == (Goal.STOPPED, 0, "stopped")
    await stack.deliver(stack.event(requested_at=datetime.now(UTC) + timedelta(seconds=1), is_explicit=True))
    await stack.served()
    assert await stack.state() == "started"


@pytest.mark.parametrize("stop_s", [0.0, 4.0], ids=["stopped by then", "still stopping by then"])
async def test_stop_that_takes_effect_late_is_undone(
    start: Started, monkeypatch: pytest.MonkeyPatch, stop_s: float
) -> None:
    """The reply was lost, the issue is opened again and handed over; then Daytona executes the stop after all."""
    monkeypatch.setattr(options, "LATE_MAX", timedelta(seconds=6))
    stack = await start(**STOPS, daytona_request_timeout_s=1.0)
    await stack.daytona.admin.config(durations={"stop_s": stop_s})
    made = (await stack.ensure()).sandbox
    assert made is not None
    await stack.daytona.admin.add_fault("stop", {"kind": "late", "seconds": 4.0}, name=stack.name)
    await stack.close()
    await _doing(stack, "stopping")
    await stack.deliver(stack.event(action="reopened"))
    await stack.served()
    assert await stack.state() == "started"
    # It may be started again within a moment of its stop.
    await until(stack.state, lambda state: state != "started", "the stop executed late")
    await until(stack.state, lambda state: state == "started", "the sandbox started again")
    notes = [note.what for note in (await stack.why()).notes]
    assert "late command" in notes
    assert [row.id for row in await stack.live()] == [made.id]


async def test_cancel_settles_the_command_in_flight(stack: Stack) -> None:
    """The create comes to its end, the sandbox stays, the run is cancelled; the next event finds the sandbox."""
    await stack.daytona.admin.config(durations={"create_s": 2.0})
    await stack.deliver()
    await _doing(stack, "creating")
    await stack.handle.cancel()
    await stack.handle.cancel()
    with pytest.raises(WorkflowFailureError) as ended:
        await stack.handle.result()
    assert isinstance(ended.value.cause, CancelledError)
    assert (await _status(stack), await stack.state()) == (CANCELED, "started")
    await stack.deliver(stack.event(action="labeled"))
    assert (await stack.served()).outcome is Outcome.REUSED
    assert len(await stack.live()) == 1


@pytest.mark.parametrize("when", ["resting", "blocked", "waiting for Daytona"])
async def test_cancel_of_a_waiting_run_ends_it_at_once(start: Started, when: str) -> None:
    """A wait is cut off: no sandbox is touched by that."""
    stack = await start()
    if when == "resting":
        await stack.ensure()
    elif when == "blocked":
        await stack.daytona.admin.add_fault("create", {"kind": "status", "status": 403})
        await stack.ensure()
    else:
        await stack.ensure()
        [row] = await stack.live()
        await stack.daytona.admin.config(durations={"stop_s": 30.0})
        await stack.daytona.admin.act(row.id, "stop")
        await stack.deliver(stack.event(action="labeled"))
        await _doing(stack, "waiting for Daytona")
    await stack.handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await stack.handle.result()
    assert await _status(stack) is CANCELED


async def test_waiting_caller_is_answered_when_the_run_is_cancelled(stack: Stack) -> None:
    """*Pending*, as when the run continues as new: nobody waits for a run that is over."""
    await stack.daytona.admin.config(durations={"create_s": 2.0})
    asking = asyncio.create_task(stack.ensure())
    await until(stack.requests, lambda sent: "create" in sent, "the create under way")
    await stack.handle.cancel()
    assert (await asking).outcome is Outcome.PENDING
    with pytest.raises(WorkflowFailureError):
        await stack.handle.result()
    assert await _status(stack) is CANCELED


async def test_issue_that_only_ended_leaves_daytona_alone(start: Started) -> None:
    """The workflow of an issue that nobody asked for remembers its end, and reads nothing."""
    stack = await start(close_stop_after_s=0.0, close_archive_after_s=0.0, close_delete_after_s=0.0)
    await stack.close()
    status = await until(stack.status, lambda status: status.deliveries_seen == 1, "the close seen")
    assert (status.goal, status.seen_at, status.blocked) == (Goal.STOPPED, None, None)
    opened = Issue(stack.issue_id, "octo/repo", 5, updated_at=datetime.now(UTC) - timedelta(minutes=5))
    await stack.deliver(stack.event(issue=opened))
    status = await until(stack.status, lambda status: status.deliveries_seen == 2, "the late opening seen")
    assert (status.requests_waiting, await stack.requests(), await stack.live()) == (0, [], [])


async def test_issue_that_only_ended_is_forgotten_after_the_redelivery_window(start: Started) -> None:
    """GitHub redelivers within three days; then the workflow completes."""
    stack = await start(redelivered_within_s=1.0)
    await stack.close()
    await stack.handle.result()
    assert (await _status(stack), await stack.requests()) == (WorkflowExecutionStatus.COMPLETED, [])


@pytest.mark.parametrize("name", ["claude-issue-0{}", "other-{}", "claude-issue-{}0"])
async def test_workflow_under_a_wrong_name_makes_no_sandbox(stack: Stack, name: str) -> None:
    """One issue has one name: a workflow that begins under another fails with a sentence."""
    wrong = name.format(stack.issue_id)
    handle = await stack.temporal.start_workflow(
        WORKFLOW_TYPE,
        StartInput(stack.issue_id, wrong),
        id=wrong,
        task_queue=stack.settings.task_queue,
        start_signal=SIGNAL_EVENT,
        start_signal_args=[stack.event()],
    )
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert f"the workers call issue {stack.issue_id} {stack.name}" in failed.value.cause.message
    rows = await stack.daytona.admin.sandboxes()
    assert not [row for row in rows if str(stack.issue_id) in row.name]


async def test_workflow_whose_prefix_was_mistyped_keeps_its_memory(start: Started) -> None:
    """A worker with another prefix touches nothing of what lives; with the right one again all goes on."""
    stack = await start(has_worker=False, **STOPS)
    async with build_worker(stack.temporal, stack.provider, stack.worker):
        made = (await stack.ensure()).sandbox
    mistyped = replace(stack.worker, policy=replace(stack.worker.policy, name_prefix="claude-isue-"))
    async with build_worker(stack.temporal, stack.provider, mistyped):
        after = await stack.daytona.admin.journal()
        await stack.close()
        status = await stack.blocked()
        assert status.blocked is not None
        assert (status.blocked.cause, await _status(stack)) == (Cause.WRONG_NAME, RUNNING)
        assert f"call issue {stack.issue_id} claude-isue-{stack.issue_id}" in status.blocked.reason
        sent = await stack.requests(after=after[-1].seq)
        assert set(sent) <= {"get", "list"}
    async with build_worker(stack.temporal, stack.provider, stack.worker):
        await stack.retry()
        await stack.reached(Goal.STOPPED)
    assert made is not None
    assert [(row.id, row.state) for row in await stack.live()] == [(made.id, "stopped")]


async def test_new_run_shows_in_lists_from_its_start(stack: Stack) -> None:
    """Continue-as-new keeps what lists and sweeps read: an event that changes nothing would not publish it again."""
    await stack.ensure()
    run_id = (await stack.handle.describe()).run_id

    async def is_new() -> bool:
        await asyncio.gather(*(stack.deliver() for _ in range(5)))
        await stack.served()
        return (await stack.handle.describe()).run_id != run_id

    await until(is_new, bool, "a new workflow run", timeout_s=60)
    [started] = [
        event.workflow_execution_started_event_attributes
        async for event in stack.handle.fetch_history_events(page_size=1)
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
    ]
    assert set(started.memo.fields) == {MEMO_STATUS}
    assert REPOSITORY.name in started.search_attributes.indexed_fields


async def test_new_issue_shows_in_lists_while_its_sandbox_is_created(stack: Stack) -> None:
    """A create takes seconds, a thaw minutes: the list has the issue from the first command on."""
    await stack.daytona.admin.config(durations={"create_s": 3.0})
    await stack.deliver()
    await _doing(stack, "creating")
    published = await _published(stack)
    assert (published["repository"], published["number"], published["goal"]) == ("octo/repo", 5, "running")
