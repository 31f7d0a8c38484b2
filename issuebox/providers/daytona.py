"""Daytona as a `SandboxProvider`. Only this module and its neighbours import the SDK.

A method subscribes to the event stream, sends its command once and awaits the effect. While the stream misses nothing,
the event that announces the effect is the answer, and nothing is read: the reply has said that the command is under
way. Anything else that is announced, a silence of half a minute, and a stream that is not connected lead to reads, the
last of which is the answer. Start and recover need neither where Daytona's reply holds the state that it waited for.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Self

from daytona import DaytonaConfig
from daytona.common.daytona import CODE_TOOLBOX_LANGUAGE_LABEL
from daytona.common.errors import DaytonaError, DaytonaNotFoundError
from daytona_api_client_async import CreateSandbox, SandboxListItem
from daytona_api_client_async import Sandbox as SandboxDto

from issuebox.domain.errors import AmbiguousError, GoneError, NameTakenError, NotInStateError, ProviderError
from issuebox.domain.phase import TRANSITIONAL, Phase
from issuebox.domain.provider import Execution, SandboxPage, SandboxSpec, Spare
from issuebox.domain.sandbox import IDENTITY_LABELS, Sandbox
from issuebox.providers.daytona_attached import Show, Typed, run_attached
from issuebox.providers.daytona_changes import REREAD_INITIAL_S, Changes, Pace
from issuebox.providers.daytona_client import LIST_PAGE_SIZE_MAX, DaytonaClient
from issuebox.providers.daytona_errors import is_failed_start, translate
from issuebox.providers.daytona_jobs import Job, JobRunner
from issuebox.providers.daytona_states import NEVER_RAN, NEVER_RAN_REASONS, is_backed_up, phase_of
from issuebox.providers.daytona_toolbox import ToolboxClient, is_out_of_time, translate_clone, translate_toolbox

LANGUAGE = "python"
"""Value of the label that the SDK puts on every sandbox; any value but its three breaks its lists."""

ENDS: Mapping[Phase, Phase] = {
    Phase.PENDING: Phase.USABLE,
    Phase.THAWING: Phase.USABLE,
    Phase.STOPPING: Phase.STOPPED,
    Phase.ARCHIVING: Phase.ARCHIVED,
    Phase.LEAVING: Phase.MISSING,
}
"""How a state change ends when all goes well. Such an event is believed. After any other, Daytona is asked."""

OF_NOBODY = {"issuebox-nobody": "nobody"}
"""Labels that no sandbox has. A list for them fails only in an outage, because no row can break it."""

_REPAIRED = TRANSITIONAL | {Phase.RECOVERABLE}
"""While Daytona repairs an error in place, the sandbox still looks broken."""

_ARCHIVED = TRANSITIONAL | {Phase.ARCHIVING}
"""The end of an archive has no useful bound, so only the archive itself waits for it, as long as it listens."""

_TOUCHABLE = frozenset({Phase.BROKEN, Phase.UNBUILT, Phase.RECOVERABLE})


@dataclass(frozen=True, slots=True)
class DaytonaOptions:
    """How to reach Daytona and what to create. Durations in seconds; '' means Daytona's default."""

    api_key: str
    api_url: str
    target: str = ""
    snapshot: str = ""
    auto_stop_interval_s: float = 3600
    auto_archive_interval_s: float = 7 * 86400
    request_timeout_s: float = 15.0
    """Deadline of a read, or of a command that returns at once. The SDK has none by itself."""
    command_timeout_s: float = 45.0
    """Deadline of create, start and recover: the server holds these for up to 30 s."""
    listen_s: float = 5.0
    """How long a command listens for its effect: others wait for its slot. What takes longer is waited for."""
    settle_timeout_s: float = 60.0
    """How long a wait listens for the end of a state change before it reports back."""
    read_interval_s: float = 10.0
    """How often it reads meanwhile, in case the event stream is silent."""
    use_polling: bool = False
    list_page_size: int = LIST_PAGE_SIZE_MAX


