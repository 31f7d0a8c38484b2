"""What Temporal Cloud bills: no action is spent on what says nothing new."""

from __future__ import annotations

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from activities.reporting import HEARTBEAT_INTERVAL_S
from issuebox.domain.phase import Goal
from tests.waiting import until

from .conftest import Stack, Started

VERSION_ATTRIBUTE = "TemporalChangeVersion"


async def _writes(stack: Stack) -> int:
    """How often the search attributes were written, not counting what the SDK writes of versions."""
    attributes = [
        event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
        async for event in stack.handle.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES
    ]
    return sum(set(written) != {VERSION_ATTRIBUTE} for written in attributes)


async def test_event_that_changes_no_search_attribute_writes_none(stack: Stack) -> None:
    """A sandbox that is handed over again and again costs a look each time, and nothing for the lists."""
    await stack.deliver()
    await stack.served()
    before = await _writes(stack)
    await stack.deliver()
    await stack.served()
    await stack.ensure()
    assert (before, await _writes(stack)) == (1, 1)


async def test_change_of_a_search_attribute_is_written(start: Started) -> None:
    """What lists filter by is true after every change."""
    stack = await start(close_stop_after_s=0.0, close_archive_after_s=-1.0, close_delete_after_s=-1.0)
    await stack.deliver()
    await stack.served()
    before = await _writes(stack)
    await stack.close()
    await stack.reached(Goal.STOPPED)
    assert await _writes(stack) > before


async def test_short_command_sends_no_heartbeat(stack: Stack) -> None:
    """The start of an activity says that its worker lives; the first heartbeat comes an interval later."""
    await stack.daytona.admin.add_fault("create", {"kind": "slow", "seconds": HEARTBEAT_INTERVAL_S + 2})
    await stack.deliver()
    await until(lambda: _beats(stack.temporal, stack.name), lambda beats: beats == [False], "the create runs")
    await until(lambda: _beats(stack.temporal, stack.name), lambda beats: beats == [True], "and then it beats")
    await stack.served()


async def _beats(temporal: Client, workflow_id: str) -> list[bool]:
    """For each create that runs: whether a heartbeat has come."""
    described = await temporal.get_workflow_handle(workflow_id).describe()
    pending = described.raw_description.pending_activities
    running = [
        one for one in pending if one.activity_type.name == "create_sandbox" and one.HasField("last_started_time")
    ]
    return [one.HasField("last_heartbeat_time") for one in running]
