"""Process groups: start one, find its members, end it. Nothing about HTTP or sandboxes' states.

Every process carries a mark in its environment. Where /proc shows environments (proc.py), the mark
also finds processes that left their group (`setsid`) and those of a killed server; a process that
clears its environment escapes. Elsewhere only the groups are known.
"""

import asyncio
import os
import shutil
import signal
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from localdaytona.toolbox.proc import HAS_MARKS, MARK, marked_with, of_sandbox, started_at

# The SDK documents: the first of these that exists.
SHELLS = ("zsh", "bash", "sh")
KILL_MAX_S = 5.0
POLL_S = 0.02


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
    """The processes of a sandbox from one start to the next stop, or to the next restart of its daemon.

    `inherited` are the marks of processes that live on from before a restart: the next stop ends them, too. The
    directory `notes` has a file for each leader of a group, so that a restarted server can end the calls of a killed
    one.
    """

    def __init__(self, owner: str, notes: Path, inherited: frozenset[str] = frozenset()) -> None:
        self.mark = f"{owner}/{uuid.uuid4().hex}"
        self.over = False
        # Set when nobody answers for its calls any more.
        self.gone = asyncio.Event()
        self._owner = owner
        self._notes = notes
        self._marks = frozenset({self.mark}) | inherited
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
        self._notes.mkdir(parents=True, exist_ok=True)
        (self._notes / str(process.pid)).write_text(started_at(process.pid), "ascii")
        return process

    async def end(self, grace_s: float) -> None:
        """Terminate every process, kill those left after the grace, and wait until all are gone."""
        self.over = True
        for number, limit_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, KILL_MAX_S)):
            if await self._gone_after(number, limit_s):
                break
        self._forget(list(self._leaders))
        self.gone.set()

    def restarted(self) -> "Run":
        """End as a daemon does that is restarted: kill its groups, and return the run of those that left them."""
        self.over = True
        self._prune()
        for process in self._leaders.values():
            kill_group(process, signal.SIGKILL)
        self._forget(list(self._leaders))
        self.gone.set()
        return Run(self._owner, self._notes, self._marks)

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
        return {-pid for pid in self._leaders} | {each.pid for each in marked_with(*self._marks)}

    def _prune(self) -> None:
        """Forget dead groups: once the leader is reaped, the system may reuse the group's number."""
        dead = [pid for pid, process in self._leaders.items() if process.returncode is not None and _forgotten(pid)]
        self._forget(dead)

    def _forget(self, pids: list[int]) -> None:
        for pid in pids:
            del self._leaders[pid]
            (self._notes / str(pid)).unlink(missing_ok=True)


def shell_path() -> str:
    """Return the shell that runs commands."""
    found = (shutil.which(shell) for shell in SHELLS)
    return next((path for path in found if path is not None), "/bin/sh")


def kill_group(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Signal a leader's group if it still exists."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def adopt(owner: str, notes: Path) -> Run:
    """Return the run of what a killed server left behind, once the groups of its calls and sessions are killed."""
    for note in notes.glob("*"):
        if note.read_text("ascii") == started_at(int(note.name)) != "":
            with suppress(ProcessLookupError):
                os.killpg(int(note.name), signal.SIGKILL)
        note.unlink()
    marks = (each.value(MARK) for each in of_sandbox(owner))
    return Run(owner, notes, frozenset(mark for mark in marks if mark is not None))


def kill_marked(owner: str) -> None:
    """Kill an owner's processes that a killed server left behind."""
    for each in of_sandbox(owner):
        each.kill()


def _forgotten(pid: int) -> bool:
    """Return whether a group without a leader needs no tracking: its mark finds it, or it is empty."""
    if HAS_MARKS:
        return True
    try:
        os.killpg(pid, 0)
    except OSError:
        return True
    return False
