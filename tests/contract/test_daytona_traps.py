"""Daytona's traps, one by one: what the server or the network does, and what the provider concludes."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from daytona_api_client_async import Sandbox as SandboxDto
from daytona_api_client_async import SandboxState

from issuebox.domain.errors import (
    MESSAGE_BYTES_MAX,
    AmbiguousError,
    ChangeInProgressError,
    GoneError,
    NameTakenError,
    NotInStateError,
    ProviderError,
    RateLimitedError,
    RefusedError,
    TransientError,
)
from issuebox.domain.phase import Cause, Phase
from issuebox.domain.provider import SandboxSpec
from issuebox.domain.sandbox import LABELS_MAX, Sandbox
from issuebox.providers.daytona import DaytonaOptions, DaytonaProvider, as_never_ran, to_sandbox
from localdaytona.testing import Server, free_port
from tests.waiting import until

from .conftest import options

SPEC = SandboxSpec("claude-issue-1", {"managed-by": "issuebox", "issue-id": "1"})

CREATE_FAULTS = [
    # effect, what is raised, cause, whether Daytona has the sandbox afterwards
    ({"kind": "drop"}, AmbiguousError, None, False),
    ({"kind": "drop_after"}, AmbiguousError, None, True),
    ({"kind": "status", "status": 500}, AmbiguousError, None, False),
    ({"kind": "status_after", "status": 502}, AmbiguousError, None, True),
    ({"kind": "status", "status": 504}, AmbiguousError, None, False),
    ({"kind": "hang"}, AmbiguousError, None, False),
    ({"kind": "hang", "after": True}, AmbiguousError, None, True),
    ({"kind": "malformed"}, AmbiguousError, None, True),
    ({"kind": "status", "status": 429, "headers": {"Retry-After-sandbox-create": "7"}}, RateLimitedError, None, False),
    ({"kind": "status", "status": 401, "message": "Invalid credentials"}, RefusedError, Cause.CREDENTIALS, False),
    ({"kind": "status", "status": 403, "message": "Organization is suspended"}, RefusedError, Cause.FORBIDDEN, False),
    ({"kind": "status", "status": 404, "message": "Region not found"}, RefusedError, Cause.INVALID, False),
    ({"kind": "status", "status": 400, "message": "Snapshot x not found."}, RefusedError, Cause.INVALID, False),
    ({"kind": "status", "status": 400, "message": "No available runners"}, RefusedError, Cause.CAPACITY, False),
    ({"kind": "status", "status": 422, "message": "no"}, RefusedError, Cause.INVALID, False),
]


async def test_more_labels_than_are_kept_survive_ours_at_daytona(server: Server) -> None:
    """A sandbox keeps sixteen labels for us, ours first; the PUT that adds ours replaces all, and loses none."""
    theirs = {f"theirs-{number:02}": "x" * 300 for number in range(40)}
    async with DaytonaProvider(options(server)) as provider:
        made = await provider.create(SandboxSpec("claude-issue-1", theirs))
        assert made is not None
        await provider.label(made.id, SPEC.labels)
        [row] = await server.admin.sandboxes()
        assert theirs.items() | SPEC.labels.items() <= row.labels.items()
        found = await provider.lookup("claude-issue-1")
    assert found is not None
    assert len(found.labels) == LABELS_MAX
    assert SPEC.labels.items() <= found.labels.items()


async def test_refusal_of_90_kb_becomes_a_short_line_of_the_same_meaning(server: Server) -> None:
    """What the text means is read before it is cut, so words at its end count."""
    message = "a\n\x1b[31m" + "long story " * 9_000 + "Total CPU limit exceeded"
    await server.admin.add_fault("create", {"kind": "status", "status": 400, "message": message})
    async with DaytonaProvider(options(server)) as provider:
        with pytest.raises(RefusedError) as raised:
            await provider.create(SPEC)
    assert raised.value.cause is Cause.QUOTA
    assert str(raised.value).isprintable()
    assert len(str(raised.value).encode()) <= MESSAGE_BYTES_MAX


@pytest.mark.parametrize(
    ("effect", "error", "cause", "exists"), CREATE_FAULTS, ids=[str(row[0]).replace("'", "") for row in CREATE_FAULTS]
)
async def test_create_that_goes_wrong_says_what_is_known(
    server: Server, effect: dict[str, object], error: type[ProviderError], cause: Cause | None, exists: bool
) -> None:
    """Anything but an explicit refusal before the insert is ambiguous: the caller must look the sandbox up."""
    async with DaytonaProvider(options(server, command_timeout_s=1.0)) as provider:
        await server.admin.add_fault("create", effect)
        with pytest.raises(error) as raised:
            await provider.create(SPEC)
        assert type(raised.value) is error
        assert getattr(raised.value, "cause", None) is cause
        assert bool(await server.admin.sandboxes()) is exists
        assert len([e for e in await server.admin.journal(kind="request") if e.operation == "create"]) == 1


READ_FAULTS = [
    ({"kind": "status", "status": 500}, TransientError),
    ({"kind": "status", "status": 503}, TransientError),
    ({"kind": "hang"}, TransientError),
    ({"kind": "drop"}, TransientError),
    ({"kind": "malformed"}, TransientError),
    ({"kind": "status", "status": 429, "headers": {"Retry-After-authenticated": "3"}}, RateLimitedError),
]


@pytest.mark.parametrize(("effect", "error"), READ_FAULTS, ids=[str(row[0]).replace("'", "") for row in READ_FAULTS])
async def test_failed_read_is_never_not_found(
    server: Server, effect: dict[str, object], error: type[ProviderError]
) -> None:
    """A read that fails is never *not found*, and is sent once: Temporal owns retries."""
    made = await server.admin.create(name=SPEC.name)
    async with DaytonaProvider(options(server)) as provider:
        await server.admin.set_faults({"match": {"operation": "get"}, "effect": effect})
        with pytest.raises(error) as raised:
            await provider.lookup(SPEC.name, made.id)
        assert type(raised.value) is error
        assert len([e for e in await server.admin.journal(kind="request") if e.operation == "get"]) == 1


async def test_retry_after_of_the_limiter_is_understood(server: Server) -> None:
    """Daytona puts the limiter's name into the header and omits the plain one; jitter may add a little."""
    async with DaytonaProvider(options(server)) as provider:
        effect = {"kind": "status", "status": 429, "headers": {"Retry-After-authenticated": "3"}}
        await server.admin.add_fault("get", effect)
        with pytest.raises(RateLimitedError) as raised:
            await provider.lookup(SPEC.name)
        assert raised.value.retry_after_s is not None
        assert 2.9 < raised.value.retry_after_s < 3.3


