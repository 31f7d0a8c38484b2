"""A create or a start whose reply is late: the sandbox is looked at, and handed over when it runs."""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta

import pytest
from temporalio.api.enums.v1 import EventType

from issuebox.domain.phase import Goal, Outcome
from tests.waiting import until
from workflows import options
from workflows.messages import SIGNAL_DELETE, SIGNAL_STOP, Status

from .conftest import Stack, Started
from .test_replay import replays

HANGS = {"kind": "hang", "after": True}
"""Daytona does it, and never answers."""

SOON = timedelta(seconds=0.3)


def _look_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on: what comes before may be slow."""
    monkeypatch.setattr(options, "LOOK_AFTER", SOON)


async def _events(stack: Stack) -> Counter[str]:
    history = await stack.handle.fetch_history()
    return Counter(EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in history.events)


async def _served(stack: Stack) -> Status:
    await stack.deliver()
    return await stack.served()


async def _is_cut_off(stack: Stack, command: str, outcome: Outcome) -> None:
    """The command is sent once and never answered; the next request gets the sandbox all the same."""
    await stack.daytona.admin.add_fault(command, HANGS)
    assert (await _served(stack)).outcome is outcome
    assert len(await stack.live()) == 1
    assert (await stack.requests()).count(command) == 1
    assert (await _events(stack))["ACTIVITY_TASK_CANCEL_REQUESTED"] == 1
    await replays(stack)


async def test_created_sandbox_is_handed_over_without_the_reply(
    start: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The create was sent once, and its activity is cut off."""
    stack = await start(daytona_command_timeout_s=60.0)
    _look_soon(monkeypatch)
    await _is_cut_off(stack, "create", Outcome.CREATED)


async def test_started_sandbox_is_handed_over_without_the_reply(
    start: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = await start(daytona_command_timeout_s=60.0)
    await stack.ensure()
    await stack.order(SIGNAL_STOP)
    await stack.reached(Goal.STOPPED)
    _look_soon(monkeypatch)
    await _is_cut_off(stack, "start", Outcome.STARTED)


async def test_sandbox_that_does_not_run_yet_is_looked_at_less_and_less_often(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each pause is twice as long as the one before."""
    _look_soon(monkeypatch)
    await stack.daytona.admin.config(durations={"create_s": 3.0})
    assert (await _served(stack)).outcome is Outcome.CREATED
    events = (await stack.handle.fetch_history()).events
    pauses = [event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta() for event in events]
    pauses = [pause for pause in pauses if pause]
    assert len(pauses) > 1
    assert pauses == [SOON * 2**number for number in range(len(pauses))]


async def test_look_that_fails_is_the_last_one(start: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Daytona is not reached, the reply is waited for as long as a worker lives."""
    stack = await start(daytona_command_timeout_s=60.0)
    monkeypatch.setattr(options, "LOOK_AFTER", timedelta(seconds=2))
    await stack.daytona.admin.config(durations={"create_s": 8.0})
    await stack.deliver()
    await until(stack.requests, lambda names: "create" in names, "the create sent")
    await stack.daytona.admin.add_fault("get", {"kind": "drop"})
    assert (await stack.served()).outcome is Outcome.CREATED
    events = await _events(stack)
    assert (events["TIMER_STARTED"], events["TIMER_FIRED"], events["ACTIVITY_TASK_CANCEL_REQUESTED"]) == (1, 1, 0)


async def test_read_of_the_past_is_no_sign_that_the_sandbox_runs(
    start: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows the sandbox as it was before the stop: the start is waited for."""
    stack = await start(daytona_command_timeout_s=60.0)
    await stack.ensure()
    ran_at = time.time()
    await stack.order(SIGNAL_STOP)
    await stack.reached(Goal.STOPPED)
    before = await _events(stack)
    _look_soon(monkeypatch)
    await stack.daytona.admin.config(durations={"start_s": 4.0})
    await stack.deliver()
    await until(stack.requests, lambda names: "start" in names, "the start sent")
    await stack.daytona.admin.add_fault("get", {"kind": "stale", "at": ran_at}, name=stack.name)
    await stack.served()
    assert [rule.fired for rule in (await stack.daytona.admin.faults()).rules] == [1], "a look met it"
    cut_off = "ACTIVITY_TASK_CANCEL_REQUESTED"
    assert (await _events(stack))[cut_off] == before[cut_off]


async def test_quick_reply_costs_a_timer(stack: Stack) -> None:
    """And no look: one read comes before the create, and one follows it."""
    assert (await _served(stack)).outcome is Outcome.CREATED
    events = await _events(stack)
    assert (events["TIMER_STARTED"], events["TIMER_CANCELED"]) == (1, 1)
    assert await stack.requests() == ["get", "create", "get"]


async def test_start_for_an_inspection_is_waited_for(start: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reply says who started the sandbox: nobody works in one that was started only to be inspected."""
    stack = await start(daytona_command_timeout_s=4.0)
    await stack.ensure()
    await stack.order(SIGNAL_STOP)
    await stack.reached(Goal.STOPPED)
    before = await _events(stack)
    _look_soon(monkeypatch)
    await stack.daytona.admin.add_fault("start", HANGS)
    await stack.order(SIGNAL_DELETE)
    await until(stack.requests, lambda names: "start" in names, "started to be inspected")
    await stack.reached(Goal.DELETED)
    cut_off = "ACTIVITY_TASK_CANCEL_REQUESTED"
    assert (await _events(stack))[cut_off] == before[cut_off]
