"""kortix-ai/suna, its present form: a session's row claimed by an insert, provisioned in the background, reaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from daytona import AsyncSandbox, DaytonaError, DaytonaNotFoundError

from localdaytona.admin_models import SandboxView
from proofs.peers.host import Host
from proofs.peers.peer import Cloud, Event, Peer, is_transient, known, state_of

CREATE_TIMEOUT_S = 30
CREATE_TRIES_MAX = 3
RETRY_PAUSE_S = 1
LABELS = {"managed": "true", "env": "bench", "instance": "one"}


@dataclass(frozen=True, slots=True)
class Session:
    """The session's row. `claim` distinguishes one provisioning from the next."""

    status: str
    sandbox_id: str = ""
    claim: int = 0


class SunaSession(Peer):
    """`session-sandbox`."""

    title: ClassVar[str] = "suna (iii), session-sandbox"
    notes: ClassVar[str] = (
        "inferred: an event for an active session reads its sandbox and starts it, one for a session that is being "
        "provisioned waits for that, one for a failed session is authorised to recover it; the close of an issue "
        "stops the session; 3 tries of a create; its 5-minute reaper is run once at rest"
    )

    def __init__(self, host: Host, cloud: Cloud) -> None:
        super().__init__(host, cloud)
        self.sessions = host.table("sessions", Session)

    async def on_delivery(self, event: Event) -> None:
        issue, fresh = event.issue, Session("provisioning")
        if await self.sessions.insert(issue, fresh):
            self.host.spawn(self.provision(issue, fresh))
            return
        seen = await self.sessions.read(issue)
        if seen is None or seen.status == "provisioning":
            return
        if seen.status == "failed":
            claimed = Session("provisioning", claim=seen.claim + 1)
            if await self.sessions.swap(issue, seen, claimed):
                self.host.spawn(self.provision(issue, claimed))
            return
        await self.resume(issue, seen)

    async def on_close(self, event: Event) -> None:
        """Mark the session stopped and stop its sandbox. A provisioning under way reads the mark at its end."""
        seen = await self.sessions.read(event.issue)
        if seen is None:
            return
        await self.sessions.write(event.issue, replace(seen, status="stopped"))
        if seen.sandbox_id:
            await self.host.stop(await self.host.get(seen.sandbox_id))

    async def resume(self, issue: int, session: Session) -> None:
        """Read the session's sandbox and start it when it is at rest. When it is gone, provision anew."""
        try:
            sandbox = await self.host.get(session.sandbox_id)
        except DaytonaNotFoundError:
            claimed = Session("provisioning", claim=session.claim + 1)
            if await self.sessions.swap(issue, session, claimed):
                self.host.spawn(self.provision(issue, claimed))
            return
        if state_of(sandbox) in {"stopped", "archived"}:
            await self.host.start(sandbox)
        await self.sessions.swap(issue, session, replace(session, status="active"))
        self.host.hand_over(issue, sandbox)

    async def provision(self, issue: int, session: Session) -> None:
        """Create in the background, and read the session again before it gets the sandbox."""
        try:
            sandbox = await self.created(issue)
        except DaytonaError:
            await self.sessions.swap(issue, session, replace(session, status="failed"))
            raise
        now = await self.sessions.read(issue)
        if now is not None and now.status == "stopped":
            await self.host.stop(sandbox)
            await self.sessions.write(issue, replace(now, sandbox_id=sandbox.id))
        elif await self.sessions.swap(issue, session, replace(session, status="active", sandbox_id=sandbox.id)):
            self.host.hand_over(issue, sandbox)
        else:
            await self.host.delete(sandbox)

    async def created(self, issue: int) -> AsyncSandbox:
        """Create without a name; again after a transient error."""
        for _ in range(CREATE_TRIES_MAX - 1):
            try:
                return await self.host.create(issue, labels=LABELS, timeout_s=CREATE_TIMEOUT_S)
            except DaytonaError as error:
                if not is_transient(error):
                    raise
            await self.host.sleep(RETRY_PAUSE_S)
        return await self.host.create(issue, labels=LABELS, timeout_s=CREATE_TIMEOUT_S)

    async def sweep(self) -> None:
        """Fail overdue sessions. Delete managed sandboxes that no session knows, after another read by ID."""
        sessions = await self.sessions.all()
        for issue, session in sessions.items():
            if session.status == "provisioning":
                await self.sessions.swap(issue, session, replace(session, status="failed"))
        owned = {session.sandbox_id for session in sessions.values()}
        for listed in await self.host.search(LABELS):
            if listed.id in owned:
                continue
            try:
                await self.host.delete(await self.host.get(listed.id))
            except DaytonaError:
                continue  # The next pass finds it again.

    def finds(self, issue: int, live: Sequence[SandboxView]) -> str | None:
        session = self.sessions.peek(issue)
        return known(session.sandbox_id if session else None, live)
