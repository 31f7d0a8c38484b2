"""One attempt of a run without Daytona: the preset's command in `sh`, with the environment and the files of the job
contract and with its output in files, as the supervisor in a sandbox has them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from issuebox.domain.agent_output import RunReport
from issuebox.domain.agent_progress import ProgressState
from issuebox.domain.presets import PRESETS, Preset

PROMPT = "Do what the issue asks for.\n"


@dataclass
class Place:
    """A home directory with a clone in it."""

    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: str = ""

    @property
    def clone(self) -> Path:
        return self.home / "repo"

    def install(self, name: str, binary: Path) -> None:
        """The agent, where the presets look first."""
        target = self.home / ".local" / "bin" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(binary)


@dataclass
class Attempt:
    """A running attempt. ``run`` is the mark of all its processes."""

    preset: Preset
    process: subprocess.Popen[bytes]
    directory: Path
    run: str

    @property
    def out(self) -> bytes:
        return (self.directory / "out").read_bytes()

    @property
    def err(self) -> bytes:
        return (self.directory / "err").read_bytes()

    def until(self, is_so: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
        """Look every 20 ms until it is so."""
        deadline = time.monotonic() + timeout_s
        while not is_so():
            assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s; {self.out[-500:]!r} {self.err!r}"
            time.sleep(0.02)

    def end(self, timeout_s: float = 30.0) -> int:
        """Wait for its end. The exit code, as a shell has it."""
        code = self.process.wait(timeout_s)
        return 128 - code if code < 0 else code

    def report(self, why: str = "finished") -> RunReport:
        """What its preset reads from it, once it has ended."""
        exit_code = self.end()
        result = self.directory / "result.json"
        result_json = result.read_bytes() if result.exists() else b""
        return self.preset.read_output(self.out, self.err, exit_code, why, result_json)

    def progress(self) -> ProgressState:
        return self.preset.progress_of(self.out, ProgressState())[0]

    def marked(self) -> list[int]:
        """The processes that carry its mark."""
        mark = f"ISSUEBOX_RUN={self.run}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return found


@contextlib.contextmanager
def attempt(
    place: Place, preset: str, session: str, *, is_new: bool = True, prompt: str = PROMPT, command: str = ""
) -> Iterator[Attempt]:
    """Begin an attempt. All that carries its mark is killed at the end of the block, however that ends."""
    place.clone.mkdir(parents=True, exist_ok=True)
    run = f"r-{uuid.uuid4().hex[:12]}"
    directory = place.home / ".issuebox" / "runs" / run / "1"
    directory.mkdir(parents=True)
    (directory / "prompt.md").write_text(prompt)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(place.home),
        "ISSUEBOX_RUN": run,
        "ISSUEBOX_RUN_ATTEMPT": "1",
        "ISSUEBOX_RUN_DIR": str(directory),
        "ISSUEBOX_SESSION": session,
        "ISSUEBOX_SESSION_IS_NEW": "1" if is_new else "0",
        **place.environment,
    }
    text = command or PRESETS[preset].command_line(arguments=place.arguments)
    with (directory / "out").open("wb") as out, (directory / "err").open("wb") as err:
        process = subprocess.Popen(
            ["sh", "-c", text],
            cwd=place.clone,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    begun = Attempt(PRESETS[preset], process, directory, run)
    try:
        yield begun
    finally:
        while marked := begun.marked():
            for pid in marked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.poll()
            time.sleep(0.01)
        process.wait(10)
