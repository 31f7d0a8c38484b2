"""The sandboxes' directories and processes: one workspace each. No HTTP.

This is no security boundary. Commands run as the user who runs the server, on the same machine and
with its network. Each sandbox merely has a directory and an environment of its own.
"""

import asyncio
import os
import posixpath
import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path, PurePosixPath

from localdaytona.toolbox.errors import ToolboxError
from localdaytona.toolbox.processes import Run, kill_marked
from localdaytona.toolbox.sessions import Session
from localdaytona.toolbox_host import ToolboxHost

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Workspace:
    """A sandbox's files, its environment, and its running processes.

    `/home/<user>` is the directory `home`; any other absolute path lies under the directory `root`.
    """

    def __init__(self, sandbox_id: str, directory: Path, user: str, env: dict[str, str]) -> None:
        self.directory = directory
        self.home = directory / "home"
        self.root = directory / "root"
        self.run = Run(sandbox_id)
        self.sessions: dict[str, Session] = {}
        self._user = user
        self._env = env

    def prepare(self) -> None:
        """Make the directories."""
        self.home.mkdir(parents=True, exist_ok=True)
        (self.root / "tmp").mkdir(parents=True, exist_ok=True)

    def locate(self, asked: str) -> Path:
        """Return where a path of the sandbox is; a relative one starts at its home, and `..` stops at its root.

        Raises ToolboxError when a link leads out of the sandbox.
        """
        place = self._place(asked)
        parent = place if place in {self.home, self.root} else place.parent
        if not _resolved(parent, asked).is_relative_to(self.directory):
            raise ToolboxError(403, f"forbidden: path leaves the sandbox: {asked}", "FILE_ACCESS_DENIED")
        return place

    def follow(self, asked: str) -> Path:
        """Return where a path leads through its links. Raises ToolboxError as `locate` does."""
        place = _resolved(self.locate(asked), asked)
        if not place.is_relative_to(self.directory):
            raise ToolboxError(403, f"forbidden: path leaves the sandbox: {asked}", "FILE_ACCESS_DENIED")
        return place

    def environment(self, more: dict[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a process in the sandbox; of the server's it holds only PATH."""
        return {
            "PATH": os.environ.get("PATH", SYSTEM_PATH),
            "LANG": "C.UTF-8",
            "USER": self._user,
            "LOGNAME": self._user,
            "HOME": str(self.home),
            "TMPDIR": str(self.root / "tmp"),
            **self._env,
            **(more or {}),
        }

    def new_session_directory(self) -> Path:
        """Return a directory for a session's pipes, which is not created yet."""
        return self.directory / "sessions" / uuid.uuid4().hex

    async def stop(self) -> None:
        """End all processes and forget the sessions. Processes started meanwhile belong to the next run."""
        run, sessions = self.run, self.sessions
        self.run, self.sessions = Run(self.directory.name), {}
        await run.end()
        for session in sessions.values():
            session.close()

    def _place(self, asked: str) -> Path:
        if "\0" in asked:
            raise ToolboxError(400, "bad request: invalid path", "INVALID_FILE_PATH")
        # `pwd` and the route of the home directory return a path of this machine.
        real = Path(os.path.normpath(asked))
        if real.is_relative_to(self.directory):
            return real
        home = PurePosixPath("/home", self._user)
        path = PurePosixPath(posixpath.normpath(home / asked))
        if path.is_relative_to(home):
            return self.home / path.relative_to(home)
        return self.root / path.relative_to(path.anchor)


def _resolved(place: Path, asked: str) -> Path:
    try:
        return place.resolve()
    except (RuntimeError, OSError) as error:  # a cycle of links: RuntimeError until Python 3.12, OSError since
        raise ToolboxError(400, f"bad request: too many links: {asked}", "INVALID_FILE_PATH") from error


class Workspaces:
    """All workspaces, opened at their first use. The server tells it when sandboxes stop or are destroyed."""

    def __init__(self, host: ToolboxHost) -> None:
        self._host = host
        self._directory = (host.data_dir / "sandboxes").resolve()
        self._open: dict[str, Workspace] = {}

    def open(self, sandbox_id: str) -> Workspace:
        """Return a sandbox's workspace; the gate has ensured that the sandbox runs."""
        workspace = self._open.get(sandbox_id)
        if workspace is None:
            status = self._host.sandbox_status(sandbox_id)
            workspace = Workspace(sandbox_id, self._directory / sandbox_id, status.user, status.env)
            self._open[sandbox_id] = workspace
        workspace.prepare()
        return workspace

    async def sandbox_stopped(self, sandbox_id: str) -> None:
        """End the sandbox's processes and forget its sessions; its files stay."""
        workspace = self._open.get(sandbox_id)
        if workspace is not None:
            await workspace.stop()

    async def sandbox_destroyed(self, sandbox_id: str) -> None:
        """End the sandbox's processes and remove its files."""
        workspace = self._open.pop(sandbox_id, None)
        if workspace is not None:
            await workspace.stop()
        await _remove(self._directory / sandbox_id)

    @asynccontextmanager
    async def serving(self, _: object) -> AsyncIterator[None]:
        """Remove what a killed server left, and at the end leave no process behind."""
        await self._clear_leftovers()
        try:
            yield
        finally:
            await asyncio.gather(*(workspace.stop() for workspace in self._open.values()))

    async def _clear_leftovers(self) -> None:
        for directory in self._directory.glob("*"):
            kill_marked(directory.name)
            if not self._host.sandbox_status(directory.name).exists:
                await _remove(directory)


async def _remove(directory: Path) -> None:
    with suppress(FileNotFoundError):
        await asyncio.to_thread(_remove_tree, directory)


def _remove_tree(directory: Path) -> None:
    """Remove a directory, even with read-only directories in it, such as a Go module cache."""
    for parent, names, _ in os.walk(directory):
        for name in names:
            inner = Path(parent, name)
            if not inner.is_symlink():
                inner.chmod(0o700)
    shutil.rmtree(directory)
