"""The command line of `issuebox demo`."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack running afterwards, for a look.")] = False,
) -> None:
    """See the promise kept on real parts, through duplicates, races, faults and kill -9. Takes under a minute.

    A stack of its own is started on a scratch directory. Exits with 1 unless every validation holds.
    """
    import asyncio  # noqa: PLC0415

    from issuebox.dev.demo.run import run_demo  # noqa: PLC0415

    try:
        code = asyncio.run(run_demo(keep=keep))
    except KeyboardInterrupt:
        code = 130
    raise typer.Exit(code)
