"""The interface between the toolbox and the rest of the server. Protocols and data only.

The toolbox (exec, sessions, files, git) knows sandboxes only through `ToolboxHost`, and learns through
`ToolboxListener` when to end its processes. The administration reaches into sandboxes by `ToolboxInside`.
app.py mounts `toolbox_router` of `localdaytona.toolbox` under /toolbox, and the page by `dashboard_router`
of `localdaytona.dashboard`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from localdaytona.fault_model import Fault
from localdaytona.types import JSON


@dataclass(frozen=True, slots=True)
class ToolboxStatus:
    """What the toolbox may know about a sandbox. `state` is Daytona's word, "" when the sandbox is unknown."""

    exists: bool
    state: str
    env: dict[str, str]
    user: str


class ToolboxListener(Protocol):
    """Notified after each change, once, in order per sandbox. Not notified of changes before a crash."""

    async def sandbox_stopped(self, sandbox_id: str) -> None:
        """The sandbox has left `started`: end its processes and forget its sessions."""

    async def sandbox_destroyed(self, sandbox_id: str) -> None:
        """The sandbox is gone: end its processes and remove its files."""


@dataclass(frozen=True, slots=True)
class InsideProcess:
    """A living process of a sandbox, and the value of the variable that was asked for."""

    pid: int
    rss_bytes: int
    value: str | None = field(repr=False)


class ToolboxInside(Protocol):
    """What the administration does and reads inside a sandbox.

    Raises calls.ApiError when the sandbox does not admit it.
    """

    def kill_largest(self, sandbox_id: str) -> int:
        """Kill the process with the most resident memory, count it, and return its ID."""

    def restart_daemon(self, sandbox_id: str) -> None:
        """Forget sessions and calls in flight; detached processes live on."""

    async def keep_disk(self, sandbox_id: str) -> None:
        """Copy the sandbox's files."""

    async def restore_disk(self, sandbox_id: str) -> None:
        """Put the copy in the place of a stopped sandbox's files."""

    def read_file(self, sandbox_id: str, path: str) -> bytes | None:
        """Return a file of its home; None when there is no such file."""

    def processes(self, sandbox_id: str, variable: str | None) -> list[InsideProcess]:
        """Return its living processes, or those of them that have a variable."""


class ToolboxHost(Protocol):
    """What the toolbox needs from the server."""

    @property
    def data_dir(self) -> Path:
        """The server's data directory; the toolbox uses only its own sub-directories."""

    @property
    def stop_grace_s(self) -> float:
        """How long the processes of a sandbox have to end at a stop, in seconds."""

    @property
    def exit_code_waits_for_output(self) -> bool:
        """Whether a command of a session ends only when nobody holds its output any more."""

    def sandbox_status(self, sandbox_id: str) -> ToolboxStatus:
        """Look a sandbox up by its ID, never by name."""

    def touch(self, sandbox_id: str) -> None:
        """Count a toolbox request as activity, which postpones auto-stop."""

    def journal(self, kind: str, sandbox_id: str, detail: dict[str, JSON]) -> None:
        """Append an entry to the journal and commit it. Pass no secrets."""

    def take_fault(self, operation: str, sandbox_id: str, path: str) -> Fault | None:
        """Return the fault that hits this request of a sandbox's toolbox, counted and journaled, or None."""

    def add_listener(self, listener: ToolboxListener) -> None:
        """Notify `listener` when a sandbox stops or is destroyed."""

    def add_inside(self, inside: ToolboxInside) -> None:
        """Let the administration use `inside`."""
