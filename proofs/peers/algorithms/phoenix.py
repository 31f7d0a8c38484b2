"""Arize's phoenix: a started sandbox with the key's label, else a new one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from daytona import AsyncSandbox, DaytonaError

from localdaytona.admin_models import SandboxView
from proofs.peers.peer import Event, Peer, state_of

LABEL = "phoenix-key"


class Phoenix(Peer):
    """It ignores every sandbox that is not started."""

    title: ClassVar[str] = "phoenix"
    notes: ClassVar[str] = "a library call: here the caller's answer waits for it"

    async def on_delivery(self, event: Event) -> None:
        labels = {LABEL: str(event.issue)}
        sandbox = await self.running(labels) or await self.host.create(event.issue, labels=labels)
        self.host.hand_over(event.issue, sandbox)

    async def running(self, labels: dict[str, str]) -> AsyncSandbox | None:
        """The oldest started sandbox of the list; a failed list counts as empty."""
        try:
            listed = await self.host.search(labels)
        except DaytonaError:
            return None
        oldest_first = sorted(listed, key=lambda each: (str(each.created_at), each.id))
        return next((each for each in oldest_first if state_of(each) == "started"), None)

    def finds(self, issue: int, live: Sequence[SandboxView]) -> str | None:
        mine = [row for row in live if row.labels.get(LABEL) == str(issue) and row.state == "started"]
        return min(mine, key=lambda row: (row.created_at or "", row.id)).id if mine else None
