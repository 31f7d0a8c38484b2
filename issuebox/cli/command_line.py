"""What the commands share: options, exit codes, and which error ends with which exit code.

`issuebox --help` imports this module, so it imports nothing heavy at its top.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from issuebox.settings import CommonSettings
    from issuebox.temporal.issues import Issues, IssuesError


Settings = TypeVar("Settings", bound="CommonSettings")


class Exit(IntEnum):
    """The exit code of a command. Scripts rely on these: never renumber them."""

    DONE = 0
    NO = 1
    MISUSE = 2
    AWAY = 3
    UNKNOWN = 4


INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it: 128 and the signal's number."""

EPILOG = (
    "Exit codes: 0 done; 1 the answer is no (blocked, not ready yet, problems found, not confirmed); "
    "2 misuse or wrong settings; 3 Temporal or a worker does not answer; 4 unknown issue."
)

IssueName = Annotated[
    str,
    typer.Argument(
        metavar="ISSUE", help="Global issue ID, sandbox name (claude-issue-N), owner/repo#number, or the issue's URL."
    ),
]
Data = Annotated[
    Path, typer.Option(help="Data directory of a running `issuebox dev`; used unless TEMPORAL_ADDRESS is set.")
]
DATA = Path(".issuebox")
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]

TIMEOUT_S = 8.0
"""Timeout of a call to Temporal; a worker gets half of it. A person waits longer than GitHub does."""


def run(data: Path, work: Callable[[Issues], Awaitable[Exit]]) -> NoReturn:
    """Do the work and exit. An error that a person can cause or correct is printed as one line.

    The Temporal server is the one in the environment, else that of the `issuebox dev` running on the data directory.
    The first call connects to it.
    """
    import asyncio  # noqa: PLC0415

    import structlog  # noqa: PLC0415
    from temporalio.service import RPCError  # noqa: PLC0415

    from issuebox.cli.issue_names import NotAnIssueNameError  # noqa: PLC0415
    from issuebox.dev.dev_stack import temporal_environment  # noqa: PLC0415
    from issuebox.settings import ApiSettings  # noqa: PLC0415
    from issuebox.temporal.connect import TemporalConfigError, configuration, connect  # noqa: PLC0415
    from issuebox.temporal.issues import Issues, IssuesError  # noqa: PLC0415

    # By default structlog prints to standard output, which with --json is one document.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        environment = temporal_environment(data)
        configuration(environment)
        settings = load_or_fail(ApiSettings)
    except TemporalConfigError as error:
        fail(str(error))
    issues = Issues(
        lambda: connect(lazy=True, environment=environment),
        name_prefix=settings.name_prefix,
        task_queue=settings.task_queue,
        timeout_s=TIMEOUT_S,
    )
    try:
        code = asyncio.run(_awaited(work(issues)))
    except NotAnIssueNameError as error:
        fail(str(error))
    except IssuesError as error:
        code, hint = _end_of(error)
        fail(f"{_said(error)}. {hint.format(expected=expected(data))}", code)
    except RPCError as error:
        fail(f"Temporal refused the call: {error.message}. {expected(data)}", Exit.AWAY)
    raise typer.Exit(code)


def _said(error: IssuesError) -> str:
    """What is wrong, without its advice to a caller of REST if only somebody who acts can help."""
    from issuebox.temporal.issues import UnavailableError  # noqa: PLC0415

    text = str(error).rstrip(".")
    return text.removesuffix("; try again later") if type(error) is UnavailableError else text


def expected(data: Path) -> str:
    """Where these commands expect Temporal, and what helps when it is not there."""
    from issuebox.dev.dev_stack import DevStack, temporal_environment  # noqa: PLC0415
    from issuebox.temporal.connect import configuration  # noqa: PLC0415

    config = configuration(temporal_environment(data))
    place = f"Temporal is expected at {config['target_host']}, namespace {config.get('namespace', 'default')}"
    if os.environ.get("TEMPORAL_ADDRESS") or DevStack.lookup(data) is not None:
        return f"{place}; `issuebox doctor` looks for the cause."
    return (
        f"{place}, because TEMPORAL_ADDRESS is not set and no `issuebox dev` runs on {data}. Run this where it was "
        "started, or name its data directory with --data."
    )


