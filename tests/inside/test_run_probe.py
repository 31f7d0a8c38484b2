"""What a probe reads of a run's attempt, byte by byte, and that it leaves no trace."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from .run_home import RunHome
from .test_run_scripts import WAITS, home

__all__ = ["home"]

EVERY_BYTE = bytes(range(256)) * 20


def test_bytes_from_an_offset_are_exact(home: RunHome) -> None:
    """Neither NUL nor a byte that is no character nor a line end is changed, and beyond the end there is nothing."""
    home.prepare("")
    (home.directory() / "out").write_bytes(EVERY_BYTE)
    for offset, count in ((0, 1), (0, 2), (0, 3), (1, 4), (255, 257), (4095, 1000), (5119, 9), (5120, 9), (9999, 9)):
        probe = home.probe(offset, count)
        assert (probe.offset, probe.data, probe.out_bytes) == (offset, EVERY_BYTE[offset : offset + count], 5120)


def test_character_that_is_cut_comes_whole_in_two_probes(home: RunHome) -> None:
    """A slice may end in half a character: bytes are said, not text."""
    home.prepare("")
    (home.directory() / "out").write_text("a€b")
    assert [home.probe(offset, 2).data for offset in (0, 2, 4)] == [b"a\xe2", b"\x82\xac", b"b"]


def test_huge_line_is_read_slice_by_slice(home: RunHome) -> None:
    """A line without an end is read like all else, 64 KiB a probe."""
    home.prepare("")
    line = EVERY_BYTE.replace(b"\n", b"") * 40
    (home.directory() / "out").write_bytes(line)
    seen = b""
    while data := home.probe(len(seen), 65536).data:
        seen += data
    assert seen == line


def test_output_is_followed_while_it_grows(home: RunHome) -> None:
    """Nothing is lost or doubled between two probes."""
    home.begin("for n in 1 2 3 4 5 6 7 8 9; do echo line $n; sleep 0.05; done")
    seen = b""
    while (probe := home.probe(len(seen), 7)).phase == "running" or probe.data:
        seen += probe.data
    assert seen == b"".join(b"line %d\n" % number for number in range(1, 10))


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_not_read(home: RunHome, make: Callable[[Path], None]) -> None:
    """A job may put a pipe where its output was, and a probe that reads it would wait for ever."""
    home.prepare("")
    for name in ("out", "err", "progress", "result.json"):
        make(home.directory() / name)
    for probe in (home.probe(0, 10), home("collect", 10).probe):
        assert (probe.out_bytes, probe.err_bytes) == (0, 0)
        assert (probe.progress, probe.data, probe.result, probe.tail, probe.err_tail) == ("", b"", b"", b"", b"")


def test_probe_and_collect_write_nothing(home: RunHome) -> None:
    """Neither changes a file, makes one, or takes one away, in any phase."""
    for prepare in (
        lambda: None,
        lambda: home.prepare(WAITS),
        lambda: (home("begin"), home.says("ready")),
        lambda: home("interrupt", "interrupted", 0),
        lambda: home("fence", attempt=2),
    ):
        prepare()
        for attempt in (1, 2):
            before = snapshot(home.path)
            home.probe(0, 1000, attempt=attempt)
            home("collect", 1000, attempt=attempt)
            after = snapshot(home.path)
            assert after == before


def snapshot(home: Path) -> dict[str, tuple[int, int, int]]:
    """Each file with its size and times."""
    found = {str(path): path.lstat() for path in (home, *home.rglob("*"))}
    return {path: (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for path, stat in found.items()}
