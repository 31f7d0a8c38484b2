"""What Temporal Cloud bills: no action is spent on what says nothing new."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from activities.reporting import HEARTBEAT_INTERVAL_S
from issuebox.domain.phase import Goal
from issuebox.worker import build_worker
from tests.waiting import until

from .conftest import Stack, Started
from .reading import local_activities

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


async def test_run_begins_without_patches_and_without_asking_for_settings(stack: Stack) -> None:
    """Its first look brings the worker's settings."""
    await stack.deliver()
    await stack.served()
    assert [activity for activity, _ in await local_activities(stack)] == ["lookup_sandbox"]
    names = {event.marker_recorded_event_attributes.marker_name async for event in stack.handle.fetch_history_events()}
    assert names == {"", "core_local_activity"}


async def test_run_that_begins_without_a_request_asks_for_the_settings(start: Started) -> None:
    """A close is the first that is heard of an issue: its timers go by what the worker was told, not by defaults."""
    stack = await start(close_stop_after_s=0.0, close_archive_after_s=-1.0, close_delete_after_s=-1.0)
    await stack.close()
    await stack.reached(Goal.STOPPED)
    names = [activity for activity, _ in await local_activities(stack)]
    assert names.count("read_policy") == 1


async def test_look_brings_the_settings_once(stack: Stack) -> None:
    """They are half of a look, which the history keeps."""
    await stack.deliver()
    await stack.served()
    await stack.ensure()
    await stack.ensure()
    brought = [look["policy"] is not None for look in await _looks(stack)]
    assert brought == [True, False, False]


async def test_look_by_a_worker_with_other_settings_brings_them(start: Started) -> None:
    """A changed setting takes effect with the next look, as before."""
    stack = await start(has_worker=False, close_archive_after_s=-1.0, close_delete_after_s=-1.0)
    async with build_worker(stack.temporal, stack.provider, stack.settings):
        await stack.ensure()
    hasty = stack.settings.model_copy(update={"close_stop_after_s": 0.0})
    async with build_worker(stack.temporal, stack.provider, hasty):
        await stack.ensure()
        await stack.close()
        await stack.reached(Goal.STOPPED)
    looks = await _looks(stack)
    assert [look["policy"]["closing"]["stop_after_s"] for look in looks[:2]] == [1800.0, 0.0]


@pytest.mark.parametrize(("apart_s", "written"), [(1, 2), (60, 3)])
async def test_request_that_changes_nothing_else_is_published_now_and_then(
    stack: Stack, apart_s: int, written: int
) -> None:
    """After the create, the first reuse is news, and the second is the same unless it comes a minute later."""
    first = stack.event()
    for seconds in range(0, 3 * apart_s, apart_s):
        moment = datetime.now(UTC) + timedelta(seconds=seconds)
        await stack.deliver(stack.event(issue=first.issue, requested_at=moment, is_explicit=True, action="created"))
        await stack.served()
    assert await _memos(stack) == written


async def _memos(stack: Stack) -> int:
    """How often the memo was written."""
    modified = EventType.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED
    return len([event async for event in stack.handle.fetch_history_events() if event.event_type == modified])


async def _looks(stack: Stack) -> list[dict[str, Any]]:
    """What the looks answered, as the history has it."""
    return [answer for activity, answer in await local_activities(stack) if activity == "lookup_sandbox"]


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