def _end_of(error: IssuesError) -> tuple[Exit, str]:
    """The exit code for an error of `Issues`, and a sentence about what helps. The first row that fits counts."""
    from issuebox.temporal import issues  # noqa: PLC0415
    from issuebox.temporal.numbers import UnknownNumberError  # noqa: PLC0415

    number = "If it is an issue number, not a global ID, give owner/repo#number."
    rows: tuple[tuple[type[IssuesError], Exit, str], ...] = (
        (issues.EndedError, Exit.UNKNOWN, "`issuebox ensure` requests it."),
        (UnknownNumberError, Exit.UNKNOWN, "`issuebox ensure ID` requests one."),
        (issues.UnknownIssueError, Exit.UNKNOWN, f"`issuebox ensure` requests one. {number}"),
        (issues.UnknownRunError, Exit.UNKNOWN, "`issuebox runs ISSUE` lists what is known."),
        (issues.NoRunsError, Exit.NO, "`issuebox ensure` requests the sandbox alone."),
        (issues.RunRefusedError, Exit.NO, "`issuebox runs ISSUE` shows what became of each request."),
        (issues.StuckError, Exit.NO, "`issuebox doctor` finds all that are stuck."),
        (issues.WrongIssueError, Exit.NO, "`issuebox why` may say more."),
        (issues.IssueDeletedError, Exit.NO, "`issuebox why` may say more."),
    )
    return next(((code, hint) for kind, code, hint in rows if isinstance(error, kind)), (Exit.AWAY, "{expected}"))


async def _awaited(work: Awaitable[Exit]) -> Exit:
    return await work


def load_or_fail(
    model: type[Settings], *, required: Collection[str] = (), connected_in: Path | None = None
) -> Settings:
    """The settings from the environment; with mistakes, all of them on standard error and the end.

    `connected_in`: the data directory where `issuebox connect` may have stored some.
    """
    from issuebox.environment import SettingsError, load  # noqa: PLC0415

    environ = None if connected_in is None else connected_environment(connected_in)
    try:
        return load(model, environ, required=required)
    except SettingsError as error:
        one, *others = error.mistakes
        fail("\n  ".join(["these settings are wrong:", one, *others]) if others else f"a setting is wrong: {one}")


def require_temporal_configuration() -> None:
    """The end when TEMPORAL_* is malformed. Nothing is connected yet."""
    from issuebox.temporal.connect import TemporalConfigError, configuration  # noqa: PLC0415

    try:
        configuration()
    except TemporalConfigError as error:
        fail(str(error))


def connected_environment(data: Path) -> dict[str, str]:
    """The environment with what `issuebox connect` has stored in the data directory; the end when it is damaged."""
    from issuebox.connections import ConnectionsError, added_to, directory_of  # noqa: PLC0415

    try:
        return added_to(os.environ, directory_of(data))
    except ConnectionsError as error:
        fail(str(error))


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end a command that waits or watches, without a word: it is how such a command is ended."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def confirm(question: str, *, yes: bool) -> None:
    """Return when the user agrees, or has passed --yes. Exit with MISUSE when there is no terminal to ask on."""
    if yes:
        return
    if not sys.stdin.isatty():
        fail(f"there is no terminal to ask on; confirm with --yes: {question}")
    if not typer.confirm(question, err=True):
        fail("not confirmed; nothing was done", Exit.NO)


def need_localdaytona() -> None:
    """End with a sentence where localdaytona was left out, as in the image for production."""
    from importlib.util import find_spec  # noqa: PLC0415

    if find_spec("localdaytona") is None:
        fail(
            "localdaytona is not installed here: the image for production does without it. Use the wheel or a "
            "checkout; with DAYTONA_API_KEY set, `issuebox dev` uses the real Daytona"
        )


def fail(reason: str, code: Exit = Exit.MISUSE) -> NoReturn:
    """Print what is wrong on standard error, and exit."""
    print(f"issuebox: {reason}", file=sys.stderr)  # noqa: T201
    raise typer.Exit(code)
