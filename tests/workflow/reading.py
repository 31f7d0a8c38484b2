"""Reads workflow histories, for tests that check what was kept and what it cost."""

from __future__ import annotations

import json
from typing import Any

from temporalio.api.enums.v1 import EventType

from .conftest import Stack


async def local_activities(stack: Stack) -> list[tuple[str, Any]]:
    """The local activities of the issue's workflow run, in order: the type and the result, None when it failed."""
    found = []
    async for event in stack.handle.fetch_history_events():
        if event.event_type != EventType.EVENT_TYPE_MARKER_RECORDED:
            continue
        details = event.marker_recorded_event_attributes.details
        data = json.loads(details["data"].payloads[0].data)
        result = json.loads(details["result"].payloads[0].data) if "result" in details else None
        found.append((data["activity_type"], result))
    return found


async def attempts(stack: Stack) -> list[tuple[str, int]]:
    """The activities that went through a task queue, in order, with the attempt at which each ended."""
    types, found = {}, []
    async for event in stack.handle.fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            types[event.event_id] = event.activity_task_scheduled_event_attributes.activity_type.name
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
            started = event.activity_task_started_event_attributes
            found.append((types[started.scheduled_event_id], started.attempt))
    return found
