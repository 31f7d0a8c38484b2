"""Many issues at once in a rate-limited organization: all are served, with few refused requests."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from issuebox.domain.phase import Cause, Outcome
from tests.waiting import until
from tests.workflow.conftest import Stack, Started
from tests.workflow.meddling import Around, GoOn
from workflows.messages import Status

FIRST_ID = 7_000_000
"""Issue IDs of this module; each test adds its own thousands."""


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


async def test_full_quota_serves_those_that_wait_when_it_is_raised(start: Started) -> None:
    """20 issues on 5 CPUs: 5 run, 15 are blocked with the reason, and all run by themselves once there is room."""
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
