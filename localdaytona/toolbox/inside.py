"""What the administration does and reads inside a sandbox. No HTTP; the journal is the administration's."""

import os
import re
from pathlib import Path

from localdaytona.calls import refuse
from localdaytona.toolbox import disks, files
from localdaytona.toolbox.errors import ToolboxError
from localdaytona.toolbox.proc import of_sandbox
from localdaytona.toolbox.workspaces import MEMORY_EVENTS, Workspace, Workspaces, resolved
from localdaytona.toolbox_host import InsideProcess, ToolboxHost

STOPPED = frozenset({"stopped", "archived"})
FILE_MAX = 32 * 1024 * 1024
OOM_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


class Inside:
    """Implements `toolbox_host.ToolboxInside`. Every refusal is an ApiError: 403, 404, 409 or 413."""

    def __init__(self, host: ToolboxHost, workspaces: Workspaces) -> None:
        self._host = host
        self._workspaces = workspaces

    def kill_largest(self, sandbox_id: str) -> int:
        """Kill the process with the most resident memory, count it, and return its ID."""
        workspace = self._started(sandbox_id)
        largest = max(of_sandbox(sandbox_id), key=lambda each: each.rss_bytes(), default=None)
        if largest is None:
            refuse("No process runs in it", 409)
        _count_oom_kill(workspace)
        largest.kill()
        return largest.pid

    def restart_daemon(self, sandbox_id: str) -> None:
        """Forget sessions and calls in flight, and end their processes. What left their groups lives on."""
        self._started(sandbox_id).restart_daemon()

    async def keep_disk(self, sandbox_id: str) -> None:
        """Copy the sandbox's files."""
        workspace = self._workspaces.open(sandbox_id)
        try:
            await disks.keep(workspace.directory)
        except OSError as error:
            refuse(f"Its disk cannot be copied: {error}", 409)

    async def restore_disk(self, sandbox_id: str) -> None:
        """Put the kept copy in the place of the sandbox's files; the copy stays."""
        workspace = self._stopped(sandbox_id)
        directory = workspace.directory
        if not disks.is_kept(directory):
            refuse("No disk was kept: keep-disk comes first", 409)
        fresh = await disks.staged(directory)
        try:
            self._stopped(sandbox_id)  # Still: it could be started while the files were copied.
            await disks.restore(directory, fresh)
            workspace.forget_memory_events()
        finally:
            await disks.discard(fresh)

    def read_file(self, sandbox_id: str, path: str) -> bytes | None:
        """Return a file's content by its path within the home; None when there is no such file."""
        home = self._workspaces.directory(sandbox_id) / "home"
        try:
            with files.refusing(path), files.open_regular(_within(home, path), os.O_RDONLY) as source:
                content = source.read(FILE_MAX + 1)
        except ToolboxError as error:
            if error.code == "FILE_NOT_FOUND":
                return None
            refuse(error.message, error.status)
        if len(content) > FILE_MAX:
            refuse(f"{path} has more than {FILE_MAX} bytes", 413)
        return content

    def processes(self, sandbox_id: str, variable: str | None) -> list[InsideProcess]:
        """Return its living processes; with a variable, those that have it, with its value."""
        found = of_sandbox(sandbox_id)
        shown = [(each, None if variable is None else each.value(variable)) for each in found]
        return [
            InsideProcess(each.pid, each.rss_bytes(), value)
            for each, value in shown
            if variable is None or value is not None
        ]

    def _started(self, sandbox_id: str) -> Workspace:
        state = self._host.sandbox_status(sandbox_id).state
        if state != "started":
            refuse(f"The sandbox is {state}: start it first", 409)
        return self._workspaces.open(sandbox_id)

    def _stopped(self, sandbox_id: str) -> Workspace:
        state = self._host.sandbox_status(sandbox_id).state
        if state not in STOPPED:
            refuse(f"The sandbox is {state}: stop it first", 409)
        return self._workspaces.open(sandbox_id)


def _within(home: Path, path: str) -> Path:
    """Return where a path leads. Raises ToolboxError when that is not in the home."""
    place = resolved(home / path, path)
    if not place.is_relative_to(home):
        raise ToolboxError(403, f"forbidden: path leaves the home: {path}", "FILE_ACCESS_DENIED")
    return place


def _count_oom_kill(workspace: Workspace) -> None:
    events = workspace.cgroup / MEMORY_EVENTS
    text = events.read_text("ascii")
    events.write_text(OOM_KILLS.sub(lambda found: f"oom_kill {int(found[1]) + 1}", text), "ascii")
