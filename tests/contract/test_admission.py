"""What the server admits, (state, desired state) x command: localdaytona's table, held to by the provider and the SDK.

The walk over states that commands alone reach also runs on the real Daytona with ``-m live``: the table comes from its
server, and is not repeated here. (It was never run there: no key was at hand.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from daytona.common.errors import DaytonaError

from issuebox.domain.errors import ConflictError, RefusedError
from issuebox.domain.phase import Phase
from issuebox.domain.provider import SandboxSpec
from issuebox.domain.sandbox import Sandbox
from issuebox.providers.daytona import DaytonaProvider
from issuebox.providers.daytona_errors import translate
from localdaytona.admission import ADMITTED, Admission
from localdaytona.testing import Server
from tests.waiting import until

from .conftest import options

Send = Callable[[str], Awaitable[Sandbox | None]]

ARCHIVING_S = 20.0
"""Time for the walk to meet a sandbox that is being archived."""


def sends(provider: DaytonaProvider) -> dict[str, Send]:
    """The provider's method for each call of the table that issuebox makes."""
    return {
        "start": provider.start,
        "stop": provider.stop,
        "archive": provider.archive,
        "recover": provider.recover,
        "delete": provider.delete,
    }


def admitted(state: str, desired: str) -> frozenset[str]:
    """The calls that a container admits in these states."""
    return next(row.admits for row in ADMITTED if row == Admission(state, desired, row.admits))


async def refuses_the_rest(provider: DaytonaProvider, sandbox: Sandbox | None, state: str, desired: str) -> None:
    """Send all that the table does not admit, and find the sandbox as it was."""
    assert sandbox is not None
    for call, send in sends(provider).items():
        if call not in admitted(state, desired):
            with pytest.raises(ConflictError):
                await send(sandbox.id)
    found = await provider.lookup_by_id(sandbox.id)
    assert found is not None
    assert (found.desired_state, found.phase) == (sandbox.desired_state, sandbox.phase)


async def test_commands_are_admitted_as_the_table_says(
    provider: DaytonaProvider, spec: SandboxSpec, daytona: Server | None
) -> None:
    """Through each state that commands reach: what the table admits is carried out, and all else is a conflict."""
    if daytona is not None:
        await daytona.admin.config(backup_every_s=ARCHIVING_S)
    created = await provider.create(spec)
    assert created is not None
    await refuses_the_rest(provider, created, "started", "started")
    assert "start" in admitted("started", "started")
    again = await provider.start(created.id)
    assert again is not None
    assert again.phase is Phase.USABLE
    await refuses_the_rest(provider, await provider.stop(created.id), "stopped", "stopped")

    archive = asyncio.create_task(provider.archive(created.id))

    async def seen() -> Sandbox | None:
        return await provider.lookup_by_id(created.id)

    archiving = await until(seen, lambda found: found is not None and found.phase is Phase.ARCHIVING, "being archived")
    await refuses_the_rest(provider, archiving, "archiving", "archived")
    assert "start" in admitted("archiving", "archived")
    started = await provider.start(created.id)
    assert started is not None
    assert started.phase is Phase.USABLE
    await archive

    await provider.stop(created.id)
    if daytona is not None:
        await daytona.admin.config(backup_every_s=0.2)
    archived = await provider.archive(created.id)
    assert archived is not None
    state = archived.state  # It may still wait for its backup when the time is up.
    await refuses_the_rest(provider, archived, state, "archived")
    assert "delete" in admitted(state, "archived")
    assert await provider.delete(created.id) is None


async def test_sandbox_is_deleted_while_it_is_archived(
    provider: DaytonaProvider, spec: SandboxSpec, daytona: Server | None
) -> None:
    """Daytona admits a delete during *archiving*: nobody has to wait for a backup that nobody wants."""
    if daytona is not None:
        await daytona.admin.config(backup_every_s=3600)
    created = await provider.create(spec)
    assert created is not None
    await provider.stop(created.id)
    archive = asyncio.create_task(provider.archive(created.id))

    async def seen() -> Sandbox | None:
        return await provider.lookup_by_id(created.id)

    await until(seen, lambda found: found is not None and found.desired_state == "archived", "being archived")
    assert await provider.delete(created.id) is None
    assert await archive is None


async def test_archive_waits_for_its_effect_as_long_as_it_listens(server: Server) -> None:
    """The queue of backups has no useful bound: after the activity's time the sandbox is returned as it is."""
    await server.admin.config(backup_every_s=3600)
    async with DaytonaProvider(options(server, listen_s=0.5)) as provider:
        created = await provider.create(SandboxSpec("claude-issue-1"))
        assert created is not None
        await provider.stop(created.id)
        archiving = await provider.archive(created.id)
        assert archiving is not None
        assert (archiving.state, archiving.phase) == ("archiving", Phase.ARCHIVING)
        assert await provider.settle(created.id, 5.0) == archiving


CALLS = ("start", "stop", "archive", "recover", "delete")


def _id(row: Admission) -> str:
    return f"{row.state}-{row.desired}-{row.sandbox_class}{'-recoverable' * row.recoverable}"


@pytest.mark.parametrize("row", ADMITTED, ids=_id)
async def test_sdk_and_provider_read_every_cell_of_the_table(server: Server, row: Admission) -> None:
    """Each call in each pair of states, sent by the SDK: 200, or an error that asks for another lookup.

    No refusal of the table blocks an issue. The only exception is another class: a container is never paused.
    """
    await server.admin.config(speed=1000, timeouts=dict.fromkeys(("create_s", "start_s", "stop_s", "destroy_s"), 0))
    snapshot = "linux-vm-small" if row.sandbox_class == "linux-vm" else "daytona-small"
    async with DaytonaProvider(options(server)) as provider:
        client = provider._client
        for call in CALLS:
            made = await server.admin.create(snapshot=snapshot)
            await provider.settle(made.id, 5.0)
            if row.recoverable:
                await server.admin.act(made.id, "break", recoverable=True)
            else:
                await server.admin.act(made.id, "set-state", state=row.state, desired_state=row.desired)
            try:
                await getattr(client, f"send_{call}")(made.id, 5.0)
            except DaytonaError as error:
                failure = translate(error, is_command=True)
                assert isinstance(failure, ConflictError), (call, failure)
                assert not isinstance(failure, RefusedError)
                assert call not in row.admits, (call, failure)
            else:
                assert call in row.admits, call


def test_table_names_each_pair_of_states_once() -> None:
    """One row for each state, desired state, class and kind of error."""
    keys = [replace(row, admits=frozenset()) for row in ADMITTED]
    assert len(keys) == len(set(keys))
