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
    from issuebox.cli.connection import Connection


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

_BY_STATUS = {404: Exit.UNKNOWN, 409: Exit.NO, 503: Exit.AWAY}
"""The exit code for a problem of the calls that are shared with REST."""

_HINTS = {
    Exit.UNKNOWN: "`issuebox ensure` asks for one. If that was a number and no global ID, write owner/repo#number.",
    Exit.NO: "`issuebox why` may tell more.",
    Exit.AWAY: "Temporal is expected at {place}; `issuebox doctor` looks for the cause.",
}


def run(data: Path, work: Callable[[Connection], Awaitable[Exit]]) -> NoReturn:
    """Connect, do the work, and exit; every error that a person can cause or mend becomes one line."""
    import asyncio  # noqa: PLC0415

    from pydantic import ValidationError  # noqa: PLC0415
    from temporalio.service import RPCError  # noqa: PLC0415

    from issuebox.cli.connection import open_connection  # noqa: PLC0415
    from issuebox.cli.issue_names import NotAnIssueNameError, UnknownIssueError  # noqa: PLC0415
    from issuebox.settings import first_mistake  # noqa: PLC0415
    from issuebox.temporal.connect import TemporalConfigError  # noqa: PLC0415
    from issuebox.temporal.errors import ProblemError  # noqa: PLC0415

    try:
        connection = open_connection(data)
    except ValidationError as error:
        fail(f"a setting is wrong: {first_mistake(error)}")
    except TemporalConfigError as error:
        fail(str(error))
    try:
        code = asyncio.run(_awaited(work(connection)))
    except NotAnIssueNameError as error:
        fail(str(error))
    except UnknownIssueError as error:
        fail(str(error), Exit.UNKNOWN)
    except ProblemError as error:
        code = _BY_STATUS.get(error.status, Exit.AWAY)
        fail(f"{error.detail}. {_HINTS[code].format(place=connection.place)}", code)
    except RPCError as error:
        fail(f"Temporal at {connection.place} refuses: {error.message}", Exit.AWAY)
    raise typer.Exit(code)


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
