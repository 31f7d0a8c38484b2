"""What Temporal Cloud bills: no action is spent on information that is not new."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client

from activities.reporting import BEATS_PER_TIMEOUT
from issuebox.domain.phase import Goal
from issuebox.worker import build_worker
from tests.waiting import until
from workflows import options

from .conftest import Stack, Started
from .reading import local_activities

VERSION_ATTRIBUTE = "TemporalChangeVersion"


async def _writes(stack: Stack) -> int:
    """How often the search attributes were written, not counting the SDK's own writes of versions."""
    attributes = [
        event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
        async for event in stack.handle.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES
    ]
    return sum(set(written) != {VERSION_ATTRIBUTE} for written in attributes)


async def test_event_that_changes_no_search_attribute_writes_none(stack: Stack) -> None:
    """Handing a sandbox over again and again costs a lookup each time, and no write for lists."""
    await stack.deliver()
    await stack.served()
    before = await _writes(stack)
    await stack.deliver()
    await stack.served()
    await stack.ensure()
    assert (before, await _writes(stack)) == (2, 2)


async def test_change_of_a_search_attribute_is_written(start: Started) -> None:
    """Lists filter by attributes that are true after every change."""
    stack = await start(close_stop_after_s=0.0, close_archive_after_s=-1.0, close_delete_after_s=-1.0)
    await stack.deliver()
    await stack.served()
    before = await _writes(stack)
    await stack.close()
    await stack.reached(Goal.STOPPED)
    assert await _writes(stack) > before


async def test_run_begins_without_patches_and_without_asking_for_settings(stack: Stack) -> None:
    """Its first lookup brings the worker's settings."""
    await stack.deliver()
    await stack.served()
    assert [activity for activity, _ in await local_activities(stack)] == ["lookup_sandbox"]
    names = {event.marker_recorded_event_attributes.marker_name async for event in stack.handle.fetch_history_events()}
    assert names == {"", "core_local_activity"}


async def test_run_that_begins_without_a_request_asks_for_the_settings(start: Started) -> None:
    """The first event of an issue is its close: the timers use the worker's settings, not defaults."""
    stack = await start(close_stop_after_s=0.0, close_archive_after_s=-1.0, close_delete_after_s=-1.0)
    await stack.close()

    async def asked() -> list[str]:
        return [activity for activity, _ in await local_activities(stack)]

    assert await until(asked, bool, "the settings asked for") == ["read_policy"]


async def test_lookup_brings_the_settings_once(stack: Stack) -> None:
    """Settings are half the size of a lookup in the history."""
    await stack.deliver()
    await stack.served()
    await stack.ensure()
    await stack.ensure()
    brought = [lookup["policy"] is not None for lookup in await _lookups(stack)]
    assert brought == [True, False, False]


async def test_lookup_by_a_worker_with_other_settings_brings_them(start: Started) -> None:
    """A changed setting takes effect with the next lookup."""
    stack = await start(has_worker=False, close_archive_after_s=-1.0, close_delete_after_s=-1.0)
    async with build_worker(stack.temporal, stack.provider, stack.worker):
        await stack.ensure()
    closing = replace(stack.worker.policy.closing, stop_after_s=0.0)
    hasty = replace(stack.worker, policy=replace(stack.worker.policy, closing=closing))
    async with build_worker(stack.temporal, stack.provider, hasty):
        await stack.ensure()
        await stack.close()
        await stack.reached(Goal.STOPPED)
    lookups = await _lookups(stack)
    assert [lookup["policy"]["closing"]["stop_after_s"] for lookup in lookups[:2]] == [1800.0, 0.0]


@pytest.mark.parametrize(("apart_s", "written"), [(1, 3), (60, 4)])
async def test_request_that_changes_nothing_else_is_published_now_and_then(
    stack: Stack, apart_s: int, written: int
) -> None:
    """Before and after the create, and at the first reuse; a second reuse only if it comes a minute later."""
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


async def _lookups(stack: Stack) -> list[dict[str, Any]]:
    """The results of the lookups in the history."""
    return [answer for activity, answer in await local_activities(stack) if activity == "lookup_sandbox"]


async def test_short_command_sends_no_heartbeat(start: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start of an activity already shows a live worker; the first heartbeat comes an interval later."""
    interval_s = 3.0
    slow = options.Heartbeat(every=timedelta(seconds=1), timeout=timedelta(seconds=interval_s * BEATS_PER_TIMEOUT))
    monkeypatch.setattr(options, "HEARTBEATS", dict(options.HEARTBEATS) | {None: slow})
    stack = await start(daytona_command_timeout_s=15.0)
    await stack.daytona.admin.add_fault("create", {"kind": "slow", "seconds": interval_s + 2})
    await stack.deliver()
    await until(lambda: _beats(stack.temporal, stack.name), lambda beats: beats == [False], "the create runs")
    await until(lambda: _beats(stack.temporal, stack.name), lambda beats: beats == [True], "and then it beats")
    await stack.served()


async def test_long_command_sends_heartbeats_as_the_table_says(start: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker holds the SDK to it, whose own default is 0.8 of the timeout."""
    seconds, beats = 6.0, set[datetime]()
    often = options.Heartbeat(every=timedelta(seconds=1), timeout=timedelta(seconds=4))
    monkeypatch.setattr(options, "HEARTBEATS", dict(options.HEARTBEATS) | {None: often})
    stack = await start(daytona_command_timeout_s=15.0)
    await stack.daytona.admin.add_fault("create", {"kind": "slow", "seconds": seconds})
    await stack.deliver()

    async def seen() -> bool:
        for create in await _creates(stack.temporal, stack.name):
            if create.HasField("last_heartbeat_time"):
                beats.add(create.last_heartbeat_time.ToDatetime())
        return (await stack.status()).requests_waiting == 0

    await until(seen, bool, "the create is over", seconds + 20.0)
    assert 3 <= len(beats) <= seconds / often.every.total_seconds()


async def _beats(temporal: Client, workflow_id: str) -> list[bool]:
    """For each running create: whether a heartbeat has arrived."""
    return [create.HasField("last_heartbeat_time") for create in await _creates(temporal, workflow_id)]


async def _creates(temporal: Client, workflow_id: str) -> list[PendingActivityInfo]:
    """The creates that a worker is at."""
    described = await temporal.get_workflow_handle(workflow_id).describe()
    pending = described.raw_description.pending_activities
    return [one for one in pending if one.activity_type.name == "create_sandbox" and one.HasField("last_started_time")]
