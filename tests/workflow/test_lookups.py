"""A lookup is made at once, within the workflow task; when that fails, it is made durably."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from issuebox.domain.phase import Outcome
from issuebox.worker import build_worker
from tests.waiting import until
from workflows import options

from .conftest import Stack, Started
from .meddling import Meddler
from .reading import attempts, local_activities
from .test_replay import replays


async def test_lookup_costs_no_activity_task(stack: Stack) -> None:
    """A create costs one activity task, that of the create; a reuse costs none."""
    await stack.ensure()
    assert await attempts(stack) == [("create_sandbox", 1)]
    assert (await stack.ensure()).outcome is Outcome.REUSED
    assert await attempts(stack) == [("create_sandbox", 1)]
    assert [activity for activity, _ in await local_activities(stack)] == ["lookup_sandbox"] * 2


async def test_lookup_that_fails_at_once_is_made_durably(stack: Stack) -> None:
    """After one dropped connection the second attempt is an activity, with retries that people can watch."""
    await stack.daytona.admin.add_fault("get", {"kind": "drop"}, name=stack.name)
    handover = await stack.ensure()
    assert (handover.outcome, handover.blocked) == (Outcome.CREATED, None)
    assert [answer for activity, answer in await local_activities(stack) if activity == "lookup_sandbox"] == [None]
    assert await attempts(stack) == [("lookup_sandbox", 1), ("create_sandbox", 1)]
    await replays(stack)


async def test_limited_lookup_waits_for_its_slot(stack: Stack) -> None:
    """A limited lookup gets a slot; asking before it would take another slot and make every caller wait longer."""
    effect = {"kind": "status", "status": 429, "headers": {"Retry-After-authenticated": "1.5"}}
    await stack.daytona.admin.add_fault("get", effect, name=stack.name)
    assert (await stack.ensure()).outcome is Outcome.CREATED
    assert await attempts(stack) == [("lookup_sandbox", 1), ("create_sandbox", 1)]
    await replays(stack)


async def test_slow_lookup_does_not_hold_the_workflow_task(start: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow lookup is given up and made durably, while signals and queries are answered."""
    monkeypatch.setattr(options, "AT_ONCE_TIMEOUT", timedelta(seconds=0.3))
    slow, done = Meddler("lookup_sandbox"), asyncio.Event()
    stack = await start(interceptors=[slow])
    slow.changes[stack.name] = done.wait
    handover = await stack.ensure()
    assert not done.is_set()
    assert (handover.outcome, handover.blocked) == (Outcome.CREATED, None)
    assert await attempts(stack) == [("lookup_sandbox", 1), ("create_sandbox", 1)]
    await replays(stack)


async def test_worker_that_stops_within_a_lookup_leaves_it_to_the_next(
    start: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lookup cut off by a shutdown is no failure: nothing is blocked, and the next worker looks the sandbox up."""
    monkeypatch.setattr(options, "AT_ONCE_TIMEOUT", timedelta(seconds=1))
    busy, never, begun = Meddler("lookup_sandbox"), asyncio.Event(), asyncio.Event()
    stack = await start(has_worker=False)

    async def begin() -> None:
        begun.set()
        await never.wait()

    busy.changes[stack.name] = begin
    await stack.deliver()
    async with asyncio.timeout(20), build_worker(stack.temporal, stack.provider, stack.worker, [busy]):
        await begun.wait()
    async with build_worker(stack.temporal, stack.provider, stack.worker):
        await until(stack.live, bool, "the sandbox created", timeout_s=30.0)
        served = await stack.served()
        notes = (await stack.why()).notes
    assert served.outcome is Outcome.CREATED
    assert not [note for note in notes if note.what == "blocked"]
