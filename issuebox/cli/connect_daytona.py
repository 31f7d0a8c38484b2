"""The command line of `issuebox connect daytona`: checks a key and stores it. The key is never an argument."""

from __future__ import annotations

import sys
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from issuebox.cli.command_line import DATA, Exit
from issuebox.cli.connect import Data, NotConnectedError, Out, Place, Progress, Replace, complete, say

if TYPE_CHECKING:
    from issuebox.connections import Connection
    from issuebox.doctor.check_results import CheckResult

KEY, URL, TARGET, SNAPSHOT = "DAYTONA_API_KEY", "DAYTONA_API_URL", "DAYTONA_TARGET", "ISSUEBOX_SNAPSHOT"
KEYS_PAGE = "https://app.daytona.io/dashboard/keys"
KEY_MAX = 4096


@dataclass(frozen=True, slots=True)
class Choices:
    """What the person gave. What is None comes from the environment, or stays as it is stored."""

    place: Place
    key_file: str
    api_url: str | None
    target: str | None
    snapshot: str | None
    is_replacing: bool

    def settings(self, base: Mapping[str, str]) -> dict[str, str]:
        """The settings without the key: what was given, else what was there, without empty ones."""
        given = {URL: self.api_url, TARGET: self.target, SNAPSHOT: self.snapshot}
        chosen = {name: base.get(name, "") if value is None else value for name, value in given.items()}
        return {name: value.strip() for name, value in chosen.items() if value.strip()}


def daytona(
    *,
    data: Data = DATA,
    out: Out = None,
    key_file: Annotated[
        str, typer.Option(metavar="FILE", help="File with the key, - for standard input. Default: DAYTONA_API_KEY.")
    ] = "",
    api_url: Annotated[str | None, typer.Option(help="URL of Daytona's API. Default: DAYTONA_API_URL.")] = None,
    target: Annotated[str | None, typer.Option(help="Region of new sandboxes. Default: DAYTONA_TARGET.")] = None,
    snapshot: Annotated[str | None, typer.Option(help="Snapshot of new ones. Default: ISSUEBOX_SNAPSHOT.")] = None,
    replace: Replace = False,
) -> None:
    """Check a key of Daytona, the region and the snapshot, and store them.

    The key comes from the environment, from a file, or from a prompt that does not show it. It needs the permissions
    write:sandboxes and delete:sandboxes. Run it again to check what is stored, or to change region or snapshot.
    """
    choices = Choices(Place(data, out), key_file, api_url, target, snapshot, replace)

    complete(lambda progress: _begun(choices, progress))


def _begun(choices: Choices, progress: Progress) -> Coroutine[Any, Any, Exit]:
    """Read the key, if one is needed, and return the rest. No event loop runs yet: in one, Ctrl-C ends no prompt."""
    import os  # noqa: PLC0415

    from issuebox.connections import Connected, prepare  # noqa: PLC0415

    directory = choices.place.directory
    prepare(directory)
    stored = choices.place.existing(Connected.DAYTONA, is_replacing=choices.is_replacing)
    if stored is not None and choices.key_file:
        sentence = f"a key is stored in {directory} already: add --replace to take the one of --key-file instead"
        raise NotConnectedError(sentence, Exit.MISUSE)
    key = "" if stored else _key(choices.key_file, os.environ)
    return _connect(choices, stored, key, progress)


async def _connect(choices: Choices, stored: Connection | None, key: str, progress: Progress) -> Exit:
    import os  # noqa: PLC0415

    from issuebox.connections import Connected, change  # noqa: PLC0415

    directory = choices.place.directory
    if stored is None:
        connection = await _first(choices, key, progress)
    else:
        progress.said = f"What is stored in {directory} is as it was."
        say(f"A key is stored in {directory} already. To take another one, add --replace.")
        settings = choices.settings(stored.settings)
        file = directory / stored.files[KEY]
        await _require_good(settings | {f"{KEY}_FILE": str(file)}, progress)
        changed = settings != dict(stored.settings)
        connection = change(directory, Connected.DAYTONA, stored, settings, {}) if changed else stored
    choices.place.tell(connection, os.environ)
    return Exit.DONE


