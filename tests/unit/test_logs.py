"""Logging that never waits for its reader: a handler in front of a pipe that is read, or is not."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from issuebox import logs
from issuebox.logs import QueueingHandler

WAIT_S = 10.0
LINES_MAX = 10

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sets the size of a pipe")


@dataclass
class Pipe:
    """A page of memory between the process that logs and the reader."""

    reading: int
    writing: int
    text: bytes = b""

    def handler(self, lines_max: int = LINES_MAX) -> QueueingHandler:
        return QueueingHandler(self.writing, _Formatter("%(levelname)s %(message)s"), lines_max)

    def fill(self) -> None:
        """Leave no room in the pipe: the next writer waits until somebody reads."""
        os.set_blocking(self.writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.writing, b"\n" * 4096)
        os.set_blocking(self.writing, True)

    def read_until(self, is_enough: Callable[[list[str]], bool]) -> list[str]:
        """All lines from the beginning, once they satisfy the condition."""
        while not is_enough(self.lines):
            assert select.select([self.reading], [], [], WAIT_S)[0], f"no more within {WAIT_S} s than {self.lines}"
            self.text += os.read(self.reading, 1 << 16)
        return self.lines

    def lines_there(self) -> list[str]:
        """All lines so far, without waiting."""
        return self.read_until(lambda _: not select.select([self.reading], [], [], 0)[0])

    @property
    def lines(self) -> list[str]:
        whole = self.text.decode().rpartition("\n")[0]
        return [line.strip() for line in whole.splitlines() if line]


class _Formatter(logging.Formatter):
    """Shows how many lines were dropped."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{super().format(record)} {getattr(record, 'count', '')}"


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    yield Pipe(reading, writing)
    os.close(reading)  # A writer now gets an error because nobody reads; it still owns the descriptor.


def says(word: str) -> Callable[[list[str]], bool]:
    return lambda lines: any(word in line for line in lines)


def log(handler: logging.Handler, message: str, *arguments: object) -> None:
    handler.handle(logging.LogRecord("test", logging.INFO, __file__, 1, message, arguments, None))


def in_time(work: threading.Thread) -> bool:
    """Whether the thread, started here, ends in time."""
    work.start()
    work.join(WAIT_S)
    return not work.is_alive()


def test_lines_beyond_the_bound_are_dropped_and_counted(pipe: Pipe) -> None:
    """Without a reader, logging returns at once. When the reader is back, one line counts the dropped lines."""
    pipe.fill()
    handler = pipe.handler()
    assert in_time(threading.Thread(target=_chatter, args=(handler, 100), daemon=True))
    *kept, dropped = pipe.read_until(says("log_lines_dropped"))
    # The waiting lines, and the one that the writer holds.
    assert len(kept) in {LINES_MAX, LINES_MAX + 1}
    assert kept == [f"INFO {number}" for number in range(len(kept))]
    assert dropped == f"WARNING log_lines_dropped {100 - len(kept)}"
    log(handler, "quiet again")
    assert pipe.read_until(says("quiet again")) == [*kept, dropped, "INFO quiet again"]


def test_number_of_dropped_lines_is_exact(pipe: Pipe) -> None:
    """Each line is either written or counted, even when several threads log and the reader keeps up only at times."""
    handler = pipe.handler()
    for _ in range(4):
        threading.Thread(target=_chatter, args=(handler, 250), daemon=True).start()
    pipe.read_until(lambda lines: sum(int(line.split()[-1]) if "dropped" in line else 1 for line in lines) == 1000)


def test_logging_takes_no_lock(pipe: Pipe) -> None:
    """A lock that is held for ever, by a thread that an exception hit, blocks no logging."""
    handler = pipe.handler()
    has_taken, may_give = threading.Event(), threading.Event()

    def take() -> None:
        handler.acquire()
        has_taken.set()
        may_give.wait()
        handler.release()

    threading.Thread(target=take, daemon=True).start()
    try:
        assert has_taken.wait(WAIT_S)
        assert in_time(threading.Thread(target=log, args=(handler, "still heard"), daemon=True))
    finally:
        may_give.set()  # Python takes the lock when it ends.
    assert pipe.read_until(says("still heard"))


def test_filters_count_as_for_any_handler(pipe: Pipe) -> None:
    """What a filter refuses is not written."""
    handler = pipe.handler()
    handler.addFilter(lambda record: "secret" not in record.getMessage())
    log(handler, "a secret")
    log(handler, "no harm")
    assert pipe.read_until(says("no harm")) == ["INFO no harm"]


def test_line_that_cannot_be_made_is_reported_in_the_log(pipe: Pipe, capfd: pytest.CaptureFixture[str]) -> None:
    """Python's own handlers would print to standard error and wait for its reader."""
    log(pipe.handler(), "%d", "no number")
    assert pipe.read_until(says("TypeError"))[0] == "ERROR log_line_failed"
    assert capfd.readouterr().err == ""


def test_flush_gives_up_on_a_reader_that_is_gone(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flush returns after its timeout, and at once when everything is written."""
    monkeypatch.setattr(logs, "FLUSH_TIMEOUT_S", 0.05)
    pipe.fill()
    handler = pipe.handler()
    _chatter(handler, 20)
    assert in_time(threading.Thread(target=handler.flush, daemon=True))
    assert pipe.read_until(says("dropped"))
    monkeypatch.setattr(logs, "FLUSH_TIMEOUT_S", 1e6)
    log(handler, "last")
    assert in_time(threading.Thread(target=handler.flush, daemon=True))
    assert "INFO last" in pipe.lines_there()


def test_reader_that_hangs_up_ends_nothing(pipe: Pipe) -> None:
    """Lines are lost, but logging and flushing go on."""
    reading, writing = os.pipe()
    handler = QueueingHandler(writing, logging.Formatter())
    os.close(reading)
    log(handler, "to nobody")
    assert in_time(threading.Thread(target=handler.flush, daemon=True))


def test_descriptor_that_does_not_block_loses_nothing(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process on our terminal may have made it non-blocking: the writer waits until there is room."""
    monkeypatch.setattr(logs, "FLUSH_TIMEOUT_S", 0.05)
    os.set_blocking(pipe.writing, False)
    handler = pipe.handler(lines_max=1000)
    assert in_time(threading.Thread(target=_chatter, args=(handler, 100), daemon=True))
    handler.flush()  # Finds no room for most of them.
    assert pipe.read_until(lambda lines: len(lines) >= 100)[-1] == "INFO 99"


def _chatter(handler: logging.Handler, lines: int) -> None:
    for number in range(lines):
        log(handler, f"{number:<1000}")
