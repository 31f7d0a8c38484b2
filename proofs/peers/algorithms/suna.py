"""kortix-ai/suna, its two older forms: by project in Python, and `ensure-sandbox` in TypeScript."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from daytona import AsyncSandbox, DaytonaError

from localdaytona.admin_models import SandboxView
from proofs.peers.host import Host
from proofs.peers.peer import Cloud, Event, Peer, is_transient, known, state_of

POLLS_MAX = 30
CREATE_TRIES_MAX = 3
RETRY_PAUSE_S = 1


class SunaProject(Peer):
    """The Python era: the project's row has the sandbox's ID; no lock."""

    title: ClassVar[str] = "suna (i), project"
    notes: ClassVar[str] = "read in an issue's words, not in its code; a failed start is the caller's error"

    def __init__(self, host: Host, cloud: Cloud) -> None:
        super().__init__(host, cloud)
        self.projects = host.table("projects", str)

    async def on_delivery(self, event: Event) -> None:
        sandbox_id = await self.projects.read(event.issue)
        if sandbox_id is None:
            sandbox = await self.host.create(event.issue, labels={"id": str(event.issue)})
            await self.projects.write(event.issue, sandbox.id)
        else:
            sandbox = await self.get_or_start(sandbox_id)
        self.host.hand_over(event.issue, sandbox)

    async def get_or_start(self, sandbox_id: str) -> AsyncSandbox:
        """Start it when it is at rest, read it once a second for half a minute, and return it in any state."""
        sandbox = await self.host.get(sandbox_id)
        if state_of(sandbox) in {"archived", "stopped", "archiving"}:
            await self.host.start(sandbox)
            for _ in range(POLLS_MAX):
                await self.host.sleep(1)
                sandbox = await self.host.get(sandbox_id)
                if state_of(sandbox) == "started":
                    break
        return sandbox

    def finds(self, issue: int, live: Sequence[SandboxView]) -> str | None:
        return known(self.projects.peek(issue), live)


@dataclass(frozen=True, slots=True)
class Sandboxed:
    """A row of its `sandboxes` table."""

    number: int
    status: str
    sandbox_id: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """All rows of one account, oldest first."""

    rows: tuple[Sandboxed, ...] = ()

    def newest(self, *statuses: str) -> Sandboxed | None:
        """The newest row with one of these statuses."""
        return next((row for row in reversed(self.rows) if row.status in statuses), None)

    def having(self, row: Sandboxed) -> Account:
        """The account with this row added, or in place of the row with its number."""
        return Account((*(each for each in self.rows if each.number != row.number), row))


class SunaEnsure(Peer):
    """`ensure-sandbox`: rows with a status, under an advisory lock that ends with its own statement."""

    title: ClassVar[str] = "suna (ii), ensure-sandbox"
    notes: ClassVar[str] = (
        "inferred: the advisory lock ends with the statement that takes it; a row's status follows Daytona's "
        "(one read); 3 tries of a create; no limit to the age of `provisioning` was read"
    )

    def __init__(self, host: Host, cloud: Cloud) -> None:
        super().__init__(host, cloud)
        self.accounts = host.table("accounts", Account)

    async def on_delivery(self, event: Event) -> None:
        issue = event.issue
        account = await self.synced(await self.accounts.read(issue) or Account())
        active = account.newest("active")
        if active is not None:
            self.host.hand_over_id(issue, active.sandbox_id)
        elif account.newest("provisioning") is None:
            resting = account.newest("stopped", "archived")
            if resting is None or not await self.started(issue, resting):
                await self.provision(issue)

    async def synced(self, account: Account) -> Account:
        """The account, updated with the provider's state."""
        active = account.newest("active")
        if active is None:
            return account
        with contextlib.suppress(DaytonaError):
            state = state_of(await self.host.get(active.sandbox_id))
            if state in {"stopped", "archived"}:
                return account.having(replace(active, status=state))
        return account

    async def started(self, issue: int, row: Sandboxed) -> bool:
        """Start a sandbox at rest. Returns False after an error, and ignores it from then on."""
        try:
            sandbox = await self.host.get(row.sandbox_id)
            await self.host.start(sandbox)
        except DaytonaError:
            return False
        await self.keep(issue, replace(row, status="active"))
        self.host.hand_over(issue, sandbox)
        return True

    async def provision(self, issue: int) -> None:
        """Insert a row, create with independent tries, and update the row."""
        account = await self.accounts.read(issue) or Account()
        row = Sandboxed(len(account.rows), "provisioning")
        await self.keep(issue, row)
        try:
            sandbox = await self.created(issue)
        except DaytonaError:
            await self.keep(issue, replace(row, status="error"))
            raise
        await self.keep(issue, replace(row, status="active", sandbox_id=sandbox.id))
        self.host.hand_over(issue, sandbox)

    async def created(self, issue: int) -> AsyncSandbox:
        """Create, and again after a transient error: a create whose reply was lost leads to a second sandbox."""
        for _ in range(CREATE_TRIES_MAX - 1):
            try:
                return await self.host.create(issue)
            except DaytonaError as error:
                if not is_transient(error):
                    raise
            await self.host.sleep(RETRY_PAUSE_S)
        return await self.host.create(issue)

    async def keep(self, issue: int, row: Sandboxed) -> None:
        """One UPDATE or INSERT of a row; other rows are unchanged."""
        while True:
            account = await self.accounts.read(issue)
            if await self.accounts.swap(issue, account, (account or Account()).having(row)):
                return

    def finds(self, issue: int, live: Sequence[SandboxView]) -> str | None:
        account = self.accounts.peek(issue) or Account()
        row = account.newest("active") or account.newest("stopped", "archived")
        return known(row.sandbox_id if row else None, live)
