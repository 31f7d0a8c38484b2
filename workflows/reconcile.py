"""One reconciliation: it ends with the goal reached, or with the issue blocked.

Look up, decide, act once, look up again. `issuebox.domain.decision.decide` makes the decision; this module only
carries it out and keeps the memory up to date. Each decision uses the goal of that moment: a close during a create
takes effect when the create settles, a reopening during a delete when the old sandbox is gone. Every command
replies with a read of the sandbox, which serves as the next lookup: a create or a start costs one lookup and one
command.

Every reconciliation ends: each command has a bounded number of tries (one that is cut off is none), each wait a budget.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.inside import InsideActivities
from activities.messages import CommandInput, CommandReply, LookupResult
from activities.sandboxes import SandboxActivities
from issuebox.domain.decision import Decision, Refusal, Situation, decide
from issuebox.domain.goal import abandon, goal_for, is_forced, steer
from issuebox.domain.memory import Answer, Memory, Note
from issuebox.domain.phase import AWAKE, RAISING, READY, Action, Cause, Goal, Outcome, Phase
from issuebox.domain.sandbox import Ownership, Sandbox, ownership
from issuebox.domain.unsaved_work import Inspection, LastInspection, WorkState, standing_verdict
from workflows import measures, options
from workflows.cancellation import Cancellation
from workflows.failures import BlockedError, Failure, read_failure
from workflows.inputs import command_input, create_input, inspect_input
from workflows.lookups import look_while_late, lookup_at_once, lookup_durably
from workflows.slots import Slots

Command = Callable[[SandboxActivities, CommandInput], Awaitable[CommandReply]]

COMMANDS: dict[Action, Command] = {
    Action.START: SandboxActivities.start_sandbox,
    Action.RECOVER: SandboxActivities.recover_sandbox,
    Action.STOP: SandboxActivities.stop_sandbox,
    Action.ARCHIVE: SandboxActivities.archive_sandbox,
    Action.DELETE: SandboxActivities.delete_sandbox,
}
"""The activity for each action that addresses a known sandbox."""

HANDED_OVER: dict[Action | None, Outcome] = {
    None: Outcome.REUSED,
    Action.CREATE: Outcome.CREATED,
    Action.START: Outcome.STARTED,
    Action.RECOVER: Outcome.RECOVERED,
}
"""The outcome of a handover, by the last command that brought the sandbox up."""

REACHED: dict[Goal, Outcome] = {
    Goal.STOPPED: Outcome.STOPPED,
    Goal.ARCHIVED: Outcome.ARCHIVED,
    Goal.DELETED: Outcome.DELETED,
}
"""The outcome when any other goal is reached."""

LATE = frozenset({Action.STOP, Action.ARCHIVE, Action.DELETE})
"""Commands that do harm when Daytona executes them late. A create is known as open; a start is idle-stopped."""

UNDER_A_RUN = frozenset({Action.INSPECT, Action.STOP, Action.ARCHIVE, Action.DELETE})
"""What never meets a run that may be alive: the loop ends that first, and then reconciles again."""

STAYS_UP = AWAKE - {Phase.STOPPING}
"""Phases in which a sandbox runs, or soon will."""

DOING: dict[Action, str] = {
    Action.CREATE: "creating the sandbox",
    Action.START: "starting the sandbox",
    Action.RECOVER: "recovering the sandbox",
    Action.SET_UP: "setting the sandbox up",
    Action.INSPECT: "inspecting the sandbox for unsaved work",
    Action.STOP: "stopping the sandbox",
    Action.ARCHIVE: "archiving the sandbox",
    Action.DELETE: "deleting the sandbox",
    Action.WAIT: "waiting for Daytona to finish a state change",
    Action.USE: "handing the sandbox over",
}


BestEffort = Callable[[SandboxActivities, CommandInput], Awaitable[None]]


@dataclass(slots=True)
class Tries:
    """The commands sent, and their failures.

    ``refused_ticket`` is the last ticket of a request from before the refused command: it answers no later one.
    ``unattended`` counts those that no worker was free to send. ``raised`` is the last command that brought the sandbox
    up; it determines the outcome. ``reads_at_once`` is False once a lookup at once has failed.
    """

    counts: Counter[Action] = field(default_factory=Counter)
    refusal: Refusal | None = None
    refused_ticket: int | None = None
    trouble: Cause | None = None
    raised: Action | None = None
    unattended: int = 0
    reads_at_once: bool = True


@dataclass(slots=True)
class Inspected:
    """What is known about the inspection of this reconciliation.

    ``quiet_id`` is the sandbox that was started only to be inspected. ``is_fresh``: an inspection was made and still
    counts. ``is_stopping``: a stop was sent after it.
    """

    quiet_id: str = ""
    is_fresh: bool = False
    is_stopping: bool = False


@dataclass(slots=True)
class Gone:
    """Sandboxes known to be gone: the one whose delete was followed to its end, and the one that two lookups missed."""

    destroyed_id: str = ""
    missed_id: str = ""


class Reconciliation:
    """The loop. It holds only what matters until its end; everything else is in the memory."""

    def __init__(self, memory: Memory, show: Callable[[str], None], cancellation: Cancellation, slots: Slots) -> None:
        self._memory = memory
        self._show = show
        self._cancellation = cancellation
        self._slots = slots
        self._tries = Tries()
        self._inspected = Inspected()
        self._gone = Gone()
        self._pauses = 0
        self._waiting = measures.Waiting()
        if memory.progress.blocked is None:
            memory.seen.begin()
        memory.requests.observe()

    async def run(self) -> None:
        """Reach the goal, or record in the memory why the issue is blocked. Raises only on a bug."""
        try:
            await self._run()
        except BlockedError as block:
            if not self._cancellation.is_requested:
                self._block(block)
        finally:
            self._slots.is_raising = False

    async def _run(self) -> None:
        previous: Action | None = None
        self._waiting.see(self._memory)
        sandbox = await self._lookup()
        self._memory.orders.is_lookup_asked = False
        self._make_sure(sandbox)
        while not self._cancellation.is_requested:
            situation = self._situation(sandbox)
            if sandbox is None and not self._is_doubtful(sandbox):
                self._memory.seen.gone_id = self._memory.seen.sandbox_id
            elif sandbox is None and self._memory.is_held and not self._memory.requests.is_waiting:
                # Only with a sandbox that is proven to be gone is the run in it over.
                sandbox = await self._lookup_later(situation.goal)
                continue
            if situation.goal is Goal.RUNNING and not self._memory.requests.is_waiting:
                # No request for the running sandbox is left, or somebody only asked for a lookup.
                self._memory.progress.unblock()
                return
            decision = await self._decide(situation, sandbox)
            if decision is None:
                continue
            if decision.action in UNDER_A_RUN and self._memory.is_held:
                return
            if decision.action in {Action.USE, Action.REST}:
                if not self._is_doubtful(sandbox):
                    await self._finish(decision.action, sandbox)
                    return
                sandbox = await self._lookup_later(situation.goal)
                continue
            if decision.action is previous:
                await self._pause()
                previous = None  # The goal may have changed meanwhile: decide again.
                continue
            previous = decision.action
            self._show(DOING[previous])
            sandbox = await self._carry_out(decision, sandbox)

    async def _decide(self, situation: Situation, sandbox: Sandbox | None) -> Decision | None:
        """What to do next; None after a word with the gate, while the goal may have changed. Raises BlockedError."""
        decision = decide(situation, self._memory.policy.limits)
        self._slots.is_raising = decision.action in RAISING
        if self._slots.is_due:
            await self._slots.settle()
            return None
        if self._slots.is_raising and not self._slots.may_raise:
            self._show("waiting for a free slot")
            with self._cancellation.waiting():
                await self._slots.queue_up()
            return None
        self._note(decision, sandbox)
        if decision.action is Action.BLOCK:
            raise BlockedError(decision.cause or Cause.INTERNAL, decision.reason)
        return decision

    def _make_sure(self, sandbox: Sandbox | None) -> None:
        """Undo what a command did late whose reply was lost: nobody wanted the sandbox stopped that he was given."""
        memory, now = self._memory, workflow.now()
        if memory.progress.unsure_until is None or memory.progress.unsure_until > now:
            return
        memory.progress.unsure_until = None
        is_up = sandbox is not None and sandbox.phase in STAYS_UP
        if memory.progress.goal is Goal.RUNNING and memory.progress.outcome in READY and not is_up:
            memory.note(Note(now, "late command", "a command whose reply was lost has taken effect"))
            memory.ask(now)

    async def _finish(self, action: Action, sandbox: Sandbox | None) -> None:
        memory = self._memory
        if action is Action.USE and sandbox is not None:
            await self._hand_over(sandbox)
            return
        progress = memory.progress
        progress.unblock()
        progress.reached = progress.goal
        if self._tries.counts:
            progress.outcome = REACHED.get(progress.goal, progress.outcome)
        if progress.goal is Goal.DELETED:
            memory.orders.is_forced = False  # The person gave up this sandbox, not a later one.

    def _is_doubtful(self, sandbox: Sandbox | None) -> bool:
        """Whether a single *not found* is the only sign that a known sandbox is gone: one 404 proves nothing.

        Nor does it prove that a create made nothing: Daytona may execute the create late and leave an unknown sandbox.
        """
        memory = self._memory
        if sandbox is not None:
            return False
        if memory.builds.is_create_open:
            return True
        known_id = memory.seen.sandbox_id
        return bool(known_id) and known_id not in {self._gone.destroyed_id, self._gone.missed_id}

    async def _lookup_later(self, goal: Goal) -> Sandbox | None:
        """Look up again after a time in which an outage would show, or at once when the goal changes."""
        memory = self._memory
        self._show("making sure that the sandbox is gone")
        try:
            with self._cancellation.waiting():
                await workflow.wait_condition(
                    lambda: memory.requests.is_waiting or memory.progress.goal is not goal,
                    timeout=timedelta(seconds=memory.policy.confirm_gone_s),
                    timeout_summary="before the sandbox counts as gone",
                )
        except TimeoutError:
            sandbox = await self._lookup(is_doubted=True)
            self._gone.missed_id = "" if sandbox is not None else memory.seen.sandbox_id
            memory.builds.is_create_open = False
            return sandbox
        return await self._lookup()

    async def _carry_out(self, decision: Decision, sandbox: Sandbox | None) -> Sandbox | None:
        """Send the command, or wait. Returns the sandbox as it is then."""
        action = decision.action
        if sandbox is not None and action is Action.WAIT:
            return await self._wait(sandbox)
        self._tries.counts[action] += 1
        self._remember(action, sandbox)
        if action is Action.CREATE:
            self._memory.builds.is_create_open = True
        if decision.phase is Phase.UNBUILT and sandbox is not None:
            self._memory.builds.fail(sandbox.id)
        self._memory.requests.observe()
        try:
            reply = await self._send(action, sandbox)
        except ActivityError as error:
            return await self._after_failure(action, read_failure(error))
        self._tries.trouble, self._pauses = None, 0
        if not reply.is_sent:
            # Somebody else has started it, and may be working in it.
            self._tries.raised, self._inspected.quiet_id = None, ""
        if action is Action.DELETE and sandbox is not None and reply.sandbox is None:
            self._gone.destroyed_id = sandbox.id
        return await self._newest(reply.sandbox)

    def _remember(self, action: Action, sandbox: Sandbox | None) -> None:
        """Note what a command means for the outcome, and for an inspection that follows it."""
        if action in HANDED_OVER:
            self._tries.raised = action
            is_for_inspection = sandbox is not None and goal_for(self._memory, sandbox) is Goal.DELETED
            self._inspected.quiet_id = sandbox.id if sandbox is not None and is_for_inspection else ""
        self._inspected.is_stopping = self._inspected.is_stopping or action is Action.STOP

    async def _send(self, action: Action, sandbox: Sandbox | None) -> CommandReply:
        if action is Action.INSPECT and sandbox is not None:
            return await self._inspect(sandbox)
        if action is Action.SET_UP and sandbox is not None:
            return await self._set_up(sandbox)
        is_for_inspection = sandbox is not None and self._inspected.quiet_id == sandbox.id
        if sandbox is None:
            sending = workflow.start_activity_method(
                SandboxActivities.create_sandbox,
                create_input(self._memory),
                **options.command(),
                summary="there is no sandbox",
            )
        else:
            sending = workflow.start_activity_method(
                COMMANDS[action],
                command_input(self._memory, sandbox, only_at_rest=action is Action.START and is_for_inspection),
                **options.command(),
                summary=f"the sandbox was {sandbox.state}",
            )
        if action in RAISING and not is_for_inspection:
            await look_while_late(self._memory, sending)
        return await sending

    async def _inspect(self, sandbox: Sandbox) -> CommandReply:
        """Inspect the sandbox for unsaved work. What could not be checked, for whatever reason, counts as unsaved."""
        try:
            inspection = await workflow.execute_activity_method(
                InsideActivities.inspect_sandbox,
                inspect_input(self._memory, sandbox, is_quiet=self._inspected.quiet_id == sandbox.id),
                **options.inspect(),
                summary="before the sandbox is stopped",
            )
        except ActivityError as error:
            failure = read_failure(error)
            if failure.cause is Cause.FOREIGN:
                raise
            inspection = Inspection(WorkState.UNCHECKED, (failure.reason,), is_failed=True)
        self._memory.last_inspection = LastInspection(
            inspection, sandbox.id, is_quiet=self._inspected.quiet_id == sandbox.id
        )
        self._inspected.is_stopping = False
        self._inspected.quiet_id = ""  # It holds for one inspection: somebody may work in it by the next.
        self._inspected.is_fresh = True
        found = "; ".join(inspection.findings)
        self._memory.note(Note(workflow.now(), f"work is {inspection.state}", found, sandbox.phase, sandbox.state))
        return CommandReply(sandbox)

    async def _set_up(self, sandbox: Sandbox) -> CommandReply:
        reply = await workflow.execute_activity_method(
            InsideActivities.set_up_sandbox,
            command_input(self._memory, sandbox, names_issue=True),
            **options.set_up(self._memory.policy.setup_timeout_s),
            summary="the sandbox runs but is not set up",
        )
        # A sandbox that no longer ran comes back unchanged: nothing was done in it.
        if reply.sandbox is not None and reply.sandbox.phase is Phase.USABLE:
            self._memory.seen.set_up_id = sandbox.id
        return reply

    async def _after_failure(self, action: Action, failure: Failure) -> Sandbox | None:
        """Look up again: at once after a refusal, which a lookup may disprove, else after a pause."""
        self._memory.note(Note(workflow.now(), f"{action} failed", f"{failure.kind}: {failure.reason}"))
        self._inspected.quiet_id = ""  # Somebody else may have started it and be working in it.
        self._tell_slot(action, failure)
        if failure.is_final:
            self._tries.refusal = Refusal(action, failure.cause or Cause.INTERNAL, failure.reason)
            self._tries.refused_ticket = self._memory.requests.observed
            return await self._lookup()
        if failure.is_unsure and action in LATE:
            self._memory.progress.unsure_until = workflow.now() + options.LATE_MAX
        if failure.is_cut_off:
            self._tries.counts[action] -= 1
            return await self._lookup()
        if failure.is_unattended:
            return await self._after_unattended(action)
        self._tries.trouble = failure.cause
        await self._wait_out(failure, self._memory.policy.backoff_max_s)
        return await self._lookup()

    def _tell_slot(self, action: Action, failure: Failure) -> None:
        """The organization's quota is used up, or the sandbox may come up yet: the gate must know."""
        slot = self._memory.slot
        if action not in RAISING:
            return
        if failure.is_final and failure.cause is Cause.QUOTA:
            slot.is_refused = True
        elif failure.is_unsure and slot.is_held:
            slot.kept_until = workflow.now() + options.LATE_MAX

    async def _after_unattended(self, action: Action) -> Sandbox | None:
        """Look up again: no worker was free to send the command, so that Daytona never got it."""
        self._tries.counts[action] -= 1
        self._tries.unattended += 1
        if action is Action.CREATE:
            self._memory.builds.is_create_open = False
        if self._tries.unattended >= options.UNATTENDED_MAX:
            raise BlockedError(Cause.UNREACHABLE, f"no worker was free to {action} the sandbox")
        return await self._lookup()

    async def _wait_out(self, failure: Failure, at_most_s: float) -> None:
        """Pause for as long as Daytona asks. If that is longer than `at_most_s`, block the issue instead."""
        if failure.retry_after_s > at_most_s:
            raise BlockedError(failure.cause or Cause.INTERNAL, failure.reason, failure.retry_after_s)
        await self._pause(failure.retry_after_s)

    async def _lookup(self, *, is_doubted: bool = False) -> Sandbox | None:
        """The sandbox as it is now."""
        return await self._newest(await self._read(is_doubted=is_doubted))

    async def _newest(self, sandbox: Sandbox | None) -> Sandbox | None:
        """Take over what was read. While it shows an earlier state than the last one seen, read again."""
        memory = self._memory
        while memory.seen.shows_past(sandbox, workflow.now()):
            state = sandbox.state if sandbox else ""
            measures.stale_read()
            memory.note(Note(workflow.now(), "stale read", "a later state was already seen", state=state))
            workflow.logger.info("sandbox_stale_read", extra=self._fields(state=state))
            await self._pause()
            sandbox = await self._read()
        return self._seen(sandbox)

    async def _read(self, *, is_doubted: bool = False) -> Sandbox | None:
        """Read the sandbox: at once where that works, else durably, within `unreachable_after_s`.

        When the lookup at once was refused, block. A lookup that no worker picked up shows nothing about Daytona and
        is scheduled again.
        """
        memory, tries = self._memory, 0
        while True:
            self._show("looking the sandbox up")
            memory.requests.observe()
            is_at_once = self._tries.reads_at_once and not is_doubted
            lookup = await (lookup_at_once(memory) if is_at_once else self._read_durably(is_doubted=is_doubted))
            if isinstance(lookup, LookupResult):
                return lookup.sandbox
            if is_at_once and not lookup.is_refused:
                self._tries.reads_at_once = False
                if lookup.retry_after_s > 0:
                    # The rate limiter has reserved a slot for this lookup: asking before would take another.
                    await self._wait_out(lookup, memory.policy.unreachable_after_s)
                continue
            tries += 1
            if not lookup.is_unattended or tries >= options.UNATTENDED_MAX:
                raise BlockedError(lookup.cause or Cause.UNREACHABLE, lookup.reason, lookup.retry_after_s)

    async def _read_durably(self, *, is_doubted: bool) -> LookupResult | Failure:
        with self._cancellation.waiting():
            return await lookup_durably(self._memory, is_doubted=is_doubted)

    async def _wait(self, sandbox: Sandbox) -> Sandbox | None:
        """Wait for the end of a state change, within the budget of its phase."""
        waited_s = self._memory.seen.waited_s(workflow.now())
        budget_s = self._memory.policy.limits.budget_s.get(sandbox.phase, 0.0)
        self._memory.requests.observe()
        try:
            with self._cancellation.waiting():
                reply = await workflow.execute_activity_method(
                    SandboxActivities.settle_sandbox,
                    command_input(self._memory, sandbox),
                    **options.settle(budget_s - waited_s),
                    summary=f"the sandbox is {sandbox.state}",
                )
        except ActivityError as error:
            self._tries.trouble = read_failure(error).cause
            return await self._lookup()
        if reply.sandbox is None and sandbox.phase is Phase.LEAVING and self._tries.counts[Action.DELETE]:
            # Somebody else's delete proves less: a create whose reply was lost may have taken the name since.
            self._gone.destroyed_id = sandbox.id
        return await self._newest(reply.sandbox)

    async def _hand_over(self, sandbox: Sandbox) -> None:
        """The sandbox runs and is set up: adopt it and keep it awake where needed, and serve the requests."""
        memory = self._memory
        self._show(DOING[Action.USE])
        if ownership(sandbox.labels, memory.issue_id, memory.policy.instance) is Ownership.UNLABELLED:
            await self._best_effort(SandboxActivities.label_sandbox, sandbox)
        if sandbox.needs_activity_refresh(workflow.now()) and self._tries.raised is None:
            await self._best_effort(SandboxActivities.refresh_activity, sandbox)
        memory.builds.succeed()
        memory.last_inspection, memory.progress.blocked = None, None
        memory.progress.outcome = outcome = HANDED_OVER.get(self._tries.raised, Outcome.REUSED)
        if outcome is Outcome.REUSED:  # Anything else was logged by the activity that did it.
            workflow.logger.info("sandbox_reused", extra=self._fields())
        memory.hand_over(memory.requests.observed, Answer(outcome, memory.seen.sandbox), workflow.now())
        self._waiting.end(outcome)

    async def _best_effort(self, activity: BestEffort, sandbox: Sandbox) -> None:
        """Do what the handover does not depend on. A failure is only noted, unless the sandbox is no longer ours."""
        try:
            request = command_input(self._memory, sandbox, names_issue=True)
            await workflow.execute_activity_method(
                activity, request, **options.best_effort(), summary="before the sandbox is handed over"
            )
        except ActivityError as error:
            failure = read_failure(error)
            if failure.cause is Cause.FOREIGN:
                raise BlockedError(Cause.FOREIGN, failure.reason) from error
            self._memory.note(Note(workflow.now(), f"{activity.__name__} failed", failure.reason))

    async def _pause(self, at_least_s: float = 0.0) -> None:
        """Pause; the pause grows with the number of failures in a row."""
        self._pauses += 1
        backoff_s = self._memory.policy.backoff_s(self._pauses, workflow.random().random())
        self._show(f"trying again in {max(at_least_s, backoff_s):.1f} s")
        with self._cancellation.waiting():
            await asyncio.sleep(max(at_least_s, backoff_s))

    def _block(self, block: BlockedError) -> None:
        memory = self._memory
        memory.block(block.cause, block.reason, workflow.now(), block.retry_after_s, workflow.random().random)
        observed, refused = memory.requests.observed, self._tries.refused_ticket
        memory.requests.answer(
            observed if refused is None else min(refused, observed),
            Answer(memory.progress.outcome or Outcome.BLOCKED, memory.seen.sandbox, memory.progress.blocked),
        )
        self._waiting.end(memory.progress.outcome or Outcome.BLOCKED)
        measures.blocked(block.cause)
        fields = self._fields(cause=str(block.cause), reason=block.reason)
        if block.cause is Cause.QUEUED:
            workflow.logger.info("sandbox_queued", extra=fields)
        else:
            workflow.logger.warning("sandbox_blocked", extra=fields)

    def _fields(self, **more: str) -> dict[str, object]:
        """The fields of a log line about the sandbox."""
        memory = self._memory
        known = {"issue_id": memory.issue_id, "sandbox": memory.name, "sandbox_id": memory.seen.sandbox_id}
        return {**known, "delivery": memory.requests.delivery, **more}

    def _situation(self, sandbox: Sandbox | None) -> Situation:
        memory = self._memory
        self._waiting.see(memory)
        abandon(memory, sandbox)
        steer(memory, workflow.now())
        goal = goal_for(memory, sandbox)
        verdict = standing_verdict(memory.last_inspection, sandbox, goal, is_fresh=self._inspected.is_fresh)
        return Situation(
            issue_id=memory.issue_id,
            goal=goal,
            sandbox=sandbox,
            unbuilt_id=memory.builds.unbuilt_id,
            builds_failed=memory.builds.failed,
            waited_s=self._memory.seen.waited_s(workflow.now()),
            attempts=self._tries.counts,
            refusal=self._tries.refusal,
            trouble=self._tries.trouble,
            verdict=verdict,
            findings=memory.last_inspection.result.findings if memory.last_inspection and verdict else (),
            is_forced=is_forced(memory, sandbox),
            is_set_up=memory.is_set_up(sandbox),
            instance=memory.policy.instance,
            name=memory.name,
            name_prefix=memory.policy.name_prefix,
        )

    def _seen(self, sandbox: Sandbox | None) -> Sandbox | None:
        memory, now = self._memory, workflow.now()
        memory.see(sandbox, now)
        if self._inspected.is_stopping and sandbox is not None and sandbox.phase in self._back_up():
            # It was stopped after the inspection and runs again: somebody started it, and may work in it.
            self._inspected.is_fresh = False
        if self._inspected.is_fresh:
            memory.settle_inspection(now)
        return sandbox

    def _back_up(self) -> frozenset[Phase]:
        """Phases in which it runs again after our stop. *Stopping* is our own stop until it was seen at rest."""
        last = self._memory.last_inspection
        return AWAKE if last is not None and last.stopped_at is not None else STAYS_UP

    def _note(self, decision: Decision, sandbox: Sandbox | None) -> None:
        state, delivery = sandbox.state if sandbox else "", self._memory.requests.delivery
        self._memory.note(
            Note(
                workflow.now(),
                f"decided to {decision.action}",
                decision.reason,
                decision.phase,
                state,
                decision.action,
                (delivery,) if delivery else (),
            )
        )