@dataclass(frozen=True, slots=True)
class SshAccess:
    """How to reach one sandbox by SSH. The token is a secret, and a part of the command."""

    token: str = field(repr=False)
    command: str = field(repr=False)


class DaytonaProvider:
    """One Daytona organization. Needs a running event loop; use as an async context manager."""

    def __init__(self, options: DaytonaOptions) -> None:
        self._options = options
        self._client = DaytonaClient(
            DaytonaConfig(
                api_key=options.api_key,
                api_url=options.api_url.rstrip("/"),
                target=options.target or None,
                use_deprecated_polling=options.use_polling,
            )
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._client.close()

    async def lookup(self, name: str, sandbox_id: str | None = None, *, is_doubted: bool = False) -> Sandbox | None:
        sandbox = await self._find(name, sandbox_id)
        if sandbox is None and is_doubted:
            await self._require_no_outage()
            sandbox = await self._find(name, sandbox_id)
        return sandbox

    async def lookup_by_id(self, sandbox_id: str) -> Sandbox | None:
        return await self._read(sandbox_id)

    async def create(self, spec: SandboxSpec) -> Sandbox | None:
        try:
            created = await self._client.send_create(self._body(spec), self._options.command_timeout_s)
        except DaytonaError as error:
            if is_failed_start(error):
                return await self._failed_build(spec, error)
            failure = translate(error, is_command=True, has_target=False)
            if isinstance(failure, NameTakenError):
                failure.holder = await self._holder(spec)
            raise failure from error
        # Its reply is the body built at its beginning, always `creating`, and until now nobody listened to its ID.
        with self._client.changes(created.id) as changes:
            return await self._follow_command(created.id, changes)

    async def start(self, sandbox_id: str) -> Sandbox | None:
        return await self._command(sandbox_id, self._client.send_start, is_held=True)

    async def recover(self, sandbox_id: str) -> Sandbox | None:
        return await self._command(sandbox_id, self._client.send_recover, is_held=True, passing=_REPAIRED)

    async def stop(self, sandbox_id: str) -> Sandbox | None:
        return await self._command(sandbox_id, self._client.send_stop)

    async def archive(self, sandbox_id: str) -> Sandbox | None:
        return await self._command(sandbox_id, self._client.send_archive, passing=_ARCHIVED)

    async def delete(self, sandbox_id: str) -> Sandbox | None:
        return await self._command(sandbox_id, self._client.send_delete)

    async def settle(self, sandbox_id: str, timeout_s: float) -> Sandbox | None:
        with self._client.changes(sandbox_id) as changes:
            return await self._follow(sandbox_id, changes, timeout_s)

    async def refresh_activity(self, sandbox_id: str) -> None:
        try:
            await self._client.send_activity(sandbox_id, self._options.request_timeout_s)
        except DaytonaError as error:
            raise translate(error, is_command=True) from error

    async def label(self, sandbox_id: str, labels: dict[str, str]) -> None:
        found = await self._read_raw(sandbox_id)
        if found is None or labels.items() <= found.labels.items():
            return
        # PUT replaces all labels, the language label of the SDK and those that a `Sandbox` leaves out included.
        merged = {CODE_TOOLBOX_LANGUAGE_LABEL: LANGUAGE} | found.labels | labels
        try:
            await self._client.send_labels(sandbox_id, merged, self._options.request_timeout_s)
        except DaytonaError as error:
            raise translate(error, is_command=True) from error

    async def upload(self, sandbox_id: str, contents: Mapping[str, bytes], timeout_s: float) -> None:
        toolbox = await self._toolbox(sandbox_id)
        try:
            await toolbox.send_upload(contents, timeout_s)
        except DaytonaError as error:
            raise translate_toolbox(error, is_command=True) from error

    async def execute(
        self,
        sandbox_id: str,
        command: str,
        timeout_s: float,
        *,
        environment: Mapping[str, str] | None = None,
        toolbox_url: str = "",
    ) -> Execution:
        known = self._client.toolbox_at(sandbox_id, toolbox_url) if toolbox_url else None
        toolbox = known or await self._toolbox(sandbox_id)
        request_timeout_s = timeout_s + self._options.request_timeout_s
        try:
            reply = await toolbox.send_execute(command, environment, timeout_s, request_timeout_s)
        except DaytonaError as error:
            if is_out_of_time(error):
                return Execution(None)
            raise translate_toolbox(error, is_command=True) from error
        return Execution(-1 if reply.exit_code is None else reply.exit_code, reply.result)

    async def clone(self, sandbox_id: str, url: str, path: str, *, token: str, timeout_s: float) -> None:
        toolbox = await self._toolbox(sandbox_id)
        try:
            await toolbox.send_clone(url, path, token, timeout_s)
        except DaytonaError as error:
            # Raised without its cause, which quotes git's output, perhaps with the token.
            raise translate_clone(error, token=token, timeout_s=timeout_s) from None

    async def run_job(self, sandbox_id: str, job_id: str, command: str, timeout_s: float) -> Execution:
        job = Job(job_id, command, timeout_s)
        return await JobRunner(await self._toolbox(sandbox_id), job, self._options.request_timeout_s).run()

    async def run_attached(self, sandbox_id: str, typed: Typed, out: Show, err: Show) -> int:
        """Run a command and pass its output on as it comes. Returns its exit code. For the command line."""
        toolbox = await self._toolbox(sandbox_id)
        return await run_attached(toolbox, typed, out, err, self._options.request_timeout_s)

    async def ssh_access(self, sandbox_id: str) -> SshAccess:
        """A new access by SSH, for an hour; earlier ones of this sandbox end. For the command line."""
        try:
            access = await self._client.send_ssh_access(sandbox_id, self._options.request_timeout_s)
        except DaytonaError as error:
            raise translate(error, is_command=True) from error
        return SshAccess(access.token, access.ssh_command)

    async def revoke_ssh_access(self, sandbox_id: str, access: SshAccess) -> None:
        """End an access by SSH. Safe to repeat. For the command line."""
        try:
            await self._client.send_revoke_ssh_access(sandbox_id, access.token, self._options.request_timeout_s)
        except DaytonaError as error:
            # Raised without its cause, which quotes the request, and so the token.
            raise translate(error, is_command=True) from None

    async def permissions(self) -> frozenset[str] | None:
        """What the key may do, in Daytona's words; None when this Daytona does not tell. For the doctor."""
        try:
            return frozenset((await self._client.send_own_key(self._options.request_timeout_s)).permissions)
        except DaytonaNotFoundError:
            return None
        except DaytonaError as error:
            raise translate(error, is_command=False) from error

    async def regions(self) -> frozenset[str] | None:
        """IDs and names of the regions that a create may name; None when this Daytona does not tell. For the doctor."""
        try:
            listed = await self._client.send_regions(self._options.request_timeout_s)
        except DaytonaNotFoundError:
            return None
        except DaytonaError as error:
            raise translate(error, is_command=False) from error
        return frozenset(name for region in listed for name in (region.id, region.name))

    async def snapshot_state(self, name: str) -> str | None:
        """Daytona's word for the state of this snapshot; None when there is none of this name. For the doctor."""
        try:
            return (await self._client.send_snapshot(name, self._options.request_timeout_s)).state.value
        except DaytonaNotFoundError:
            return None
        except DaytonaError as error:
            raise translate(error, is_command=False) from error

    def spare(self, share: float) -> Spare:
        return self._client.spare(share)

    async def await_stop(self, sandbox_ids: Collection[str], timeout_s: float) -> frozenset[str]:
        return await self._client.await_stop(sandbox_ids, timeout_s)

    async def list_page(self, labels: dict[str, str], cursor: str | None = None) -> SandboxPage:
        return await self._page(labels, cursor)

    async def list_managed(self, labels: dict[str, str]) -> AsyncIterator[Sandbox]:
        async for sandbox in self._walk(labels):
            yield sandbox

    async def list_undestroyed(self, labels: dict[str, str]) -> AsyncIterator[Sandbox]:
        async for sandbox in self._walk(labels, is_of_undestroyed=True):
            if sandbox.desired_state == "destroyed":
                yield sandbox

    async def _walk(self, labels: dict[str, str], *, is_of_undestroyed: bool = False) -> AsyncIterator[Sandbox]:
        cursor: str | None = None
        while True:
            page = await self._page(labels, cursor, is_of_undestroyed=is_of_undestroyed)
            for sandbox in page.sandboxes:
                yield sandbox
            cursor = page.next_cursor
            if cursor is None:
                return

    async def _page(
        self, labels: dict[str, str], cursor: str | None = None, *, is_of_undestroyed: bool = False
    ) -> SandboxPage:
        size, timeout_s = self._options.list_page_size, self._options.request_timeout_s
        try:
            page = await self._client.send_list(labels, cursor, size, timeout_s, is_of_undestroyed=is_of_undestroyed)
        except DaytonaError as error:
            raise translate(error, is_command=False) from error
        return SandboxPage(tuple(to_sandbox(item) for item in page.items), page.next_cursor or None)

    async def _toolbox(self, sandbox_id: str) -> ToolboxClient:
        """The toolbox of a running sandbox. Raises GoneError, NotInStateError, or what a read raises."""
        timeout_s = self._options.request_timeout_s
        try:
            dto = await self._client.send_lookup(sandbox_id, timeout_s)
            sandbox = to_sandbox(dto)
            if sandbox.phase is not Phase.USABLE:
                raise NotInStateError(f"the sandbox is {sandbox.state}: nothing can run in it")
            return await self._client.toolbox(dto, timeout_s)
        except DaytonaNotFoundError as error:
            raise GoneError("404: the sandbox was not found", status=error.status_code) from error
        except DaytonaError as error:
            raise translate(error, is_command=False) from error

    def _body(self, spec: SandboxSpec) -> CreateSandbox:
        options = self._options
        return CreateSandbox(
            name=spec.name,
            labels={CODE_TOOLBOX_LANGUAGE_LABEL: LANGUAGE} | spec.labels,
            env={},
            volumes=[],
            target=options.target or None,
            snapshot=options.snapshot or None,
            auto_stop_interval=math.ceil(options.auto_stop_interval_s / 60),
            auto_archive_interval=math.ceil(options.auto_archive_interval_s / 60),
            # issuebox decides when to delete: Daytona's own timer does not check for unsaved work.
            auto_delete_interval=-1,
            kvm=None,
            spot=None,
        )

    async def _find(self, name: str, sandbox_id: str | None) -> Sandbox | None:
        sandbox = await self._read(sandbox_id) if sandbox_id else None
        return sandbox if sandbox is not None else await self._read(name)

    async def _require_no_outage(self) -> None:
        """Raises TransientError when Daytona has no database: it then answers reads with 404, and lists with 500."""
        try:
            await self._client.send_list(OF_NOBODY, None, 1, self._options.request_timeout_s)
        except DaytonaError as error:
            raise translate(error, is_command=False) from error

    async def _read(self, id_or_name: str) -> Sandbox | None:
        """One read. None for *not found*; raises TransientError, RateLimitedError or RefusedError."""
        found = await self._read_raw(id_or_name)
        return None if found is None else to_sandbox(found)

    async def _read_raw(self, id_or_name: str) -> SandboxDto | None:
        """The same as `_read`, with everything that Daytona says."""
        try:
            found = await self._client.send_lookup(id_or_name, self._options.request_timeout_s)
        except DaytonaNotFoundError:
            return None
        except DaytonaError as error:
            raise translate(error, is_command=False) from error
        # Newer servers keep a destroyed row readable by ID for a day.
        return None if to_sandbox(found).phase is Phase.MISSING else found

    async def _command(
        self,
        sandbox_id: str,
        send: Callable[[str, float], Awaitable[SandboxDto]],
        *,
        is_held: bool = False,
        passing: frozenset[Phase] = TRANSITIONAL,
    ) -> Sandbox | None:
        """Send one command to a known sandbox and wait until it leaves the `passing` phases."""
        timeout_s = self._options.command_timeout_s if is_held else self._options.request_timeout_s
        with self._client.changes(sandbox_id) as changes:
            replied: Sandbox | None = None
            try:
                replied = to_sandbox(await send(sandbox_id, timeout_s))
            except DaytonaError as error:
                if not is_failed_start(error):
                    raise translate(error, is_command=True) from error
                passing = TRANSITIONAL  # It has ended.
            else:
                if is_held and replied.phase is Phase.USABLE:
                    return replied
            return await self._follow_command(sandbox_id, changes, passing, replied)

    async def _follow_command(
        self,
        sandbox_id: str,
        changes: Changes,
        passing: frozenset[Phase] = TRANSITIONAL,
        replied: Sandbox | None = None,
    ) -> Sandbox | None:
        """Wait a little for the effect of a command that was accepted, with this reply if it is worth anything.

        A read that fails here says nothing about the command, so its error must not suggest sending the command
        again: the caller must look the sandbox up.
        """
        try:
            return await self._follow(sandbox_id, changes, self._options.listen_s, passing, replied)
        except ProviderError as error:
            raise AmbiguousError(
                f"the command was accepted, then reading failed: {error}", status=error.status
            ) from error

    async def _failed_build(self, spec: SandboxSpec, error: DaytonaError) -> Sandbox:
        """The sandbox that a create inserted but could not start, so that nobody can have worked in it.

        It exists, but a read of its name may say *not found* for up to 20 s. Raises AmbiguousError when it is not
        found in time, or a read fails.
        """
        pause_s = REREAD_INITIAL_S
        try:
            async with asyncio.timeout(self._options.settle_timeout_s):
                while (sandbox := await self._find_by_labels(spec)) is None:
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 2, self._options.read_interval_s)
        except (ProviderError, TimeoutError) as unread:
            why = str(unread) or "it was not found"
            raise AmbiguousError(f"{error}; then reading failed: {why}", status=error.status_code) from unread
        return as_never_ran(sandbox)

    async def _holder(self, spec: SandboxSpec) -> Sandbox | None:
        """The sandbox that holds the name of a refused create; None when it could not be found or read."""
        try:
            return await self._find_by_labels(spec)
        except ProviderError:
            return None  # The refusal itself is the news. A lookup comes next, and has its own retries.

    async def _find_by_labels(self, spec: SandboxSpec) -> Sandbox | None:
        """The sandbox that has the spec's name: by that name, else by its labels.

        Daytona caches misses of a name, so after an answer which says that the sandbox exists a 404 by name proves
        nothing. The list does not have that cache, but lags: only what it shows is believed, and then read by ID.
        """
        sandbox = await self._read(spec.name)
        if sandbox is not None:
            return sandbox
        whose = {label: value for label, value in spec.labels.items() if label in IDENTITY_LABELS}
        listed = [each for each in (await self._page(whose)).sandboxes if each.name == spec.name]
        return await self._read(listed[0].id) if listed else None

    async def _follow(
        self,
        sandbox_id: str,
        changes: Changes,
        timeout_s: float,
        passing: frozenset[Phase] = TRANSITIONAL,
        replied: Sandbox | None = None,
    ) -> Sandbox | None:
        """Follow the sandbox until it has left the `passing` phases, is gone, or the time is up.

        It begins with what a command `replied`, or else with a read. While events tell everything, the one that
        announces the end is the answer. An event may precede the server's commit, so a read that contradicts it is
        soon repeated. Without events it reads every `read_interval_s`.
        """
        stream_id, pace = self._client.stream_id, Pace(changes, timeout_s, self._options.read_interval_s)
        if replied is not None and is_under_way(replied, passing):
            sandbox: Sandbox | None = replied
            pace.hurry()
        else:
            sandbox = await self._armed_read(sandbox_id, changes)
        while sandbox is None or sandbox.phase in passing:
            was_missing = sandbox is None
            if sandbox is None:
                await self._require_no_outage()
            elif not await pace.is_due():
                return sandbox
            elif (end := announced_end(changes, sandbox)) is not None:
                return None if end.phase is Phase.MISSING else end
            sandbox = await self._armed_read(sandbox_id, changes)
            if was_missing and sandbox is None:
                return None
        # Earlier reads may have been stale: only an event tells which state preceded the error.
        is_unbroken = stream_id is not None and stream_id == self._client.stream_id
        before, after = changes.last
        is_proven = is_unbroken and before in NEVER_RAN and after == "error" and not changes.is_backed_up
        return as_never_ran(sandbox) if is_proven else sandbox

    async def _armed_read(self, sandbox_id: str, changes: Changes) -> Sandbox | None:
        """A read after which every later event is known."""
        changes.arm()
        return await self._read(sandbox_id)


