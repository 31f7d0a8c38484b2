"""The copies of what runs write: one file for each attempt, in the directory ISSUEBOX_RUN_LOG_DIR.

Workers write them, the API and the command line read them. A file's size says how far the copy has come: whoever goes
on begins there, and two writers write the same bytes to the same place. Nothing here asks Temporal or Daytona.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from issuebox.domain.run import RUN_ID

LOG_BYTES_MAX = 16 * 1024 * 1024
"""Of one attempt. What it writes beyond that is not copied."""

ATTEMPTS_MAX = 10_000

_DIRECTORY_MODE, _FILE_MODE = 0o700, 0o600


class Stream(StrEnum):
    """What was written to."""

    OUT = "out"
    ERR = "err"
    """Its last part, which is copied at the end of the attempt."""


_ENDINGS = {Stream.OUT: ".log", Stream.ERR: ".err.log"}


@dataclass(frozen=True, slots=True)
class LogName:
    """One copy: what an attempt wrote to a stream. Raises ValueError for what names no attempt of a run."""

    issue_id: int
    run: str
    attempt: int
    stream: Stream = Stream.OUT

    def __post_init__(self) -> None:
        """No name leads out of the directory."""
        if self.issue_id < 1 or not re.fullmatch(RUN_ID, self.run) or not 0 < self.attempt <= ATTEMPTS_MAX:
            raise ValueError(f"{self.run!r} {self.attempt} names no attempt of a run")

    @property
    def parts(self) -> tuple[str, str, str]:
        """The names of its directories and its file."""
        return str(self.issue_id), self.run, f"{self.attempt}{_ENDINGS[self.stream]}"


@dataclass(frozen=True, slots=True)
class RunLogs:
    """The copies of an installation. ``directory`` is '' where there are none."""

    directory: str = ""

    def __bool__(self) -> bool:
        """Whether copies are made."""
        return bool(self.directory)

    def path(self, name: LogName) -> Path:
        """Where the copy is."""
        return Path(self.directory, *name.parts)

    def attempts(self, issue_id: int, run: str) -> list[int]:
        """The attempts of which there is a copy, in order. Raises OSError."""
        directory = self.path(LogName(issue_id, run, 1)).parent
        try:
            names = [path.name for path in directory.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = {int(match[1]) for name in names if (match := re.fullmatch(r"([1-9][0-9]{0,4})(\.err)?\.log", name))}
        return sorted(found)

    def read(self, name: LogName, offset: int, bytes_max: int) -> bytes:
        """The copy from the offset on, at most so many bytes; none where there is no more. Raises OSError."""
        try:
            with self.path(name).open("rb") as file:
                file.seek(min(offset, LOG_BYTES_MAX))
                return file.read(bytes_max)
        except FileNotFoundError:
            return b""

    def size(self, name: LogName) -> int:
        """How many bytes are copied. Raises OSError."""
        try:
            return self.path(name).stat().st_size
        except FileNotFoundError:
            return 0

    def write(self, name: LogName, offset: int, data: bytes) -> None:
        """Write at the offset, as far as `LOG_BYTES_MAX`. Raises OSError. Safe to repeat.

        A file that has become shorter meanwhile is left alone: what is written beyond its end would leave a hole.
        """
        data = data[: max(0, LOG_BYTES_MAX - offset)]
        path = self.path(name)
        for directory in reversed(path.parents[:3]):
            directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE)
        try:
            while data and os.fstat(descriptor).st_size >= offset:
                count = os.pwrite(descriptor, data, offset)
                data, offset = data[count:], offset + count
        finally:
            os.close(descriptor)
