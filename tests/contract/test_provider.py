"""The contract of every provider: `issuebox.domain.provider.SandboxProvider`, sentence by sentence.

Tests with the fixture `server` interfere with localdaytona. Tests with only `spec` also run on the real Daytona with
``-m live``, and so create nothing else.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from issuebox.domain.errors import ChangeInProgressError, GoneError, NameTakenError, NotInStateError, TransientError
from issuebox.domain.phase import Phase
from issuebox.domain.provider import SandboxSpec
from issuebox.providers.daytona import DaytonaProvider
from localdaytona.testing import Server
from tests.waiting import until

from .conftest import LABEL_RUN, RUN, options


async def test_unknown_name_is_a_value(provider: DaytonaProvider, spec: SandboxSpec) -> None:
    """*Not found* is None, not an error."""
    assert await provider.lookup(spec.name) is None


async def test_create_returns_a_usable_sandbox_with_its_labels(provider: DaytonaProvider, spec: SandboxSpec) -> None:
    """A create ends with a read that shows the sandbox usable."""
    created = await provider.create(spec)
    assert created is not None
    assert (created.phase, created.name) == (Phase.USABLE, spec.name)
    assert spec.labels.items() <= created.labels.items()
    assert created.toolbox_url.endswith(f"/toolbox/{created.id}")
    by_name, by_id = await provider.lookup(spec.name), await provider.lookup("x", created.id)
    assert by_name is not None
    assert by_id is not None
    assert by_name.id == by_id.id == created.id


async def test_create_of_a_held_name_is_refused(provider: DaytonaProvider, spec: SandboxSpec) -> None:
    """The unique name is the second safeguard: exactly one of many creates succeeds."""
    results = await asyncio.gather(*(provider.create(spec) for _ in range(8)), return_exceptions=True)
    created = [result for result in results if not isinstance(result, BaseException)]
    assert len(created) == 1
    assert all(isinstance(result, NameTakenError) for result in results if isinstance(result, BaseException))


async def test_stop_and_start_keep_the_sandbox(provider: DaytonaProvider, spec: SandboxSpec) -> None:
    """A start runs the same sandbox again."""
    created = await provider.create(spec)
    assert created is not None
    stopped = await provider.stop(created.id)
    assert stopped is not None
    assert stopped.phase is Phase.STOPPED
    started = await provider.start(created.id)
    assert started is not None
    assert (started.phase, started.id) == (Phase.USABLE, created.id)


async def test_archived_sandbox_starts(provider: DaytonaProvider, spec: SandboxSpec) -> None:
    """A start of an archived sandbox is answered at once and followed until it runs."""
    created = await provider.create(spec)
    assert created is not None
    await provider.stop(created.id)
    archived = await provider.archive(created.id)
    assert archived is not None
    assert archived.phase is Phase.ARCHIVED
    started = await provider.start(created.id)
    assert started is not None
    assert (started.phase, started.id) == (Phase.USABLE, created.id)


async def test_delete_waits_until_the_old_one_is_gone(
    provider: DaytonaProvider, spec: SandboxSpec, server: Server
) -> None:
    """The name is free as soon as a delete is accepted; a delete returns only when the sandbox is gone."""
    created = await provider.create(spec)
    assert created is not None
    assert await provider.delete(created.id) is None
    assert (await server.admin.sandbox(created.id)).state == "destroyed"


async def test_false_404_after_a_delete_does_not_pass_for_its_end(
    provider: DaytonaProvider, spec: SandboxSpec, server: Server
) -> None:
    """An outage can begin while a sandbox is being deleted, so a 404 is checked once more."""
    created = await provider.create(spec)
    assert created is not None
    await server.admin.config(durations={"destroy_s": 2.0})
    await server.admin.add_fault("get", {"kind": "not_found"}, name=f"*{spec.name}*")
    assert await provider.delete(created.id) is None
    assert (await server.admin.sandbox(created.id)).state == "destroyed"


async def test_doubted_lookup_fails_in_an_outage(provider: DaytonaProvider, spec: SandboxSpec, server: Server) -> None:
    """Without its database Daytona answers reads with 404 and lists with 500: then nothing is known."""
    created = await provider.create(spec)
    assert created is not None
    await server.admin.config(outage=True, read_cache_s=0)
    assert await provider.lookup(spec.name, created.id) is None
    with pytest.raises(TransientError):
        await provider.lookup(spec.name, created.id, is_doubted=True)
    await server.admin.config(outage=False)
    found = await provider.lookup(spec.name, created.id, is_doubted=True)
    assert found is not None
    assert found.id == created.id
    assert await provider.lookup("claude-issue-none", is_doubted=True) is None


async def test_deleted_sandbox_is_gone_by_name_and_id(provider: DaytonaProvider, spec: SandboxSpec) -> None:
    """After a delete, neither a lookup nor a late command to its ID finds it."""
    created = await provider.create(spec)
    assert created is not None
    assert await provider.delete(created.id) is None
    assert await provider.lookup(spec.name, created.id) is None
    with pytest.raises(GoneError):
        await provider.stop(created.id)


async def test_leaving_sandbox_is_found_by_its_id(provider: DaytonaProvider, spec: SandboxSpec, server: Server) -> None:
    """By name a deleted sandbox is gone at once; by ID it is still leaving."""
    created = await provider.create(spec)
    assert created is not None
    await server.admin.act(created.id, "delete")
    assert await provider.lookup(spec.name) is None
    leaving = await provider.lookup(spec.name, created.id)
    assert leaving is not None
    assert leaving.phase is Phase.LEAVING
    assert await provider.settle(created.id, 5.0) is None


async def test_recover_waits_for_a_repair_that_goes_on_after_its_answer(
    provider: DaytonaProvider, spec: SandboxSpec, server: Server
) -> None:
    """Daytona answers a long repair before its end, and the sandbox shows the old error until then."""
    await server.admin.config(durations={"recover_s": 1.0})
    created = await provider.create(spec)
    assert created is not None
    await server.admin.act(created.id, "break", recoverable=True, reason="disk full")
    await server.admin.add_fault("recover", {"kind": "no_hold"})
    recovered = await provider.recover(created.id)
    assert recovered is not None
    assert recovered.phase is Phase.USABLE


async def test_recoverable_error_recovers(provider: DaytonaProvider, spec: SandboxSpec, server: Server) -> None:
    """An error that Daytona can repair has its own phase, and recover ends it."""
    await server.admin.config(durations={"recover_s": 0.1})
    created = await provider.create(spec)
    assert created is not None
    await server.admin.act(created.id, "break", recoverable=True, reason="disk full")
    broken = await provider.lookup(spec.name)
    assert broken is not None
    assert (broken.phase, broken.error_reason) == (Phase.RECOVERABLE, "disk full")
    recovered = await provider.recover(created.id)
    assert recovered is not None
    assert recovered.phase is Phase.USABLE


async def test_command_in_the_middle_of_a_change_is_a_conflict(
    provider: DaytonaProvider, spec: SandboxSpec, server: Server
) -> None:
    """A sandbox in transition takes no command, and the error has its own class."""
    await server.admin.config(durations={"stop_s": 2.0})
    created = await provider.create(spec)
    assert created is not None
    await server.admin.act(created.id, "stop")
    with pytest.raises(ChangeInProgressError):
        await provider.start(created.id)


async def test_stop_of_a_stopped_sandbox_is_not_in_state(provider: DaytonaProvider, spec: SandboxSpec) -> None:
    """A command that the state does not allow asks for another lookup, not for a retry."""
    created = await provider.create(spec)
    assert created is not None
    await provider.stop(created.id)
    with pytest.raises(NotInStateError):
        await provider.stop(created.id)


async def test_command_to_a_gone_sandbox_says_gone(provider: DaytonaProvider) -> None:
    """A 404 on a command is a conflict, never a success."""
    with pytest.raises(GoneError):
        await provider.start("00000000-0000-4000-8000-000000000000")


async def test_labels_are_added_and_none_is_lost(provider: DaytonaProvider, spec: SandboxSpec) -> None:
    """Adopting keeps existing labels, although Daytona's PUT replaces all of them."""
    by_hand = {"team": "red", LABEL_RUN: RUN}
    made = await provider.create(replace(spec, labels=by_hand))
    assert made is not None
    await provider.label(made.id, spec.labels)
    await provider.label(made.id, spec.labels)
    adopted = await provider.lookup("x", made.id)
    assert adopted is not None
    assert adopted.labels == {"code-toolbox-language": "python"} | by_hand | spec.labels


