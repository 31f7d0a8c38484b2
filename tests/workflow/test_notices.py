"""Notices: what a receiver is told of an issue's sandbox, through a worker, over HTTP, signed.

The receiver is another program in all but its process: it verifies each notice as Standard Webhooks' library does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError
from temporalio.common import RetryPolicy
from temporalio.workflow import Info

from issuebox.domain.issue import IssueState
from issuebox.domain.phase import Cause, Goal, Outcome
from tests.waiting import until
from tests.workflow.conftest import Stack, Started
from workflows import options
from workflows.messages import MEMO_STATUS, SIGNAL_DELETE, SIGNAL_LOOK, SIGNAL_STOP, DeleteRequest

SECRET = "whsec_" + "c2VjcmV0" * 4
QUICK_S = 8.0
"""Less than a receiver may take to answer."""


@dataclass
class Receiver:
    """A receiver of notices. ``answers`` are the statuses of its next answers; 204 after them."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    delay_s: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        """Take a notice that is signed with the secret; its ID and body are noted at each try."""
        body = await request.text()
        Webhook(SECRET).verify(body, dict(request.headers))
        with_an_old_secret = Webhook("whsec_" + "b2xkLW9s" * 4)
        with pytest.raises(WebhookVerificationError):
            with_an_old_secret.verify(body, dict(request.headers))
        self.seen.append((request.headers["webhook-id"], json.loads(body)))
        await asyncio.sleep(self.delay_s)
        status = self.answers.pop(0) if self.answers else 204
        if status < 300:
            self.taken.append(json.loads(body))
        return web.Response(status=status, headers=self.headers)

    @property
    def kinds(self) -> list[str]:
        return [notice["type"] for notice in self.taken]

    async def told(self, *kinds: str) -> dict[str, Any]:
        """Wait until these notices were taken, in this order; returns the last one."""

        async def read() -> list[str]:
            return self.kinds

        await until(read, lambda seen: seen == list(kinds), f"the receiver was told {kinds}")
        return self.taken[-1]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver, app = Receiver(), web.Application()
    app.add_routes([web.post("/hook", receiver.take)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"{site.name}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second try after a tenth of a second."""
    retry = RetryPolicy(initial_interval=timedelta(seconds=0.1), non_retryable_error_types=["RefusedError"])
    monkeypatch.setattr(options, "NOTICE_RETRY", retry)


async def telling(start: Started, receiver: Receiver, **changes: object) -> Stack:
    return await start(notice_url=receiver.url, notice_secret=SECRET, **changes)


async def test_receiver_is_told_of_each_new_state(start: Started, receiver: Receiver) -> None:
    """Ready, stopped, ready again, deleted; the body says which issue and which sandbox."""
    stack = await telling(start, receiver)
    await stack.deliver()
    ready = await receiver.told("sandbox.ready")
    [sandbox] = await stack.live()
    assert ready["data"] == {
        "issue_id": stack.issue_id,
        "repository": "octo/repo",
        "number": 5,
        "name": stack.name,
        "sandbox_id": sandbox.id,
        "state": "started",
        "outcome": "created",
        "blocked": None,
    }
    await stack.order(SIGNAL_STOP)
    stopped = await receiver.told("sandbox.ready", "sandbox.stopped")
    assert (stopped["data"]["sandbox_id"], stopped["data"]["state"]) == (sandbox.id, "stopped")
    await stack.ensure()
    await receiver.told("sandbox.ready", "sandbox.stopped", "sandbox.ready")
    await stack.order(SIGNAL_DELETE, DeleteRequest(force=True))
    await receiver.told("sandbox.ready", "sandbox.stopped", "sandbox.ready", "sandbox.deleted")
    assert len({one for one, _ in receiver.seen}) == len(receiver.seen) == 4


async def test_each_request_is_answered_with_a_notice_and_a_lookup_with_none(
    start: Started, receiver: Receiver
) -> None:
    """Who asks for a sandbox that runs is told that it is ready; a retry of what is well tells nobody anything."""
    stack = await telling(start, receiver)
    await stack.deliver()
    await receiver.told("sandbox.ready")
    await stack.deliver()
    again = await receiver.told("sandbox.ready", "sandbox.ready")
    assert again["data"]["outcome"] == "reused"
    await stack.order(SIGNAL_LOOK)
    await stack.deliver()
    await receiver.told(*["sandbox.ready"] * 3)


async def test_block_is_told_with_its_reason_and_once(start: Started, receiver: Receiver) -> None:
    """A second try that fails in the same way is no news."""
    stack = await telling(start, receiver)
    await stack.daytona.admin.add_fault("create", {"kind": "status", "status": 403, "message": "no"}, times=2)
    handover = await stack.ensure()
    assert handover.outcome is Outcome.BLOCKED
    told = await receiver.told("sandbox.blocked")
    assert told["data"]["blocked"]["cause"] == str(Cause.FORBIDDEN)
    assert told["data"]["blocked"]["advice"]
    assert told["data"]["sandbox_id"] is None
    await stack.retry()
    await until(stack.requests, lambda sent: sent.count("create") == 2, "it was tried again")
    assert receiver.kinds == ["sandbox.blocked"]
    await stack.retry()
    await receiver.told("sandbox.blocked", "sandbox.ready")


