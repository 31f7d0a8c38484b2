"""What /proc tells about the processes of sandboxes: who carries a mark, with which variables, how large.

Zombies have no environment, and a process that clears its own is not found. Without a /proc that shows environments
(outside of Linux) nothing is.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

MARK = "LOCALDAYTONA_RUN"
PROC = Path("/proc")
HAS_MARKS = (PROC / "self" / "environ").exists()


@dataclass(frozen=True, slots=True)
class Marked:
    """A process with a mark. Its variables may hold secrets, and `repr` leaves them out."""

    pid: int
    variables: tuple[bytes, ...] = field(repr=False)

    def value(self, variable: str) -> str | None:
        """Return the value that a variable had when the process was started, or None."""
        start = f"{variable}=".encode()
        found = (each.removeprefix(start) for each in self.variables if each.startswith(start))
        return next((value.decode(errors="replace") for value in found), None)

    def kill(self) -> None:
        """Send SIGKILL, if it still lives."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def rss_bytes(self) -> int:
        """Return its resident memory; 0 when it has just ended."""
        try:
            pages = (PROC / str(self.pid) / "statm").read_text("ascii").split()[1]
        except OSError:
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


def started_at(pid: int) -> str:
    """Return when a process was started, as /proc counts it; '' when there is none. It tells two of one ID apart."""
    try:
        stat = (PROC / str(pid) / "stat").read_text("utf-8", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def marked_with(*marks: str) -> Iterator[Marked]:
    """Yield the processes whose mark starts with one of these."""
    needles = tuple(f"{MARK}={mark}".encode() for mark in marks)
    for entry in PROC.glob("[0-9]*/environ") if HAS_MARKS else ():
        with suppress(OSError):
            variables = tuple(entry.read_bytes().split(b"\0"))
            if any(each.startswith(needles) for each in variables):
                yield Marked(int(entry.parent.name), variables)


def of_sandbox(sandbox_id: str) -> list[Marked]:
    """Return the living processes of a sandbox."""
    return list(marked_with(f"{sandbox_id}/"))
