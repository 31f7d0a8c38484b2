"""Printing for people and for machines, and what both need: times, foreign text, JSON."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import TypeAdapter
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

T = TypeVar("T")

PIPE_WIDTH = 200
"""Lines for `grep` and files are not folded at the 80 columns that rich assumes without a terminal."""


@dataclass(frozen=True, slots=True)
class Asked:
    """That a request was stored, for machines."""

    issue_id: int
    name: str
    asked: str


def console() -> Console:
    """Standard output, as wide as the terminal; COLUMNS has the last word."""
    is_free = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(highlight=False, width=PIPE_WIDTH if is_free else None)


def show(renderable: RenderableType) -> None:
    """Print something of rich's."""
    console().print(renderable)


def show_json(kind: type[T], value: T) -> None:
    """Print the value as one JSON document."""
    sys.stdout.write(TypeAdapter(kind).dump_json(value, indent=2).decode() + "\n")


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Something that moves, on standard error and only where a person looks at it."""
    if not sys.stderr.isatty():
        yield
        return
    with Console(stderr=True).status(text):
        yield


def plain(text: str) -> str:
    """Text of others without control characters: a title must not steer the terminal that it is shown on."""
    return "".join(char if char.isprintable() else " " for char in text)


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
