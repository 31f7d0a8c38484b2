"""The command line: only the options and what is printed at the start."""

import asyncio
import ipaddress
import secrets
import sqlite3
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)

DEFAULT_API_KEY = "localdaytona"

BANNER = """\
localdaytona   {url}
page           {url}/
API URL        {url}/api
API key        {key}
data           {data}

No security boundary: sandboxes are plain directories, and their commands run as your user.
/_local/ needs no key and answers only this machine.
"""


@app.command()
def main(  # noqa: PLR0917 - typer names them on the command line
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 3986,
    data: Annotated[Path, typer.Option(help="Directory that keeps its state.")] = Path(".localdaytona"),
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="LOCALDAYTONA_API_KEY",  # Other users of the machine can read a command line.
            help="The one key that the API accepts.",
            show_default=f"{DEFAULT_API_KEY} on loopback; elsewhere a new one, which is printed",
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(envvar="LOCALDAYTONA_API_KEY_FILE", help="File that holds the key.", exists=True, dir_okay=False),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(help="Divides every duration. Default: the last value, at first 1.", min=0.01, max=10_000),
    ] = None,
    faults: Annotated[
        Path | None, typer.Option(help="Fault plan (JSON). Default: the last one.", exists=True, dir_okay=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the fault plan.")] = None,
    public_url: Annotated[
        str | None, typer.Option(help="URL by which clients reach it, if not the bound address.")
    ] = None,
) -> None:
    """Serve Daytona's API locally, for the unmodified SDK.

    It is no security boundary: commands run as plain processes of your user. The API accepts one
    key. /_local/ (journal, faults, configuration, manual actions) needs none and answers only
    loopback clients.
    """
    # Imported here so that --help stays quick.
    from localdaytona.server import base_url, bind, build_server  # noqa: PLC0415
    from localdaytona.world import Options  # noqa: PLC0415

    api_key = given_key(api_key, api_key_file)
    key = key_for(host, api_key)
    options = Options(
        data_dir=data,
        api_key=key,
        seed=seed,
        speed=speed,
        faults_file=faults,
        base_url=(public_url or "").rstrip("/"),
    )
    try:
        listener = bind(host, port)
    except OSError as error:
        raise typer.BadParameter(f"cannot bind {host}:{port}: {error.strerror}") from error
    try:
        server = build_server(listener, options)
    except (ValueError, OSError, sqlite3.DatabaseError) as error:
        raise typer.BadParameter(f"{faults if isinstance(error, ValueError) else data}: {error}") from error
    # A key that the user chose is a secret, and this line may end up in a log.
    shown = key if api_key in {None, DEFAULT_API_KEY} else "as given"
    print(BANNER.format(url=options.base_url or base_url(listener), key=shown, data=data.resolve()), flush=True)
    asyncio.run(server.serve(sockets=[listener]))


def given_key(text: str | None, file: Path | None) -> str | None:
    """The key that was given, None for none. Raises BadParameter for two."""
    if file is None:
        return text
    if text is not None:
        raise typer.BadParameter("--api-key and --api-key-file are both given: give one of them")
    return file.read_text(encoding="utf-8").strip()


def key_for(host: str, given: str | None) -> str:
    """The key to accept at this address. Raises BadParameter for one that everybody knows, or none."""
    if given is not None and not given.strip():
        raise typer.BadParameter("--api-key has to be a key")
    if _is_loopback(host):
        return given or DEFAULT_API_KEY
    if given == DEFAULT_API_KEY:
        raise typer.BadParameter(
            f"the key {DEFAULT_API_KEY!r} is known to everybody, and whoever reaches {host or 'this address'} could "
            "run commands as your user: choose another --api-key, or leave it out to get a new one"
        )
    return given or secrets.token_urlsafe(32)


def _is_loopback(host: str) -> bool:
    """Whether only this machine reaches it. A name other than localhost may lead anywhere."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
