"""NousResearch's hermes-agent: look up by name, else by label, else create; any error counts as not found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from daytona import AsyncSandbox, DaytonaError

from localdaytona.admin_models import SandboxView
from proofs.peers.peer import Event, Peer, named

LABEL = "hermes-task"


class Hermes(Peer):
    """Any sandbox that is found gets a start."""

    title: ClassVar[str] = "hermes-agent"
    notes: ClassVar[str] = "a library call: here the caller's answer waits for it"

    async def on_delivery(self, event: Event) -> None:
        issue, name = event.issue, f"hermes-{event.issue}"
        labels = {LABEL: str(issue)}
        sandbox = await self.by_name(name) or await self.by_label(labels)
        if sandbox is None:
            sandbox = await self.host.create(issue, name, labels)
        self.host.hand_over(issue, sandbox)

    async def by_name(self, name: str) -> AsyncSandbox | None:
        """The sandbox with the name, started; None on any error."""
        try:
            sandbox = await self.host.get(name)
            await self.host.start(sandbox)
        except DaytonaError:
            return None
        return sandbox

    async def by_label(self, labels: dict[str, str]) -> AsyncSandbox | None:
        """The first sandbox of the list, started; None on any error."""
        try:
            listed = await self.host.search(labels)
            if not listed:
                return None
            await self.host.start(listed[0])
        except DaytonaError:
            return None
        return listed[0]

    def finds(self, issue: int, live: Sequence[SandboxView]) -> str | None:
        return named(f"hermes-{issue}", live)