async def test_refused_connection_is_transient_also_for_commands() -> None:
    """The request was never sent, so nothing is in doubt."""
    url = f"http://127.0.0.1:{free_port()}/api"
    async with DaytonaProvider(DaytonaOptions(api_key="k", api_url=url, target="us")) as provider:
        with pytest.raises(TransientError):
            await provider.lookup(SPEC.name)
        with pytest.raises(TransientError):
            await provider.create(SPEC)


@pytest.mark.parametrize("text", ["state_change", "modified", "in_progress"])
async def test_each_conflict_text_asks_for_another_lookup(server: Server, text: str) -> None:
    """409 has three texts for a change in progress."""
    made = await server.admin.create(name=SPEC.name)
    async with DaytonaProvider(options(server)) as provider:
        await provider.settle(made.id, 5.0)
        await server.admin.add_fault("stop", {"kind": "conflict", "text": text})
        with pytest.raises(ChangeInProgressError):
            await provider.stop(made.id)


async def test_change_in_progress_as_400_is_the_same_conflict(server: Server) -> None:
    """Servers before 2026-04 answer 400 with the same text."""
    await server.admin.config(scip_status=400, durations={"stop_s": 2.0})
    made = await server.admin.create(name=SPEC.name)
    async with DaytonaProvider(options(server)) as provider:
        await provider.settle(made.id, 5.0)
        await server.admin.act(made.id, "stop")
        with pytest.raises(ChangeInProgressError):
            await provider.start(made.id)


