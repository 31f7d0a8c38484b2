"""The activities of one sandbox. Each sends at most one command and is safe to repeat.

Repeating is safe because creates carry a unique name, the other commands carry the sandbox's ID, and
the workflow looks again after every failure instead of sending a command twice in the dark.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from temporalio import activity

from activities.failures import not_settled, typed_failures
from activities.messages import CommandInput, CommandReply, CreateInput, Look, LookupInput
from activities.reporting import facts, heartbeats, logged
from issuebox.domain.errors import NotInStateError
from issuebox.domain.issue import Issue
from issuebox.domain.patience import Patience
from issuebox.domain.phase import ASLEEP, AWAKE, TRANSITIONAL, Goal, Phase
from issuebox.domain.provider import SandboxProvider, SandboxSpec
from issuebox.domain.sandbox import (
    LABEL_INSTANCE,
    LABEL_ISSUE_ID,
    LABEL_ISSUE_NUMBER,
    LABEL_MANAGED_BY,
    LABEL_REPOSITORY,
    MANAGED_BY,
    Sandbox,
)

_log = structlog.get_logger("issuebox.activities")


class SandboxActivities:
    """Looking at sandboxes and acting on them, on one provider."""

    def __init__(
        self, provider: SandboxProvider, *, patience: Patience, instance: str, settle_timeout_s: float = 60.0
    ) -> None:
        self._provider = provider
        self._patience = patience
        self._edition = patience.edition()
        self._instance = instance
        self._settle_timeout_s = settle_timeout_s

    def all(self) -> list[Callable[..., Any]]:
        """Every activity, for the worker and for tests that loop over all of them."""
        return [
            self.read_patience,
            self.lookup_sandbox,
            self.create_sandbox,
            self.start_sandbox,
            self.recover_sandbox,
            self.stop_sandbox,
            self.archive_sandbox,
            self.delete_sandbox,
            self.settle_sandbox,
            self.label_sandbox,
            self.refresh_activity,
        ]

    @activity.defn
    async def read_patience(self) -> Patience:
        """This worker's settings, for the time until the first look brings them. Asks nobody."""
        return self._patience

    @activity.defn
    async def lookup_sandbox(self, request: LookupInput) -> Look:
        """Read the sandbox, by ID when one is known."""
        async with typed_failures(), logged("sandbox_lookup", request) as log:
            sandbox = await self._provider.lookup(
                request.name, request.sandbox_id or None, is_doubted=request.is_doubted
            )
            log(sandbox)
        if sandbox is not None and sandbox.phase is Phase.USABLE and request.goal is Goal.RUNNING:
            _log.info("sandbox_reused", **facts(request) | {"sandbox_id": sandbox.id})
        is_known = request.edition == self._edition
        return Look(sandbox, None if is_known else self._patience, self._edition)

    @activity.defn
    async def create_sandbox(self, request: CreateInput) -> CommandReply:
        """Create the sandbox under its unique name and wait until it can be used."""
        spec = SandboxSpec(request.name, identity_labels(self._instance, request.issue_id, request.issue))
        return await self._command("sandbox_created", request, lambda: self._provider.create(spec))

    @activity.defn
    async def start_sandbox(self, request: CommandInput) -> CommandReply:
        """Start the sandbox and wait until it can be used.

        Daytona answers the start of one that runs as it answers any other. Where it counts who started it, it
        is read first, and what is awake is left to whoever woke it.
        """
        if request.only_at_rest:
            async with typed_failures(), logged("sandbox_lookup", request) as log, heartbeats():
                found = await self._provider.lookup_by_id(request.sandbox_id)
                log(found)
            if found is not None and found.phase not in ASLEEP:
                return CommandReply(found, is_sent=False)
        return await self._command("sandbox_started", request, lambda: self._provider.start(request.sandbox_id))

    @activity.defn
    async def recover_sandbox(self, request: CommandInput) -> CommandReply:
        """Have Daytona repair the sandbox and wait until it can be used."""
        return await self._command("sandbox_recovered", request, lambda: self._provider.recover(request.sandbox_id))

    @activity.defn
    async def stop_sandbox(self, request: CommandInput) -> CommandReply:
        """Stop the sandbox; its disk is kept."""
        return await self._command("sandbox_stopped", request, lambda: self._provider.stop(request.sandbox_id))

    @activity.defn
    async def archive_sandbox(self, request: CommandInput) -> CommandReply:
        """Move a stopped sandbox to object storage."""
        return await self._command("sandbox_archived", request, lambda: self._provider.archive(request.sandbox_id))

    @activity.defn
    async def delete_sandbox(self, request: CommandInput) -> CommandReply:
        """Delete the sandbox and wait until it is gone. Fails with NotInStateError when it runs.

        Daytona would delete a running one as well. The workflow stops it first, so one that runs was started
        since the decision, and somebody is at work in it.
        """

        async def send() -> Sandbox | None:
            found = await self._provider.lookup_by_id(request.sandbox_id)
            if found is not None and found.phase in AWAKE:
                raise NotInStateError(f"the sandbox is {found.state}, and only one at rest is deleted")
            return await self._provider.delete(request.sandbox_id)

        return await self._command("sandbox_deleted", request, send)

    @activity.defn
    async def settle_sandbox(self, request: CommandInput) -> CommandReply:
        """Wait for the end of a state change. Raises NotSettledError, which Temporal retries in silence."""
        async with typed_failures(), logged("sandbox_settled", request, level="debug") as log, heartbeats():
            sandbox = await self._provider.settle(request.sandbox_id, self._settle_timeout_s)
            log(sandbox)
        if sandbox is not None and sandbox.phase in TRANSITIONAL:
            raise not_settled(sandbox.state)
        return CommandReply(sandbox)

    @activity.defn
    async def label_sandbox(self, request: CommandInput) -> None:
        """Put our labels on a sandbox that was made by hand under our name."""
        labels = identity_labels(self._instance, request.issue_id, request.issue)
        async with typed_failures(), logged("sandbox_adopted", request):
            await self._provider.label(request.sandbox_id, labels)

    @activity.defn
    async def refresh_activity(self, request: CommandInput) -> None:
        """Put off Daytona's idle stop."""
        async with typed_failures(), logged("sandbox_activity_refreshed", request):
            await self._provider.refresh_activity(request.sandbox_id)

    async def _command(
        self, word: str, request: CreateInput | CommandInput, send: Callable[[], Awaitable[Sandbox | None]]
    ) -> CommandReply:
        async with typed_failures(), logged(word, request) as log, heartbeats():
            sandbox = await send()
            log(sandbox)
        return CommandReply(sandbox)


def identity_labels(instance: str, issue_id: int, issue: Issue | None) -> dict[str, str]:
    """The labels that say whose sandbox this is, readable in Daytona's dashboard. Never a secret."""
    labels = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_INSTANCE: instance, LABEL_ISSUE_ID: str(issue_id)}
    if issue is not None and issue.repository:
        labels[LABEL_REPOSITORY] = issue.repository
    if issue is not None and issue.number:
        labels[LABEL_ISSUE_NUMBER] = str(issue.number)
    return labels
