"""How workflow runs ended, from their raw events: by hand or by a wrong setting, and not by their issue's end. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent

from proofs.checker.evidence import End

COMMANDS = frozenset(
    {
        *(f"{word}_sandbox" for word in ("create", "start", "recover", "stop", "archive", "delete")),
        *("set_up_sandbox", "inspect_sandbox"),
    }
)
"""Activities that change a sandbox or run in it: a cancel waits for their end."""

KINDS = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: "canceled",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED: "terminated",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: "failed",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT: "timed out",
}

OVER = {
    **KINDS,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: "completed",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW: "continued",
}

_SCHEDULED = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
_CANCEL_REQUESTED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED
_TASK_FAILED = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
_RESET = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW

Run = Sequence[HistoryEvent]


def ends_of(workflow_id: str, runs: Mapping[str, Run]) -> list[End]:
    """The ends of a workflow's runs, by run ID. A run that a reset ended goes on in its successor."""
    reset = {run_id for events in runs.values() for run_id in _reset_by(events)}
    return [
        End(workflow_id=workflow_id, run_id=run_id, at=events[-1].event_time.ToNanoseconds() / 1e9, kind=kind)
        for run_id, events in runs.items()
        if run_id not in reset and (kind := KINDS.get(events[-1].event_type))
    ]


def bad_cancels(workflow_id: str, runs: Mapping[str, Run]) -> list[str]:
    """The cancels that did not settle the command in flight and then end the run, one sentence for each."""
    return [
        f"{workflow_id}: {what} (run {run_id})" for run_id, events in runs.items() if (what := _wrong_in_cancel(events))
    ]


def is_reset(event: HistoryEvent) -> bool:
    """Whether it is the failed workflow task with which Temporal marks a reset."""
    return event.event_type == _TASK_FAILED and event.workflow_task_failed_event_attributes.cause == _RESET


def _reset_by(events: Run) -> Iterator[str]:
    """The runs that were reset into this one."""
    for event in events:
        if is_reset(event):
            yield event.workflow_task_failed_event_attributes.base_run_id


def _wrong_in_cancel(events: Run) -> str:
    if not any(event.event_type == _CANCEL_REQUESTED for event in events):
        return ""
    end = OVER.get(events[-1].event_type)
    if end is None:
        return "was cancelled and did not end"
    open_commands = sorted(_open_commands(events)) if end == "canceled" else []
    return f"the cancel cut {', '.join(open_commands)} off" if open_commands else ""


def _open_commands(events: Run) -> Iterable[str]:
    scheduled = {
        event.event_id: event.activity_task_scheduled_event_attributes.activity_type.name
        for event in events
        if event.event_type == _SCHEDULED
    }
    closed = {_closes(event) for event in events}
    return [name for event_id, name in scheduled.items() if event_id not in closed and name in COMMANDS]


def _closes(event: HistoryEvent) -> int:
    """The scheduled event of the activity that this event ends; 0 for any other event."""
    match event.event_type:
        case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            return event.activity_task_completed_event_attributes.scheduled_event_id
        case EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED:
            return event.activity_task_failed_event_attributes.scheduled_event_id
        case EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
            return event.activity_task_timed_out_event_attributes.scheduled_event_id
        case _:
            return 0
