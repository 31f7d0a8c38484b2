"""The `issuebox` command. Each command imports what it needs: `--help` must not pay for Temporal's SDK."""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from issuebox.cli.ask import delete, ensure, replace, retry, start, stop
from issuebox.cli.audit import audit
from issuebox.cli.check import cannot_listen, cannot_serve, check_worker
from issuebox.cli.command_line import EPILOG, Exit, load_or_fail, require_temporal_configuration
from issuebox.cli.connect import EPILOG as CONNECT_EPILOG
from issuebox.cli.connect_daytona import daytona
from issuebox.cli.connect_github import github
from issuebox.cli.demo import demo
from issuebox.cli.dev import dev
from issuebox.cli.doctor import doctor
from issuebox.cli.follow import open_page, wait
from issuebox.cli.help import App, Panel, PassingOn, show_version
from issuebox.cli.inside import EXEC_EPILOG, SSH_EPILOG, execute, ssh
from issuebox.cli.read import list_issues, queue, show, why
from issuebox.cli.resync import resync
from issuebox.cli.runs import cancel, logs, pause, resume, run_agent, runs
from issuebox.cli.send import send
from issuebox.cli.temporal import EPILOG as TEMPORAL_EPILOG
from issuebox.cli.temporal import temporal
from issuebox.process import run_and_end


@contextmanager
def uncollected() -> Iterator[None]:
    """Import modules within this block. The garbage collector never examines again what exists at its end.

    Otherwise the collector walks through all modules again and again during the imports, and finds nothing. That
    takes a tenth of the API's import time and a quarter of the worker's. Full collections of the running process
    also get shorter.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


API, HTTP = "api.app:from_environment", "api.connections:BoundedHttp"
"""The names of what uvicorn serves, and over what: the command line imports no HTTP code."""

KEEP_ALIVE_S = 75
"""How long the API keeps an idle connection: longer than the proxies in front of it, most of which use 60 s.

If the server hangs up first, a delivery that is just being sent is lost as a 502, and GitHub does not send it
again. uvicorn's default of 5 s is meant for browsers.
"""

GRACE_S = 10
"""How long a stopping API lets its calls end. A delivery takes 9 s at most; who waits for a sandbox may wait again."""

STARTUP_FAILURE = 3
"""The exit code of an API that cannot listen, the same as uvicorn's."""

app = App(name="issuebox", help="Exactly one Daytona sandbox per GitHub issue.", epilog=EPILOG)
connect = App(help="Connect GitHub and Daytona: ask, check, and store.")
connect.command(epilog=CONNECT_EPILOG)(github)
connect.command(epilog=CONNECT_EPILOG)(daytona)
app.add(Panel.BEGIN, demo, dev)
app.add_typer(connect, name="connect", rich_help_panel=Panel.BEGIN)
app.add(Panel.BEGIN, doctor, epilog=EPILOG)
app.add(Panel.BEGIN, send)
app.add(Panel.ISSUE, ensure, start, wait, stop, delete, replace, retry, epilog=EPILOG)
app.command("run", rich_help_panel=Panel.AGENT, epilog=EPILOG)(run_agent)
app.add(Panel.AGENT, runs, pause, resume, cancel, logs, epilog=EPILOG)
app.command("exec", cls=PassingOn, rich_help_panel=Panel.INSIDE, epilog=EXEC_EPILOG)(execute)
app.command(cls=PassingOn, rich_help_panel=Panel.INSIDE, epilog=SSH_EPILOG)(ssh)
app.command("list", rich_help_panel=Panel.LOOK, epilog=EPILOG)(list_issues)
app.add(Panel.LOOK, show, why, queue, epilog=EPILOG)
app.command("open", rich_help_panel=Panel.LOOK, epilog=EPILOG)(open_page)
app.add(Panel.OPERATE, audit, resync, epilog=EPILOG)
app.command(
    rich_help_panel=Panel.OPERATE,
    epilog=TEMPORAL_EPILOG,
    options_metavar="[OPTIONS] ARGUMENTS...",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)(temporal)


