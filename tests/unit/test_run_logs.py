"""The files in which runs' output is copied: private, without holes, and nowhere but in their directory."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from issuebox.run_logs import LOG_BYTES_MAX, LogName, RunLogs, Stream

NAME = LogName(1, "r-0123456789ab", 1)


@pytest.fixture
def logs(tmp_path: Path) -> RunLogs:
    return RunLogs(str(tmp_path / "runs"))


def test_only_the_user_can_read_a_copy(logs: RunLogs) -> None:
    """Directories are 0700, files 0600, whatever the umask."""
    logs.write(NAME, 0, b"hello")
    path = logs.path(NAME)
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (*reversed(path.parents[:3]), path)]
    assert modes == [0o700, 0o700, 0o700, 0o600]


def test_write_that_comes_again_changes_nothing(logs: RunLogs) -> None:
    """Another worker that was slower writes the same bytes to the same place."""
    logs.write(NAME, 0, b"hello ")
    logs.write(NAME, 6, b"world")
    logs.write(NAME, 0, b"hello ")
    assert logs.read(NAME, 0, 100) == b"hello world"
    assert logs.read(NAME, 6, 3) == b"wor"
    assert (logs.read(NAME, 99, 3), logs.size(NAME)) == (b"", 11)


def test_copy_has_no_holes(logs: RunLogs) -> None:
    """What comes after the end of a file that became shorter is not written."""
    logs.write(NAME, 5, b"late")
    assert logs.size(NAME) == 0


def test_copy_is_bounded(logs: RunLogs) -> None:
    """A job that writes without end fills no disk."""
    logs.write(NAME, 0, b"x" * (LOG_BYTES_MAX + 10))
    logs.write(NAME, LOG_BYTES_MAX, b"more")
    assert logs.size(NAME) == LOG_BYTES_MAX


def test_attempts_are_those_with_a_copy(logs: RunLogs) -> None:
    """In the order of their numbers, not of their digits."""
    assert logs.attempts(1, NAME.run) == []
    for attempt in (10, 2):
        logs.write(LogName(1, NAME.run, attempt), 0, b"x")
    logs.write(LogName(1, NAME.run, 3, Stream.ERR), 0, b"x")
    assert logs.attempts(1, NAME.run) == [2, 3, 10]


@pytest.mark.parametrize("run", ["../../etc", "r-0123", "r-0123456789AB", "r-0123456789ab/..", "", "r-0123456789ab\n"])
def test_name_leads_nowhere_else(run: str) -> None:
    """A caller's text becomes a path only when it is a run's ID."""
    with pytest.raises(ValueError, match="names no attempt"):
        LogName(1, run, 1)


def test_link_in_place_of_the_file_is_not_followed(logs: RunLogs, tmp_path: Path) -> None:
    """Whoever may write into the directory cannot have a worker write elsewhere."""
    logs.write(NAME, 0, b"x")
    path = logs.path(NAME)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        logs.write(NAME, 0, b"x")
    assert not (tmp_path / "elsewhere").exists()
