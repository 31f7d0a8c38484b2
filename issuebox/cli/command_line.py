"""What the commands share: their options, their exit codes, and the way from an error to one.

Imported by `issuebox --help`, so nothing heavy is imported up here.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from issuebox.temporal.issues import Issues, IssuesError


class Exit(IntEnum):
    """What a command ends with. Scripts rely on these: never renumber them."""

    DONE = 0
    NO = 1
    MISUSE = 2
    AWAY = 3
    UNKNOWN = 4


EPILOG = (
    "Exit codes: 0 done; 1 the answer is no (blocked, not ready yet, problems found, not confirmed); "
    "2 misuse or wrong settings; 3 Temporal or a worker does not answer; 4 an issue that is not known."
)

IssueName = Annotated[
    str,
    typer.Argument(
        metavar="ISSUE", help="Global issue ID, sandbox name (claude-issue-N), owner/repo#number, or the issue's URL."
    ),
]
Data = Annotated[
    Path, typer.Option(help="Data directory of a running `issuebox dev`, used when TEMPORAL_ADDRESS is not set.")
]
DATA = Path(".issuebox")
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines, and nothing else.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]

TIMEOUT_S = 8.0
"""Most that a call to Temporal takes, a worker gets half of it: a person waits longer than GitHub does."""

_HINTS = {
    Exit.UNKNOWN: "`issuebox ensure` asks for one. If that was a number and no global ID, write owner/repo#number.",
    Exit.NO: "`issuebox why` may tell more.",
    Exit.AWAY: "Temporal is expected at {place}; `issuebox doctor` looks for the cause.",
}


def run(data: Path, work: Callable[[Issues], Awaitable[Exit]]) -> NoReturn:
    """Connect, do the work, and exit; every error that a person can cause or mend becomes one line.

    Temporal is that of the environment, else that of a running `issuebox dev` on the data directory. The connection
    is made with the first call.
    """
    import asyncio  # noqa: PLC0415

    from pydantic import ValidationError  # noqa: PLC0415
    from temporalio.service import RPCError  # noqa: PLC0415

    from issuebox.cli.issue_names import NotAnIssueNameError  # noqa: PLC0415
    from issuebox.dev.dev_stack import temporal_environment  # noqa: PLC0415
    from issuebox.settings import ApiSettings, first_mistake  # noqa: PLC0415
    from issuebox.temporal.connect import TemporalConfigError, configuration, connect  # noqa: PLC0415
    from issuebox.temporal.issues import Issues, IssuesError  # noqa: PLC0415

    try:
        environment = temporal_environment(data)
        config = configuration(environment)
        settings = ApiSettings()
    except ValidationError as error:
        fail(f"a setting is wrong: {first_mistake(error)}")
    except TemporalConfigError as error:
        fail(str(error))
    place = f"{config['target_host']}, namespace {config.get('namespace', 'default')}"
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
        code = _code_of(error)
        fail(f"{error}. {_HINTS[code].format(place=place)}", code)
    except RPCError as error:
        fail(f"Temporal at {place} refuses: {error.message}", Exit.AWAY)
    raise typer.Exit(code)


def _code_of(error: IssuesError) -> Exit:
    """What a failure of an issue's workflow is as an exit code."""
    from issuebox.temporal.issues import IssueDeletedError, UnknownIssueError, WrongIssueError  # noqa: PLC0415

    match error:
        case UnknownIssueError():
            return Exit.UNKNOWN
        case WrongIssueError() | IssueDeletedError():
            return Exit.NO
        case _:
            return Exit.AWAY


async def _awaited(work: Awaitable[Exit]) -> Exit:
    return await work


def confirm(question: str, *, yes: bool) -> None:
    """Return when a person agrees, or did so with --yes. Without a terminal nobody can: that is misuse."""
    if yes:
        return
    if not sys.stdin.isatty():
        fail(f"there is no terminal to ask on, so say --yes to this: {question}")
    if not typer.confirm(question, err=True):
        fail("not confirmed; nothing was done", Exit.NO)


def fail(reason: str, code: Exit = Exit.MISUSE) -> NoReturn:
    """Say what is wrong on standard error, and exit."""
    print(f"issuebox: {reason}", file=sys.stderr)  # noqa: T201
    raise typer.Exit(code)
