"""Many issues at once in a rate-limited organization: all are served, with few refused requests."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError

from issuebox.domain import gate
from issuebox.domain.phase import Cause, Goal, Outcome
from issuebox.worker import build_worker
from tests.waiting import until
from tests.workflow.conftest import Stack, Started
from tests.workflow.meddling import Around, GoOn
from workflows.messages import SIGNAL_STOP, Status

FIRST_ID = 7_000_000
"""Issue IDs of this module; each test adds its own thousands."""

QUICK_S = 2.0
"""For what takes some 0.3 s here when nothing holds it up."""


async def test_limited_creates_end_with_everybody_served(start: Started) -> None:
    """50 issues at once under 20 creates per window: 50 sandboxes, and hardly a refused request."""
    stack = await start(backoff_max_s=30.0)
    await stack.daytona.admin.config(rate_limits={"window_s": 2, "sandbox_create": 20})
    issues = await _delivered(stack, FIRST_ID, 50)
    await _until_served(issues, timeout_s=60.0)
    assert {(await issue.status()).outcome for issue in issues} == {Outcome.CREATED}
    assert len(await _running(stack)) == 50
    refused = await _refused(stack)
    # From a burst before the first reply, or where two windows meet; without the limiter there are 80.
    assert refused["create"] <= 8, refused
    assert set(refused) <= {"create"}


async def test_limited_creates_that_block_are_served_too(start: Started) -> None:
    """A pause beyond `backoff_max_s` blocks the issue as rate_limited; it is tried again when its slot comes."""
    stack = await start(backoff_max_s=0.2, blocked_retry_initial_s=0.2, blocked_retry_max_s=1.0)
    await stack.daytona.admin.config(rate_limits={"window_s": 2, "sandbox_create": 5})
    issues = await _delivered(stack, FIRST_ID + 1000, 20)
    seen = await until(lambda: _statuses(issues), lambda found: any(one.blocked for one in found), "one is blocked")
    assert {one.blocked.cause for one in seen if one.blocked} == {Cause.RATE_LIMITED}
    await _until_served(issues, timeout_s=60.0)
    assert len(await _running(stack)) == 20


async def test_lookups_go_on_while_creates_are_limited(start: Started) -> None:
    """Existing sandboxes are handed over while other issues wait for a create."""
    stack = await start(backoff_max_s=30.0)
    assert (await stack.ensure()).outcome is Outcome.CREATED
    await stack.daytona.admin.config(rate_limits={"window_s": 20, "sandbox_create": 0})
    [other] = await _delivered(stack, FIRST_ID + 2000, 1)
    await until(lambda: _refused(stack), lambda refused: refused["create"] == 1, "a create was refused")
    assert (await stack.ensure()).outcome is Outcome.REUSED
    assert (await other.status()).requests_waiting == 1


async def test_lookup_that_must_wait_too_long_blocks_as_rate_limited(start: Started) -> None:
    """A Retry-After longer than the time for a lookup blocks as rate_limited, not as unreachable."""
    stack = await start()
    effect = {"kind": "status", "status": 429, "headers": {"Retry-After-authenticated": "60"}}
    await stack.daytona.admin.add_fault("get", effect)
    blocked = (await stack.ensure()).blocked
    assert blocked is not None
    assert blocked.cause is Cause.RATE_LIMITED
    assert blocked.next_try_at is not None
    assert (blocked.next_try_at - blocked.since).total_seconds() > 55


async def test_lookups_that_wait_again_and_again_block_as_rate_limited(start: Started) -> None:
    """The same for several short pauses that together exceed the time for a lookup."""
    stack = await start(unreachable_after_s=2.0)
    effect = {"kind": "status", "status": 429, "headers": {"Retry-After-authenticated": "0.7"}}
    await stack.daytona.admin.add_fault("get", effect, times=None)
    blocked = (await stack.ensure()).blocked
    assert blocked is not None
    assert blocked.cause is Cause.RATE_LIMITED


async def test_lookup_that_no_worker_picked_up_in_time_is_scheduled_again(start: Started) -> None:
    """All workers are busy for longer than a lookup may take: that is no outage of Daytona, and nothing is blocked."""
    busy = _Busy()
    stack = await start(interceptors=[busy], unreachable_after_s=1.0)
    try:
        handover = await stack.ensure()
    finally:
        busy.is_over.set()
    assert busy.attempts == [1, 1], "each scheduled anew, and not retried"
    assert (handover.outcome, handover.blocked) == (Outcome.CREATED, None)
    assert not [note for note in (await stack.why()).notes if note.what == "blocked"]


class _Busy(Around):
    """No lookup can be made at once, and the first one after that waits while all workers are busy."""

    def __init__(self) -> None:
        self.is_over = asyncio.Event()
        self.attempts: list[int] = []
        """The attempt of each lookup that reached a worker through the task queue."""

    async def around(self, info: activity.Info, go_on: GoOn) -> Any:
        if info.activity_type == "lookup_sandbox":
            if info.is_local:
                raise ApplicationError("busy", type="TransientError")
            self.attempts.append(info.attempt)
            if len(self.attempts) == 1:
                await self.is_over.wait()
        return await go_on()


async def _busy(stack: Stack, sandbox_id: str) -> None:
    await stack.daytona.admin.act(sandbox_id, "set-state", state="snapshotting", desired_state="started")


async def _thawing(stack: Stack, sandbox_id: str) -> None:
    for step, state in (("stop", "stopped"), ("archive", "archived")):
        await stack.daytona.admin.act(sandbox_id, step)
        await until(partial(_state, stack, sandbox_id), state.__eq__, state)


async def _state(stack: Stack, sandbox_id: str) -> str:
    return next(row.state for row in await stack.daytona.admin.sandboxes() if row.id == sandbox_id)


@pytest.mark.parametrize("slow", [_busy, _thawing])
async def test_waits_hold_up_nobody_else(start: Started, slow: Callable[[Stack, str], Awaitable[None]]) -> None:
    """More issues wait for Daytona than there are slots: all that is quick goes on as quickly for another issue.

    A wait for a thaw begins as a start, whose reply comes long before the sandbox runs.
    """
    stack = await start(own_slots=2, waits_slots=2, grace_s=0.1, daytona_listen_s=0.5, daytona_settle_timeout_s=60.0)
    waiting = [stack.another() for _ in range(4)]
    for issue in waiting:
        made = await stack.daytona.admin.create(name=issue.name)
        await stack.provider.settle(made.id, 5.0)
        await slow(stack, made.id)
    await stack.daytona.admin.config(durations={"restore_s": 60.0})
    await asyncio.gather(*(issue.deliver() for issue in waiting))
    await until(
        lambda: _statuses(waiting), lambda found: all("waiting for" in one.doing for one in found), "all of them wait"
    )
    async with asyncio.timeout(QUICK_S):
        assert (await stack.ensure()).outcome is Outcome.CREATED
    async with asyncio.timeout(QUICK_S):
        await stack.order(SIGNAL_STOP)
        await stack.reached(Goal.STOPPED)
    async with asyncio.timeout(QUICK_S):
        assert (await stack.ensure()).outcome is Outcome.STARTED
    await stack.daytona.admin.add_fault("get", {"kind": "drop"})  # The lookup at once fails: it becomes an activity.
    async with asyncio.timeout(QUICK_S):
        assert (await stack.ensure()).outcome is Outcome.REUSED


async def test_set_ups_hold_up_no_create(start: Started) -> None:
    """More sandboxes are being set up than there are slots for that: another one is created as quickly as ever."""
    stack = await start(own_slots=1, inside_slots=1, setup_command="sleep 60", grace_s=0.1)
    first, second = stack.another(), stack.another()
    for issue in (first, second):
        await issue.deliver()
        await until(issue.status, lambda status: status.doing.startswith("setting"), "the set-up is under way")
    await stack.deliver()
    await until(stack.state, lambda state: state == "started", "created", QUICK_S)


async def test_worker_stops_within_one_grace_whatever_it_does(start: Started) -> None:
    """A wait and a set-up are under way, each on a task queue of its own: both get the same grace, together."""
    stack = await start(has_worker=False, setup_command="sleep 60", grace_s=1.0)
    waiting, in_set_up = stack.another(), stack.another()
    made = await stack.daytona.admin.create(name=waiting.name)
    await stack.provider.settle(made.id, 5.0)
    await _busy(stack, made.id)
    async with build_worker(stack.temporal, stack.provider, stack.worker):
        await asyncio.gather(waiting.deliver(), in_set_up.deliver())
        await until(waiting.status, lambda status: status.doing.startswith("waiting"), "the wait is under way")
        await until(in_set_up.status, lambda status: status.doing.startswith("setting"), "the set-up is under way")
        began = time.monotonic()
    assert 1.0 <= time.monotonic() - began < 1.8


async def test_full_quota_serves_those_that_wait_when_it_is_raised(
    start: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 issues on 5 CPUs: 5 run, 15 are blocked with the reason, and all run by themselves once there is room."""
    monkeypatch.setattr(gate, "PROBE_EVERY", timedelta(seconds=2))
    stack = await start(blocked_retry_initial_s=0.5, blocked_retry_max_s=1.0)
    await stack.daytona.admin.config(cpu_max=5)
    issues = await _delivered(stack, FIRST_ID + 3000, 20)
    found = await until(
        lambda: _statuses(issues),
        lambda seen: Counter(bool(one.blocked) for one in seen if one.blocked or one.outcome) == {False: 5, True: 15},
        "5 run and 15 are blocked",
        timeout_s=60.0,
    )
    reasons = {(one.blocked.cause, "Total CPU limit exceeded" in one.blocked.reason) for one in found if one.blocked}
    assert reasons == {(Cause.QUOTA, True)}
    assert len(await _running(stack)) == 5
    await stack.daytona.admin.config(cpu_max=20)
    await _until_served(issues, timeout_s=60.0)
    assert len(await _running(stack)) == 20


async def _delivered(stack: Stack, first: int, count: int) -> list[Stack]:
    """One delivery for each of this many issues, all at once."""
    issues = [replace(stack, issue_id=first + number) for number in range(count)]
    await asyncio.gather(*(issue.deliver() for issue in issues))
    return issues


async def _statuses(issues: Sequence[Stack]) -> list[Status]:
    return list(await asyncio.gather(*(issue.status() for issue in issues)))


async def _until_served(issues: Sequence[Stack], timeout_s: float) -> None:
    await until(
        lambda: _statuses(issues),
        lambda found: all(one.requests_waiting == 0 and one.outcome for one in found),
        "everybody is served",
        timeout_s,
    )


async def _running(stack: Stack) -> list[str]:
    """The names of the running sandboxes, each issue's at most once."""
    names = [row.name for row in await stack.daytona.admin.sandboxes() if row.state == "started"]
    assert len(names) == len(set(names))
    return names


async def _refused(stack: Stack) -> Counter[str]:
    """How often Daytona answered 429, by operation."""
    replies = await stack.daytona.admin.journal(kind="reply")
    return Counter(str(entry.operation) for entry in replies if entry.detail["status"] == 429)