async def _first(choices: Choices, key: str, progress: Progress) -> Connection:
    """Check a key that is not stored yet, then store it."""
    import os  # noqa: PLC0415
    import secrets  # noqa: PLC0415

    from issuebox.connections import Connected, store  # noqa: PLC0415

    settings = choices.settings(os.environ)
    await _require_good(settings | {KEY: key}, progress)
    connection = store(
        choices.place.directory,
        Connected.DAYTONA,
        settings=settings,
        secrets={KEY: (f"daytona-{secrets.token_hex(4)}.key", key)},
        facts={},
    )
    progress.said = f"The key is stored in {choices.place.directory}."
    say(f"The key is stored in {choices.place.directory}.")
    return connection


async def _require_good(candidate: Mapping[str, str], progress: Progress) -> None:
    """Let the doctor check the candidate, and print the results. Raises NotConnectedError when a check fails."""
    import os  # noqa: PLC0415

    from issuebox.cli import screen  # noqa: PLC0415
    from issuebox.cli.doctor_card import report_card  # noqa: PLC0415
    from issuebox.doctor.check_results import Verdict, report  # noqa: PLC0415
    from issuebox.environment import load  # noqa: PLC0415
    from issuebox.settings import WorkerSettings  # noqa: PLC0415

    chosen = {KEY, f"{KEY}_FILE", URL, TARGET, SNAPSHOT}
    others = {name: value for name, value in os.environ.items() if name not in chosen}
    settings = load(WorkerSettings, {**others, **candidate}, required=("daytona_api_key",))
    with screen.waiting("Checking"):
        # Imported here, because the SDK takes seconds to import.
        from issuebox.doctor import daytona as checks  # noqa: PLC0415

        results = await checks.examine(settings)
    screen.show(report_card(report(results), screen.console().width))
    failed = [result for result in results if result.verdict is Verdict.FAILED]
    if failed:
        raise NotConnectedError(f"{_of(failed[0])}. {progress.said}", _code(failed))
    if not any(result.check == "key" for result in results):
        # Too many requests from here: nothing failed, and nothing is known of the key either.
        raise NotConnectedError(f"the key could not be checked. {progress.said}", Exit.AWAY)


def _of(failed: CheckResult) -> str:
    return f"Daytona's {failed.check} does not fit: {failed.seen}"


def _code(failed: list[CheckResult]) -> Exit:
    return Exit.AWAY if any(result.check == "API" for result in failed) else Exit.NO


def _key(key_file: str, environ: Mapping[str, str]) -> str:
    """The key, from the file, the environment, or a prompt that shows nothing."""
    file = key_file or environ.get(f"{KEY}_FILE", "").strip()
    if file == "-":
        return _whole(sys.stdin.read(KEY_MAX), "standard input")
    if key_file or (file and not environ.get(KEY, "").strip()):
        try:
            with Path(file).open(encoding="utf-8") as opened:
                return _whole(opened.read(KEY_MAX), file)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise NotConnectedError(f"{file} cannot be read: {reason}", Exit.MISUSE) from None
    if key := environ.get(KEY, "").strip():
        return key
    if not sys.stdin.isatty():
        sentence = f"there is no key: set {KEY}, give --key-file, or run this on a terminal. Create one at {KEYS_PAGE}"
        raise NotConnectedError(sentence, Exit.MISUSE)
    return _prompted()


def _whole(text: str, place: str) -> str:
    if not text.strip():
        raise NotConnectedError(f"{place} holds no key", Exit.MISUSE)
    return text.strip()


def _prompted() -> str:
    import getpass  # noqa: PLC0415

    say(f"Create a key with write:sandboxes and delete:sandboxes at {KEYS_PAGE}.")
    try:
        return _whole(getpass.getpass("Daytona API key (not shown): "), "the prompt")
    except EOFError:
        raise NotConnectedError("no key was typed", Exit.MISUSE) from None
