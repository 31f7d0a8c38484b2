"""What Temporal says of a workflow run itself: how it ended, or that its workflow task fails again and again.

All of it comes from the server alone: a stuck run answers no query.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, PendingActivityState, TimeoutType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.client import WorkflowExecution as Execution

from issuebox.domain.workflow_ends import STUCK_FAILURES, End, Ended, Stuck, failure_text
from workflows.messages import SIGNAL_DELETE, SIGNAL_REPLACE

EVENTS_GLANCED = 100
"""Of a run with a pending workflow task, as each busy one has for moments. Failures are among its newest events."""

LOST_AFTER = timedelta(minutes=1)
"""Temporal ends an activity within seconds after its time."""

EVENTS_PER_PAGE = 1_000
EVENTS_READ_MAX = 10_000
"""Of a stuck run's newest events. A run continues as new after some 4,000; only signals can come after that."""

_FAILED = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
_COMPLETED = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
_SIGNALED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED

_SCHEDULED = PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
_START_TO_CLOSE = TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE

_NO_FAULT = frozenset(
    {
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW,
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_STICKY_TASK_QUEUE,
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_FORCE_CLOSE_COMMAND,
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND,
    }
)
"""Causes by which Temporal itself gives a workflow task up: the next one goes on. *Unhandled command* means that an
event arrived while the workflow was ending."""

_NOT_REPEATED = frozenset({SIGNAL_DELETE, SIGNAL_REPLACE})
"""Signals that a reset would apply to a sandbox that came after them."""

_REFUSED_EVENT = re.compile(r"HistoryEvent\(id: ([0-9]+)")
"""How the SDK's core names the first event that the workflow's code did not cause (temporalio 1.35.0)."""

ENDS: Mapping[WorkflowExecutionStatus, End] = {
    WorkflowExecutionStatus.COMPLETED: End.COMPLETED,
    WorkflowExecutionStatus.FAILED: End.FAILED,
    WorkflowExecutionStatus.CANCELED: End.CANCELLED,
    WorkflowExecutionStatus.TERMINATED: End.TERMINATED,
    WorkflowExecutionStatus.TIMED_OUT: End.TIMED_OUT,
}
"""A run that continued as new is not over: its successor goes on."""

REPORTED_PROBLEMS = "TemporalReportedProblems"
"""The search attribute with which servers from 1.30 mark a run whose workflow task has failed five times in a row."""

ENDED = "ExecutionStatus IN ('Completed', 'Failed', 'Canceled', 'Terminated', 'TimedOut')"
"""The condition for runs that are over, as Temporal spells it."""


def ended(execution: Execution) -> Ended | None:
    """How the run ended; None when it runs, or went on in another run."""
    end = ENDS.get(execution.status) if execution.status is not None else None
    return Ended(end, execution.close_time) if end is not None else None


async def stuck(client: Client, description: WorkflowExecutionDescription) -> Stuck | None:
    """Whether the run is stuck. Reads its history only where it may be. Raises RPCError."""
    pending = description.raw_description.pending_workflow_task
    if description.status is not WorkflowExecutionStatus.RUNNING:
        return None
    if lost := _lost_activity(description.raw_description.pending_activities):
        return _with_reset(Stuck(0, waits_for=lost), await _newest_events(client, description, EVENTS_READ_MAX))
    if not pending.attempt:
        return None
    events = await _newest_events(client, description, EVENTS_GLANCED)
    failed = [event for event in _since_completed(events) if _is_failure(event)]
    # The first failure of a task is recorded, its further attempts are only counted; an event starts the count anew.
    failures = len(failed) + max(0, pending.attempt - 2)
    if failures < STUCK_FAILURES:
        return None
    events = await _newest_events(client, description, EVENTS_READ_MAX)
    reason = next((text for text in map(_reason, failed) if text), "")
    refused = _REFUSED_EVENT.search(reason)
    return _with_reset(Stuck(failures, reason), events, int(refused[1]) if refused else math.inf)


def _with_reset(found: Stuck, events: Sequence[HistoryEvent], before: float = math.inf) -> Stuck:
    """The same with the reset that helps: to the last workflow task before that event. `events`: the newest first."""
    completed = (event.event_id for event in events if event.event_type == _COMPLETED and event.event_id < before)
    # A reset does the task anew to which it goes, with the signals that came after the task before.
    reset_to, kept = next(completed, None), next(completed, 0)
    signals = {
        event.workflow_execution_signaled_event_attributes.signal_name
        for event in events
        if event.event_type == _SIGNALED and event.event_id > kept
    }
    return replace(found, reset_to=reset_to, repeats_orders=bool(signals & _NOT_REPEATED))


def _lost_activity(pending: Iterable[PendingActivityInfo]) -> str:
    """The type of an activity that waits for a worker although its time is up; '' without one.

    A reset schedules an activity anew that no worker has taken, and Temporal (server 1.29.1) makes no timer for it.
    When no worker takes it before its task expires, nothing ends it.
    """
    now = datetime.now(UTC)
    return next((each.activity_type.name for each in pending if _is_late(each, now)), "")


def _is_late(pending: PendingActivityInfo, now: datetime) -> bool:
    within = pending.activity_options.schedule_to_start_timeout.ToTimedelta()
    if pending.state != _SCHEDULED or not within:
        return False
    return pending.scheduled_time.ToDatetime(UTC) + within + LOST_AFTER < now


def _since_completed(events: Iterable[HistoryEvent]) -> Iterator[HistoryEvent]:
    """Those of the events, newest first, that came after the last completed workflow task."""
    return takewhile(lambda event: event.event_type != _COMPLETED, events)


def _is_failure(event: HistoryEvent) -> bool:
    """Whether a worker failed at a workflow task. That a task found no worker in time, or was reset, is none."""
    if event.event_type == _FAILED:
        return event.workflow_task_failed_event_attributes.cause not in _NO_FAULT
    is_timeout = event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT
    return is_timeout and event.workflow_task_timed_out_event_attributes.timeout_type == _START_TO_CLOSE


def _reason(event: HistoryEvent) -> str:
    """The text of a failed workflow task; '' for one that timed out."""
    failure = event.workflow_task_failed_event_attributes.failure
    return failure_text(failure.message, failure.cause.message)


async def _newest_events(client: Client, description: WorkflowExecutionDescription, at_most: int) -> list[HistoryEvent]:
    """The run's newest events, the newest first; a page more than `at_most` if there are so many."""
    events: list[HistoryEvent] = []
    request = GetWorkflowExecutionHistoryReverseRequest(
        namespace=client.namespace,
        execution=WorkflowExecution(workflow_id=description.id, run_id=description.run_id),
        maximum_page_size=min(at_most, EVENTS_PER_PAGE),
    )
    while True:
        reply = await client.workflow_service.get_workflow_execution_history_reverse(request)
        events += reply.history.events
        if not reply.next_page_token or len(events) >= at_most:
            return events
        request.next_page_token = reply.next_page_token
