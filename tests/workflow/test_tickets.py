"""Whom an observation serves: those who asked before it began, and nobody who asked while it was made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from temporalio import activity

from issuebox.domain.phase import Cause, Outcome
from tests.waiting import until
from workflows.messages import Handover

from .conftest import Stack, Started
from .meddling import Around, GoOn

Change = Callable[[], Awaitable[object]]


class _Afterwards(Around):
    """Holds the end of the first activity of this type back until `change` has been made."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.change: Change | None = None

    async def around(self, info: activity.Info, go_on: GoOn) -> Any:
        try:
            return await go_on()
        finally:
            if info.activity_type == self.name and not info.is_local and self.change is not None:
                change, self.change = self.change, None
                await change()


async def _asks(stack: Stack) -> None:
    """Somebody asks too, and the workflow has heard of it."""
    await stack.deliver()
    await until(stack.status, lambda status: status.requests_waiting == 2, "two requests wait")


async def test_request_during_a_create_is_not_served_by_its_reply(start: Started) -> None:
    """The reply shows the sandbox as it was before the second request, and somebody has stopped it since."""
    afterwards = _Afterwards("create_sandbox")
    stack = await start(interceptors=[afterwards])

    async def change() -> None:
        await _asks(stack)
        await stack.daytona.admin.act(stack.name, "stop")
        await until(stack.state, lambda state: state == "stopped", "stopped by hand")

    afterwards.change = change
    await stack.deliver()
    status = await stack.served()
    assert (status.outcome, await stack.state()) == (Outcome.STARTED, "started")


async def test_request_during_a_refused_create_is_not_answered_by_it(start: Started) -> None:
    """A runner became free before the second request: its caller gets the sandbox, and not the old refusal."""
    afterwards = _Afterwards("create_sandbox")
    stack = await start(interceptors=[afterwards])
    second: list[asyncio.Task[Handover]] = []

    async def change() -> None:
        await stack.daytona.admin.config(runner_available=True)
        second.append(asyncio.create_task(stack.ensure()))
        await until(stack.status, lambda status: status.requests_waiting == 2, "two requests wait")

    afterwards.change = change
    await stack.daytona.admin.config(runner_available=False)
    first = await stack.ensure()
    assert first.blocked is not None
    assert first.blocked.cause is Cause.CAPACITY
    assert (await second[0]).outcome is Outcome.CREATED


async def test_request_during_a_refused_lookup_is_not_answered_by_it(start: Started) -> None:
    """Daytona refused the key before the second request: its caller gets what a lookup of its own shows."""
    afterwards = _Afterwards("lookup_sandbox")
    stack = await start(interceptors=[afterwards])
    second: list[asyncio.Task[Handover]] = []

    async def change() -> None:
        second.append(asyncio.create_task(stack.ensure()))
        await until(stack.status, lambda status: status.requests_waiting == 2, "two requests wait")

    afterwards.change = change
    await stack.daytona.admin.add_fault("get", {"kind": "drop"})  # The lookup at once fails: an activity follows.
    await stack.daytona.admin.add_fault("get", {"kind": "status", "status": 401})
    first = await stack.ensure()
    assert first.blocked is not None
    assert first.blocked.cause is Cause.CREDENTIALS
    assert (await second[0]).outcome is Outcome.CREATED
