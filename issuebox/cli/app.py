"""The `issuebox` command. Imports are made inside the commands: `--help` must not pay for Temporal's SDK."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from issuebox.cli import ask, doctor, read
from issuebox.cli.audit import audit
from issuebox.cli.command_line import EPILOG, fail
from issuebox.cli.demo import demo
from issuebox.cli.dev import dev
from issuebox.cli.resync import resync
from issuebox.cli.send import send


@contextmanager
def uncollected() -> Iterator[None]:
    """Import within this block. What exists at its end is never looked at again by the garbage collector.

    The collector would walk through all modules again and again while more of them come, and find nothing: a tenth
    of the time that the API takes to import, and a quarter of the worker's. Full collections of the running process
    get as much shorter.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


API = "api.app:from_environment"
"""What uvicorn serves, by its name: the command line imports no HTTP."""

KEEP_ALIVE_S = 75
"""How long the API keeps an idle connection: longer than the proxies before it do, most of them for 60 s.

Where the server hangs up first, a delivery that is just being sent is lost as a 502, and GitHub does not send it
again. uvicorn's own 5 s are meant for browsers.
"""

STARTUP_FAILURE = 3
"""What the API ends with when it cannot listen, as uvicorn does."""

app = typer.Typer(
    name="issuebox",
    help="Exactly one Daytona sandbox per GitHub issue.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
app.command(epilog=EPILOG)(audit)
app.command()(demo)
app.command()(dev)
app.command()(send)
app.command()(resync)
ask.register(app)
read.register(app)
doctor.register(app)


@app.command()
def worker(
    *,
    ready_file: Annotated[
        Path | None, typer.Option(help="Touched once the worker polls its task queue; for scripts that wait for it.")
    ] = None,
) -> None:
    """Run a worker: the workflow and its activities. Start as many as you like."""
    import asyncio  # noqa: PLC0415

    from pydantic import ValidationError  # noqa: PLC0415

    from issuebox.logs import configure  # noqa: PLC0415
    from issuebox.settings import WorkerSettings, first_mistake  # noqa: PLC0415

    try:
        settings = WorkerSettings()
    except ValidationError as error:
        fail(f"a setting is wrong: {first_mistake(error)}")
    if not settings.daytona_api_key.get_secret_value():
        fail("DAYTONA_API_KEY is not set: the worker needs a key of your Daytona organization")
    configure(settings.log_format, settings.log_level)

    with uncollected():
        from issuebox.temporal.connect import forward_core_log  # noqa: PLC0415
        from issuebox.watchdog import watched  # noqa: PLC0415
        from issuebox.worker import run_worker  # noqa: PLC0415

    forward_core_log()
    asyncio.run(watched(run_worker(settings, ready_file)))


@app.command()
def api(
    *,
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to bind.")] = 8787,
) -> None:
    """Run the API: GitHub's webhooks and REST. Start as many as you like."""
    import asyncio  # noqa: PLC0415

    import uvicorn  # noqa: PLC0415
    from pydantic import ValidationError  # noqa: PLC0415

    from issuebox.logs import configure  # noqa: PLC0415
    from issuebox.settings import ApiSettings, first_mistake  # noqa: PLC0415

    try:
        settings = ApiSettings()
    except ValidationError as error:
        fail(f"a setting is wrong: {first_mistake(error)}")
    configure(settings.log_format, settings.log_level)

    config = uvicorn.Config(API, factory=True, host=host, port=port, log_config=None, timeout_keep_alive=KEEP_ALIVE_S)
    with uncollected():
        from issuebox.temporal.connect import forward_core_log  # noqa: PLC0415
        from issuebox.watchdog import watched  # noqa: PLC0415

        config.load()
    forward_core_log()
    server = uvicorn.Server(config)
    signal.signal(signal.SIGTERM, _end_by)
    # As `uvicorn.run`, which leaves no room for the watchdog.
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(watched(server.serve()))
    if not server.started:
        raise typer.Exit(STARTUP_FAILURE)


def _end_by(number: int, _frame: FrameType | None) -> None:
    """End by the signal, as if it had not been handled, but with the last lines of the log."""
    logging.shutdown()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def main() -> NoReturn:
    """The console script: run the command, and end the process with its exit code.

    Without Python's own ending: the SDK's threads may still hold on to it then, and abort the process with
    exit code 134 although all is done (temporalio 1.35.0, every second `issuebox show` on two cores).
    """
    try:
        app()
        code: object = 0
    except SystemExit as end:
        code = end.code
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else int(bool(code)))  # The documented name of it.


if __name__ == "__main__":
    main()
