"""`issuebox list --watch`: reads again and again, and shows what has changed. Only Ctrl-C or a failure ends it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import NoReturn

from rich.live import Live
from rich.text import Text

from issuebox.cli import screen
from issuebox.cli.cards import IssueList, list_card

INTERVAL_S = 2.0

Read = Callable[[], Awaitable[IssueList]]


async def watched(read: Read, *, as_json: bool) -> NoReturn:
    """Show the list anew: on a terminal in its place, else below the one before, when something has changed."""
    if sys.stdout.isatty() and not as_json:
        await _in_place(read)
    shown: IssueList | None = None
    while True:
        found = await read()
        if found != shown:
            _print(found, as_json=as_json)
            shown = found
        await asyncio.sleep(INTERVAL_S)


async def _in_place(read: Read) -> NoReturn:
    console = screen.console()
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
        while True:
            live.update(list_card(await read(), console.width), refresh=True)
            await asyncio.sleep(INTERVAL_S)


def _print(found: IssueList, *, as_json: bool) -> None:
    if as_json:
        screen.show_json(IssueList, found, indent=None)
    else:
        screen.show(Text(screen.when(datetime.now(UTC))))
        screen.show(list_card(found, screen.console().width))
    sys.stdout.flush()
