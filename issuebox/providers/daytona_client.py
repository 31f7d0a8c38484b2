"""The SDK's commands without its waits.

``AsyncDaytona.create``, ``start`` and ``stop`` send one command and then read once a second until
the sandbox has the state. One bad read (502, 429) ends that wait with an error although the operation
continues, and a thaw of half an hour takes 1,800 reads. This subclass uses the SDK's configuration,
session, generated client, error classes and event stream, sends one request at a time, and leaves
waiting to its caller. It relies on protected members of daytona 0.226: pyproject.toml pins that
minor version, and tests/contract/test_sdk_shape.py explains what changed when one of them does.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ParamSpec, TypeVar

import aiohttp
from daytona import AsyncDaytona, DaytonaConfig
from daytona._utils.env import DaytonaEnvReader
from daytona._utils.errors import intercept_errors
from daytona.common.errors import DaytonaError
from daytona.internal import shared_session
from daytona.internal.toolbox_api_client_proxy import ToolboxApiClientProxy
from daytona_api_client_async import (
    ApiKeyList,
    ApiKeysApi,
    CreateSandbox,
    ListSandboxesResponse,
    OrganizationsApi,
    Region,
    SandboxLabels,
    SandboxListSortDirection,
    SandboxListSortField,
    SandboxState,
    SnapshotDto,
    SnapshotsApi,
    SshAccessDto,
)
from daytona_api_client_async import Sandbox as SandboxDto
from daytona_api_client_async.api_response import ApiResponse

from issuebox import metrics
from issuebox.domain.phase import UP, Phase
from issuebox.domain.provider import Spare
from issuebox.providers.daytona_changes import Changes, announced_state
from issuebox.providers.daytona_errors import message_of
from issuebox.providers.daytona_states import phase_of
from issuebox.providers.daytona_toolbox import ToolboxClient
from issuebox.providers.rate_limits import Limiter, RateLimiter

LIST_PAGE_SIZE_MAX = 200
"""The largest page that Daytona returns."""

_STATE_EVENTS = ["sandbox.state.updated"]
_TOO_MANY_REQUESTS = 429

P = ParamSpec("P")
T = TypeVar("T")


class DaytonaClient(AsyncDaytona):
    """One request per method; each takes its timeout in seconds.

    Raises the SDK's ``DaytonaError``, and RateLimitedError for a 429 and for a request not sent because of one.
    """

    def __init__(self, config: DaytonaConfig) -> None:
        self._rate_limiter = RateLimiter()
        self._streams: set[Any] = set()
        with _no_dotenv():
            super().__init__(config)
        self._own_session()
        if self._event_dispatcher is not None:
            # Somebody listens all the time: otherwise the SDK closes the stream after 30 s, and whoever comes next
            # sends a command before it is connected again, and has to read.
            self._event_dispatcher.subscribe("nobody", _ignore, _STATE_EVENTS)

    def _own_session(self) -> None:
        """Switch off the SDK's two layers of hidden retries: Temporal owns retries.

        The SDK sends GET, PUT and DELETE again up to twice when a connection drops, and aiohttp sends each of
        these once more, so that a DELETE that worked can return 404 or 409. The SDK's count is a module
        constant, hence process-wide.
        """
        shared_session._MAX_CONN_RETRIES = 0  # noqa: SLF001
        rest = self._api_client.rest_client
        # Without a limit, because the worker's slots are one: the SDK's 250 would let a held request hold up others.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30, ssl=rest.ssl_context)
        session = aiohttp.ClientSession(connector=connector, trust_env=True)
        session._retry_connection = False  # noqa: SLF001
        self._shared_session._adopt(session)  # noqa: SLF001

    async def send_lookup(self, id_or_name: str, timeout_s: float) -> SandboxDto:
        send = self._sandbox_api.get_sandbox_with_http_info
        return await self._ask(Limiter.AUTHENTICATED, send, id_or_name, _request_timeout=timeout_s)

    async def send_create(self, body: CreateSandbox, timeout_s: float) -> SandboxDto:
        send = self._sandbox_api.create_sandbox_with_http_info
        return await self._ask(Limiter.CREATE, send, body, _request_timeout=timeout_s)

    async def send_start(self, sandbox_id: str, timeout_s: float) -> SandboxDto:
        send = self._sandbox_api.start_sandbox_with_http_info
        return await self._ask(Limiter.LIFECYCLE, send, sandbox_id, _request_timeout=timeout_s)

    async def send_recover(self, sandbox_id: str, timeout_s: float) -> SandboxDto:
        send = self._sandbox_api.recover_sandbox_with_http_info
        return await self._ask(Limiter.LIFECYCLE, send, sandbox_id, _request_timeout=timeout_s)

    async def send_stop(self, sandbox_id: str, timeout_s: float) -> SandboxDto:
        send = self._sandbox_api.stop_sandbox_with_http_info
        return await self._ask(Limiter.LIFECYCLE, send, sandbox_id, _request_timeout=timeout_s)

    async def send_archive(self, sandbox_id: str, timeout_s: float) -> SandboxDto:
        send = self._sandbox_api.archive_sandbox_with_http_info
        return await self._ask(Limiter.LIFECYCLE, send, sandbox_id, _request_timeout=timeout_s)

    async def send_delete(self, sandbox_id: str, timeout_s: float) -> SandboxDto:
        send = self._sandbox_api.delete_sandbox_with_http_info
        return await self._ask(Limiter.LIFECYCLE, send, sandbox_id, _request_timeout=timeout_s)

    async def send_activity(self, sandbox_id: str, timeout_s: float) -> None:
        send = self._sandbox_api.update_last_activity_with_http_info
        await self._ask(Limiter.AUTHENTICATED, send, sandbox_id, _request_timeout=timeout_s)

    async def send_labels(self, sandbox_id: str, labels: dict[str, str], timeout_s: float) -> None:
        send, body = self._sandbox_api.replace_labels_with_http_info, SandboxLabels(labels=labels)
        await self._ask(Limiter.AUTHENTICATED, send, sandbox_id, body, _request_timeout=timeout_s)

    async def send_list(
        self,
        labels: dict[str, str],
        cursor: str | None,
        limit: int,
        timeout_s: float,
        *,
        is_of_undestroyed: bool = False,
    ) -> ListSandboxesResponse:
        """A page of the list; with `is_of_undestroyed`, of those in error, also those that were deleted."""
        # Daytona's default order is by last activity: a row that changes between two pages can be on neither.
        return await self._ask(
            Limiter.AUTHENTICATED,
            self._sandbox_api.list_sandboxes_with_http_info,
            labels=json.dumps(labels),
            include_errored_deleted=True if is_of_undestroyed else None,
            states=[SandboxState.ERROR, SandboxState.BUILD_FAILED] if is_of_undestroyed else None,
            cursor=cursor,
            limit=limit,
            sort=SandboxListSortField.CREATEDAT,
            order=SandboxListSortDirection.ASC,
            _request_timeout=timeout_s,
        )

    def spare(self, share: float) -> Spare:
        """The pace of reads and lists that together take this share of their limit."""
        return self._rate_limiter.spare(Limiter.AUTHENTICATED, share)

    async def send_ssh_access(self, sandbox_id: str, timeout_s: float) -> SshAccessDto:
        send = self._sandbox_api.create_ssh_access_with_http_info
        return await self._ask(Limiter.AUTHENTICATED, send, sandbox_id, _request_timeout=timeout_s)

    async def send_revoke_ssh_access(self, sandbox_id: str, token: str, timeout_s: float) -> None:
        send = self._sandbox_api.revoke_ssh_access_with_http_info
        await self._ask(Limiter.AUTHENTICATED, send, sandbox_id, token=token, _request_timeout=timeout_s)

    async def send_own_key(self, timeout_s: float) -> ApiKeyList:
        """What Daytona knows of the key in use."""
        send = ApiKeysApi(self._api_client).get_current_api_key_with_http_info
        return await self._ask(Limiter.AUTHENTICATED, send, _request_timeout=timeout_s)

    async def send_regions(self, timeout_s: float) -> list[Region]:
        """The regions in which the organization may create sandboxes."""
        send = OrganizationsApi(self._api_client).list_available_regions_with_http_info
        return await self._ask(Limiter.AUTHENTICATED, send, _request_timeout=timeout_s)

    async def send_snapshot(self, name: str, timeout_s: float) -> SnapshotDto:
        """One snapshot, by ID or name."""
        send = SnapshotsApi(self._api_client).get_snapshot_with_http_info
        return await self._ask(Limiter.AUTHENTICATED, send, name, _request_timeout=timeout_s)

    async def toolbox(self, sandbox: SandboxDto, timeout_s: float) -> ToolboxClient:
        """The sandbox's toolbox. Requests its URL when the read did not return it."""
        url = sandbox.toolbox_proxy_url or await self._send_toolbox_url(sandbox.id, timeout_s)
        return self.toolbox_at(sandbox.id, url)

    def toolbox_at(self, sandbox_id: str, url: str) -> ToolboxClient:
        """The toolbox of a sandbox whose URL is known, with or without the sandbox's ID at its end."""
        url = url.removesuffix(f"/{sandbox_id}")
        return ToolboxClient(ToolboxApiClientProxy(self._toolbox_api_client, sandbox_id, url))

    async def _send_toolbox_url(self, sandbox_id: str, timeout_s: float) -> str:
        send = self._sandbox_api.get_toolbox_proxy_url_with_http_info
        return (await self._ask(Limiter.AUTHENTICATED, send, sandbox_id, _request_timeout=timeout_s)).url

    async def _ask(
        self, limiter: Limiter, send: Callable[P, Awaitable[ApiResponse[T]]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Send a request if its rate limiter admits it, and learn from the reply how many are left."""
        async with self._rate_limiter.entered(limiter) as ticket:
            try:
                with _counted(send.__name__.removesuffix("_with_http_info")) as answered:
                    reply = await _intercepted(send(*args, **kwargs))
                    answered(reply.status_code)
            except DaytonaError as error:
                if error.status_code == _TOO_MANY_REQUESTS:
                    raise self._rate_limiter.refused(ticket, error.headers, message_of(error)) from error
                if error.status_code is not None:
                    self._rate_limiter.heard(ticket, error.headers)
                raise
            self._rate_limiter.heard(ticket, reply.headers)
            return reply.data

    @contextmanager
    def changes(self, sandbox_id: str) -> Iterator[Changes]:
        """The sandbox's state changes while the context is open."""
        changes = Changes(lambda: self.stream_id)
        self._note_stream()
        subscription = self._subscription_manager.subscribe(sandbox_id, changes.take, events=_STATE_EVENTS)
        try:
            yield changes
        finally:
            self._subscription_manager.unsubscribe(subscription)

    async def await_stop(self, sandbox_ids: Collection[str], timeout_s: float) -> frozenset[str]:
        """Those of the sandboxes whose stop or end the event stream announces first; empty after `timeout_s`."""
        stopped: set[str] = set()
        arrived = asyncio.Event()

        def take(sandbox_id: str, _event: str, data: Any) -> None:
            if (state := announced_state(data)) and phase_of(state) not in UP | {Phase.UNKNOWN}:
                stopped.add(sandbox_id)
                arrived.set()

        subscribe, unsubscribe = self._subscription_manager.subscribe, self._subscription_manager.unsubscribe
        self._note_stream()
        subscriptions = [subscribe(each, partial(take, each), events=_STATE_EVENTS) for each in sandbox_ids]
        try:
            await asyncio.wait_for(arrived.wait(), timeout_s)
        except TimeoutError:
            pass  # Nobody stopped, as far as the stream tells.
        finally:
            for subscription in subscriptions:
                unsubscribe(subscription)
        return frozenset(stopped)

    def _note_stream(self) -> None:
        """Before a subscription: where the connection was lost, the SDK makes a further one for it.

        The lost one would go on reconnecting by itself, and lose a session while it is closed.
        """
        dispatcher = self._event_dispatcher
        stream = dispatcher._sio if dispatcher is not None else None  # noqa: SLF001
        if dispatcher is None or stream is None:
            return
        self._streams = {each for each in self._streams if each._reconnect_task is not None} | {stream}  # noqa: SLF001
        if not dispatcher.is_connected and stream._reconnect_task is not None:  # noqa: SLF001
            stream._reconnect_task.cancel()  # noqa: SLF001

    async def close(self) -> None:
        """End all connections, those that the SDK has forgotten as well."""
        self._note_stream()
        await super().close()  # type: ignore[no-untyped-call]
        for stream in self._streams:
            reconnecting = stream._reconnect_task  # noqa: SLF001
            if reconnecting is not None:
                reconnecting.cancel()
                await asyncio.wait([reconnecting])
            if stream.eio.http is not None and not stream.eio.http.closed:
                await stream.eio.http.close()

    @property
    def stream_id(self) -> str | None:
        """The ID of the event stream's session, None while it is not connected.

        The same value before and after a wait means that the stream missed no event in between.
        """
        dispatcher = self._event_dispatcher
        if dispatcher is None or not dispatcher.is_connected or dispatcher._sio is None:  # noqa: SLF001
            return None
        session_id: str | None = dispatcher._sio.get_sid()  # noqa: SLF001
        return session_id


def _ignore(_event: str, _data: Any) -> None:
    """What the stream announces about no sandbox in particular."""


@contextmanager
def _counted(operation: str) -> Iterator[Callable[[int], None]]:
    """Count the request that the block sends, under Daytona's own name for it. The block says how it was answered."""
    began, code = time.monotonic(), str(metrics.NONE)

    def answered(status: int) -> None:
        nonlocal code
        code = str(status)

    try:
        yield answered
    except DaytonaError as error:
        code = str(error.status_code or metrics.NONE)
        raise
    finally:
        metrics.count(metrics.DAYTONA_REQUESTS, operation=operation, code=code)
        metrics.observe(metrics.DAYTONA_DURATION, time.monotonic() - began, operation=operation)


@intercept_errors()
async def _intercepted(request: Awaitable[T]) -> T:
    """The reply to the request. Raises what the SDK itself would raise."""
    return await request


@contextmanager
def _no_dotenv() -> Iterator[None]:
    """Construct the SDK without reading ``.env`` and ``.env.local`` of the working directory.

    Even with a complete configuration it reads a region and tracing flags from there, and the working
    directory may be somebody's cloned repository.
    """
    original = DaytonaEnvReader.__dict__["_load"]
    DaytonaEnvReader._load = staticmethod(lambda _path: {})  # type: ignore[method-assign,assignment] # noqa: SLF001
    try:
        yield
    finally:
        DaytonaEnvReader._load = original  # type: ignore[method-assign] # noqa: SLF001
