"""The toolbox of one sandbox: commands, sessions and git inside it, by the SDK's generated client.

A toolbox is reached through a proxy, which answers 401, 400, 404 or 502 for a sandbox that is stopping,
stopped or gone. So its refusals say nothing about the API key or the request: they lead to another lookup
of the sandbox. Texts are those of server v0.190.0.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from urllib.parse import quote

from daytona._async.filesystem import AsyncFileSystem
from daytona._async.process import AsyncProcess
from daytona._utils.errors import intercept_errors
from daytona.common.errors import DaytonaConnectionTimeoutError, DaytonaError
from daytona.common.filesystem import FileUpload
from daytona.internal.toolbox_api_client_proxy import ToolboxApiClientProxy
from daytona_toolbox_api_client_async import (
    ApiClient,
    Command,
    CreateSessionRequest,
    ExecuteRequest,
    ExecuteResponse,
    FileSystemApi,
    GitApi,
    GitCloneRequest,
    ProcessApi,
    Session,
    SessionExecuteRequest,
)

from issuebox.domain.errors import (
    AmbiguousError,
    ChangeInProgressError,
    GoneError,
    NotInStateError,
    ProviderError,
    RateLimitedError,
    RefusedError,
    TransientError,
)
from issuebox.domain.phase import Cause
from issuebox.domain.text import one_line
from issuebox.providers.daytona_errors import message_of, retry_after_s, was_never_sent

CLONE_USER = "x-access-token"
"""GitHub takes any name with a token as the password; this is the one that it documents."""

MESSAGE_BYTES_MAX = 300

STATUSES: Mapping[int, type[ProviderError]] = {
    400: NotInStateError,
    # For a deleted sandbox, and sometimes for a live one under load. A bad key shows at the next lookup.
    401: TransientError,
    403: TransientError,
    404: GoneError,
    409: ChangeInProgressError,
    410: GoneError,
    429: RateLimitedError,
}
"""What a status of the toolbox means. 408, 5xx and none at all depend on what was sent."""

NOT_THERE = ("no ip address found", "failed to get runner", "container not found", "bearer token is invalid")
"""In the reply to a clone, these texts are about the sandbox; every other refusal comes from git."""

_SERVER_ERROR = 500
_REQUEST_TIMEOUT = 408


class ToolboxClient:
    """One request per method; each takes its timeout in seconds and raises the SDK's ``DaytonaError``."""

    def __init__(self, api: ToolboxApiClientProxy[ApiClient]) -> None:
        self._process = ProcessApi(api)
        self._git = GitApi(api)
        self._files = AsyncFileSystem(FileSystemApi(api))

    @intercept_errors()
    async def send_execute(
        self, command: str, environment: Mapping[str, str] | None, limit_s: float, timeout_s: float
    ) -> ExecuteResponse:
        envs = dict(environment) if environment else None
        request = ExecuteRequest(command=command, envs=envs, timeout=math.ceil(limit_s))
        return await self._process.execute_command(request, _request_timeout=timeout_s)

    async def send_upload(self, contents: Mapping[str, bytes], timeout_s: float) -> None:
        files = [FileUpload(source=content, destination=path) for path, content in contents.items()]
        await self._files.upload_files(files, timeout=math.ceil(timeout_s))

    @intercept_errors()
    async def send_clone(self, url: str, path: str, token: str, timeout_s: float) -> None:
        request = GitCloneRequest(url=url, path=path, username=CLONE_USER if token else None, password=token or None)
        await self._git.clone_repository(request, _request_timeout=timeout_s)

    @intercept_errors()
    async def send_create_session(self, session_id: str, timeout_s: float) -> None:
        await self._process.create_session(CreateSessionRequest(session_id=session_id), _request_timeout=timeout_s)

    @intercept_errors()
    async def send_get_session(self, session_id: str, timeout_s: float) -> Session:
        return await self._process.get_session(session_id, _request_timeout=timeout_s)

    @intercept_errors()
    async def send_delete_session(self, session_id: str, timeout_s: float) -> None:
        await self._process.delete_session(session_id, _request_timeout=timeout_s)

    @intercept_errors()
    async def send_begin(self, session_id: str, command: str, timeout_s: float) -> str:
        """Start a command in a session and return its ID at once."""
        request = SessionExecuteRequest(command=command, run_async=True)
        reply = await self._process.session_execute_command(session_id, request, _request_timeout=timeout_s)
        return reply.cmd_id

    async def send_follow(
        self, session_id: str, command_id: str, out: Callable[[str], None], err: Callable[[str], None]
    ) -> None:
        """Pass on the output of a session's command from its beginning, and return when the command has ended."""
        await AsyncProcess("", self._process).get_session_command_logs_async(session_id, command_id, out, err)

    @intercept_errors()
    async def send_get_command(self, session_id: str, command_id: str, timeout_s: float) -> Command:
        return await self._process.get_session_command(session_id, command_id, _request_timeout=timeout_s)


def is_out_of_time(error: DaytonaError) -> bool:
    """Whether the daemon killed a command that took too long. A 408 of the proxy does not say that."""
    text = str(error).lower()
    return error.code == "PROCESS_EXECUTION_TIMEOUT" or (
        error.status_code == _REQUEST_TIMEOUT and "execution timeout" in text
    )


def translate_toolbox(error: DaytonaError, *, is_command: bool) -> ProviderError:
    """The provider error for an error of the toolbox. Never RefusedError, so that another lookup follows."""
    status = error.status_code
    message = f"the sandbox's toolbox: {one_line(message_of(error), MESSAGE_BYTES_MAX)}"
    if status is None or status >= _SERVER_ERROR or status == _REQUEST_TIMEOUT:
        lost = AmbiguousError if is_command and not was_never_sent(error) else TransientError
        return lost(message, status=status, retry_after_s=retry_after_s(error))
    return STATUSES.get(status, NotInStateError)(message, status=status, retry_after_s=retry_after_s(error))


def translate_clone(error: DaytonaError, *, token: str, timeout_s: float) -> ProviderError:
    """The provider error for a failed clone: RefusedError when git refused."""
    if isinstance(error, DaytonaConnectionTimeoutError):
        return RefusedError(f"the clone did not finish within {timeout_s:.0f} s", cause=Cause.SETUP)
    if not _is_of_git(error):
        return translate_toolbox(error, is_command=True)
    message = f"the clone failed: {one_line(_without(message_of(error), token), MESSAGE_BYTES_MAX)}"
    return RefusedError(message, cause=Cause.SETUP, status=error.status_code)


def _is_of_git(error: DaytonaError) -> bool:
    if (error.code or "").startswith("GIT_"):
        return True
    status, text = error.status_code, str(error).lower()
    is_refusal = status is not None and status in STATUSES.keys() | {422} and status not in {409, 410, 429}
    return is_refusal and not any(fragment in text for fragment in NOT_THERE)


def _without(text: str, token: str) -> str:
    """The text without the token, in every form in which git or HTTP may quote it."""
    header = base64.b64encode(f"{CLONE_USER}:{token}".encode()).decode()
    for secret in (header, token, quote(token, safe="")) if token else ():
        text = text.replace(secret, "***")
    return text
