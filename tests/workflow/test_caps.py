"""Caps on running sandboxes and Daytona's own quota, over the whole path: never one more, and nobody waits in vain."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.api.enums.v1 import EventType

from issuebox.domain import gate, slot
from issuebox.domain.errors import TransientError
from issuebox.domain.issue import Issue
from issuebox.domain.phase import UP, Cause, Goal, Outcome
from issuebox.domain.slot import Kind, Limit
from issuebox.providers.daytona import DaytonaProvider
from issuebox.providers.daytona_states import phase_of
from issuebox.temporal.gate import GateClient
from localdaytona.testing import SandboxView
from tests.waiting import until
from workflows import slots
from workflows.gate_messages import QUERY_GATE, GateView
from workflows.messages import SIGNAL_DELETE, SIGNAL_LOOK, SIGNAL_STOP

from .conftest import Stack, Started
from .test_gate import NOBODY, gate_of, view

REUSED_WITHIN_S = 5.0
"""A slot that becomes free is used within so many seconds."""


async def places(stack: Stack) -> GateView:
    """What the gate says of the sandboxes."""
    seen: dict[Kind, GateView] = await gate_of(stack).query(QUERY_GATE, result_type=dict[Kind, GateView])
    return seen[Kind.SANDBOX]


async def up(stack: Stack) -> list[SandboxView]:
    """The sandboxes that run, or soon will, from localdaytona's true state."""
    return [row for row in await stack.daytona.admin.sandboxes() if phase_of(row.state) in UP and not row.hidden]


async def running(stack: Stack) -> None:
    await until(stack.served, lambda seen: seen.outcome is not Outcome.QUEUED, "it was served")
    assert await stack.state() == "started"


async def queued(stack: Stack, place: int) -> None:
    words = f"place {place} in the queue"
    await until(
        stack.status,
        lambda seen: seen.blocked is not None and seen.blocked.cause is Cause.QUEUED and words in seen.blocked.reason,
        f"queued, {words}",
    )


async def fill(stack: Stack, count: int, others: int = 0) -> tuple[list[Stack], list[Stack]]:
    """So many issues whose sandboxes run, and so many that wait for a slot, in order."""
    issues = [stack] + [stack.another() for _ in range(count + others - 1)]
    for each in issues[:count]:
        await each.deliver()
        await running(each)
    for place, each in enumerate(issues[count:], 1):
        await each.deliver()
        await queued(each, place)
    return issues[:count], issues[count:]


async def test_never_more_sandboxes_run_than_the_cap_and_a_slot_is_used_at_once(start: Started) -> None:
    """A stop of issuebox's own frees the slot, and a delete. Who waits sees its place, and what it waits for."""
    stack = await start(running_max=2)
    (first, second), (third, fourth) = await fill(stack, 2, 2)
    status = await third.status()
    assert status.blocked is not None
    assert status.outcome is Outcome.QUEUED
    assert status.blocked.reason == "waiting until fewer sandboxes run in the installation, place 1 in the queue"
    assert status.blocked.next_try_at is None
    assert await third.requests() == ["get"], "one lookup, and nothing is sent"
    assert "is queued" in (await third.why()).summary
    for order, holder, heir in ((SIGNAL_STOP, first, third), (SIGNAL_DELETE, second, fourth)):
        freed_at = time.monotonic()
        await holder.order(order)
        await running(heir)
        assert time.monotonic() - freed_at < REUSED_WITHIN_S
        assert len(await up(stack)) == 2
    await until(lambda: places(stack), lambda seen: not seen.waiting and len(seen.working) == 2, "two work")


async def test_comment_on_an_issue_that_waits_sends_nothing(start: Started) -> None:
    """It keeps its place. A person's request goes to the front."""
    stack = await start(running_max=1)
    (first,), (second, third) = await fill(stack, 1, 2)
    comment = second.event(action="created", event="issue_comment", is_explicit=True, requested_at=datetime.now(UTC))
    await second.deliver(comment)
    assert (await third.ensure()).outcome is Outcome.QUEUED
    await queued(third, 1)
    await first.order(SIGNAL_STOP)
    await running(third)
    await queued(second, 1)
    assert "create" not in await second.requests()