async def test_refreshed_activity_is_repeatable(provider: DaytonaProvider, spec: SandboxSpec) -> None:
    """Postponing the idle stop can be repeated."""
    created = await provider.create(spec)
    assert created is not None
    await provider.refresh_activity(created.id)
    await provider.refresh_activity(created.id)


async def test_list_eventually_shows_a_created_sandbox(provider: DaytonaProvider, spec: SandboxSpec) -> None:
    """The index lags, and then finds the sandbox by its labels."""
    created = await provider.create(spec)
    assert created is not None

    async def listed() -> list[str]:
        return [found.id async for found in provider.list_managed(spec.labels)]

    await until(listed, lambda found: created.id in found, "the list shows the sandbox", timeout_s=60.0)
    assert [found async for found in provider.list_managed(spec.labels | {"issue-id": "2"})] == []


async def test_list_shows_all_managed_sandboxes_across_pages(provider: DaytonaProvider, server: Server) -> None:
    """A sweep sees every page, and only sandboxes with the labels."""
    for number in range(205):
        await server.admin.create(name=f"claude-issue-{number}", labels={"managed-by": "issuebox"})
    await server.admin.create(name="other", labels={"managed-by": "somebody"})
    names = [found.name async for found in provider.list_managed({"managed-by": "issuebox"})]
    assert len(names) == len(set(names)) == 205


async def test_page_continues_where_the_last_one_ended(server: Server) -> None:
    """Each page says where the next begins; in the order of creation, no row that changes meanwhile is skipped."""
    labels = {"managed-by": "issuebox"}
    async with DaytonaProvider(options(server, list_page_size=2)) as provider:
        made = [await server.admin.create(name=f"claude-issue-{number}", labels=labels) for number in range(1, 6)]
        for sandbox in made:
            await provider.settle(sandbox.id, 5.0)
        first = await provider.list_page(labels)
        await server.admin.act(made[4].id, "stop")
        await server.admin.act(made[1].id, "delete")
        await provider.settle(made[1].id, 5.0)
        second = await provider.list_page(labels, first.next_cursor)
        third = await provider.list_page(labels, second.next_cursor)
    found = [sandbox.id for page in (first, second, third) for sandbox in page.sandboxes]
    assert found == [sandbox.id for sandbox in made]
    assert third.next_cursor is None


async def test_lookup_by_id_finds_no_other_sandbox_of_the_name(
    provider: DaytonaProvider, spec: SandboxSpec, server: Server
) -> None:
    """Another sandbox may have the name by now, but never the ID."""
    created = await provider.create(spec)
    assert created is not None
    assert await provider.lookup_by_id(created.id) is not None
    await provider.delete(created.id)
    await server.admin.create(name=spec.name)
    assert await provider.lookup(spec.name, created.id) is not None
    assert await provider.lookup_by_id(created.id) is None
