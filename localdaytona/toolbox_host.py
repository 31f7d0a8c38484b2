"""The interface between the toolbox and the rest of the server. Protocols and data only.

The toolbox (exec, sessions, files, git) knows sandboxes only through `ToolboxHost`, and learns through
`ToolboxListener` when to end its processes. app.py mounts `toolbox_router` of `localdaytona.toolbox`
under /toolbox, and the page by `dashboard_router` of `localdaytona.dashboard`.
"""

from dataclasses import dataclass
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


class ToolboxHost(Protocol):
    """What the toolbox needs from the server."""

    @property
    def data_dir(self) -> Path:
        """The server's data directory; the toolbox uses only its own sub-directories."""

    def sandbox_status(self, sandbox_id: str) -> ToolboxStatus:
        """Look a sandbox up by its ID, never by name."""

    def touch(self, sandbox_id: str) -> None:
        """Count a toolbox request as activity, which postpones auto-stop."""

    def journal(self, kind: str, sandbox_id: str, detail: dict[str, JSON]) -> None:
        """Append an entry to the journal and commit it. Pass no secrets."""

    def take_fault(self, operation: str, sandbox_id: str) -> Fault | None:
        """Return the fault that hits this request, counted and journaled, or None."""

    def add_listener(self, listener: ToolboxListener) -> None:
        """Notify `listener` when a sandbox stops or is destroyed."""
