"""`issuebox temporal`: Temporal's own command line, as `issuebox dev` installed it and on its Temporal."""

from __future__ import annotations

import os
import sys

import typer

from issuebox.cli.command_line import DATA, Data, fail

EPILOG = "Exit codes: those of Temporal's command line; 2 when there is none."


def temporal(context: typer.Context, *, data: Data = DATA) -> None:
    """Run Temporal's command line on the same Temporal.

    For example: issuebox temporal workflow list

    All arguments are passed on. What runs is the `temporal` that ISSUEBOX_TEMPORAL_BINARY names, else the one on PATH,
    else the one that `issuebox dev` installs.
    """
    import asyncio  # noqa: PLC0415

    from issuebox.dev.dev_stack import temporal_environment  # noqa: PLC0415
    from issuebox.dev.temporal_server import TemporalBinaryError, ensure_binary  # noqa: PLC0415

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)  # noqa: T201

    try:
        binary = asyncio.run(ensure_binary(say=say))
    except TemporalBinaryError as error:
        fail(str(error))
    environ, own = dict(os.environ), temporal_environment(data)
    if own is not os.environ:  # Then nothing of another cluster goes with it.
        environ = {name: value for name, value in environ.items() if not name.startswith("TEMPORAL_")} | dict(own)
    os.execve(binary, ["temporal", *context.args], environ)  # noqa: S606 -- no shell