async def test_notice_is_tried_until_it_is_taken_under_one_id(start: Started, receiver: Receiver) -> None:
    """Refusals, errors and a Retry-After: at each try the same ID, signed with the time of then."""
    receiver.answers, receiver.headers = [500, 404, 429], {"Retry-After": "1"}
    stack = await telling(start, receiver)
    await stack.deliver()
    await receiver.told("sandbox.ready")
    assert len(receiver.seen) == 4
    assert len({one for one, _ in receiver.seen}) == 1
    assert len({json.dumps(body) for _, body in receiver.seen}) == 1


async def test_only_the_newest_state_is_told(start: Started, receiver: Receiver) -> None:
    """While the receiver is away, the sandbox is stopped: of *ready* it never hears, and nothing old comes later."""
    receiver.answers = [503] * 1000
    stack = await telling(start, receiver)
    await stack.deliver()
    await until(_tries(receiver), lambda seen: len(seen) >= 2, "it was tried twice")
    await stack.order(SIGNAL_STOP)
    await stack.reached(Goal.STOPPED)
    await until(_tries(receiver), lambda seen: seen[-1] == "sandbox.stopped", "the newer one is tried")
    receiver.answers.clear()
    await receiver.told("sandbox.stopped")
    tried = [body["type"] for _, body in receiver.seen]
    assert tried == sorted(tried), "an older notice came after a newer one"


async def test_handover_waits_for_no_receiver(start: Started, receiver: Receiver) -> None:
    """Notices to a receiver that hangs fill their task slots, and nobody else's."""
    receiver.delay_s = 30.0
    stack = await telling(start, receiver, notices_slots=1)
    assert (await stack.ensure()).outcome is Outcome.CREATED
    other = stack.another()
    async with asyncio.timeout(QUICK_S):
        assert (await other.ensure()).outcome is Outcome.CREATED
        assert (await stack.ensure()).outcome is Outcome.REUSED
    assert receiver.taken == []


async def test_receiver_that_is_gone_is_told_no_more_and_the_audit_knows(start: Started, receiver: Receiver) -> None:
    """410: it wants no more of them. Lists and the audit say which notice was not delivered, until one is."""
    receiver.answers = [410]
    stack = await telling(start, receiver)
    await stack.deliver()

    async def published() -> str:
        memo = await (await stack.handle.describe()).memo()
        return str(memo.get(MEMO_STATUS, {}).get("undelivered", ""))

    await until(published, lambda kind: kind == "sandbox.ready", "it is published as undelivered")
    assert len(receiver.seen) == 1
    await stack.deliver()
    await until(published, lambda kind: kind == "", "a later one was delivered")
    assert receiver.kinds == ["sandbox.ready"]


async def test_notice_that_is_too_old_is_given_up(
    start: Started, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three days, here a second."""
    monkeypatch.setattr(options, "NOTICE_WITHIN", timedelta(seconds=1))
    monkeypatch.setattr(options, "NOTICE_TIMEOUT", timedelta(seconds=1))
    receiver.answers = [500] * 1000
    stack = await telling(start, receiver)
    await stack.deliver()

    async def is_undelivered() -> bool:
        memo = await (await stack.handle.describe()).memo()
        return bool(memo.get(MEMO_STATUS, {}).get("undelivered"))

    await until(is_undelivered, bool, "it is given up")
    assert receiver.taken == []


async def test_workflow_of_a_deleted_issue_ends_after_its_last_notice(start: Started, receiver: Receiver) -> None:
    """However long the receiver is away."""
    receiver.answers = [503] * 1000
    stack = await telling(start, receiver, forget_after_s=0, redelivered_within_s=0)
    await stack.deliver()
    await until(_tries(receiver), len, "it was tried")
    before = (await stack.handle.describe()).run_id
    await stack.close(IssueState.DELETED)
    await until(_tries(receiver), lambda seen: seen[-1] == "sandbox.deleted", "the last state is tried")
    assert (await stack.handle.describe()).run_id == before
    assert (await stack.handle.describe()).close_time is None
    receiver.answers.clear()
    await asyncio.wait_for(stack.handle.result(), 20)
    assert receiver.kinds == ["sandbox.deleted"]


async def test_pending_notice_goes_on_in_the_next_run(
    start: Started, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that continues as new leaves it to the next one, which sends it under the same ID."""
    receiver.answers = [503] * 1000
    stack = await telling(start, receiver)
    await stack.deliver()
    await until(_tries(receiver), len, "it was tried")
    first = (await stack.handle.describe()).run_id
    monkeypatch.setattr(Info, "is_continue_as_new_suggested", lambda info: info.run_id == first)
    await stack.order(SIGNAL_LOOK)
    await until(stack.handle.describe, lambda seen: seen.run_id != first, "the next run began")
    tries = len(receiver.seen)
    await until(_tries(receiver), lambda seen: len(seen) > tries, "the next run tries it")
    receiver.answers.clear()
    await receiver.told("sandbox.ready")
    assert len({one for one, _ in receiver.seen}) == 1


async def test_nobody_is_told_without_a_receiver(stack: Stack) -> None:
    """And it costs nothing: no activity, no event."""
    await stack.deliver()
    await stack.served()
    events = [event async for event in stack.handle.fetch_history_events()]
    names = [event.activity_task_scheduled_event_attributes.activity_type.name for event in events]
    assert "send_notice" not in names


def _tries(receiver: Receiver) -> Any:
    async def read() -> list[str]:
        return [body["type"] for _, body in receiver.seen]

    return read
