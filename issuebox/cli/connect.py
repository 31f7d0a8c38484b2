"""The group `issuebox connect`: what both of its commands share."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from issuebox.cli.command_line import INTERRUPTED, Exit, fail

if TYPE_CHECKING:
    from issuebox.connections import Connected, Connection
    from issuebox.doctor.check_results import Part

EPILOG = (
    "Exit codes: 0 connected and checked; 1 not connected, or a check failed; 2 misuse or wrong settings; "
    "3 GitHub or Daytona does not answer; 130 interrupted."
)

Data = Annotated[
    Path, typer.Option(help="Data directory of `issuebox dev`, which uses what is stored there from its next start on.")
]
Out = Annotated[
    Path | None,
    typer.Option(help="For production: store it in this directory instead, and print the settings that name it."),
]
Replace = Annotated[bool, typer.Option("--replace", help="Connect anew, and forget what is stored.")]


class NotConnectedError(Exception):
    """It ends here. The text says what is wrong and what helps."""

    def __init__(self, sentence: str, code: Exit) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(slots=True)
class Progress:
    """What to say at Ctrl-C: what was stored by then, and what helps."""

    said: str = "Nothing was stored."
    code: int = INTERRUPTED


@dataclass(frozen=True, slots=True)
class Place:
    """Where it is stored, and for whom."""

    data: Path
    out: Path | None

    @property
    def directory(self) -> Path:
        """The directory of records and secrets."""
        from issuebox.connections import directory_of  # noqa: PLC0415

        return directory_of(self.data) if self.out is None else self.out.absolute()

    def existing(self, part: Connected, *, is_replacing: bool) -> Connection | None:
        """What is stored already, None for nothing; to be replaced, it need not be readable."""
        from issuebox.connections import ConnectionsError, read  # noqa: PLC0415

        try:
            found = read(self.directory, part)
        except ConnectionsError:
            if not is_replacing:
                raise
            return None
        return None if is_replacing else found

    def tell(self, connection: Connection, environ: Mapping[str, str]) -> None:
        """Say how the processes find it."""
        from issuebox.connections import is_set  # noqa: PLC0415
        from issuebox.dev.dev_stack import DevStack  # noqa: PLC0415

        for name in connection.files:
            if is_set(environ, name):
                say(f"{name} is set in this environment, and comes before what is stored: unset it to use that.")
        if self.out is not None:
            say("Settings for the processes (docs/connect.md says which process needs which):")
            for name, value in connection.variables(self.directory).items():
                say(f"{name}={value}")
        elif DevStack.lookup(self.data) is not None:
            say(f"Restart the `issuebox dev` that runs on {self.data}: it uses this from its next start on.")
        else:
            say(f"`issuebox dev --data {self.data}` uses this from its next start on.")


def complete(work: Callable[[Progress], Coroutine[Any, Any, Exit]]) -> NoReturn:
    """Do the work and exit. Whatever a person can cause or correct ends with one sentence, Ctrl-C included."""
    import asyncio  # noqa: PLC0415

    from issuebox.connections import ConnectionsError  # noqa: PLC0415
    from issuebox.environment import SettingsError  # noqa: PLC0415

    progress = Progress()
    try:
        code = asyncio.run(work(progress))
    except KeyboardInterrupt:
        say(f"\nInterrupted. {progress.said}")
        raise typer.Exit(progress.code) from None
    except NotConnectedError as error:
        fail(str(error), error.code)
    except ConnectionsError as error:
        fail(f"{error}. {progress.said}")
    except SettingsError as error:
        fail(f"a setting is wrong: {'; '.join(error.mistakes)}. {progress.said}")
    raise typer.Exit(code)


async def checked(part: Part, place: Place, leaving_out: Iterable[str] = ()) -> Exit:
    """Let the doctor check this part with what is stored, and print the results."""
    from issuebox.cli import screen  # noqa: PLC0415
    from issuebox.cli.doctor_card import report_card  # noqa: PLC0415
    from issuebox.doctor.check_results import report  # noqa: PLC0415
    from issuebox.doctor.examination import Order, examine  # noqa: PLC0415

    with screen.waiting("Checking"):
        found = await examine(Order(place.data, [part], connections=place.directory))
    shown = report([result for result in found.checks if result.check not in leaving_out])
    screen.show(report_card(shown, screen.console().width))
    return Exit.DONE if shown.is_healthy else Exit.NO


def say(text: str) -> None:
    """Print a line, folded nowhere: addresses and settings are copied from it."""
    from rich.text import Text  # noqa: PLC0415

    from issuebox.cli import screen  # noqa: PLC0415

    screen.console().print(Text(text), soft_wrap=True)
