"""The activities of one sandbox. Each sends at most one command and is safe to repeat.

Repeating is safe because creates carry a unique name, the other commands carry the sandbox's ID, and
the workflow looks the sandbox up after every failure instead of sending a command twice blindly.

A sandbox that did not carry our labels when the workflow saw it is read once more before any command.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from temporalio import activity

from activities.claims import identity_labels, refuse_foreign
from activities.failures import not_settled, typed_failures
from activities.messages import CommandInput, CommandReply, CreateInput, LookupInput, LookupResult
from activities.reporting import heartbeats, logged
from issuebox.domain.errors import NameTakenError, NotInStateError
from issuebox.domain.phase import ASLEEP, AWAKE, TRANSITIONAL
from issuebox.domain.policy import Policy
from issuebox.domain.provider import SandboxProvider, SandboxSpec
from issuebox.domain.sandbox import Ownership, Sandbox, ownership


class SandboxActivities:
    """Looking sandboxes up and sending them commands, on one provider."""

    def __init__(
        self, provider: SandboxProvider, *, policy: Policy, instance: str, settle_timeout_s: float = 60.0
    ) -> None:
        self._provider = provider
        self._policy = policy
        self._policy_hash = policy.hash()
        self._instance = instance
        self._settle_timeout_s = settle_timeout_s

    def all(self) -> list[Callable[..., Any]]:
        """Every activity, for the worker and for tests that loop over all of them."""
        return [
            self.read_policy,
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
    async def read_policy(self) -> Policy:
        """This worker's settings, for the time until the first lookup brings them. Sends no request."""
        return self._policy

    @activity.defn
    async def lookup_sandbox(self, request: LookupInput) -> LookupResult:
        """Read the sandbox, by ID when one is known."""
        async with typed_failures(), logged("sandbox_lookup", request) as log:
            sandbox = await self._lookup(request)
            log(sandbox)
        is_known = request.policy_hash == self._policy_hash
        return LookupResult(sandbox, None if is_known else self._policy, self._policy_hash)

    @activity.defn
    async def create_sandbox(self, request: CreateInput) -> CommandReply:
        """Create the sandbox under its unique name and wait until it can be used.

        When the name is held, the reply is the sandbox that holds it, if that can be found.
        """
        spec = SandboxSpec(request.name, identity_labels(self._instance, request.issue_id, request.issue))
        async with typed_failures(), heartbeats():
            try:
                async with logged("sandbox_created", request) as log:
                    sandbox = await self._provider.create(spec)
                    log(sandbox)
            except NameTakenError as taken:
                if taken.holder is None:
                    raise
                return CommandReply(taken.holder, is_sent=False)
        return CommandReply(sandbox)

    @activity.defn
    async def start_sandbox(self, request: CommandInput) -> CommandReply:
        """Start the sandbox and wait until it can be used.

        Daytona accepts the start of a running sandbox like any other. Where it matters who started it
        (``only_at_rest``), the sandbox is read first, and no command is sent to one that is awake.
        """
        if request.only_at_rest:
            async with typed_failures(), logged("sandbox_lookup", request) as log, heartbeats():
                found = await self._checked(request)
                log(found)
            if found is not None and found.phase not in ASLEEP:
                return CommandReply(found, is_sent=False)
        return await self._command(
            "sandbox_started",
            request,
            lambda: self._provider.start(request.sandbox_id),
            is_checked=request.only_at_rest,
        )

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

        Daytona would delete a running sandbox as well. The workflow stops it first, so a running one was started
        after the decision, and somebody may be working in it.
        """

        async def send() -> Sandbox | None:
            found = await self._checked(request)
            if found is not None and found.phase in AWAKE:
                raise NotInStateError(f"the sandbox is {found.state}, and only a sandbox at rest is deleted")
            return await self._provider.delete(request.sandbox_id)

        return await self._command("sandbox_deleted", request, send, is_checked=True)

    @activity.defn
    async def settle_sandbox(self, request: CommandInput) -> CommandReply:
        """Wait for the end of a state change. Raises NotSettledError, which Temporal retries silently."""
        async with typed_failures(), logged("sandbox_settled", request, level="debug") as log, heartbeats():
            sandbox = await self._provider.settle(request.sandbox_id, self._settle_timeout_s)
            log(sandbox)
        if sandbox is not None and sandbox.phase in TRANSITIONAL:
            raise not_settled(sandbox.state)
        return CommandReply(sandbox)

    @activity.defn
    async def label_sandbox(self, request: CommandInput) -> None:
        """Put our labels on a sandbox that was made by hand with our name. Refused when it is another's."""
        labels = identity_labels(self._instance, request.issue_id, request.issue)
        async with typed_failures(), logged("sandbox_adopted", request):
            await self._checked(request)
            await self._provider.label(request.sandbox_id, labels)

    @activity.defn
    async def refresh_activity(self, request: CommandInput) -> None:
        """Postpone Daytona's idle stop."""
        async with typed_failures(), logged("sandbox_activity_refreshed", request):
            if not request.is_ours:
                await self._checked(request)
            await self._provider.refresh_activity(request.sandbox_id)

    async def _lookup(self, request: LookupInput) -> Sandbox | None:
        """The sandbox by its ID, or by its name when a foreign sandbox with another name has that ID."""
        sandbox = await self._provider.lookup(request.name, request.sandbox_id or None, is_doubted=request.is_doubted)
        if sandbox is None or sandbox.name == request.name or not self._is_foreign(sandbox, request):
            return sandbox
        return await self._provider.lookup(request.name, is_doubted=request.is_doubted)

    async def _checked(self, request: CommandInput) -> Sandbox | None:
        """The sandbox as it is now. Raises RefusedError when its labels now name another owner."""
        found = await self._provider.lookup_by_id(request.sandbox_id)
        refuse_foreign(found, request.issue_id, self._instance)
        return found

    def _is_foreign(self, sandbox: Sandbox, request: LookupInput) -> bool:
        return ownership(sandbox.labels, request.issue_id, self._instance) is Ownership.FOREIGN

    async def _command(
        self,
        word: str,
        request: CreateInput | CommandInput,
        send: Callable[[], Awaitable[Sandbox | None]],
        *,
        is_checked: bool = False,
    ) -> CommandReply:
        async with typed_failures(), logged(word, request) as log, heartbeats():
            if isinstance(request, CommandInput) and not (request.is_ours or is_checked):
                await self._checked(request)
            sandbox = await send()
            log(sandbox)
        return CommandReply(sandbox)