async def test_quota_is_not_an_invalid_request(server: Server) -> None:
    """Daytona answers 400 for an exhausted quota."""
    await server.admin.config(cpu_max=0)
    async with DaytonaProvider(options(server)) as provider:
        with pytest.raises(RefusedError) as raised:
            await provider.create(SPEC)
    assert raised.value.cause is Cause.QUOTA


async def test_requests_that_daytona_holds_hold_up_no_other(server: Server) -> None:
    """Commands and what runs inside of sandboxes may hold 400 requests for a while. The 401st is sent at once."""

    async def sent() -> int:
        return len(await server.admin.journal(kind="request"))

    async with DaytonaProvider(options(server, command_timeout_s=6.0)) as provider:
        made = await server.admin.create(name=SPEC.name)
        await provider.settle(made.id, 5.0)
        await provider.start(made.id)  # Until its first reply, a rate limiter admits few requests.
        await server.admin.add_fault("start", {"kind": "hang"}, times=None)
        held = [asyncio.create_task(provider.start(made.id)) for _ in range(400)]
        await until(sent, lambda requests: requests >= 400, "all are sent", 4.0)
        async with asyncio.timeout(1.0):
            assert await provider.lookup(SPEC.name) is not None
        outcomes = await asyncio.gather(*held, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {AmbiguousError}


async def test_create_that_fails_after_the_insert_is_proven_never_to_have_run(server: Server) -> None:
    """400 "Sandbox failed to start" leaves a sandbox in error with the name, which the provider returns as unbuilt."""
    async with DaytonaProvider(options(server)) as provider:
        await server.admin.add_fault("create", {"kind": "fail_transition", "reason": "no disk"})
        failed = await provider.create(SPEC)
        assert failed is not None
        assert (failed.phase, failed.never_ran, failed.error_reason) == (Phase.UNBUILT, True, "no disk")
        with pytest.raises(NameTakenError):
            await provider.create(SPEC)


async def test_create_that_fails_beyond_the_hold_is_proven_by_the_event_stream(server: Server) -> None:
    """If the stream showed every state from *creating* to *error*, nobody can have worked in it."""
    await server.admin.config(hold_s=0.1, durations={"create_s": 0.5})
    async with DaytonaProvider(options(server)) as provider:
        await _connected(provider)
        await server.admin.add_fault("create", {"kind": "fail_transition", "reason": "late"})
        failed = await provider.create(SPEC)
    assert failed is not None
    assert (failed.phase, failed.never_ran) == (Phase.UNBUILT, True)


async def test_event_stream_that_broke_off_meanwhile_proves_nothing(server: Server) -> None:
    """Events may be missing between two sessions of the stream, and with them a life of work."""
    await server.admin.config(hold_s=0.1, durations={"create_s": 6.0})
    async with DaytonaProvider(options(server, listen_s=20.0)) as provider:
        await _connected(provider)
        first = provider._client.stream_id
        await server.admin.add_fault("create", {"kind": "fail_transition", "reason": "late"})
        creating = asyncio.create_task(provider.create(SPEC))
        await until(server.admin.sandboxes, bool, "created")
        await asyncio.sleep(0.5)  # The provider listens by now.
        await server.admin.drop_events()

        async def is_another() -> bool:
            return provider._client.stream_id not in {None, first}

        await until(is_another, bool, "the stream is connected again")
        failed = await creating
    assert failed is not None
    assert (failed.phase, failed.never_ran) == (Phase.BROKEN, False)


async def test_second_failed_build_is_found_although_its_name_is_not(server: Server) -> None:
    """Daytona keeps an earlier miss of the name for 10 s: the list knows the sandbox, and its ID is read."""
    async with DaytonaProvider(options(server)) as provider:
        await server.admin.add_fault("create", {"kind": "fail_transition", "reason": "no disk"}, times=2)
        first = await provider.create(SPEC)
        assert first is not None
        assert await provider.delete(first.id) is None
        assert await provider.lookup(SPEC.name, first.id) is None
        second = await provider.create(SPEC)
        assert await provider.lookup(SPEC.name) is None, "this is the trap: its name answers 404"
    assert second is not None
    assert second.id != first.id
    assert (second.phase, second.never_ran, second.error_reason) == (Phase.UNBUILT, True, "no disk")


async def test_failed_build_is_found_when_the_list_is_late(server: Server) -> None:
    """Neither the name nor the list shows it at first: only what is found is believed, so it is looked for again."""
    await server.admin.config(list_lag_s=1.0)
    async with DaytonaProvider(options(server)) as provider:
        await server.admin.add_fault("create", {"kind": "fail_transition"}, times=2)
        first = await provider.create(SPEC)
        assert first is not None
        await provider.delete(first.id)
        await provider.lookup(SPEC.name)
        second = await provider.create(SPEC)
    assert second is not None
    assert (second.id == first.id, second.phase) == (False, Phase.UNBUILT)


async def test_failed_build_that_is_not_found_is_ambiguous(server: Server) -> None:
    """The server said that it exists. So *not found* is no answer to report, but a reason to look again later."""
    async with DaytonaProvider(options(server, settle_timeout_s=1.0)) as provider:
        await server.admin.add_fault("create", {"kind": "fail_transition"})
        await server.admin.add_fault("get", {"kind": "not_found"}, times=None)
        with pytest.raises(AmbiguousError, match="not found"):
            await provider.create(SPEC)


async def test_holder_of_the_name_is_found_although_its_name_is_not(server: Server) -> None:
    """A refused create proves that the sandbox exists: it comes with the refusal, whatever reads by name say."""
    async with DaytonaProvider(options(server)) as provider:
        first = await provider.create(SPEC)
        assert first is not None
        await provider.lookup(SPEC.name)
        await provider.delete(first.id)
        await provider.lookup(SPEC.name)
        second = await provider.create(SPEC)
        assert second is not None
        assert await provider.lookup(SPEC.name) is None
        with pytest.raises(NameTakenError) as raised:
            await provider.create(SPEC)
    assert raised.value.holder == second


async def test_create_that_no_runner_answered_is_proven_by_daytonas_words(server: Server) -> None:
    """Without the event stream Daytona's own reason, 15 minutes later, says that the sandbox never ran."""
    await server.admin.config(events=False, hold_s=0.1, tick_s=0.1, timeouts={"create_s": 0.5})
    async with DaytonaProvider(options(server, read_interval_s=0.1)) as provider:
        await server.admin.add_fault("create", {"kind": "stuck"})
        failed = await provider.create(SPEC)
        assert failed is not None
        assert (failed.phase, failed.never_ran) == (Phase.UNBUILT, True)
        assert failed.error_reason == "Timeout while creating sandbox"
        assert await provider.delete(failed.id) is None


async def test_daytonas_words_prove_nothing_of_a_sandbox_with_a_backup(server: Server) -> None:
    """A restore is the runner's *create* as well, so the same words may come after a life of work."""
    async with DaytonaProvider(options(server)) as provider:
        created = await provider.create(SPEC)
        assert created is not None
        await provider.stop(created.id)
        await provider.archive(created.id)
        await provider.start(created.id)
        await server.admin.act(created.id, "break", recoverable=False, reason="Timeout while creating sandbox")
        broken = await provider.lookup(SPEC.name)
    assert broken is not None
    assert (broken.phase, broken.never_ran) == (Phase.BROKEN, False)


@pytest.mark.parametrize(("has_backup", "phase"), [(False, Phase.UNBUILT), (True, Phase.BROKEN)])
async def test_event_proves_nothing_of_a_sandbox_with_a_backup(
    server: Server, phase: Phase, *, has_backup: bool
) -> None:
    """A runner may create its container anew, so an error may follow *creating* after a life of work."""
    async with DaytonaProvider(options(server)) as provider:
        created = await provider.create(SPEC)
        assert created is not None
        if has_backup:
            await provider.stop(created.id)
            await provider.archive(created.id)
        await server.admin.act(created.id, "set-state", state="creating", desired_state="started")
        settling = asyncio.create_task(provider.settle(created.id, 5.0))
        await asyncio.sleep(0.3)  # It listens by now.
        await server.admin.act(created.id, "break", recoverable=False, reason="late")
        failed = await settling
    assert failed is not None
    assert (failed.phase, failed.never_ran) == (phase, not has_backup)


@pytest.mark.parametrize("phase", Phase)
def test_proof_is_kept_only_where_it_matters(phase: Phase) -> None:
    """A sandbox that came up since may hold work: nothing is said of it."""
    seen = Sandbox("s1", SPEC.name, phase, "any")
    marked = {
        Phase.BROKEN: replace(seen, phase=Phase.UNBUILT, never_ran=True),
        Phase.UNBUILT: replace(seen, never_ran=True),
        Phase.RECOVERABLE: replace(seen, never_ran=True),
    }
    assert as_never_ran(seen) == marked.get(phase, seen)


WORDS = [
    # the reason, minutes from the creation to the error, whether it proves that it never ran
    ("Timeout while creating sandbox", 15, True),
    ("Timeout while creating sandbox", 40, False),
    ("Failed to create sandbox", 40, True),
    ("Timeout while starting sandbox", 15, False),
    ("error: Timeout while creating sandbox", 15, False),
    ("Job timed out - no update received for 30 minutes", 30, False),
    (None, 1, False),
]


@pytest.mark.parametrize(("reason", "minutes", "is_proven"), WORDS)
def test_only_words_that_prove_it_are_a_proof(reason: str | None, minutes: int, *, is_proven: bool) -> None:
    """A container may be created anew in a repair, and the words of a failed start come after a life of work."""
    failed_at = datetime(2026, 11, 29, 12, 0, tzinfo=UTC) + timedelta(minutes=minutes)
    read = SandboxDto.from_dict(
        {
            "id": "s1", "organizationId": "o", "name": SPEC.name, "user": "daytona", "env": {}, "labels": {},
            "public": False, "networkBlockAll": False, "kvm": False, "target": "us", "cpu": 1, "gpu": 0, "memory": 1,
            "disk": 3, "toolboxProxyUrl": "", "state": "error", "desiredState": "started", "errorReason": reason,
            "backupState": "None", "createdAt": "2026-11-29T12:00:00Z", "updatedAt": failed_at.isoformat(),
        }
    )  # fmt: skip
    assert read is not None
    sandbox = to_sandbox(read)
    assert (sandbox.never_ran, sandbox.phase is Phase.UNBUILT) == (is_proven, is_proven)


async def test_outage_answers_from_a_cache_and_its_commands_are_ambiguous(server: Server) -> None:
    """In an outage an ID that was read just before looks as it did then. Its commands may or may not have an effect."""
    async with DaytonaProvider(options(server)) as provider:
        created = await provider.create(SPEC)
        assert created is not None
        await server.admin.act(created.id, "set-state", state="stopped", desired_state="stopped")
        await server.admin.config(outage=True)
        assert await provider.lookup(SPEC.name, created.id) == created
        for send in (provider.stop, provider.start, provider.archive, provider.delete):
            with pytest.raises(AmbiguousError):
                await send(created.id)
        with pytest.raises(AmbiguousError):
            await provider.create(SPEC)


async def test_command_that_was_given_up_may_be_executed_later(server: Server) -> None:
    """A stop hangs, and the client gives up; a read shows *started*, and then Daytona stops the sandbox after all."""
    async with DaytonaProvider(options(server, request_timeout_s=1.0)) as provider:
        created = await provider.create(SPEC)
        assert created is not None
        await server.admin.add_fault("stop", {"kind": "late", "seconds": 0.5})
        with pytest.raises(AmbiguousError):
            await provider.stop(created.id)
        assert (found := await provider.lookup_by_id(created.id)) is not None
        assert found.phase is Phase.USABLE

        async def state() -> str:
            return (await server.admin.sandbox(created.id)).state

        await until(state, lambda state: state == "stopped", "executed after all")


async def test_key_without_a_permission_reads_and_cannot_create(server: Server) -> None:
    """Such a key passes every read, so only a refused command or the key's own list of permissions shows it."""
    await server.admin.config(permissions=["delete:sandboxes"])
    async with DaytonaProvider(options(server)) as provider:
        assert await provider.lookup(SPEC.name) is None
        with pytest.raises(RefusedError, match="Access denied") as raised:
            await provider.create(SPEC)
        assert await provider.permissions() == {"delete:sandboxes"}
    assert raised.value.cause is Cause.FORBIDDEN


async def test_destroy_that_failed_at_the_runner_is_listed_as_undestroyed(server: Server) -> None:
    """Every other read says that it is gone, and its container may run and cost."""
    async with DaytonaProvider(options(server, list_page_size=1)) as provider:
        left: list[str] = []
        for _ in range(2):
            created = await provider.create(SPEC)
            assert created is not None
            await server.admin.add_fault("delete", {"kind": "fail_transition", "reason": "device busy"})
            assert await provider.delete(created.id) is None
            left.append(created.id)
        await provider.create(SPEC)
        assert await provider.lookup_by_id(left[0]) is None
        assert [found.id async for found in provider.list_managed(SPEC.labels) if found.id in left] == []
        undestroyed = [found async for found in provider.list_undestroyed(SPEC.labels)]
        assert [found async for found in provider.list_undestroyed({"issue-id": "2"})] == []
    assert [found.id for found in undestroyed] == left
    assert {(found.state, found.desired_state, found.error_reason, found.phase) for found in undestroyed} == {
        ("error", "destroyed", "device busy", Phase.LEAVING)
    }


async def test_error_without_the_event_stream_proves_nothing(server: Server) -> None:
    """Between two reads the sandbox may have run, so a person must judge its error."""
    await server.admin.config(events=False, hold_s=0.1, durations={"create_s": 0.5})
    async with DaytonaProvider(options(server, read_interval_s=0.1)) as provider:
        await server.admin.add_fault("create", {"kind": "fail_transition", "reason": "late"})
        failed = await provider.create(SPEC)
    assert failed is not None
    assert (failed.phase, failed.never_ran) == (Phase.BROKEN, False)


async def test_read_of_the_past_proves_nothing_of_what_came_after_it(server: Server) -> None:
    """After a read that still shows *creating* and one event to *error*, it may have run in between and hold work."""
    async with DaytonaProvider(options(server)) as provider:
        await _connected(provider)
        made = await server.admin.create(name=SPEC.name)
        await provider.settle(made.id, 5.0)
        entries = await server.admin.journal(kind="state", sandbox_id=made.id)
        creating = next(entry.at for entry in entries if entry.detail["new"] == "creating")
        await server.admin.add_fault("get", {"kind": "stale", "at": creating})
        following = asyncio.create_task(provider.settle(made.id, 5.0))
        await _until_hit(server, "get")
        await server.admin.act(made.id, "break", recoverable=False, reason="disk full")
        failed = await following
    assert failed is not None
    assert (failed.phase, failed.never_ran) == (Phase.BROKEN, False)


async def test_build_failure_needs_no_proof(server: Server) -> None:
    """*build_failed* always comes before the first start."""
    async with DaytonaProvider(options(server)) as provider:
        await server.admin.add_fault("create", {"kind": "build_failed"})
        failed = await provider.create(SPEC)
    assert failed is not None
    assert failed.phase is Phase.UNBUILT


async def test_failed_start_returns_the_sandbox_with_its_error(server: Server) -> None:
    """A failed start is not an exception: the next decision needs the sandbox, which may hold work."""
    async with DaytonaProvider(options(server)) as provider:
        created = await provider.create(SPEC)
        assert created is not None
        await provider.stop(created.id)
        await server.admin.add_fault("start", {"kind": "fail_transition", "reason": "bad disk"})
        failed = await provider.start(created.id)
    assert failed is not None
    assert (failed.phase, failed.error_reason, failed.never_ran) == (Phase.BROKEN, "bad disk", False)


async def test_one_bad_read_while_waiting_is_ambiguous_and_not_a_failed_command(server: Server) -> None:
    """The SDK's own wait would report the 502 as the create's failure, without the sandbox's ID."""
    async with DaytonaProvider(options(server)) as provider:
        await server.admin.add_fault("get", {"kind": "status", "status": 502})
        with pytest.raises(AmbiguousError, match="accepted"):
            await provider.create(SPEC)
        assert (found := await provider.lookup(SPEC.name)) is not None
        assert found.phase is Phase.USABLE


async def test_false_404_on_a_command_does_not_mean_gone(server: Server) -> None:
    """With its database down the server answers 404 to everything."""
    async with DaytonaProvider(options(server)) as provider:
        created = await provider.create(SPEC)
        assert created is not None
        await server.admin.add_fault("delete", {"kind": "not_found"})
        with pytest.raises(GoneError):
            await provider.delete(created.id)


async def test_false_404_while_leaving_is_read_again(server: Server) -> None:
    """One 404 without an event does not end the wait for a delete."""
    await server.admin.config(durations={"destroy_s": 1.5})
    async with DaytonaProvider(options(server, read_interval_s=0.2)) as provider:
        created = await provider.create(SPEC)
        assert created is not None
        await server.admin.act(created.id, "delete")
        await server.admin.set_faults(
            {"match": {"operation": "get"}, "effect": {"kind": "not_found"}, "skip": 1, "times": 1}
        )
        assert await provider.settle(created.id, 10.0) is None
        assert (await server.admin.sandbox(created.id)).state == "destroyed"


async def test_outage_while_leaving_does_not_pass_for_gone(server: Server) -> None:
    """Without its database Daytona answers two reads in a row with 404, but no list."""
    await server.admin.config(durations={"destroy_s": 60.0}, read_cache_s=0.0)
    async with DaytonaProvider(options(server, read_interval_s=0.2)) as provider:
        created = await provider.create(SPEC)
        assert created is not None
        deleting = asyncio.create_task(provider.delete(created.id))
        await until(server.admin.sandboxes, lambda rows: rows[0].state == "destroying", "being deleted")
        await server.admin.config(outage=True)
        with pytest.raises(AmbiguousError, match="then reading failed: 500"):
            await deleting


async def test_archived_error_and_renamed_rows_being_deleted_are_leaving(server: Server) -> None:
    """By `state` alone, an archived sandbox that is being deleted looks as if it could be started."""
    await server.admin.config(durations={"archive_s": 0.1, "discard_s": 1.0})
    async with DaytonaProvider(options(server)) as provider:
        created = await provider.create(SPEC)
        assert created is not None
        await provider.stop(created.id)
        await provider.archive(created.id)
        await server.admin.act(created.id, "delete")
        leaving = await provider.lookup(SPEC.name, created.id)
    assert leaving is not None
    assert (leaving.state, leaving.desired_state, leaving.phase) == ("archived", "destroyed", Phase.LEAVING)


async def test_row_that_was_destroyed_is_not_found(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Newer servers keep it readable by ID for a day."""
    async with DaytonaProvider(options(server)) as provider:
        created = await provider.create(SPEC)
        assert created is not None
        found = await provider._client.send_lookup(created.id, 2.0)
        destroyed = found.model_copy(update={"state": SandboxState.DESTROYED})

        async def lookup(id_or_name: str, _timeout_s: float) -> SandboxDto:
            return destroyed if id_or_name == created.id else found

        monkeypatch.setattr(provider._client, "send_lookup", lookup)
        assert await provider.lookup_by_id(created.id) is None
        assert await provider.settle(created.id, 1.0) is None


async def test_unknown_state_waits(server: Server) -> None:
    """A word that this SDK does not know becomes UNKNOWN."""
    async with DaytonaProvider(options(server)) as provider:
        created = await provider.create(SPEC)
        assert created is not None
        await server.admin.act(created.id, "set-state", state="hibernating")
        found = await provider.lookup(SPEC.name)
    assert found is not None
    assert found.phase is Phase.UNKNOWN


async def test_foreign_language_label_does_not_break_lookup_or_list(server: Server) -> None:
    """The SDK's own get and list raise when one sandbox carries an unknown language."""
    await server.admin.create(name=SPEC.name, labels={"code-toolbox-language": "cobol", "managed-by": "issuebox"})
    async with DaytonaProvider(options(server)) as provider:
        assert await provider.lookup(SPEC.name) is not None
        assert [found.name async for found in provider.list_managed({"managed-by": "issuebox"})] == [SPEC.name]


async def test_dotenv_of_the_working_directory_is_never_read(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cloned repository may contain a ``.env``, which must set neither region nor key nor tracing."""
    hostile = "DAYTONA_TARGET=eu\nDAYTONA_API_KEY=stolen\nDAYTONA_OTEL_ENABLED=true\nDAYTONA_API_URL=http://evil\n"
    (tmp_path / ".env").write_text(hostile)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAYTONA_TARGET", raising=False)
    async with DaytonaProvider(options(server, target="")) as provider:
        created = await provider.create(SPEC)
        assert created is not None
        assert created.region == "us"
        assert provider._client._tracer_provider is None
    assert "DAYTONA_TARGET" not in os.environ


async def test_waiting_reads_on_events_and_not_on_a_clock(server: Server) -> None:
    """A create that takes longer than the server's hold costs one read, however long it takes."""
    await server.admin.config(hold_s=0.1, durations={"create_s": 2.5})
    async with DaytonaProvider(options(server, read_interval_s=10.0)) as provider:
        await _connected(provider)
        created = await provider.create(SPEC)
    assert created is not None
    assert created.phase is Phase.USABLE
    operations = [entry.operation for entry in await server.admin.journal(kind="request")]
    assert operations == ["create", "get"]


async def test_not_in_state_texts(server: Server) -> None:
    """Refusals that depend on the state ask for another lookup."""
    async with DaytonaProvider(options(server)) as provider:
        created = await provider.create(SPEC)
        assert created is not None
        with pytest.raises(NotInStateError):
            await provider.archive(created.id)
        with pytest.raises(NotInStateError):
            await provider.recover(created.id)
        await server.admin.act(created.id, "break", recoverable=False, reason="x")
        with pytest.raises(NotInStateError):
            await provider.start(created.id)


async def _until_hit(server: Server, operation: str) -> None:
    """Wait until a fault of this operation has been answered."""

    async def is_answered() -> bool:
        hits = await server.admin.journal(kind="fault", operation=operation)
        replies = [entry.detail["request_id"] for entry in await server.admin.journal(kind="reply")]
        return any(hit.detail["request_id"] in replies for hit in hits)

    await until(is_answered, bool, f"a fault of {operation} answered")


async def _connected(provider: DaytonaProvider) -> None:
    """Wait until the SDK's background task has connected the event stream."""
    async with asyncio.timeout(5):
        dispatcher = provider._client._event_dispatcher
        assert dispatcher is not None
        await dispatcher.connect()
        while provider._client.stream_id is None:
            await asyncio.sleep(0.01)
