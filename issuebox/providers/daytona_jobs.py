"""A command that outlives the worker that started it: one session of the toolbox per job.

A session is a shell of the sandbox's daemon, which keeps running when its caller dies. The next caller finds
the session with the command in it, and follows that command instead of starting another. Two callers that both
find the session empty both send their command. The shell runs one after the other and records in a variable
that the job is done, so the second command only repeats the exit code of the first.

A stop of the sandbox ends its sessions, and the job starts again from the beginning.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from daytona.common.errors import DaytonaConflictError, DaytonaError, DaytonaGoneError, DaytonaNotFoundError
from daytona_toolbox_api_client_async import Command

from issuebox.domain.errors import ProviderError
from issuebox.domain.provider import Execution
from issuebox.providers.daytona_toolbox import ToolboxClient, translate_toolbox

READ_INTERVAL_INITIAL_S = 0.1
READ_INTERVAL_MAX_S = 2.0
"""Each read counts as activity at Daytona and so keeps a long job from an idle stop; a session's commands do not."""

_TITLE = re.compile(r": issuebox-job (?P<digest>[0-9a-f]{16}) (?P<began>\d{1,12});")


@dataclass(frozen=True, slots=True)
class Job:
    """A command and its time limit, in seconds from its start."""

    id: str
    command: str
    timeout_s: float

    @property
    def digest(self) -> str:
        """Distinguishes this command from others of the same job."""
        return hashlib.sha256(self.command.encode()).hexdigest()[:16]

    def line(self, now: float) -> str:
        """What the session's shell runs: the command once, even when this line is sent twice.

        The daemon passes commands to its shell on standard input, so the command itself must not read it.
        """
        title = f": issuebox-job {self.digest} {now:.0f}"
        once = f'if [ -z "${{issuebox_job-}}" ]; then {self.command} </dev/null; issuebox_job=$?; fi'
        return f'{title}; {once}; (exit "$issuebox_job")'

    def find(self, commands: Sequence[Command]) -> tuple[str, float] | None:
        """The ID of this job's command in its session, and its start time by its worker's clock; None without one."""
        for command in commands:
            title = _TITLE.match(command.command)
            if title is not None and title["digest"] == self.digest:
                return command.id, float(title["began"])
        return None


class JobRunner:
    """Starts a job in a sandbox, or finds it running there, and follows it to its end."""

    def __init__(self, toolbox: ToolboxClient, job: Job, request_timeout_s: float) -> None:
        self._toolbox = toolbox
        self._job = job
        self._timeout_s = request_timeout_s

    async def run(self) -> Execution:
        """The job's exit code; None when it was killed at its deadline. Raises ProviderError."""
        command_id, left_s = await self._find_or_begin()
        exit_code = await self._exit_code(command_id, left_s)
        # Deleted only now: while the session exists, another caller finds the same exit code.
        try:
            await self._delete_session()
        except ProviderError:
            # A success that another caller finds again does no harm. A failure would be reported again to somebody
            # who has removed its cause, so the caller must call again.
            if exit_code != 0:
                raise
        return Execution(exit_code)

    async def _find_or_begin(self) -> tuple[str, float]:
        """The command's ID and the seconds left until its time limit."""
        commands = await self._open_session()
        found = self._job.find(commands)
        if found is not None:
            command_id, began = found
            # Two workers' clocks may differ slightly: never more than the whole time limit.
            return command_id, min(self._job.timeout_s, began + self._job.timeout_s - time.time())
        if commands:
            await self._delete_session()
            await self._open_session()
        return await self._begin(), self._job.timeout_s

    async def _open_session(self) -> Sequence[Command]:
        """Create the session unless it exists, and return its commands."""
        try:
            await self._toolbox.send_create_session(self._job.id, self._timeout_s)
        except DaytonaConflictError:
            pass
        except DaytonaError as error:
            raise translate_toolbox(error, is_command=False) from error
        try:
            return (await self._toolbox.send_get_session(self._job.id, self._timeout_s)).commands
        except DaytonaError as error:
            raise translate_toolbox(error, is_command=False) from error

    async def _begin(self) -> str:
        try:
            return await self._toolbox.send_begin(self._job.id, self._job.line(time.time()), self._timeout_s)
        except DaytonaGoneError as error:
            # The session's shell has ended. Without the session, the next call starts from nothing.
            await self._delete_session()
            raise translate_toolbox(error, is_command=True) from error
        except DaytonaError as error:
            raise translate_toolbox(error, is_command=True) from error

    async def _exit_code(self, command_id: str, left_s: float) -> int | None:
        """Read until the command has ended. None when its time is up first."""
        clock = asyncio.get_running_loop().time
        deadline, pause_s = clock() + left_s, READ_INTERVAL_INITIAL_S
        while True:
            try:
                command = await self._toolbox.send_get_command(self._job.id, command_id, self._timeout_s)
            except DaytonaError as error:
                raise translate_toolbox(error, is_command=False) from error
            if command.exit_code is not None or clock() >= deadline:
                return command.exit_code
            await asyncio.sleep(max(0.0, min(pause_s, deadline - clock())))
            pause_s = min(pause_s * 1.5, READ_INTERVAL_MAX_S)

    async def _delete_session(self) -> None:
        """End the session and what still runs in it. Safe to repeat."""
        try:
            await self._toolbox.send_delete_session(self._job.id, self._timeout_s)
        except DaytonaNotFoundError:
            return
        except DaytonaError as error:
            raise translate_toolbox(error, is_command=True) from error
