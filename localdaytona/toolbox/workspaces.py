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
from localdaytona.toolbox.processes import Run, adopt, kill_marked
from localdaytona.toolbox.sessions import Session
from localdaytona.toolbox_host import ToolboxHost

# The grace of a server that ends: it has two seconds for all.
SHUTDOWN_GRACE_S = 0.3
# Where a container finds the counters of its memory; a sandbox starts with these.
CGROUP = Path("sys/fs/cgroup")
MEMORY_EVENTS = "memory.events"
NO_EVENTS = "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Workspace:
    """A sandbox's files, its environment, and its running processes.

    `/home/<user>` is the directory `home`; any other absolute path lies under the directory `root`.
    """

    def __init__(self, sandbox_id: str, directory: Path, user: str, env: dict[str, str]) -> None:
        self.directory = directory
        self.home = directory / "home"
        self.root = directory / "root"
        self.cgroup = self.root / CGROUP
        self.run = adopt(sandbox_id, directory / "groups")
        self.sessions: dict[str, Session] = {}
        self._user = user
        self._env = env

    def prepare(self) -> None:
        """Make the directories."""
        self.home.mkdir(parents=True, exist_ok=True)
        (self.root / "tmp").mkdir(parents=True, exist_ok=True)
        events = self.cgroup / MEMORY_EVENTS
        if not events.exists():
            self.cgroup.mkdir(parents=True, exist_ok=True)
            events.write_text(NO_EVENTS, "ascii")

    def locate(self, asked: str) -> Path:
        """Return where a path of the sandbox is; a relative one starts at its home, and `..` stops at its root.

        Raises ToolboxError when a link leads out of the sandbox.
        """
        place = self._place(asked)
        parent = place if place in {self.home, self.root} else place.parent
        if not resolved(parent, asked).is_relative_to(self.directory):
            raise ToolboxError(403, f"forbidden: path leaves the sandbox: {asked}", "FILE_ACCESS_DENIED")
        return place

    def follow(self, asked: str) -> Path:
        """Return where a path leads through its links. Raises ToolboxError as `locate` does."""
        place = resolved(self.locate(asked), asked)
        if not place.is_relative_to(self.directory):
            raise ToolboxError(403, f"forbidden: path leaves the sandbox: {asked}", "FILE_ACCESS_DENIED")
        return place

    def environment(self, more: dict[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a process in the sandbox; of the server's it holds only PATH.

        A command sees this machine's `/sys`, so a variable tells where the sandbox's own counters are.
        """
        return {
            "PATH": os.environ.get("PATH", SYSTEM_PATH),
            "LANG": "C.UTF-8",
            "USER": self._user,
            "LOGNAME": self._user,
            "HOME": str(self.home),
            "TMPDIR": str(self.root / "tmp"),
            "LOCALDAYTONA_CGROUP": str(self.cgroup),
            **self._env,
            **(more or {}),
        }

    def new_session_directory(self) -> Path:
        """Return a directory for a session's pipes, which is not created yet."""
        return self.directory / "sessions" / uuid.uuid4().hex

    async def stop(self, grace_s: float) -> None:
        """End all processes and forget the sessions. Processes started meanwhile belong to the next run."""
        run, sessions = self.run, self.sessions
        self.run, self.sessions = Run(self.directory.name, self.directory / "groups"), {}
        await run.end(grace_s)
        for session in sessions.values():
            session.close()
        self.forget_memory_events()

    def forget_memory_events(self) -> None:
        """Let the counters begin anew at the next start."""
        (self.cgroup / MEMORY_EVENTS).unlink(missing_ok=True)

    def restart_daemon(self) -> None:
        """End the sessions and the calls in flight; what left their process groups lives on."""
        sessions, self.sessions = self.sessions, {}
        self.run = self.run.restarted()
        for session in sessions.values():
            session.kill()

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


def resolved(place: Path, asked: str) -> Path:
    """Return where a path leads through its links. Raises ToolboxError for a cycle of them."""
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

    @property
    def exit_code_waits_for_output(self) -> bool:
        """Whether commands of sessions end only when nobody holds their output any more."""
        return self._host.exit_code_waits_for_output

    def directory(self, sandbox_id: str) -> Path:
        """Return the directory of a sandbox, which need not exist."""
        return self._directory / sandbox_id

    def open(self, sandbox_id: str) -> Workspace:
        """Return a sandbox's workspace, with its directories."""
        workspace = self._open.get(sandbox_id)
        if workspace is None:
            status = self._host.sandbox_status(sandbox_id)
            workspace = Workspace(sandbox_id, self.directory(sandbox_id), status.user, status.env)
            self._open[sandbox_id] = workspace
        workspace.prepare()
        return workspace

    async def sandbox_stopped(self, sandbox_id: str) -> None:
        """End the sandbox's processes and forget its sessions; its files stay."""
        workspace = self._open.get(sandbox_id)
        if workspace is not None:
            await workspace.stop(self._host.stop_grace_s)

    async def sandbox_destroyed(self, sandbox_id: str) -> None:
        """End the sandbox's processes and remove its files."""
        workspace = self._open.pop(sandbox_id, None)
        if workspace is not None:
            await workspace.stop(self._host.stop_grace_s)
        await _remove(self.directory(sandbox_id))

    @asynccontextmanager
    async def serving(self, _: object) -> AsyncIterator[None]:
        """Take over what a killed server left, and at the end leave no process behind."""
        for directory in self._directory.glob("*"):
            await self._take_over(directory)
        try:
            yield
        finally:
            await asyncio.gather(*(workspace.stop(SHUTDOWN_GRACE_S) for workspace in self._open.values()))

    async def _take_over(self, directory: Path) -> None:
        """Adopt the processes of a started sandbox, as a restarted daemon does; end those of any other."""
        status = self._host.sandbox_status(directory.name)
        if status.exists and status.state == "started":
            self.open(directory.name)
            return
        kill_marked(directory.name)
        if not status.exists:
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