@app.callback()
def begin(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Exactly one Daytona sandbox per GitHub issue."""


@app.command(rich_help_panel=Panel.OPERATE)
def worker(
    *,
    ready_file: Annotated[
        Path | None, typer.Option(help="File to touch once the worker polls its task queue, for scripts that wait.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Ask the worker at ISSUEBOX_ADMIN_ADDRESS whether it is ready, and run none."),
    ] = False,
) -> None:
    """Run a worker, which executes the workflows and activities.

    Start as many as you like.
    """
    if check:
        raise typer.Exit(check_worker())
    from issuebox.logs import begin  # noqa: PLC0415
    from issuebox.settings import WorkerSettings  # noqa: PLC0415

    settings = load_or_fail(WorkerSettings, required=("daytona_api_key",))
    require_temporal_configuration()
    begin(settings)
    with uncollected():
        from issuebox.worker import StartError, WorkerOptions, serve  # noqa: PLC0415

    try:
        serve(WorkerOptions.of(settings), ready_file)
    except StartError as error:
        logging.getLogger("issuebox.worker").critical("worker_start_failed", extra={"reason": str(error)})
        raise typer.Exit(Exit.AWAY) from error


@app.command(rich_help_panel=Panel.OPERATE)
def exporter() -> None:
    """Show Prometheus, at ISSUEBOX_ADMIN_ADDRESS, what Temporal knows of all issues.

    One for an installation: it asks Temporal some sixty questions a minute.
    """
    from issuebox.logs import begin  # noqa: PLC0415
    from issuebox.settings import ExporterSettings  # noqa: PLC0415

    settings = load_or_fail(ExporterSettings, required=("admin_address",))
    require_temporal_configuration()
    begin(settings)
    if reason := cannot_serve(settings.admin_address):
        logging.getLogger("issuebox.exporter").critical("exporter_start_failed", extra={"reason": reason})
        raise typer.Exit(Exit.AWAY)
    from issuebox.exporter import serve  # noqa: PLC0415

    serve(settings)


@app.command(rich_help_panel=Panel.OPERATE)
def api(
    *,
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to bind.")] = 8787,
) -> None:
    """Run the API: GitHub's webhooks and REST.

    Start as many as you like.
    """
    import asyncio  # noqa: PLC0415

    import uvicorn  # noqa: PLC0415

    from issuebox.logs import begin  # noqa: PLC0415
    from issuebox.settings import ApiSettings  # noqa: PLC0415

    settings = load_or_fail(ApiSettings)
    require_temporal_configuration()
    begin(settings)
    if reason := cannot_listen(host, port, "Give another --host or --port") or cannot_serve(settings.admin_address):
        logging.getLogger("issuebox.api").critical("api_start_failed", extra={"reason": reason})
        raise typer.Exit(STARTUP_FAILURE)
    config = uvicorn.Config(
        API,
        factory=True,
        host=host,
        port=port,
        http=HTTP,
        ws="none",
        log_config=None,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    with uncollected():
        from issuebox import measured, metrics  # noqa: PLC0415
        from issuebox.temporal.connect import forward_core_log  # noqa: PLC0415
        from issuebox.watchdog import watched  # noqa: PLC0415

        config.load()
    if settings.admin_address:
        measured.begin(metrics.Process.API)
    else:
        forward_core_log()
    server = uvicorn.Server(config)
    signal.signal(signal.SIGTERM, _end_by)
    # What `uvicorn.run` does, and the watchdog, for which it has no place.
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(watched(server.serve()))
    if not server.started:
        raise typer.Exit(STARTUP_FAILURE)


def _end_by(number: int, _frame: FrameType | None) -> None:
    """Write the last lines of the log, then end by the signal as if it had not been handled."""
    logging.shutdown()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def main() -> NoReturn:
    """The console script: run the command, and end the process with its exit code."""
    run_and_end(app)


if __name__ == "__main__":
    main()