def is_under_way(replied: Sandbox, passing: frozenset[Phase]) -> bool:
    """Whether a reply says that the command is being carried out, so that its end will be announced.

    The delete of a sandbox in error is over with its reply, which shows the error still, and announces nothing.
    """
    if replied.phase is Phase.LEAVING:
        return phase_of(replied.state) is Phase.LEAVING
    return replied.phase in passing and replied.phase in ENDS


def announced_end(changes: Changes, before: Sandbox) -> Sandbox | None:
    """The sandbox as the last event showed it, when that is how the state change from `before` on ends.

    None when events are missing, or when the event is from before: one that was late would tell of an earlier change.
    """
    if not changes.is_whole or changes.shown is None:
        return None
    shown = to_sandbox(changes.shown)
    if shown.phase is not ENDS.get(before.phase) or shown.updated_at is None or before.updated_at is None:
        return None
    return shown if shown.updated_at >= before.updated_at else None


def as_never_ran(sandbox: Sandbox) -> Sandbox:
    """The same sandbox, marked as never having run when its phase makes that matter: nobody can have worked in it."""
    if sandbox.phase not in _TOUCHABLE:
        return sandbox
    phase = Phase.UNBUILT if sandbox.phase is Phase.BROKEN else sandbox.phase
    return replace(sandbox, never_ran=True, phase=phase)


