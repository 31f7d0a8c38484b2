"""Sessions: one long-lived shell each, so that directory and variables last from command to command.

The shell reads one line per command. The line sources the command's file with output into two named
pipes and then reports the exit code on the shell's own output. Commands run one after another.

As in the daemon (apps/daemon/pkg/session, `wrapper_linux.go` and `input.go`), an asynchronous command
reads what is sent to it and never comes to an end of its input; a synchronous one has none.
"""

import asyncio
import os
import shlex
import shutil
import signal
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from localdaytona.toolbox.errors import ToolboxError, unreachable
from localdaytona.toolbox.output_log import OutputLog, Stream
from localdaytona.toolbox.pipes import Feed, Tap
from localdaytona.toolbox.processes import Launch, Run, kill_group, shell_path

NEVER_RAN = -1
NOWHERE = Path(os.devnull)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller wants to run, and how."""

    text: str
    takes_input: bool = False
    echoes_input: bool = True
    waits_for_output: bool = False


@dataclass(slots=True)
class Command:
    """A command of a session. The exit code is None until it has ended."""

    id: str
    wanted: Wanted
    log: OutputLog = field(default_factory=OutputLog)
    exit_code: int | None = None


class Session:
    """A shell and its commands."""

    def __init__(self, session_id: str, run: Run, directory: Path) -> None:
        self.id = session_id
        self.commands: dict[str, Command] = {}
        self._run = run
        self._directory = directory
        self._taps: dict[str, tuple[Tap, Tap]] = {}
        self._feeds: dict[str, list[Feed]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._listener: asyncio.Task[None] | None = None

    async def start(self, cwd: Path, env: dict[str, str]) -> None:
        """Start the shell. Raises ToolboxError."""
        pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        self._directory.mkdir(parents=True)
        try:
            self._process = await self._run.start(Launch((shell_path(),), cwd, env, pipe, pipe, nowhere))
        except ProcessLookupError as error:
            raise unreachable() from error
        except OSError as error:
            raise ToolboxError(500, f"internal server error: {error.strerror}") from error
        self._listener = asyncio.create_task(self._listen(self._process))

    async def begin(self, wanted: Wanted) -> Command:
        """Pass a command to the shell and return at once. Raises ToolboxError 410 when the shell has ended."""
        process = self._process
        if process is None or process.stdin is None or process.returncode is not None:
            raise ToolboxError(410, f"gone: session {self.id} has ended", "SESSION_ENDED")
        command = Command(str(uuid.uuid4()), wanted)
        line = self._prepare(command)
        self.commands[command.id] = command
        with suppress(ConnectionError):  # the shell has just ended; its listener ends the command
            process.stdin.write(line.encode())
            await process.stdin.drain()
        return command

    def command(self, command_id: str) -> Command:
        """Return a command. Raises ToolboxError 404."""
        if command_id not in self.commands:
            raise ToolboxError(404, "not found: command not found")
        return self.commands[command_id]

    def send(self, command_id: str, text: str) -> None:
        """Pass a line to a running command. Raises ToolboxError: 404 unknown, 410 ended, 500 when it reads nothing."""
        command = self.command(command_id)
        if command.exit_code is not None:
            raise ToolboxError(410, f"gone: command has already completed with exit code {command.exit_code}")
        if not command.wanted.takes_input:
            raise ToolboxError(500, "internal server error: failed to open input pipe")
        line = (text if text.endswith("\n") else f"{text}\n").encode()
        self._feeds[command_id][0].write(line)
        if command.wanted.echoes_input:
            command.log.append(Stream.STDOUT, line)

    def kill(self) -> None:
        """Kill the shell's group and release everything."""
        if self._process is not None:
            kill_group(self._process, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Release pipes and files, and end the commands that have not ended."""
        self._end_all(NEVER_RAN)
        for taps in self._taps.values():
            for tap in taps:
                tap.close()
        self._taps.clear()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _prepare(self, command: Command) -> str:
        """Create a command's file and pipes and return the line that runs it."""
        directory = self._directory / command.id
        directory.mkdir()
        script = directory / "command"
        script.write_text(f"{command.wanted.text}\n", "utf-8")
        taps = (
            Tap(directory / "stdout", Stream.STDOUT, command.log),
            Tap(directory / "stderr", Stream.STDERR, command.log),
        )
        self._taps[command.id] = taps
        feeds = self._feeds[command.id] = []
        if command.wanted.takes_input:
            feeds.append(Feed(directory / "stdin"))
        read = feeds[0].path if command.wanted.takes_input else NOWHERE
        out, err, into, file = (shlex.quote(str(path)) for path in (taps[0].path, taps[1].path, read, script))
        line = f". {file} >{out} 2>{err} <{into}; printf '%s %s\\n' {command.id} $?"
        if command.wanted.waits_for_output:
            # The shell waits here until the command has ended for its callers, too.
            feeds.append(Feed(directory / "hold"))
            line = f"{line}; cat {shlex.quote(str(feeds[-1].path))} >{NOWHERE} 2>&1"
        return f"{line}\n"

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        """Read exit codes until the shell ends."""
        while process.stdout is not None and (line := await process.stdout.readline()):
            command_id, _, code = line.decode(errors="replace").partition(" ")
            command = self.commands.get(command_id)
            if command is not None:
                if command.wanted.waits_for_output:
                    await asyncio.gather(*(tap.ended() for tap in self._taps.get(command.id, ())))
                self._end(command, int(code))
        code_of_shell = await process.wait()
        self._end_all(max(code_of_shell, NEVER_RAN))

    def _end_all(self, code: int) -> None:
        """End the running command with the shell's code, and those queued behind it without running them."""
        for command in self.commands.values():
            if command.exit_code is None:
                self._end(command, code)
                code = NEVER_RAN

    def _end(self, command: Command, code: int) -> None:
        """Record a command's end; the first counts."""
        if command.exit_code is not None:
            return
        for tap in self._taps.get(command.id, ()):
            tap.drain()
        for feed in self._feeds.pop(command.id, ()):
            feed.close()
        command.exit_code = code
        command.log.end()
        shutil.rmtree(self._directory / command.id, ignore_errors=True)
