"""What an outcome costs at Daytona, read from localdaytona's journal."""

from __future__ import annotations

import asyncio

from issuebox.domain.phase import Outcome

from .conftest import Stack, Started


async def test_missing_costs_one_lookup_one_create_and_one_read(stack: Stack) -> None:
    """A create sends one lookup and one command; its reply is from before the start, so a read comes after it."""
    handover = await stack.ensure()
    assert handover.outcome is Outcome.CREATED
    assert await stack.requests() == ["get", "create", "get"]


async def test_long_create_is_awaited_on_the_event_stream(start: Started) -> None:
    """A create that outlasts the server's hold by two seconds costs no more than any other."""
    stack = await start(daytona_read_interval_s=30.0, daytona_listen_s=5.0)
    await stack.daytona.admin.config(hold_s=0.1, durations={"create_s": 2.2})
    handover = await stack.ensure()
    assert handover.outcome is Outcome.CREATED
    assert await stack.requests() == ["get", "create", "get"]


async def test_running_costs_one_request(stack: Stack) -> None:
    """Using a running sandbox is one lookup and nothing else."""
    await stack.ensure()
    before = await stack.journal_end()
    handover = await stack.ensure()
    assert handover.outcome is Outcome.REUSED
    assert await stack.requests(after=before) == ["get"]


async def test_running_but_soon_to_be_stopped_costs_one_refresh_more(stack: Stack) -> None:
    """The activity timer is refreshed only when Daytona would stop the sandbox within half of its interval."""
    first = await stack.ensure()
    assert first.sandbox is not None
    await stack.daytona.admin.act(first.sandbox.id, "idle", seconds=first.sandbox.auto_stop_interval_s * 0.6)
    before = await stack.journal_end()
    handover = await stack.ensure()
    assert handover.outcome is Outcome.REUSED
    assert await stack.requests(after=before) == ["get", "last_activity"]


async def test_stopped_costs_one_lookup_and_one_start(stack: Stack) -> None:
    """Daytona holds a start until the sandbox runs, so its answer is the last read."""
    first = await stack.ensure()
    assert first.sandbox is not None
    await stack.daytona.admin.act(first.sandbox.id, "stop")
    await stack.provider.settle(first.sandbox.id, 5.0)
    before = await stack.journal_end()
    handover = await stack.ensure()
    assert (handover.outcome, handover.sandbox and handover.sandbox.id) == (Outcome.STARTED, first.sandbox.id)
    assert await stack.requests(after=before) == ["get", "start"]


async def test_archived_costs_one_lookup_and_one_start(start: Started) -> None:
    """Daytona answers a thaw at once and the event stream reports its end.

    A thaw that outlasts what a command listens for costs one read, as its wait begins.
    """
    stack = await start(daytona_read_interval_s=30.0, daytona_listen_s=5.0)
    first = await stack.ensure()
    assert first.sandbox is not None
    await stack.provider.stop(first.sandbox.id)
    await stack.provider.archive(first.sandbox.id)
    await stack.daytona.admin.config(durations={"restore_s": 2.0})
    before = await stack.journal_end()
    handover = await stack.ensure()
    assert (handover.outcome, handover.sandbox and handover.sandbox.id) == (Outcome.STARTED, first.sandbox.id)
    assert await stack.requests(after=before) == ["get", "start"]


async def test_burst_of_events_costs_few_requests(stack: Stack) -> None:
    """Fifty events for one issue are served together: one create, and at most one lookup per round."""
    await asyncio.gather(*(stack.deliver() for _ in range(50)))
    await stack.served()
    assert len(await stack.live()) == 1
    requests = await stack.requests()
    assert requests.count("create") == 1
    assert len(requests) <= 6, requests
