"""The help of the commands: their groups, and what it says of an option's value. Also the version."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.exceptions import TyperException

from issuebox.cli.ends import ending

if TYPE_CHECKING:
    from collections.abc import Iterable


class Panel(StrEnum):
    """The groups of commands in the help, in the order in which a newcomer needs them."""

    BEGIN = "Begin"
    ISSUE = "Have a sandbox for an issue"
    AGENT = "Have its agent work"
    INSIDE = "Work in it"
    LOOK = "See what is there"
    OPERATE = "Operate"


WORDS = {"str": "TEXT", "list[str]": "TEXT", "path": "PATH", "int range": "N", "float range": "NUMBER"}
"""What the help calls the value of an option. A choice shows its values."""


class Command(TyperCommand):
    """A command whose help speaks of values as people do, and folds its paragraphs to the width of the terminal."""

    def __init__(self, *names: Any, help: str | None = None, **options: Any) -> None:  # noqa: A002 -- typer's name
        super().__init__(*names, help=_folded(help), **options)

    def get_params(self, ctx: Any) -> list[Any]:
        return _with_words(super().get_params(ctx), ctx)


class PassingOn(Command):
    """A command that passes words on to another one, and says where they belong when they look like its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        has_dashes = "--" in args
        try:
            return super().parse_args(ctx, args)
        except TyperException as error:
            if not has_dashes:
                error.message = f"{error.message}. The words of the command come after --".lstrip(". ")
            raise


class Group(TyperGroup):
    """The same for a group of commands, each of which ends with a sentence, whatever happens."""

    def invoke(self, ctx: Any) -> Any:
        with ending():
            return super().invoke(ctx)

    def get_params(self, ctx: Any) -> list[Any]:
        return _with_words(super().get_params(ctx), ctx)


class App(typer.Typer):
    """A group of such commands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(cls=Group, pretty_exceptions_show_locals=False, no_args_is_help=True, **options)

    def command(self, *names: Any, **options: Any) -> Callable[[Any], Any]:
        return super().command(*names, **{"cls": Command, **options})

    def add(self, panel: Panel, *commands: Callable[..., Any], **options: Any) -> None:
        """Add the commands to a group of the help."""
        for each in commands:
            self.command(rich_help_panel=panel, **options)(each)


def show_version(wanted: bool) -> None:
    """Print the version and end, when it is wanted."""
    if not wanted:
        return
    from importlib.metadata import version  # noqa: PLC0415

    typer.echo(f"issuebox {version('issuebox')}")
    raise typer.Exit


def _folded(text: str | None) -> str | None:
    """The text without the line breaks within its paragraphs, which typer would keep in all but the first."""
    if text is None:
        return None
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in inspect.cleandoc(text).split("\n\n"))


def _with_words(params: Iterable[Any], ctx: Any) -> list[Any]:
    params = list(params)
    for param in params:
        if isinstance(param, TyperOption) and param.metavar is None:
            kind = param.display_type(ctx)
            param.metavar = "" if param.is_flag else WORDS.get(kind.strip("<>"), kind)  # A flag takes no value.
    return params
