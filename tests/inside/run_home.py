"""A home directory in which runs are begun, as in a sandbox: each script runs alone, in a shell of one's choice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from activities.scripts import command_line, text_of
from issuebox.domain.probe import Probe, read_probe

T = TypeVar("T")

SHELLS = {"dash": "dash", "bash": "bash", "busybox": "busybox"}
"""Each shell, and the program that must be there for it. Started as `sh`, bash behaves as POSIX says."""

SETTINGS = {
    "time_limit_s": "60",
    "directory": ".",
    "interrupt_signal": "INT",
    "interrupt_grace_s": "15",
    "terminate_grace_s": "10",
}
HASTE = {"interrupt_grace_s": "1", "terminate_grace_s": "1"}
"""For a job that uses its graces up."""


@dataclass(frozen=True)
class Done:
    """What a script did."""

    exit_code: int
    output: str

    @property
    def probe(self) -> Probe:
        return read_probe(self.output)


@dataclass
class RunHome:
    """A home, a shell, and one run. Everything with the run's mark is its own."""

    path: Path
    binaries: str
    run: str = field(default_factory=lambda: f"r-{uuid.uuid4().hex[:12]}")

    def __call__(self, name: str, *arguments: object, attempt: int = 1, user: int | None = None, **env: str) -> Done:
        """Run one of the scripts to its end, as the daemon of a sandbox does: both outputs are one."""
        command = command_line(f"run_{name}", self.run, str(attempt), *map(str, arguments))
        done = subprocess.run(
            ["sh", "-c", command],
            env=self.environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
            user=user,
        )
        return Done(done.returncode, done.stdout.decode("ascii"))

    def start(self, name: str, *arguments: object, attempt: int = 1, **env: str) -> subprocess.Popen[bytes]:
        """Begin to run one of the scripts."""
        command = command_line(f"run_{name}", self.run, str(attempt), *map(str, arguments))
        return subprocess.Popen(["sh", "-c", command], env=self.environment(**env), stdout=subprocess.PIPE)

    def environment(self, **env: str) -> dict[str, str]:
        return {"HOME": str(self.path), "PATH": self.binaries, "RUN_HOME": self.run} | env

    def probe(self, offset: int = 0, count: int = 0, attempt: int = 1) -> Probe:
        done = self("probe", offset, count, attempt=attempt)
        assert done.exit_code == 0, done
        return done.probe

    def directory(self, attempt: int = 1) -> Path:
        return self.path / ".issuebox" / "runs" / self.run / str(attempt)

    def prepare(self, command: str, attempt: int = 1, **settings: str) -> Done:
        """Put the files of an attempt in place, as PREPARE does."""
        name = uuid.uuid4().hex
        self.fill(Path(self("room", name, attempt=attempt).probe.room), command, **settings)
        return self("place", name, attempt=attempt)

    def fill(self, room: Path, command: str, **settings: str) -> None:
        """What Daytona's file API does."""
        (room / "supervise").write_text(text_of("run_supervise"))
        (room / "command").write_text(command)
        lines = SETTINGS | settings
        (room / "settings").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))

    def begin(self, command: str, attempt: int = 1, settings: Mapping[str, str] | None = None, **env: str) -> Probe:
        """Prepare and begin."""
        self.prepare(command, attempt, **settings or {})
        return self("begin", attempt=attempt, **env).probe

    def until(self, is_so: Callable[[Probe], bool], attempt: int = 1, timeout_s: float = 20.0) -> Probe:
        """Probe until it is so."""
        return wait(lambda: self.probe(attempt=attempt), is_so, timeout_s)

    def ended(self, attempt: int = 1) -> Probe:
        return self.until(lambda probe: probe.phase == "ended", attempt)

    def says(self, text: str, attempt: int = 1) -> None:
        """Wait until the job has written a text to its output."""
        wait(lambda: self.out(attempt), lambda out: text in out)

    def out(self, attempt: int = 1) -> str:
        return (self.directory(attempt) / "out").read_text()

    def recorded(self, kind: str, attempt: int = 1) -> int:
        """The process of a record in `begun`."""
        return int((self.directory(attempt) / "begun" / kind).read_text().split()[0])

    def ledger(self) -> list[str]:
        """The attempts that the ledger says have begun."""
        path = self.path / ".issuebox" / "ledger"
        return [line.split()[1] for line in path.read_text().splitlines()] if path.exists() else []

    def job(self) -> list[int]:
        """The processes with the job's mark."""
        return list(marked(f"ISSUEBOX_RUN={self.run}"))

    def all(self) -> list[int]:
        """Those, and the supervisor's."""
        return [*self.job(), *marked(f"ISSUEBOX_SUPERVISOR={self.run}/")]

    def end(self) -> None:
        """Kill all of it, and every script that still waits."""

        def left() -> list[int]:
            return [*self.all(), *marked(f"RUN_HOME={self.run}")]

        wait(lambda: (kill(*left()), left())[1], lambda pids: not pids)


def wait(see: Callable[[], T], is_so: Callable[[T], bool], timeout_s: float = 20.0) -> T:
    """Wait until what is seen is so, and return it. Fails with what was seen last."""
    deadline = time.monotonic() + timeout_s
    while not is_so(seen := see()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s; last seen: {seen}"
        time.sleep(0.02)
    return seen


def marked(mark: str) -> Iterator[int]:
    """The processes with a variable in their environment that begins so."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if any(part.startswith(mark.encode()) for part in path.read_bytes().split(b"\0")):
                yield int(path.parent.name)


def kill(*pids: int, number: signal.Signals = signal.SIGKILL) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@contextmanager
def run_home(path: Path, shell: str) -> Iterator[RunHome]:
    """A home whose `sh` is this shell, in which nothing is left running."""
    home = RunHome(path / "home", binaries_of(shell, path / "bin"))
    home.path.mkdir()
    # Started in the background of a shell the tests themselves ignore SIGINT, by nohup SIGHUP, and so would all that
    # they start.
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        yield home
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        home.end()


def binaries_of(shell: str, directory: Path) -> str:
    """A PATH on which `sh` is this shell. With busybox all its tools are its own."""
    program = shutil.which(SHELLS[shell])
    assert program
    directory.mkdir()
    if shell == "busybox":
        subprocess.run([program, "--install", "-s", str(directory)], check=True)
        return str(directory)
    (directory / "sh").symlink_to(program)
    return f"{directory}:{os.environ['PATH']}"
