"""`issuebox exec` and `issuebox ssh`: people work in an issue's sandbox, with their own key of Daytona.

They ask for no sandbox and start none. They run on the caller's machine: with the REST token nobody gets a shell.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, NoReturn

import typer

from issuebox.cli.command_line import (
    DATA,
    Data,
    Exit,
    IssueName,
    fail,
    interruptible,
    load_or_fail,
    run,
)

if TYPE_CHECKING:
    from issuebox.domain.errors import ProviderError
    from issuebox.providers.daytona import DaytonaProvider
    from issuebox.providers.daytona_attached import Typed
    from issuebox.temporal.issues import Issues

TIMED_OUT, NOT_RUN = 124, 125
"""As `timeout`, `env` and `docker` have it: commands do not use them."""
ENDED_BY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TIMEOUT_MAX_S = 86400.0

EXEC_EPILOG = (
    "Exit codes: that of the command; 124 not done within --timeout; 125 not run, or its end is not known, with the "
    "reason on standard error; 130 interrupted."
)
SSH_EPILOG = "Exit codes: that of ssh, which is 255 for its own failures; 125 not connected, with the reason."


@dataclass(frozen=True, slots=True)
class Account:
    """Where the sandboxes are, and the key of whoever types the command.

    ``is_local``: they are those of the localdaytona of a running `issuebox dev`.
    """

    url: str
    key: str = field(repr=False)
    instance: str
    is_local: bool


@dataclass(frozen=True, slots=True)
class Found:
    """The sandbox of an issue, as its workflow published it."""

    issue_id: int
    name: str
    sandbox_id: str


Work = Callable[["DaytonaProvider", Account, Found], Awaitable[int]]


def execute(
    issue: IssueName,
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND", help="The command and its arguments, after -- and as they are.")
    ],
    *,
    cwd: Annotated[str, typer.Option(metavar="DIR", help="Directory of the sandbox to run it in.")] = "",
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, max=TIMEOUT_MAX_S, help="End it after this time; 0 for never.", show_default=False
        ),
    ] = 0.0,
    data: Data = DATA,
) -> None:
    """Run a command in the issue's sandbox.

    For example: issuebox exec octo/repo#5 -- git status

    The output is passed on as text, line by line, and so is the exit code. Standard input is not passed on; `ssh`
    does that. For pipes and the sandbox's variables, use: -- sh -c '...'

    The sandbox has to run already: `issuebox ensure` asks for it. The key is your own DAYTONA_API_KEY, or that of the
    `issuebox dev` to which the sandbox belongs.
    """

    async def work(provider: DaytonaProvider, account: Account, found: Found) -> int:
        from issuebox.providers.daytona_attached import Typed  # noqa: PLC0415

        typed = Typed([_as_written(word) for word in command], _as_written(cwd))
        return await _run(provider, account, found, typed, timeout)

    _end(data, issue, work)


def ssh(
    issue: IssueName,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="ARGUMENTS", help="More arguments for ssh, after --.")
    ] = None,
    *,
    data: Data = DATA,
) -> None:
    """Open a shell in the issue's sandbox by SSH.

    It asks Daytona for an access, starts the `ssh` of this machine, and ends the access when that ends. The access
    is not shown. For example, with a port forwarded: issuebox ssh octo/repo#5 -- -L 8080:localhost:8080

    The sandbox has to run already: `issuebox ensure` asks for it. The key is your own DAYTONA_API_KEY, with
    write:sandboxes.
    """

    async def work(provider: DaytonaProvider, account: Account, found: Found) -> int:
        return await _ssh(provider, account, found, arguments or [])

    _end(data, issue, work)


def _as_written(word: str) -> str:
    """The word as UTF-8, which the sandbox expects, whatever encoding the locale has led Python to read it in."""
    return os.fsencode(word).decode(errors="replace")


def _end(data: Path, issue: str, work: Work) -> NoReturn:
    """Do the work in the issue's sandbox and exit with its code; with 125 when it did not come to that."""
    codes: list[int] = []

    async def noted(issues: Issues) -> Exit:
        found = await _found(issues, issue)
        async with _provider(account) as provider:
            codes.append(await work(provider, account, found))
        return Exit.DONE

    with interruptible():
        try:
            account = _account(data)
            run(data, noted)
        except typer.Exit:
            raise typer.Exit(codes[0] if codes else NOT_RUN) from None