async def test_issue_that_is_closed_leaves_the_queue(start: Started) -> None:
    stack = await start(running_max=1, close_stop_after_s=0)
    (first,), (second, third) = await fill(stack, 1, 2)
    await second.close()
    await until(second.status, lambda seen: seen.blocked is None and seen.goal is not Goal.RUNNING, "it wants nothing")
    await until(lambda: places(stack), lambda seen: [each.name for each in seen.waiting] == [third.name], "one waits")
    await first.order(SIGNAL_STOP)
    await running(third)
    assert await second.sandboxes() == []


@pytest.mark.parametrize("has_events", [True, False], ids=["told by the stream", "found by a lookup"])
async def test_idle_stop_frees_its_slot(start: Started, monkeypatch: pytest.MonkeyPatch, has_events: bool) -> None:
    """Nobody's workflow sees it. With the event stream it is known at once, without it by the next check."""
    monkeypatch.setattr(gate, "CHECK_EVERY", timedelta(minutes=1) if has_events else timedelta(seconds=1))
    monkeypatch.setattr(gate, "LIST_LAG_MAX", timedelta(0))

    async def silent(*_: object) -> frozenset[str]:
        await asyncio.sleep(gate.CHECK_EVERY.total_seconds())
        return frozenset()

    if not has_events:
        monkeypatch.setattr(DaytonaProvider, "await_stop", silent)
    stack = await start(running_max=1)
    (first,), (second,) = await fill(stack, 1, 1)
    await until(lambda: places(stack), lambda seen: seen.opens_at is None, "what runs is known")
    freed_at = time.monotonic()
    await stack.daytona.admin.act((await first.live())[0].id, "stop")
    await running(second)
    assert time.monotonic() - freed_at < REUSED_WITHIN_S
    assert len(await up(stack)) == 1


