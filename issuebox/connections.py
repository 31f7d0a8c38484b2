"""What `issuebox connect` has stored: GitHub's App and Daytona's key, as settings for the processes.

A directory of mode 0700 holds a record for each part (`github.json`, `daytona.json`), which has no secrets, and a file
of mode 0600 for each secret. The record is written last, and names the files: whoever reads it sees the old part
or the new one, never half of each.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from issuebox.dev.dev_stack import DevError, write_private
from issuebox.environment import FILE

DIRECTORY: Final = "connections"
"""Where `issuebox dev` keeps them, in its data directory."""
_PRIVATE: Final = 0o700


class ConnectionsError(DevError):
    """The directory cannot be used; the text tells a person why and what to do."""


class Connected(StrEnum):
    """What can be connected."""

    GITHUB = "github"
    DAYTONA = "daytona"


class Connection(BaseModel):
    """One part as its record has it. ``files`` names the file of each secret, ``facts`` is for people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: Mapping[str, str]
    files: Mapping[str, str]
    facts: Mapping[str, str] = Field(default_factory=dict)

    def variables(self, directory: Path) -> dict[str, str]:
        """The settings of this part: its values, and where its secrets are."""
        return dict(self.settings) | {name + FILE: str(directory / file) for name, file in self.files.items()}


def directory_of(data_dir: Path) -> Path:
    """The directory that belongs to an `issuebox dev`."""
    return data_dir.absolute() / DIRECTORY


def prepare(directory: Path) -> None:
    """Create the directory, and find out whether it can be written. Raises ConnectionsError.

    It is tried before anything is asked of anybody: an App's key is shown only once.
    """
    try:
        directory.parent.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        directory.mkdir(mode=_PRIVATE, exist_ok=True)
        mode = stat.S_IMODE(directory.stat().st_mode)
        if mode & ~_PRIVATE:
            raise ConnectionsError(
                f"{directory} is open to others (mode {mode:04o}), and secrets go there: run `chmod 700 {directory}`, "
                "or name another directory"
            )
        write_private(directory / ".gitignore", "*\n")
    except OSError as error:
        raise ConnectionsError(f"{directory} cannot be written: {_reason(error)}") from error


def read(directory: Path, part: Connected) -> Connection | None:
    """What is stored of the part; None for nothing. Raises ConnectionsError when it cannot be read."""
    path = _record(directory, part)
    try:
        return Connection.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConnectionsError(f"{path} cannot be read: {_reason(error)}") from error
    except ValidationError as error:
        raise ConnectionsError(
            f"{path} is damaged: run `issuebox connect {part} --replace`, or delete the file"
        ) from error


def store(
    directory: Path,
    part: Connected,
    settings: Mapping[str, str],
    secrets: Mapping[str, tuple[str, str]],
    facts: Mapping[str, str],
) -> Connection:
    """Write the part and forget what it was before. ``secrets`` has for each variable the file's name and its content.

    The names must differ from those of the part before, so that a process that has read the old record finds its
    files until the new record is there. Raises ConnectionsError.
    """
    connection = Connection(settings=settings, files={name: file for name, (file, _) in secrets.items()}, facts=facts)
    try:
        for file, content in secrets.values():
            write_private(directory / file, content)
        _write(directory, part, connection)
        for path in directory.glob(f"{part}-*"):
            if path.name not in connection.files.values():
                path.unlink(missing_ok=True)
    except OSError as error:
        raise ConnectionsError(f"{directory} cannot be written: {_reason(error)}") from error
    return connection


def change(
    directory: Path, part: Connected, connection: Connection, settings: Mapping[str, str], facts: Mapping[str, str]
) -> Connection:
    """Write the part with other settings and facts, and the same secrets. Raises ConnectionsError."""
    changed = Connection(
        settings={**connection.settings, **settings}, files=connection.files, facts={**connection.facts, **facts}
    )
    try:
        _write(directory, part, changed)
    except OSError as error:
        raise ConnectionsError(f"{directory} cannot be written: {_reason(error)}") from error
    return changed


def added_to(environ: Mapping[str, str], directory: Path) -> dict[str, str]:
    """The environment with what is stored. What the environment sets counts; a part whose secret it sets is left out.

    Otherwise a stored key would be sent to the address that belongs to another. Raises ConnectionsError.
    """
    result = dict(environ)
    for part in Connected:
        connection = read(directory, part)
        if connection is not None and not any(is_set(environ, name) for name in connection.files):
            result = connection.variables(directory) | {name: value for name, value in result.items() if value}
    return result


def is_set(environ: Mapping[str, str], secret: str) -> bool:
    """Whether the environment has this secret, itself or its file."""
    return any(environ.get(name, "").strip() for name in (secret, secret + FILE))


def _write(directory: Path, part: Connected, connection: Connection) -> None:
    write_private(_record(directory, part), connection.model_dump_json(indent=2) + "\n")


def _record(directory: Path, part: Connected) -> Path:
    return directory / f"{part}.json"


def _reason(error: OSError) -> str:
    return f"{error.strerror or error} ({error.filename})" if error.filename else str(error.strerror or error)