def _account(data: Path) -> Account:
    """The account to use: that of the `issuebox dev` whose Temporal is used, if it has one, else the caller's own."""
    from issuebox.dev.dev_stack import DevStack  # noqa: PLC0415
    from issuebox.settings import WorkerSettings  # noqa: PLC0415

    settings = load_or_fail(WorkerSettings, connected_in=data)
    stack = None if os.environ.get("TEMPORAL_ADDRESS") else DevStack.lookup(data)
    if stack is not None and stack.daytona_api_key is not None:
        return Account(stack.daytona_api_url, stack.daytona_api_key, settings.instance, is_local=True)
    key = settings.daytona_api_key.get_secret_value()
    if not key:
        fail(
            "DAYTONA_API_KEY is not set: work inside a sandbox takes a key of your own of the Daytona organization, "
            "not the token of the REST API. `issuebox connect daytona` stores one"
        )
    return Account(settings.daytona_api_url, key, settings.instance, is_local=False)


async def _found(issues: Issues, issue: str) -> Found:
    """The sandbox that the issue's workflow has published. It needs no worker."""
    from issuebox.cli.issue_names import resolve  # noqa: PLC0415
    from issuebox.domain.phase import Cause  # noqa: PLC0415
    from issuebox.domain.workflow_ends import what_follows  # noqa: PLC0415
    from issuebox.temporal.index import Index  # noqa: PLC0415
    from issuebox.temporal.issues import EndedError, UnknownIssueError  # noqa: PLC0415

    issue_id = await resolve(issues, issue)
    row = await Index(issues).describe(issues.name(issue_id))
    if row is None:
        raise UnknownIssueError(f"nobody has asked for a sandbox of issue {issue_id} yet")
    if row.ended is not None:
        raise EndedError(f"the workflow of issue {issue_id} {row.ended}. {what_follows(row.ended)}")
    if not row.published.sandbox_id:
        cause = row.published.blocked
        how = "queued" if cause == Cause.QUEUED else f"blocked: {cause}"
        why = f", and is {how} (`issuebox why {issue_id}`)" if cause else ""
        fail(f"{row.name} has no sandbox now{why}. `issuebox ensure {issue_id}` asks for one", Exit.NO)
    return Found(issue_id, row.name, row.published.sandbox_id)


@asynccontextmanager
async def _provider(account: Account) -> AsyncIterator[DaytonaProvider]:
    from issuebox.cli import screen  # noqa: PLC0415

    with screen.waiting("Connecting"):
        # Imported here, because the SDK takes seconds to import.
        from issuebox.providers.daytona import DaytonaOptions, DaytonaProvider  # noqa: PLC0415
    async with DaytonaProvider(DaytonaOptions(account.key, account.url)) as provider:
        yield provider


async def _require_running(provider: DaytonaProvider, account: Account, found: Found) -> None:
    """Return if the sandbox runs and is the issue's; otherwise say why not, and what helps."""
    from issuebox.domain.errors import ProviderError  # noqa: PLC0415
    from issuebox.domain.phase import Phase  # noqa: PLC0415
    from issuebox.domain.sandbox import foreign_labels  # noqa: PLC0415

    try:
        sandbox = await provider.lookup_by_id(found.sandbox_id)
    except ProviderError as error:
        fail(_reason(error, account), Exit.AWAY)
    asks = f"`issuebox ensure {found.issue_id}` asks for it to run"
    if sandbox is None:
        fail(
            f"Daytona knows no sandbox {found.sandbox_id} ({found.name}): it was deleted a moment ago, or the key "
            f"belongs to another organization. {asks}",
            Exit.NO,
        )
    if foreign := foreign_labels(sandbox.labels, found.issue_id, account.instance):
        fail(f"the sandbox named {found.name} is another's: {foreign}", Exit.NO)
    if sandbox.phase is not Phase.USABLE:
        fail(f"the sandbox of {found.name} is {sandbox.state}, not running. {asks}", Exit.NO)


