"""One pursuit: from a request for the sandbox to its handover, or to being blocked.

Look, decide, act once, look again. The decision is `issuebox.domain.decision.decide`; this module only
carries it out and keeps the memory true. A command's reply ends with a read of the sandbox, and that
read is the next look: a create or a start costs one lookup and one command.

Every pursuit ends: each command has a bounded number of tries and each wait a budget.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.messages import CommandInput, CommandReply, CreateInput, LookupInput
    from activities.sandboxes import SandboxActivities
    from issuebox.domain.decision import Decision, Refusal, Situation, decide
    from issuebox.domain.memory import Blocked, Memory, Note
    from issuebox.domain.phase import REMEDIES, Action, Cause, Goal, Outcome, Phase
    from issuebox.domain.sandbox import Ownership, Sandbox, ownership
    from workflows import options
    from workflows.setback import Setback, read_failure

Command = Callable[[SandboxActivities, CommandInput], Awaitable[CommandReply]]
Courtesy = Callable[[SandboxActivities, CommandInput], Awaitable[None]]

COMMANDS: dict[Action, Command] = {
    Action.START: SandboxActivities.start_sandbox,
    Action.RECOVER: SandboxActivities.recover_sandbox,
    Action.STOP: SandboxActivities.stop_sandbox,
    Action.ARCHIVE: SandboxActivities.archive_sandbox,
    Action.DELETE: SandboxActivities.delete_sandbox,
}
"""The activity for each action that addresses a known sandbox."""

OUTCOMES: dict[Action | None, Outcome] = {
    None: Outcome.REUSED,
    Action.CREATE: Outcome.CREATED,
    Action.START: Outcome.STARTED,
    Action.RECOVER: Outcome.RECOVERED,
}
"""What a handover is called, by the last command that was sent for it."""

DOING: dict[Action, str] = {
    Action.CREATE: "creating the sandbox",
    Action.START: "starting the sandbox",
    Action.RECOVER: "recovering the sandbox",
    Action.STOP: "stopping the sandbox",
    Action.ARCHIVE: "archiving the sandbox",
    Action.DELETE: "deleting the sandbox",
    Action.WAIT: "waiting for Daytona to finish a state change",
    Action.USE: "handing the sandbox over",
}


GOAL = Goal.RUNNING
"""What a pursuit is for. Closing, deleting and transferring are recorded in the memory, not acted on yet."""


class _BlockedError(Exception):
    """Ends a pursuit. Never leaves this module."""

    def __init__(self, cause: Cause, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.cause = cause
        self.reason = reason
        self.retry_after_s = retry_after_s


class Pursuit:
    """The loop. Holds what counts only until the handover; all else is in the memory."""

    def __init__(self, memory: Memory, tell: Callable[[str], None]) -> None:
        self._memory = memory
        self._tell = tell
        self._attempts: Counter[Action] = Counter()
        self._refusal: Refusal | None = None
        self._trouble: Cause | None = None
        self._setbacks = 0
        self._sent: Action | None = None
        # Requests that arrived before the observation under way began: only these may be served by it.
        self.ticket = memory.asked

    async def run(self) -> None:
        """Serve the requests that are waiting, or leave the memory blocked. Never raises but on a bug."""
        try:
            await self._run()
        except _BlockedError as block:
            self._block(block)

    async def _run(self) -> None:
        previous: Action | None = None
        sandbox = await self._look()
        while True:
            decision = decide(self._situation(sandbox), self._memory.patience.limits)
            self._note(decision, sandbox)
            match decision.action:
                case Action.USE if sandbox is not None:
                    await self._hand_over(sandbox)
                    return
                case Action.BLOCK:
                    raise _BlockedError(decision.cause or Cause.INTERNAL, decision.reason)
                case Action.REST | Action.USE:
                    self._memory.serve(self.ticket)
                    return
                case action:
                    if action is previous:
                        await self._pause()
                    previous = action
                    self._tell(DOING[action])
                    sandbox = await self._carry_out(decision, sandbox)

    async def _carry_out(self, decision: Decision, sandbox: Sandbox | None) -> Sandbox | None:
        """Send the command, or wait; the sandbox as it is then."""
        action = decision.action
        if action is Action.WAIT and sandbox is not None:
            return await self._wait(sandbox)
        self._attempts[action] += 1
        self._sent = action
        if decision.phase is Phase.UNBUILT:
            self._memory.builds_failed += 1
        self.ticket = self._memory.asked
        try:
            reply = await self._send(action, sandbox)
        except ActivityError as error:
            return await self._after_setback(action, read_failure(error))
        self._trouble, self._setbacks = None, 0
        return self._seen(reply.sandbox)

    async def _send(self, action: Action, sandbox: Sandbox | None) -> CommandReply:
        memory = self._memory
        if sandbox is None:
            return await workflow.execute_activity_method(
                SandboxActivities.create_sandbox,
                CreateInput(memory.issue_id, memory.name, memory.issue, memory.waiting_deliveries),
                **options.command(),
                summary=memory.name,
            )
        return await workflow.execute_activity_method(
            COMMANDS[action],
            self._command_input(sandbox),
            **options.command(),
            summary=f"{memory.name} was {sandbox.state}",
        )

    async def _after_setback(self, action: Action, setback: Setback) -> Sandbox | None:
        """Look again: at once after a refusal, which a look may disprove, else after a pause."""
        cause = setback.cause or Cause.INTERNAL
        self._memory.note(Note(workflow.now(), f"{action} failed", f"{setback.kind}: {setback.reason}"))
        if setback.is_final:
            self._refusal = Refusal(action, cause, setback.reason)
            return await self._look()
        self._trouble = setback.cause
        if setback.retry_after_s > self._memory.patience.backoff_max_s:
            raise _BlockedError(cause, setback.reason, setback.retry_after_s)
        await self._pause(setback.retry_after_s)
        return await self._look()

    async def _look(self) -> Sandbox | None:
        """Read the sandbox, for as long as it takes within `unreachable_after_s`."""
        memory = self._memory
        self._tell("looking the sandbox up")
        self.ticket = memory.asked
        request = LookupInput(memory.issue_id, memory.name, memory.sandbox_id, GOAL, memory.waiting_deliveries)
        try:
            look = await workflow.execute_activity_method(
                SandboxActivities.lookup_sandbox,
                request,
                **options.look(memory.patience.unreachable_after_s),
                summary=memory.name,
            )
        except ActivityError as error:
            setback = read_failure(error)
            raise _BlockedError(setback.cause or Cause.UNREACHABLE, setback.reason, setback.retry_after_s) from error
        memory.patience = look.patience
        return self._seen(look.sandbox)

    async def _wait(self, sandbox: Sandbox) -> Sandbox | None:
        """Wait for the end of a state change, within the budget of its phase."""
        waited_s = self._waited_s()
        budget_s = self._memory.patience.limits.budget_s.get(sandbox.phase, 0.0)
        self.ticket = self._memory.asked
        try:
            reply = await workflow.execute_activity_method(
                SandboxActivities.settle_sandbox,
                self._command_input(sandbox),
                **options.settle(budget_s - waited_s),
                summary=f"{self._memory.name} is {sandbox.state}",
            )
        except ActivityError as error:
            self._trouble = read_failure(error).cause
            return await self._look()
        return self._seen(reply.sandbox)

    async def _hand_over(self, sandbox: Sandbox) -> None:
        """The sandbox is running: adopt it and keep it awake where that is due, and serve who asked.

        Setting the sandbox up (clone, configured command) will be one more step here, before serving.
        """
        memory = self._memory
        ticket = self.ticket
        self._tell(DOING[Action.USE])
        if ownership(sandbox.labels, memory.issue_id) is Ownership.UNLABELLED:
            await self._courtesy(SandboxActivities.label_sandbox, sandbox)
        if sandbox.needs_activity_refresh(workflow.now()) and self._sent is None:
            await self._courtesy(SandboxActivities.refresh_activity, sandbox)
        memory.outcome = OUTCOMES.get(self._sent, Outcome.REUSED)
        memory.blocked, memory.builds_failed, memory.unbuilt_id = None, 0, ""
        memory.serve(ticket)

    async def _courtesy(self, activity: Courtesy, sandbox: Sandbox) -> None:
        """What the handover does not depend on: a failure is remembered, and the sandbox handed over."""
        try:
            await workflow.execute_activity_method(activity, self._command_input(sandbox), **options.courtesy())
        except ActivityError as error:
            self._memory.note(Note(workflow.now(), f"{activity.__name__} failed", read_failure(error).reason))

    async def _pause(self, at_least_s: float = 0.0) -> None:
        """A pause that grows with the setbacks in a row."""
        self._setbacks += 1
        backoff_s = self._memory.patience.backoff_s(self._setbacks, workflow.random().random())
        self._tell(f"trying again in {max(at_least_s, backoff_s):.1f} s")
        await asyncio.sleep(max(at_least_s, backoff_s))

    def _block(self, block: _BlockedError) -> None:
        memory, now = self._memory, workflow.now()
        remedy = REMEDIES[block.cause]
        tries = memory.blocked.tries + 1 if memory.blocked else 1
        next_try_at = None
        if remedy.passes:
            pause_s = memory.patience.blocked_retry_s(tries, workflow.random().random())
            next_try_at = now + timedelta(seconds=max(block.retry_after_s, pause_s))
        since = memory.blocked.since if memory.blocked else now
        memory.blocked = Blocked(block.cause, block.reason, remedy.advice, since, tries, next_try_at)
        memory.outcome = Outcome.BLOCKED
        memory.note(Note(now, "blocked", f"{block.cause}: {block.reason}", memory.phase))
        workflow.logger.warning(
            "sandbox_blocked",
            extra={
                "issue_id": memory.issue_id,
                "sandbox": memory.name,
                "sandbox_id": memory.sandbox_id,
                "cause": str(block.cause),
                "reason": block.reason,
                "delivery": next(reversed(memory.waiting_deliveries), ""),
            },
        )

    def _situation(self, sandbox: Sandbox | None) -> Situation:
        memory = self._memory
        return Situation(
            issue_id=memory.issue_id,
            goal=GOAL,
            sandbox=sandbox,
            unbuilt_id=memory.unbuilt_id,
            builds_failed=memory.builds_failed,
            waited_s=self._waited_s(),
            attempts=self._attempts,
            refusal=self._refusal,
            trouble=self._trouble,
        )

    def _seen(self, sandbox: Sandbox | None) -> Sandbox | None:
        self._memory.see(sandbox, Phase.MISSING if sandbox is None else sandbox.phase, workflow.now())
        return sandbox

    def _waited_s(self) -> float:
        since = self._memory.phase_since
        return 0.0 if since is None else (workflow.now() - since).total_seconds()

    def _note(self, decision: Decision, sandbox: Sandbox | None) -> None:
        self._memory.note(
            Note(
                workflow.now(),
                f"decided to {decision.action}",
                decision.reason,
                decision.phase,
                sandbox.state if sandbox else "",
                decision.action,
                self._memory.waiting_deliveries,
            )
        )

    def _command_input(self, sandbox: Sandbox) -> CommandInput:
        memory = self._memory
        return CommandInput(memory.issue_id, memory.name, sandbox.id, memory.issue, memory.waiting_deliveries)
