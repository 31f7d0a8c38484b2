"""Printing for people and for machines, and what both need: times, foreign text, JSON."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn, TypeVar

from pydantic import TypeAdapter
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from issuebox.domain.text import one_line

T = TypeVar("T")

PIPE_WIDTH = 200
"""Without a terminal rich assumes 80 columns. Lines for `grep` and files are not folded there."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the asking commands print with --json: the request was stored."""

    issue_id: int
    name: str
    asked: str


def console() -> Console:
    """Standard output, as wide as the terminal; COLUMNS overrides the width."""
    # rich would take a COLUMNS of 0, as some terminals report it, and print nothing.
    given = os.environ.get("COLUMNS", "")
    width = int(given) if given.isdecimal() and int(given) else None if sys.stdout.isatty() else PIPE_WIDTH
    return _Console(highlight=False, width=width)


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        """End like any other command whose reader has gone: `issuebox.cli.ends`. rich would exit with 1."""
        raise  # noqa: PLE0704 -- rich calls this while it handles the error


def show(renderable: RenderableType) -> None:
    """Print a renderable of rich."""
    console().print(renderable)


def show_json(kind: type[T], value: T, indent: int | None = 2) -> None:
    """Print the value as one JSON document; without `indent`, on one line."""
    is_ascii = "utf" not in (sys.stdout.encoding or "utf").lower()  # What a terminal cannot show has to stay JSON.
    sys.stdout.write(TypeAdapter(kind).dump_json(value, indent=indent, ensure_ascii=is_ascii).decode() + "\n")


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show a spinner on standard error, and only when that is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    with Console(stderr=True).status(text):
        yield


def has_browser(environ: Mapping[str, str]) -> bool:
    """Whether a browser would open in a window: one in the terminal would take the place of this command."""
    return sys.platform in {"darwin", "win32"} or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def plain(text: str) -> str:
    """Foreign text as one line without control characters: a title must not steer the terminal that shows it."""
    return one_line(text, keeps_markup=True)


def when(moment: datetime | None) -> str:
    """A time as people read it, in UTC and to the second; '' for none."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if moment else ""


def fields_table(rows: list[tuple[str, str]]) -> Table:
    """Names and values in two columns. Rows without a value are left out; long values fold."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        if value:
            table.add_row(Text(name), Text(plain(value)))
    return table
