"""A command in a sandbox for somebody who looks on: its output as it comes, and its exit code. For `issuebox exec`.

Each has a session of the toolbox to itself, which tells the two streams apart. Its end, however it comes, deletes the
session, and with it what still runs there. Daytona's daemon passes the output on line by line, as text.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from daytona.common.errors import DaytonaError

from issuebox.domain.errors import AmbiguousError
from issuebox.providers.daytona_toolbox import ToolboxClient, translate_toolbox

Show = Callable[[str], None]

SETTLE_S = 5.0
"""How long the exit code may come after the end of the output."""
READ_INTERVAL_S = 0.1


@dataclass(frozen=True, slots=True)
class Typed:
    """A command as it was typed, word by word, and the directory to run it in, '' for that of the sandbox."""

    words: Sequence[str]
    directory: str = ""

    def line(self) -> str:
        """What the session's shell runs: the command once, even when a proxy sends this line twice.

        It runs in a shell of its own, which an `exit` may end, and does not read from that of the session, to which the
        daemon passes its commands on standard input.
        """
        change = f"cd -- {shlex.quote(self.directory)} && " if self.directory else ""
        once = f"issuebox_ran=1; ({change}{shlex.join(self.words)}) </dev/null; issuebox_code=$?"
        return f'if [ -z "${{issuebox_ran-}}" ]; then {once}; fi; (exit "$issuebox_code")'


async def run_attached(toolbox: ToolboxClient, typed: Typed, out: Show, err: Show, timeout_s: float) -> int:
    """Run the command to its end, and return its exit code. `timeout_s` is for each request. Raises ProviderError."""
    session_id = f"issuebox-exec-{uuid.uuid4().hex}"
    try:
        await toolbox.send_create_session(session_id, timeout_s)
    except DaytonaError as error:
        raise translate_toolbox(error, is_command=False) from error
    try:
        command_id = await toolbox.send_begin(session_id, typed.line(), timeout_s)
        # If a proxy has sent it twice, this is the second, and the first has the output.
        sent = (await toolbox.send_get_session(session_id, timeout_s)).commands
        for each in [command.id for command in sent if command.id != command_id] or [command_id]:
            await toolbox.send_follow(session_id, each, out, err)
        return await _exit_code(toolbox, session_id, command_id, timeout_s)
    except DaytonaError as error:
        raise translate_toolbox(error, is_command=True) from error
    finally:
        # What is left of it ends with the sandbox at the latest, and the command's own end is the news.
        with contextlib.suppress(DaytonaError):
            await toolbox.send_delete_session(session_id, timeout_s)


async def _exit_code(toolbox: ToolboxClient, session_id: str, command_id: str, timeout_s: float) -> int:
    deadline = asyncio.get_running_loop().time() + SETTLE_S
    while (code := (await toolbox.send_get_command(session_id, command_id, timeout_s)).exit_code) is None:
        if asyncio.get_running_loop().time() > deadline:
            raise AmbiguousError("the output of the command has ended, and Daytona does not tell its exit code")
        await asyncio.sleep(READ_INTERVAL_S)
    return code
