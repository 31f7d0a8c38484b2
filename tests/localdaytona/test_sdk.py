"""The unmodified SDK works with this server, in both of its ways to wait."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from daytona import (
    AsyncDaytona,
    DaytonaAuthenticationError,
    DaytonaConflictError,
    DaytonaNotFoundError,
    ListSandboxesQuery,
)
from daytona.common.errors import DaytonaError

from localdaytona.testing import Server
from tests.localdaytona.clients import create, reaches, sdk_of


@pytest.fixture(params=["events", "polling"])
async def sdk(server: Server, request: pytest.FixtureRequest) -> AsyncIterator[AsyncDaytona]:
    """The SDK, in event mode and in polling mode."""
    async with sdk_of(server, polling=request.param == "polling") as client:
        yield client


async def test_whole_life_by_the_sdk_reaches_every_state(sdk: AsyncDaytona, server: Server) -> None:
    """Create, stop, start, archive, restore and delete end where the SDK expects them to."""
    sandbox = await create(sdk, "life", labels={"a": "b"}, env_vars={"K": "v"})
    assert (sandbox.state, sandbox.name, sandbox.env) == ("started", "life", {"K": "v"})
    await sandbox.stop()
    assert sandbox.state == "stopped"
    await sandbox.start()
    assert sandbox.state == "started"
    await sandbox.stop()
    await sandbox.archive()
    await reaches(server, sandbox.id, "archived")
    await sandbox.start()
    assert sandbox.state == "started"
    await sandbox.delete(wait=True)
    with pytest.raises(DaytonaNotFoundError):
        await sdk.get(sandbox.id)


async def test_lookup_by_id_and_by_name_gives_the_same_sandbox(sdk: AsyncDaytona) -> None:
    """A sandbox is found by its ID and by its name."""
    sandbox = await create(sdk, "found")
    assert (await sdk.get("found")).id == (await sdk.get(sandbox.id)).id == sandbox.id


async def test_unknown_name_is_not_found(sdk: AsyncDaytona) -> None:
    """A name that nobody has is the SDK's not-found error, with the server's text."""
    with pytest.raises(DaytonaNotFoundError, match="Sandbox with ID or name nobody not found"):
        await sdk.get("nobody")


async def test_parallel_creates_of_one_name_make_one_sandbox(sdk: AsyncDaytona, server: Server) -> None:
    """Of ten creates of one name, one succeeds and nine are told that it exists."""
    results = await asyncio.gather(*(create(sdk, "twin") for _ in range(10)), return_exceptions=True)
    conflicts = [result for result in results if isinstance(result, DaytonaConflictError)]
    assert len(conflicts) == 9
    assert all("Sandbox with name twin already exists" in str(conflict) for conflict in conflicts)
    assert len(await server.admin.sandboxes()) == 1


async def test_labels_replaced_shows_in_reads_and_list(sdk: AsyncDaytona) -> None:
    """New labels replace the old ones, and the list finds by all of them at once."""
    sandbox = await create(sdk, "labelled", labels={"old": "1"})
    await create(sdk, "other", labels={"new": "2"})
    await sandbox.set_labels({"new": "2", "more": "3"})
    found = [item async for item in sdk.list(ListSandboxesQuery(labels={"new": "2", "more": "3"}))]
    assert [item.id for item in found] == [sandbox.id]
    assert (await sdk.get(sandbox.id)).labels == {"new": "2", "more": "3"}


async def test_intervals_set_show_in_the_next_read(sdk: AsyncDaytona) -> None:
    """Each timer that the SDK can set is kept."""
    sandbox = await create(sdk, "timed")
    await sandbox.set_autostop_interval(7)
    await sandbox.set_auto_archive_interval(8)
    await sandbox.set_auto_delete_interval(-1)
    await sandbox.refresh_activity()
    await sandbox.refresh_data()
    kept = (sandbox.auto_stop_interval, sandbox.auto_archive_interval, sandbox.auto_delete_interval)
    assert kept == (7, 8, -1)


async def test_recoverable_error_is_recovered(sdk: AsyncDaytona, server: Server) -> None:
    """A sandbox with a recoverable error shows the reason, and runs again after recover."""
    sandbox = await create(sdk, "broken")
    await server.admin.act("broken", "break", recoverable=True, reason="disk full")
    await sandbox.refresh_data()
    assert (sandbox.state, sandbox.error_reason, sandbox.recoverable) == ("error", "disk full", True)
    await sandbox.recover()
    assert sandbox.state == "started"


async def test_start_that_fails_raises_the_reason(sdk: AsyncDaytona, server: Server) -> None:
    """A start that ends in error within the hold is a 400 that says why, and leaves the row."""
    sandbox = await create(sdk, "failing")
    await sandbox.stop()
    await server.admin.add_fault("start", {"kind": "fail_transition", "reason": "no space"})
    with pytest.raises(DaytonaError, match="Sandbox failed to start: no space"):
        await sandbox.start()
    assert (await sdk.get("failing")).state == "error"


async def test_create_that_fails_leaves_an_errored_sandbox_with_the_name(sdk: AsyncDaytona, server: Server) -> None:
    """A failed create answers 400 after the insert: the next one is a conflict."""
    await server.admin.add_fault("create", {"kind": "fail_transition", "reason": "bad image"})
    with pytest.raises(DaytonaError, match="Sandbox failed to start: bad image"):
        await create(sdk, "stillborn")
    with pytest.raises(DaytonaConflictError):
        await create(sdk, "stillborn")
    assert (await sdk.get("stillborn")).state == "error"


async def test_unknown_state_word_reaches_the_client_as_unknown(sdk: AsyncDaytona, server: Server) -> None:
    """A state that the SDK has never heard of does not break its reads."""
    sandbox = await create(sdk, "odd")
    await server.admin.act("odd", "set-state", state="hibernating")
    await sandbox.refresh_data()
    assert sandbox.state == "unknown_default_open_api"


async def test_list_pages_to_the_end(sdk: AsyncDaytona, server: Server) -> None:
    """The SDK walks every page and sees every sandbox once."""
    for number in range(7):
        await server.admin.create(name=f"page-{number}")
    # Pages are in the order of last activity: a row that still changes may move to a page already read.
    async with asyncio.timeout(20):
        while any(row.state != "started" for row in await server.admin.sandboxes()):
            await asyncio.sleep(0.01)
    names = [item.name async for item in sdk.list(ListSandboxesQuery(limit=3))]
    assert sorted(names) == [f"page-{number}" for number in range(7)]


async def test_stopped_by_a_person_shows_in_a_held_object(server: Server) -> None:
    """In event mode, the SDK's object changes by itself when somebody stops its sandbox."""
    async with sdk_of(server) as sdk:
        sandbox = await create(sdk, "held")
        await server.admin.act("held", "stop")
        async with asyncio.timeout(5):
            while sandbox.state != "stopped":
                await asyncio.sleep(0.01)


async def test_wrong_key_is_refused(server: Server) -> None:
    """A wrong key is the SDK's authentication error."""
    server.api_key = "wrong"
    async with sdk_of(server, polling=True) as sdk:
        with pytest.raises(DaytonaAuthenticationError, match="Invalid credentials"):
            await sdk.get("anything")
