"""The command line of `issuebox demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from issuebox.cli.command_line import need_localdaytona


def demo(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack running afterwards, to explore it.")] = False,
) -> None:
    """Show on real parts that the promise holds, in about a minute.

    It goes through duplicates, races, faults and kill -9.

    The demo starts its own stack in a scratch directory. The exit code is 1 unless every check holds.
    """
    import asyncio  # noqa: PLC0415

    need_localdaytona()
    from issuebox.dev.demo.run import run_demo  # noqa: PLC0415

    try:
        code = asyncio.run(run_demo(keep=keep))
    except KeyboardInterrupt:
        code = 130
    raise typer.Exit(code)
