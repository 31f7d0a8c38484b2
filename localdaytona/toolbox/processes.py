"""Process groups: start one, find its members, end it. Nothing about HTTP or sandboxes' states.

Every process carries a mark in its environment. Where /proc shows environments (Linux), the mark
also finds processes that left their group (`setsid`) and those of a killed server; a process that
clears its environment escapes. Elsewhere only the groups are known.
"""

import asyncio
import os
import shutil
import signal
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# The SDK documents: the first of these that exists.
SHELLS = ("zsh", "bash", "sh")
MARK = "LOCALDAYTONA_RUN"
GRACE_S = 0.3
KILL_MAX_S = 5.0
POLL_S = 0.02
PROC = Path("/proc")
HAS_MARKS = (PROC / "self" / "environ").exists()


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start and where."""

    argv: tuple[str, ...]
    cwd: Path
    env: dict[str, str]
    stdin: int = asyncio.subprocess.DEVNULL
    stdout: int = asyncio.subprocess.PIPE
    stderr: int = asyncio.subprocess.STDOUT


class Run:
    """The processes of a sandbox from one start to the next stop."""

    def __init__(self, owner: str) -> None:
        self.mark = f"{owner}/{uuid.uuid4().hex}"
        self.over = False
        self._leaders: dict[int, asyncio.subprocess.Process] = {}

    async def start(self, launch: Launch) -> asyncio.subprocess.Process:
        """Start a process as the leader of its own group.

        Raises OSError when it cannot be started, ProcessLookupError when the run ended meanwhile.
        """
        process = await asyncio.create_subprocess_exec(
            *launch.argv,
            cwd=launch.cwd,
            env={**launch.env, MARK: self.mark},
            stdin=launch.stdin,
            stdout=launch.stdout,
            stderr=launch.stderr,
            start_new_session=True,
        )
        self._prune()
        self._leaders[process.pid] = process
        if self.over:
            kill_group(process, signal.SIGKILL)
            raise ProcessLookupError(process.pid, "the sandbox stopped meanwhile")
        return process

    async def end(self) -> None:
        """Terminate every process, kill those left after a short grace period, and wait until all are gone."""
        self.over = True
        for number, limit_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, KILL_MAX_S)):
            if await self._gone_after(number, limit_s):
                return

    async def _gone_after(self, number: signal.Signals, limit_s: float) -> bool:
        """Signal each process once, also those forked meanwhile, and return whether all ended in time."""
        told: set[int] = set()
        try:
            async with asyncio.timeout(limit_s):
                # No event reports the end of a grandchild, so this polls.
                while living := self._living():
                    for target in living - told:
                        with suppress(ProcessLookupError, PermissionError):
                            os.kill(target, number)
                    told |= living
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            return False
        return True

    def _living(self) -> set[int]:
        """Return arguments for `kill`: groups as negative numbers, and marked processes."""
        self._prune()
        return {-pid for pid in self._leaders} | set(marked_with(self.mark))

    def _prune(self) -> None:
        """Forget dead groups: once the leader is reaped, the system may reuse the group's number."""
        dead = [pid for pid, process in self._leaders.items() if process.returncode is not None and _forgotten(pid)]
        for pid in dead:
            del self._leaders[pid]


def shell_path() -> str:
    """Return the shell that runs commands."""
    found = (shutil.which(shell) for shell in SHELLS)
    return next((path for path in found if path is not None), "/bin/sh")


def kill_group(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Signal a leader's group if it still exists."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def marked_with(mark: str) -> Iterator[int]:
    """Yield the processes whose mark starts with this. Zombies have no environment and are not among them."""
    needle = f"{MARK}={mark}".encode()
    for entry in PROC.glob("[0-9]*/environ") if HAS_MARKS else ():
        with suppress(OSError):
            if any(line.startswith(needle) for line in entry.read_bytes().split(b"\0")):
                yield int(entry.parent.name)


def kill_marked(owner: str) -> None:
    """Kill an owner's processes that a crashed server left behind."""
    for pid in marked_with(f"{owner}/"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _forgotten(pid: int) -> bool:
    """Return whether a group without a leader needs no tracking: its mark finds it, or it is empty."""
    if HAS_MARKS:
        return True
    try:
        os.killpg(pid, 0)
    except OSError:
        return True
    return False
