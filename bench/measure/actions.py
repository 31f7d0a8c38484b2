"""Temporal Cloud's billable actions in a part of a history. Pure.

The rules are those of https://docs.temporal.io/cloud/actions, read on 2026-11-24. Not counted is what no history
shows: queries, refused updates, and heartbeats, of which a command of up to two seconds sends none.
"""

from __future__ import annotations

from collections.abc import Iterable

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

ONE_EACH = frozenset(
    {
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
        EventType.EVENT_TYPE_TIMER_STARTED,
        EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES,
    }
)
VERSION_ATTRIBUTE = "TemporalChangeVersion"


def billable(events: Iterable[HistoryEvent]) -> int:
    """How many actions these events are, including retries of activities."""
    found = list(events)
    total = sum(_is_action(event) for event in found) + sum(_retries(event) for event in found)
    # All markers of one workflow task are one action.
    total += len(
        {
            event.marker_recorded_event_attributes.workflow_task_completed_event_id
            for event in found
            if event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED
        }
    )
    return total - _is_signal_with_start(found)


def _is_action(event: HistoryEvent) -> bool:
    if event.event_type not in ONE_EACH:
        return False
    upserted = event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
    return set(upserted) != {VERSION_ATTRIBUTE}


def _retries(event: HistoryEvent) -> int:
    """Attempts before the one that the history shows."""
    return max(0, event.activity_task_started_event_attributes.attempt - 1)


def _is_signal_with_start(events: list[HistoryEvent]) -> bool:
    """Whether these are a start and its signal, which together are one action."""
    started, signalled = (
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
    )
    return [event.event_type for event in events[:2]] == [started, signalled]
