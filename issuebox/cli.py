"""The `issuebox` command. Imports are made inside the commands: `--help` must not pay for Temporal's SDK."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from issuebox.commands_dev import dev
from issuebox.commands_resync import resync
from issuebox.commands_send import send

if TYPE_CHECKING:
    from pydantic import ValidationError

app = typer.Typer(
    name="issuebox",
    help="Exactly one Daytona sandbox per GitHub issue.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
app.command()(dev)
app.command()(send)
app.command()(resync)


@app.command()
def worker(
    *,
    ready_file: Annotated[
        Path | None, typer.Option(help="Touched once the worker polls its task queue; for scripts that wait for it.")
    ] = None,
) -> None:
    """Run a worker: the workflow and its activities. Start as many as you like."""
    from pydantic import ValidationError  # noqa: PLC0415

    from issuebox.logs import configure  # noqa: PLC0415
    from issuebox.settings import WorkerSettings  # noqa: PLC0415

    try:
        settings = WorkerSettings()
    except ValidationError as error:
        _fail(f"a setting is wrong: {_first(error)}")
    if not settings.daytona_api_key.get_secret_value():
        _fail("DAYTONA_API_KEY is not set: the worker needs a key of your Daytona organization")
    configure(settings.log_format, settings.log_level)

    from issuebox.worker import run_worker  # noqa: PLC0415

    asyncio.run(run_worker(settings, ready_file))


@app.command()
def api(
    *,
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to bind.")] = 8787,
) -> None:
    """Run the API: GitHub's webhooks and REST. Start as many as you like."""
    import uvicorn  # noqa: PLC0415
    from pydantic import ValidationError  # noqa: PLC0415

    from issuebox.logs import configure  # noqa: PLC0415
    from issuebox.settings import ApiSettings  # noqa: PLC0415

    try:
        settings = ApiSettings()
    except ValidationError as error:
        _fail(f"a setting is wrong: {_first(error)}")
    configure(settings.log_format, settings.log_level)

    from api.app import create_app  # noqa: PLC0415
    from issuebox.temporal_client import connect  # noqa: PLC0415

    uvicorn.run(create_app(settings, lambda: connect(lazy=True)), host=host, port=port, log_config=None)


def _first(error: ValidationError) -> str:
    """The first mistake of a settings error, without the value: that may be a secret."""
    details = error.errors(include_input=False, include_url=False)
    return f"{'.'.join(str(part) for part in details[0]['loc'])}: {details[0]['msg']}"


def _fail(reason: str) -> NoReturn:
    """Say what is wrong and exit with 2, as for any misuse."""
    print(f"issuebox: {reason}", file=sys.stderr)
    raise typer.Exit(2)


if __name__ == "__main__":
    app()
