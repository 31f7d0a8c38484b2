"""`IssueSandboxWorkflow`: the entity workflow of one issue. Its ID is the name of the issue's sandbox.

Temporal admits one running workflow per ID, so each issue has one decision-maker. Signals and updates
only change the memory; the loop in `run` is the only one that acts. It works on the newest known state
of the issue, never on "what the event said to do", and whatever arrives meanwhile is served together.

The workflow does not end by itself and never fails on what Daytona or the network do: it is served,
or blocked with a reason, and a blocked issue is tried again.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.sandboxes import SandboxActivities
    from issuebox.domain.events import IssueEvent
    from issuebox.domain.memory import Memory, Note, Verdict, absorb
    from issuebox.domain.phase import Goal, Outcome
    from workflows import options
    from workflows.messages import (
        ERROR_TOO_MANY_WAITING,
        ERROR_WRONG_ISSUE,
        QUERY_STATUS,
        QUERY_WHY,
        SIGNAL_EVENT,
        SIGNAL_RETRY,
        UPDATE_ENSURE,
        WORKFLOW_TYPE,
        EnsureRequest,
        Handover,
        StartInput,
        Status,
        Why,
    )
    from workflows.pursuit import Pursuit

WAITING_UPDATES_MAX = 8
"""Ensure updates in flight. Temporal admits 10 per workflow and then refuses without a reason."""

IDLE = "resting until the next event"


@workflow.defn(name=WORKFLOW_TYPE)
class IssueSandboxWorkflow:
    """Exactly one sandbox for one issue."""

    @workflow.init
    def __init__(self, start: StartInput) -> None:
        self._memory = start.memory or Memory(start.issue_id, start.name)
        self._doing = IDLE
        self._is_rolling = False
        self._blocked_ticket = 0
        self._updates_waiting = 0
        self._memo: dict[str, Any] = {}

    @workflow.run
    async def run(self, start: StartInput) -> None:
        """Serve requests until the history is long, then go on in a new run with the same memory."""
        if start.name != workflow.info().workflow_id:
            raise ApplicationError(
                f"the workflow ID must be the sandbox name: {workflow.info().workflow_id!r} is not {start.name!r}",
                type=ERROR_WRONG_ISSUE,
                non_retryable=True,
            )
        if start.memory is None:
            self._memory.patience = await workflow.execute_local_activity_method(
                SandboxActivities.read_patience, start_to_close_timeout=options.LOCAL_TIMEOUT
            )
        while True:
            await self._next_work()
            if workflow.info().is_continue_as_new_suggested():
                await self._roll()
            await self._pursue()

    async def _next_work(self) -> None:
        """Wait until somebody asks, or until a blocked issue is due to be tried again."""
        blocked = self._memory.blocked
        timeout = None
        if blocked is not None and blocked.next_try_at is not None:
            timeout = max(timedelta(0), blocked.next_try_at - workflow.now())
        try:
            await workflow.wait_condition(
                lambda: self._memory.is_nudged or (self._memory.has_work and self._memory.blocked is None),
                timeout=timeout,
                timeout_summary="next try of a blocked issue",
            )
        except TimeoutError:
            return

    async def _pursue(self) -> None:
        if not self._memory.has_work:
            self._memory.is_nudged = False
            return
        if self._memory.is_nudged:
            # Somebody changed something: what was given up may work now.
            self._memory.builds_failed = 0
        self._memory.is_nudged = False
        pursuit = Pursuit(self._memory, self._tell)
        await pursuit.run()
        if self._memory.blocked is not None:
            self._blocked_ticket = pursuit.ticket
        self._tell(IDLE if self._memory.blocked is None else "blocked until a retry")
        self._publish()

    async def _roll(self) -> None:
        """Continue as new. Waiting updates answer *pending* first: their requests are in the memory."""
        self._is_rolling = True
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(StartInput(self._memory.issue_id, self._memory.name, self._memory))

    @workflow.signal(name=SIGNAL_EVENT)
    def issue_event(self, event: IssueEvent) -> None:
        """A delivery for this issue. Malformed ones never get here: `workflows.guard`."""
        if event.issue.id != self._memory.issue_id:
            workflow.logger.error("event_misdirected", extra={"issue_id": event.issue.id, "delivery": event.delivery})
            return
        verdict = absorb(self._memory, event, workflow.now())
        if verdict is Verdict.TAKEN:
            self._memory.is_nudged = True
        workflow.logger.info(
            "event_received",
            extra={
                "issue_id": self._memory.issue_id,
                "delivery": event.delivery,
                "intention": str(event.intention),
                "verdict": str(verdict),
            },
        )

    @workflow.signal(name=SIGNAL_RETRY)
    def retry(self) -> None:
        """Try a blocked issue now; on an issue that is not blocked, look at its sandbox again."""
        memory = self._memory
        memory.note(Note(workflow.now(), "retry", "asked for by signal"))
        if not memory.has_work and memory.goal is Goal.RUNNING:
            memory.ask()
        memory.is_nudged = True

    @workflow.update(name=UPDATE_ENSURE)
    async def ensure(self, request: EnsureRequest) -> Handover:
        """Have the sandbox running; returns when it was handed over, or with the reason why it cannot be."""
        memory = self._memory
        memory.issue = memory.issue or request.issue
        ticket = memory.ask()
        memory.note(Note(workflow.now(), "ensure", f"asked for by {request.requested_by or 'an update'}"))
        memory.is_nudged = True
        self._updates_waiting += 1
        try:
            await workflow.wait_condition(
                lambda: memory.served >= ticket or self._blocked_ticket >= ticket or self._is_rolling
            )
        finally:
            self._updates_waiting -= 1
        return self._handover(ticket)

    @ensure.validator
    def validate_ensure(self, request: EnsureRequest) -> None:
        """Refuse what is not for this issue, and more waiting requests than Temporal carries."""
        if request.issue.id != self._memory.issue_id:
            raise ApplicationError(
                f"this is the workflow of issue {self._memory.issue_id}, not {request.issue.id}", type=ERROR_WRONG_ISSUE
            )
        if self._updates_waiting >= WAITING_UPDATES_MAX:
            raise ApplicationError("too many requests wait for this sandbox", type=ERROR_TOO_MANY_WAITING)

    @workflow.query(name=QUERY_STATUS)
    def status(self) -> Status:
        """What the workflow knows and does."""
        memory = self._memory
        return Status(
            issue_id=memory.issue_id,
            name=memory.name,
            goal=memory.goal,
            doing=self._doing,
            phase=memory.phase,
            outcome=memory.outcome,
            issue=memory.issue,
            sandbox=memory.sandbox,
            seen_at=memory.seen_at,
            blocked=memory.blocked,
            requests_waiting=memory.asked - memory.served,
            deliveries_seen=memory.deliveries_seen,
        )

    @workflow.query(name=QUERY_WHY)
    def why(self) -> Why:
        """Why the sandbox is in its state: one sentence and the last decisions."""
        return Why(self._sentence(), tuple(self._memory.notes))

    def _handover(self, ticket: int) -> Handover:
        memory = self._memory
        if memory.served >= ticket:
            outcome = memory.outcome or Outcome.REUSED
            return Handover(memory.issue_id, memory.name, outcome, memory.sandbox)
        outcome = Outcome.BLOCKED if memory.blocked and not self._is_rolling else Outcome.PENDING
        return Handover(memory.issue_id, memory.name, outcome, memory.sandbox, memory.blocked)

    def _tell(self, doing: str) -> None:
        """Say what is being done: in the Web UI's current details and in `status`."""
        self._doing = doing
        workflow.set_current_details(f"{self._sentence()}\n\nNow: {doing}.")

    def _sentence(self) -> str:
        memory = self._memory
        about = f"**{memory.name}**"
        if memory.issue is not None and memory.issue.repository:
            about += f" for {memory.issue.repository}#{memory.issue.number}"
        if memory.blocked is not None:
            return f"{about} is blocked ({memory.blocked.cause}): {memory.blocked.reason} {memory.blocked.advice}"
        if memory.sandbox is None:
            return f"{about} does not exist at Daytona, as far as is known." if memory.seen_at else f"{about} is new."
        outcome = f" and was {memory.outcome}" if memory.outcome else ""
        return f"{about} is {memory.sandbox.state}{outcome}."

    def _publish(self) -> None:
        """Keep the memo that lists show; written only when something in it changed."""
        memory = self._memory
        memo: dict[str, Any] = {
            "phase": str(memory.phase) if memory.phase else "",
            "state": memory.sandbox.state if memory.sandbox else "",
            "sandbox_id": memory.sandbox.id if memory.sandbox else "",
            "outcome": str(memory.outcome) if memory.outcome else "",
            "blocked": str(memory.blocked.cause) if memory.blocked else "",
            "repository": memory.issue.repository if memory.issue else "",
            "number": memory.issue.number if memory.issue else 0,
            "title": memory.issue.title if memory.issue else "",
        }
        if memo != self._memo:
            self._memo = memo
            workflow.upsert_memo({"status": memo})
