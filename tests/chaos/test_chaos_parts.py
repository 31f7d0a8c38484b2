"""The processes of the chaos run: terminated, and with a log that is not read for a while."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import proofs.chaos.parts
import proofs.chaos.pump
from proofs.chaos.parts import Ending, Part, Program
from proofs.chaos.pump import pumped

WRITES_ON = """
import itertools, sys, time
for number in itertools.count():
    sys.stderr.write(f"{number:>99}\\n")
    sys.stderr.flush()
    time.sleep(0.001)
"""
ENDS_IN_ORDER = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: (print("bye"), sys.exit(0)))
print("here", flush=True)
while True: signal.pause()
"""
IGNORES = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("here", flush=True)
while True: signal.pause()
"""
FAILS = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
print("here", flush=True)
while True: signal.pause()
"""
LEAVES_A_CHILD = """
import signal, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(5)"])
print("here", flush=True)
signal.pause()
"""


def _descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


@asynccontextmanager
async def part_of(directory: Path, script: str) -> AsyncIterator[Part]:
    """A part that runs the script and is ready once its process has written something."""
    log, marks = directory / "log", [0]

    async def is_ready() -> bool:
        return log.exists() and log.stat().st_size > marks[-1]

    program = Program(
        name="it",
        command=[sys.executable, "-c", script],
        environment=dict(os.environ),
        log=log,
        is_ready=is_ready,
        before_start=lambda: marks.append(log.stat().st_size if log.exists() else 0),
        is_narrow=True,
    )
    part = Part(program)
    part.start()
    try:
        await part.ready(10)
        yield part
    finally:
        part.kill(0.0)
        await part.stop()


async def test_part_is_restarted_after_its_pause(tmp_path: Path) -> None:
    """The pause begins with the end of the process, and none of its last log lines is lost."""
    async with part_of(tmp_path, ENDS_IN_ORDER) as part:
        before = part.pid
        assert await part.end(0.5) is Ending.IN_ORDER
        assert part.pid is None
        await asyncio.sleep(0.3)
        assert part.pid is None
        await part.ready(10)
        assert part.pid != before
        assert (tmp_path / "log").read_text() == "here\nbye\nhere\n"
        assert part.endings == {Ending.IN_ORDER: 1}
        assert part.deaths == 0


async def test_part_that_does_not_end_is_killed_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets its time, then it is killed, and the run reports it."""
    monkeypatch.setattr(proofs.chaos.parts, "END_TIMEOUT_S", 0.5)
    async with part_of(tmp_path, IGNORES) as part:
        assert await part.end(0.0) is Ending.DID_NOT_END
        await part.ready(10)
        assert part.endings == {Ending.DID_NOT_END: 1}
        assert part.deaths == 0


async def test_time_in_which_a_part_is_frozen_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM waits for SIGCONT: a frozen process cannot end."""
    monkeypatch.setattr(proofs.chaos.parts, "END_TIMEOUT_S", 0.5)
    async with part_of(tmp_path, ENDS_IN_ORDER) as part:
        assert part.freeze(1.5)
        assert not await part.is_serving()
        assert await part.end(0.0) is Ending.IN_ORDER


async def test_part_killed_while_it_ends_counts_as_killed(tmp_path: Path) -> None:
    """Steps may overlap: a kill after the SIGTERM comes from the plan, and so does its pause."""
    async with part_of(tmp_path, IGNORES) as part:
        ending = asyncio.create_task(part.end(0.0))
        await asyncio.sleep(0.2)
        assert not await part.is_serving()
        assert await part.end(0.0) is Ending.ALREADY_DOWN
        assert part.kill(0.2)
        assert await ending is Ending.KILLED
        assert part.deaths == 0


async def test_part_that_ends_with_an_error_is_counted_as_such(tmp_path: Path) -> None:
    """It did end, and a deploy sees its exit code."""
    async with part_of(tmp_path, FAILS) as part:
        assert await part.end(0.0) is Ending.WITH_ERROR
        assert part.bad_endings == ["it ended with an error (exit code 3)"]


async def test_stop_ends_a_part_for_good_and_can_be_repeated(tmp_path: Path) -> None:
    """It works on a frozen part with an unread log too."""
    async with part_of(tmp_path, ENDS_IN_ORDER) as part:
        part.freeze(60.0)
        part.stall_reader(60.0)
        async with asyncio.timeout(10):
            await part.stop()
            await part.stop()
        assert part.pid is None
        assert part.endings == {Ending.IN_ORDER: 1}
        assert not part.stall_reader(1.0)


async def test_stalled_reader_blocks_the_writer_and_loses_nothing(tmp_path: Path) -> None:
    """The pipe of one page is soon full; afterwards every line is in the log, in order."""
    async with part_of(tmp_path, WRITES_ON) as part:
        assert part.stall_reader(1.0)
        size = (tmp_path / "log").stat().st_size
        await asyncio.sleep(0.8)
        assert (tmp_path / "log").stat().st_size == size
        await asyncio.sleep(1.0)
        assert (tmp_path / "log").stat().st_size > size + proofs.chaos.pump.NARROW_BYTES
        await part.end(60.0)
        numbers = [int(line) for line in (tmp_path / "log").read_text().split()]
        assert numbers == list(range(len(numbers)))
        await asyncio.sleep(0.2)
        assert part.full_pipes == 1


async def test_all_that_a_process_wrote_is_in_the_log_when_it_is_gone(tmp_path: Path) -> None:
    """This holds for any size, and when the reader was stalled at the end of the process."""
    log = tmp_path / "log"
    script = "import sys; sys.stdout.write('x' * 1_000_000 + 'end')"
    for is_stalled in (False, True):
        log.unlink(missing_ok=True)
        async with asyncio.timeout(20), pumped(log, is_narrow=not is_stalled) as pump:
            if is_stalled:
                # What fits into the pipe is all that a process can leave behind.
                script = "import sys; sys.stdout.write('x' * 50_000 + 'end')"
                pump.stall(600.0)
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=pump.writing)
            pump.close_writing()
            await process.wait()
        assert log.read_text().rstrip("end").strip("x") == ""
        assert log.read_text().endswith("xend")
        assert log.stat().st_size == (50_003 if is_stalled else 1_000_003)


async def test_later_end_of_two_stalls_counts(tmp_path: Path) -> None:
    """A later, shorter stall does not end a longer one."""
    async with pumped(tmp_path / "log") as pump:
        pump.stall(0.5)
        pump.stall(0.1)
        await asyncio.sleep(0.3)
        assert pump.is_stalled
        await asyncio.sleep(0.4)
        assert not pump.is_stalled


async def _broken_off(log: Path) -> None:
    async with pumped(log) as pump:
        pump.stall(60.0)
        raise ZeroDivisionError


async def test_no_descriptor_outlives_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pump closes what it opened: when it is read, stalled, or held open by a grandchild."""
    monkeypatch.setattr(proofs.chaos.pump, "DRAIN_TIMEOUT_S", 0.2)
    before = _descriptors()
    for _ in range(5):
        async with pumped(tmp_path / "log") as pump:
            pump.stall(60.0)
        with pytest.raises(ZeroDivisionError):
            await _broken_off(tmp_path / "log")
    assert _descriptors() == before
    async with part_of(tmp_path, LEAVES_A_CHILD) as part:
        part.kill(0.0)
        await asyncio.sleep(0.5)
        await part.ready(10)
    assert _descriptors() == before