async def _run(provider: DaytonaProvider, account: Account, found: Found, typed: Typed, timeout_s: float) -> int:
    """Run the command while its output is passed on. A signal, or the end of its time, ends it."""
    import asyncio  # noqa: PLC0415

    from issuebox.domain.errors import ProviderError  # noqa: PLC0415

    await _require_running(provider, account, found)
    streams = _Stream(sys.stdout.buffer), _Stream(sys.stderr.buffer)
    try:
        async with asyncio.timeout(timeout_s or None), _ended_by_signal():
            return await provider.run_attached(found.sandbox_id, typed, *streams)
    except TimeoutError:
        print(f"issuebox: not done after {timeout_s:g} s, and ended", file=sys.stderr)  # noqa: T201
        return TIMED_OUT
    except _EndedBySignalError as error:
        return 128 + error.number
    except ProviderError as error:
        for stream in streams:
            if stream.error is not None:
                raise stream.error from error
        await _require_running(provider, account, found)
        fail(f"the end of the command is not known. {_reason(error, account)}", Exit.AWAY)


class _EndedBySignalError(Exception):
    """A signal asked for the end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@asynccontextmanager
async def _ended_by_signal() -> AsyncIterator[None]:
    """Cancel the block when the process is told to end, so that the command in the sandbox ends, too."""
    import asyncio  # noqa: PLC0415

    loop, task, ended = asyncio.get_running_loop(), asyncio.current_task(), list[int]()
    assert task is not None  # noqa: S101 -- for the type checker

    def end(number: int) -> None:
        ended.append(number)
        task.cancel()

    for number in ENDED_BY:
        loop.add_signal_handler(number, end, number)
    try:
        yield
    except asyncio.CancelledError:
        if not ended:
            raise
        task.uncancel()
        raise _EndedBySignalError(ended[0]) from None
    finally:
        for number in ENDED_BY:
            loop.remove_signal_handler(number)


class _Stream:
    """One of our streams, to which the command's output goes at once, whatever the locale's encoding."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.error: OSError | None = None
        """Why it takes no more, such as a reader that has gone. The SDK would report it as a failure of Daytona."""

    def __call__(self, text: str) -> None:
        try:
            self._stream.write(text.encode(errors="replace"))
            self._stream.flush()
        except OSError as error:
            self.error = error
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())  # Nothing is left to be flushed later.
            raise


async def _ssh(provider: DaytonaProvider, account: Account, found: Found, arguments: list[str]) -> int:
    """Connect by an access of its own, which ends with the connection."""
    from issuebox.cli.ssh_client import Gateway, run_ssh, ssh_path  # noqa: PLC0415
    from issuebox.domain.errors import ProviderError  # noqa: PLC0415

    ssh_client = ssh_path()
    if ssh_client is None:
        fail("no `ssh` is on the PATH of this machine: install OpenSSH's client")
    await _require_running(provider, account, found)
    try:
        access = await provider.ssh_access(found.sandbox_id)
    except ProviderError as error:
        if account.is_local and error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            fail(f"localdaytona has no SSH gateway: use `issuebox exec {found.issue_id} -- COMMAND`", Exit.NO)
        fail(_reason(error, account), Exit.AWAY)
    try:
        gateway = Gateway.of(access)
        if gateway is None:
            fail("Daytona describes its SSH gateway in a way that issuebox does not know", Exit.NO)
        return await run_ssh(ssh_client, gateway, found.name, arguments)
    finally:
        try:
            await provider.revoke_ssh_access(found.sandbox_id, access)
        except ProviderError as error:
            print(f"issuebox: the access was not ended ({error}); Daytona ends it within the hour", file=sys.stderr)  # noqa: T201


def _reason(error: ProviderError, account: Account) -> str:
    """What Daytona's refusal or silence means for the person at the keyboard."""
    from issuebox.domain.errors import RefusedError  # noqa: PLC0415
    from issuebox.domain.phase import Cause  # noqa: PLC0415

    causes = {
        Cause.CREDENTIALS: "Daytona refuses the key: DAYTONA_API_KEY has to be one of the organization of the sandbox",
        Cause.FORBIDDEN: "Daytona does not admit this with the key: it needs write:sandboxes",
    }
    if isinstance(error, RefusedError) and error.cause in causes:
        return f"{causes[error.cause]} ({error})"
    return f"Daytona at {account.url} does not help: {error}"
