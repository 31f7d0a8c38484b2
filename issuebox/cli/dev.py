"""The command line of `issuebox dev`: options in, exit code out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from issuebox.cli.command_line import connected_environment, need_localdaytona

Port = Annotated[int | None, typer.Option(min=1, max=65535, help="Must be free. Default: the usual or any free port.")]


def dev(
    *,
    data: Annotated[Path, typer.Option(help="Directory that keeps everything across restarts.")] = Path(".issuebox"),
    api_port: Port = None,
    temporal_port: Port = None,
    ui_port: Port = None,
    daytona_port: Port = None,
    temporal_binary: Annotated[
        Path | None, typer.Option(envvar="ISSUEBOX_TEMPORAL_BINARY", help="The Temporal CLI to use.")
    ] = None,
    speed: Annotated[float, typer.Option(min=0.1, max=10_000, help="How many times faster localdaytona runs.")] = 1.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not show the logs of the parts.")] = False,
    attached: Annotated[
        bool, typer.Option("--attached", help="End when standard input ends: for programs that start it and may die.")
    ] = False,
) -> None:
    """Run everything on this machine, bound to loopback.

    That is Temporal, localdaytona, a worker and the API.

    If TEMPORAL_ADDRESS is set, it uses that cluster; if DAYTONA_API_KEY is set, the real Daytona.
    """
    import asyncio  # noqa: PLC0415

    from issuebox.connections import is_set  # noqa: PLC0415

    if not is_set(connected_environment(data), "DAYTONA_API_KEY"):
        need_localdaytona()
    # Imported here: `issuebox --help` should not pay for importing Temporal's SDK.
    from issuebox.dev.run import DevOptions, run_dev  # noqa: PLC0415

    options = DevOptions(
        data_dir=data,
        api_port=api_port,
        temporal_port=temporal_port,
        ui_port=ui_port,
        daytona_port=daytona_port,
        temporal_binary=temporal_binary,
        daytona_speed=speed,
        quiet=quiet,
        is_attached=attached,
    )
    raise typer.Exit(asyncio.run(run_dev(options)))