def to_sandbox(dto: SandboxDto | SandboxListItem) -> Sandbox:
    """Our view of the SDK's object. It takes both states: one alone hides deletes and thaws in progress."""
    state = dto.state.value if dto.state is not None else "unknown"
    desired = dto.desired_state.value if dto.desired_state is not None else ""
    never_ran = _never_ran(dto, state)
    return Sandbox(
        id=dto.id,
        name=dto.name,
        phase=phase_of(state, desired, recoverable=bool(dto.recoverable), never_ran=never_ran),
        state=state,
        desired_state=desired,
        region=dto.target,
        toolbox_url=f"{dto.toolbox_proxy_url}/{dto.id}" if dto.toolbox_proxy_url else "",
        error_reason=dto.error_reason or "",
        never_ran=never_ran,
        auto_stop_interval_s=int((dto.auto_stop_interval or 0) * 60),
        last_activity_at=_moment(dto.last_activity_at),
        created_at=_moment(dto.created_at),
        updated_at=_moment(dto.updated_at),
        labels=dict(dto.labels),
    )


def _never_ran(dto: SandboxDto | SandboxListItem, state: str) -> bool:
    """Whether one read proves that nobody worked in it, by its state or by Daytona's words. A list says too little."""
    if not isinstance(dto, SandboxDto) or is_backed_up(dto.backup_created_at, dto.backup_state):
        return False
    reason = dto.error_reason or ""
    if state != "error" or reason not in NEVER_RAN_REASONS:
        return state in NEVER_RAN
    created_at, failed_at, within = _moment(dto.created_at), _moment(dto.updated_at), NEVER_RAN_REASONS[reason]
    if within is None:
        return True
    return created_at is not None and failed_at is not None and failed_at - created_at <= within


def _moment(text: str | None) -> datetime | None:
    """A time from Daytona (ISO 8601). Some replies lack it; an unreadable one counts as absent."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