async def test_sandbox_that_somebody_starts_by_hand_counts(start: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is taken from anybody, and nobody else is let in until both are gone."""
    monkeypatch.setattr(gate, "CHECK_EVERY", timedelta(seconds=1))
    monkeypatch.setattr(gate, "LIST_LAG_MAX", timedelta(0))
    stack = await start(running_max=1)
    (first,), () = await fill(stack, 1)
    sandbox_id = (await first.live())[0].id
    for act, state, count in (("stop", "stopped", 0), ("start", "started", 1)):
        await stack.daytona.admin.act(sandbox_id, act)
        await until(first.live, lambda rows: rows[0].state == rows[0].desired_state == state, state)  # noqa: B023
        await first.order(SIGNAL_LOOK)
        await until(lambda: places(stack), lambda seen: len(seen.working) == count, "it said so")  # noqa: B023
    second = stack.another()
    await second.deliver()
    await queued(second, 1)
    assert [each.name for each in (await places(stack)).working] == [first.name]
    await stack.daytona.admin.act(sandbox_id, "stop")
    await running(second)


async def test_slot_of_a_terminated_workflow_is_free_only_once_its_sandbox_has_stopped(
    start: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "CHECK_EVERY", timedelta(seconds=0.5))
    monkeypatch.setattr(gate, "LIST_LAG_MAX", timedelta(0))
    monkeypatch.setattr("activities.gate.SETTLED_AFTER", timedelta(0))
    stack = await start(running_max=1)
    (first,), (second,) = await fill(stack, 1, 1)
    await first.handle.terminate("by a test")
    before = await stack.journal_end()

    async def lookups() -> int:
        entries = await stack.daytona.admin.journal(after=before, kind="request")
        return sum(entry.operation == "get" and entry.name == first.name for entry in entries)

    await until(lookups, lambda count: count >= 2, "it was looked up twice")
    assert [each.name for each in (await places(stack)).working] == [first.name]
    assert len(await up(stack)) == 1
    await stack.daytona.admin.act((await first.live())[0].id, "stop")
    await running(second)


async def test_gate_that_was_terminated_learns_what_runs_before_it_grants(start: Started) -> None:
    """It lost its memory: the sandboxes that run are listed first."""
    stack = await start(running_max=2)
    (first, second), () = await fill(stack, 2)
    await gate_of(stack).terminate("by a test")
    third = stack.another()
    await third.deliver()
    await queued(third, 1)
    seen = await until(lambda: places(stack), lambda seen: len(seen.working) == 2, "both are known")
    assert {each.name for each in seen.working} == {first.name, second.name}
    assert len(await up(stack)) == 2


async def test_gate_that_lost_its_memory_takes_no_slot_from_those_whom_it_found(
    start: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks them about what it found in the list; they hold a slot that it has forgotten."""
    monkeypatch.setattr(gate, "CHECK_EVERY", timedelta(seconds=0.3))
    monkeypatch.setattr(gate, "LIST_LAG_MAX", timedelta(0))
    stack = await start(running_max=2)
    (first, second), () = await fill(stack, 2)
    await gate_of(stack).terminate("by a test")
    third = stack.another()
    await third.deliver()
    await until(lambda: places(stack), lambda seen: len(seen.working) == 2, "both are known")
    before = await stack.journal_end()

    async def lookups() -> int:
        entries = await stack.daytona.admin.journal(after=before, kind="request")
        names = [entry.name for entry in entries if entry.operation == "get"]
        return min(names.count(first.name), names.count(second.name))

    await until(lookups, lambda count: count >= 2, "both were asked twice, and looked it up")
    await queued(third, 1)
    assert len(await up(stack)) == 2


async def test_reset_of_a_holder_lets_nobody_in(start: Started) -> None:
    """It has forgotten its slot, and hears of the grant again."""
    stack = await start(running_max=1)
    (first,), (second,) = await fill(stack, 1, 1)
    before = await stack.journal_end()
    await _reset(first)

    async def words() -> set[str]:
        events = (await first.handle.fetch_history()).events
        return {event.activity_task_scheduled_event_attributes.activity_type.name for event in events}

    await until(words, lambda names: "say_to_gate" in names, "it spoke to the gate again")
    await until(lambda: places(stack), lambda seen: [each.name for each in seen.working] == [first.name], "one works")
    await queued(second, 1)
    entries = await stack.daytona.admin.journal(after=before, kind="request")
    assert not [entry for entry in entries if entry.operation == "create"]


async def test_reset_during_a_create_keeps_the_slot_for_what_may_still_come(
    start: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The issue was closed meanwhile, and its workflow knows nothing of the create that Daytona carries out late."""
    monkeypatch.setattr("workflows.options.LATE_MAX", timedelta(seconds=4))
    stack = await start(running_max=1, close_stop_after_s=0, confirm_gone_s=0.2)
    first, second = stack, stack.another()
    delay = {"match": {"operation": "create"}, "effect": {"kind": "delay", "seconds": 3.0}, "times": 1}
    await stack.daytona.admin.set_faults(delay)
    await first.deliver()
    await until(first.requests, lambda sent: "create" in sent, "the create is under way")
    await second.deliver()
    await queued(second, 1)
    await first.close()
    await _reset(first)
    await until(first.sandboxes, bool, "it is there, late")
    assert await second.sandboxes() == [], "its slot was not given away"
    await running(second)
    assert [row.name for row in await up(stack)] == [second.name]


async def _reset(stack: Stack) -> None:
    """Back to its first workflow task. What it was told since, it is told again."""
    events = (await stack.handle.fetch_history()).events
    begun = events[0].workflow_execution_started_event_attributes
    completed = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    first = next(each.event_id for each in events if each.event_type == completed)
    await stack.reset(first, begun.original_execution_run_id)


async def test_while_the_gate_cannot_be_reached_who_asks_waits_and_says_so(
    start: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the gate is reached, it asks again soon."""

    async def unreachable(*_: object) -> None:
        raise TransientError("the gate does not answer")

    reached = GateClient.say
    monkeypatch.setattr(GateClient, "say", unreachable)
    monkeypatch.setattr(slot, "UNHEARD_AGAIN", timedelta(seconds=1))
    monkeypatch.setattr(slots, "ANSWER_MAX", timedelta(seconds=0.2))
    monkeypatch.setattr("workflows.options.SAY_TIMEOUT", timedelta(seconds=1))
    stack = await start(running_max=1)
    await stack.deliver()
    status = await stack.blocked()
    assert status.blocked is not None
    assert status.blocked.cause is Cause.QUEUED
    assert "has not answered yet" in status.blocked.reason
    assert "create" not in await stack.requests()
    monkeypatch.setattr(GateClient, "say", reached)
    await running(stack)


async def test_check_that_does_not_end_holds_nobody_up(start: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporal or Daytona does not answer it. Who waits is told its place, and gets a slot that becomes free."""

    async def silent(*_: object) -> dict[str, datetime | None]:
        await asyncio.Event().wait()
        return {}

    stack = await start(running_max=2)
    (first, _), () = await fill(stack, 2)
    monkeypatch.setattr(GateClient, "list_ended", silent)
    monkeypatch.setattr(gate, "CHECK_EVERY", timedelta(0))
    third = stack.another()
    await third.deliver()
    await queued(third, 1)
    freed_at = time.monotonic()
    await first.order(SIGNAL_STOP)
    await running(third)
    assert time.monotonic() - freed_at < REUSED_WITHIN_S


async def test_caps_of_repository_author_and_reserve(start: Started) -> None:
    """Each says what is waited for. Trusted people may use what is reserved."""
    stack = await start(running_max=3, running_max_per_repository=1, running_max_per_author=1, running_reserve=1)

    async def asks(repository: str, author: str, *, is_trusted: bool = False) -> Stack:
        each = stack.another()
        issue = Issue(each.issue_id, repository, 1, "A title", updated_at=each.event().issue.updated_at, author=author)
        await each.deliver(each.event(issue=issue, is_trusted=is_trusted))
        return each

    await running(await asks("a/1", "ann"))
    same_repository = await asks("A/1", "bob", is_trusted=True)
    await queued(same_repository, 1)
    same_author = await asks("b/1", "Ann", is_trusted=True)
    await queued(same_author, 2)
    await running(await asks("c/1", "carl"))
    stranger = await asks("d/1", "dora")
    await queued(stranger, 3)
    await running(await asks("e/1", "eve", is_trusted=True))
    limits = {each.name: each.limit for each in (await places(stack)).waiting}
    assert limits[stranger.name] is Limit.TOTAL, "by now all are in use"
    reasons = [(await each.status()).blocked for each in (same_repository, same_author, stranger)]
    assert [each.reason.split(",")[0] for each in reasons if each] == [
        "waiting until fewer sandboxes of its repository run",
        "waiting until fewer sandboxes of its author's issues run",
        "waiting until fewer sandboxes run: those left are reserved for trusted people",
    ]


async def test_daytonas_quota_holds_all_and_one_tries_once_in_a_while(
    start: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any cap of ours. When the quota has room again the others follow at once, in order."""
    every = timedelta(seconds=1.5)
    monkeypatch.setattr(gate, "PROBE_EVERY", every)
    stack = await start()
    await stack.daytona.admin.config(cpu_max=1)
    await stack.deliver()
    await running(stack)
    assert await view(stack) == NOBODY, "nothing is said without need"
    others = [stack.another() for _ in range(6)]
    for each in others:
        await each.deliver()
        status = await each.blocked()
        assert status.blocked is not None
        assert status.blocked.cause is Cause.QUOTA
    await until(lambda: places(stack), lambda seen: len(seen.waiting) == 6, "all wait")
    before, began = await stack.journal_end(), time.monotonic()

    async def creates() -> list[str]:
        entries = await stack.daytona.admin.journal(after=before, kind="request")
        return [entry.name or "" for entry in entries if entry.operation == "create"]

    tried = await until(creates, lambda names: len(names) >= 3, "three tries")
    assert len(tried) <= 1 + (time.monotonic() - began) / every.total_seconds()
    assert set(tried) == {others[0].name}, "the first in the queue, which keeps its place"
    await stack.daytona.admin.config(cpu_max=None)
    began = time.monotonic()
    for each in others:
        await running(each)
    assert time.monotonic() - began < 3 * every.total_seconds() + REUSED_WITHIN_S
    await until(lambda: places(stack), lambda seen: not seen.waiting and not seen.working, "nobody is left")
    assert (await places(stack)).held_until is None


async def test_without_a_cap_nothing_is_said(start: Started) -> None:
    stack = await start()
    await stack.deliver()
    await running(stack)
    assert await view(stack) == NOBODY
