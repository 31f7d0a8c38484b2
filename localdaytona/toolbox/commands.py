"""Single commands: runs one in its own shell and returns its output. No HTTP, no sessions."""

import asyncio
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

from localdaytona.toolbox.errors import ToolboxError, unreachable
from localdaytona.toolbox.processes import Launch, Run, kill_group, shell_path

# Output beyond this is read, so that the command does not block, and dropped.
OUTPUT_MAX = 32 * 1024 * 1024
CHUNK = 64 * 1024
NOT_STARTED = -1


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended: -1 when it could not be started or was killed. Output is stdout and stderr."""

    exit_code: int
    output: str


async def execute(run: Run, command: str, cwd: Path, env: dict[str, str], timeout_s: float | None) -> Finished:
    """Run a command line in a shell, as the daemon does: on the shell's standard input.

    Returns when the command has ended and nobody holds its output open any more. Raises ToolboxError
    408 when the time is up, with the whole group killed, and 502 when the sandbox stopped.
    """
    with tempfile.TemporaryFile() as script:
        script.write(command.encode())
        script.seek(0)
        launch = Launch((shell_path(),), cwd, env, stdin=script.fileno())
        return await finish(run, launch, timeout_s)


async def finish(run: Run, launch: Launch, timeout_s: float | None) -> Finished:
    """Run a process to its end. Raises as `execute` does."""
    try:
        process = await run.start(launch)
    except ProcessLookupError as error:
        raise unreachable() from error
    except OSError as error:
        return Finished(NOT_STARTED, f"{error.strerror}: {error.filename or launch.argv[0]}\n")
    ending = asyncio.create_task(_end(process))
    leaving = asyncio.create_task(run.gone.wait())
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.wait((ending, leaving), return_when=asyncio.FIRST_COMPLETED)
    except TimeoutError as error:
        kill_group(process, signal.SIGKILL)
        raise ToolboxError(408, "request timeout: command execution timeout") from error
    finally:
        leaving.cancel()
        if not ending.done():
            ending.cancel()
    if run.over:
        raise unreachable()
    return ending.result()


async def _end(process: asyncio.subprocess.Process) -> Finished:
    """Return how a process ended, once nobody holds its output open any more."""
    output = await _read(process)
    return Finished(max(await process.wait(), NOT_STARTED), output.decode(errors="replace"))


async def _read(process: asyncio.subprocess.Process) -> bytes:
    stream, output = process.stdout, bytearray()
    while stream is not None and (chunk := await stream.read(CHUNK)):
        output += chunk[: OUTPUT_MAX - len(output)]
    return bytes(output)
