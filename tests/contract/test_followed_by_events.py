"""What follows a command: the event that announces its end, and reads where events may be missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from issuebox.domain.phase import TRANSITIONAL, Phase
from issuebox.domain.provider import SandboxSpec
from issuebox.domain.sandbox import Sandbox
from issuebox.providers.daytona import DaytonaProvider, announced_end, is_under_way
from issuebox.providers.daytona_changes import Changes
from localdaytona.testing import Server
from tests.waiting import until

from .conftest import options
from .test_daytona_traps import _connected

SPEC = SandboxSpec("claude-issue-11")


@pytest.fixture
async def connected(server: Server) -> AsyncIterator[DaytonaProvider]:
    """A provider whose event stream is connected. Only a silence of three times 0.3 s leads to a read."""
    async with DaytonaProvider(options(server, read_interval_s=0.3)) as provider:
        await _connected(provider)
        yield provider


async def _created(provider: DaytonaProvider) -> Sandbox:
    created = await provider.create(SPEC)
    assert created is not None
    return created


async def _requests(server: Server, after: int) -> list[str | None]:
    return [entry.operation for entry in await server.admin.journal(after=after, kind="request")]


async def _now(server: Server) -> int:
    return (await server.admin.journal())[-1].seq


async def test_command_whose_end_is_announced_is_the_only_request(connected: DaytonaProvider, server: Server) -> None:
    """Stop, archive, thaw and delete: the event has all that a read would have shown."""
    created = await _created(connected)
    before = await _now(server)
    stopped, archived = await connected.stop(created.id), await connected.archive(created.id)
    thawed = await connected.start(created.id)
    assert [each and each.phase for each in (stopped, archived, thawed)] == [
        Phase.STOPPED,
        Phase.ARCHIVED,
        Phase.USABLE,
    ]
    assert thawed == await connected.lookup_by_id(created.id)
    assert await connected.delete(created.id) is None
    assert (await server.admin.sandbox(created.id)).state == "destroyed"
    assert await _requests(server, before) == ["stop", "archive", "start", "get", "delete"]


async def test_delete_of_an_error_is_over_at_once(server: Server) -> None:
    """Nothing announces its end, and nobody waits for that."""
    async with DaytonaProvider(options(server, read_interval_s=60.0, listen_s=60.0)) as provider:
        await _connected(provider)
        created = await _created(provider)
        await server.admin.act(created.id, "break", recoverable=False)
        before = await _now(server)
        async with asyncio.timeout(20):
            assert await provider.delete(created.id) is None
        assert await _requests(server, before) == ["delete", "get", "list", "get"]


async def test_end_missed_by_a_stream_that_broke_off_is_read(connected: DaytonaProvider, server: Server) -> None:
    """What comes while the stream is away is not announced again."""
    created = await _created(connected)
    before = await _now(server)
    await server.admin.add_fault("delete", {"kind": "stuck"})
    deleting = asyncio.create_task(connected.delete(created.id))
    await until(server.admin.sandboxes, lambda rows: rows[0].state == "destroying", "being deleted")
    first = connected._client.stream_id
    await server.admin.drop_events()

    async def session() -> str | None:
        return connected._client.stream_id

    await until(session, lambda now: now != first, "the stream is away, or another")
    await server.admin.act(created.id, "release")
    assert await deleting is None
    assert (await server.admin.sandbox(created.id)).state == "destroyed"
    assert "get" in await _requests(server, before)
    await until(session, bool, "the stream is connected again, and closes cleanly")


async def test_silence_leads_to_a_read(
    connected: DaytonaProvider, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is dead looks like one on which nothing happens."""
    created = await _created(connected)
    monkeypatch.setattr(Changes, "take", lambda *_: None)
    before = await _now(server)
    stopped = await connected.stop(created.id)
    assert stopped is not None
    assert stopped.phase is Phase.STOPPED
    assert await _requests(server, before) == ["stop", "get"]


async def test_command_without_the_stream_is_read_soon(server: Server) -> None:
    """One that ends within half a second costs one read."""
    await server.admin.config(events=False)
    async with DaytonaProvider(options(server, read_interval_s=10.0)) as provider:
        created = await _created(provider)
        before = await _now(server)
        async with asyncio.timeout(5):
            stopped = await provider.stop(created.id)
        assert stopped is not None
        assert stopped.phase is Phase.STOPPED
        assert await _requests(server, before) == ["stop", "get"]


async def test_stream_stays_connected_while_nobody_waits(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the first command after a quiet time would have to read."""
    async with DaytonaProvider(options(server)) as provider:
        await _connected(provider)
        dispatcher = provider._client._event_dispatcher
        assert dispatcher is not None
        monkeypatch.setattr(dispatcher, "_DISCONNECT_DELAY", 0.05)
        created = await _created(provider)
        await provider.stop(created.id)
        stream_id = provider._client.stream_id
        await asyncio.sleep(0.5)  # Ten times as long as the SDK keeps a stream that nobody listens to.
        assert stream_id is not None
        assert provider._client.stream_id == stream_id


async def _heard(provider: DaytonaProvider, server: Server) -> tuple[Changes, Sandbox]:
    """What the stream says of a stop, and the sandbox as it was while it stopped."""
    created = await _created(provider)
    with provider._client.changes(created.id) as changes:
        await server.admin.act(created.id, "stop")
        await changes.wait(10.0)
    return changes, replace(created, phase=Phase.STOPPING)


async def test_event_is_believed_only_as_the_end_of_what_is_under_way(
    connected: DaytonaProvider, server: Server
) -> None:
    """Neither a late event about an earlier change, nor one that says something else, nor one among missing ones."""
    changes, stopping = await _heard(connected, server)
    end = announced_end(changes, stopping)
    assert end is not None
    assert (end.phase, end.updated_at is not None) == (Phase.STOPPED, True)
    assert end.updated_at is not None
    assert announced_end(changes, replace(stopping, updated_at=end.updated_at)) == end
    later = end.updated_at.replace(year=end.updated_at.year + 1)
    assert announced_end(changes, replace(stopping, updated_at=later)) is None
    assert announced_end(changes, replace(stopping, updated_at=None)) is None
    assert announced_end(changes, replace(stopping, phase=Phase.LEAVING)) is None
    changes.since = "another session"
    assert announced_end(changes, stopping) is None
    changes.since = None
    assert announced_end(changes, stopping) is None


def test_event_without_a_whole_sandbox_is_not_believed() -> None:
    """A newer server may send less: then the sandbox is read."""
    changes = Changes(lambda: "one session")
    changes.take("sandbox.state.updated", {"sandbox": {"id": "1"}, "oldState": "stopping", "newState": "stopped"})
    assert changes.arrived.is_set()
    assert announced_end(changes, Sandbox("1", "n", Phase.STOPPING, "stopping")) is None


@pytest.mark.parametrize(
    ("phase", "state", "is_so"),
    [
        (Phase.STOPPING, "stopping", True),
        (Phase.LEAVING, "destroying", True),
        (Phase.LEAVING, "error", False),
        (Phase.LEAVING, "archived", False),
        (Phase.THAWING, "archived", True),
        (Phase.STOPPED, "stopped", False),
        (Phase.UNKNOWN, "hibernating", False),
    ],
)
def test_reply_shows_whether_an_end_will_be_announced(phase: Phase, state: str, *, is_so: bool) -> None:
    """The delete of an error announces none, and what is unknown may mean anything."""
    assert is_under_way(Sandbox("1", "n", phase, state), TRANSITIONAL) is is_so
