"""`IssueSandboxWorkflow`: the entity workflow of one issue. Its ID is the name of the issue's sandbox.

Temporal admits one running workflow per ID, so each issue has one decision-maker. Signals and updates
only change the memory; only the loop in `run` acts. It works on the newest known state of the issue, never on
what a single event asked for, and requests that arrive meanwhile are served together.

The workflow never fails on what Daytona or the network do: the issue is served, or blocked with a reason and
tried again. The workflow ends only for an issue that GitHub deleted, when the sandbox is gone and no late
delivery is expected any more.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate
from temporalio.exceptions import ActivityError, ApplicationError

from activities.github import GitHubActivities
from activities.messages import NoticeInput
from activities.notices import NoticeActivities
from issuebox.domain.decision import name_objection
from issuebox.domain.events import IssueEvent
from issuebox.domain.goal import course, give, give_up, steer
from issuebox.domain.intake import Verdict, absorb, correct, pause_runs, resume_runs, take_request
from issuebox.domain.issue import Issue
from issuebox.domain.memory import Memory, Note, Order, keyed
from issuebox.domain.notices import take_notice
from issuebox.domain.phase import REMEDIES, Cause, Goal
from issuebox.domain.retirement import lightens, retires_at
from issuebox.domain.run import CALLED_OFF, RequestKind, RunGoal, RunRequest
from issuebox.domain.run_pause import Pause
from issuebox.domain.slot import Answer as SlotAnswer
from workflows import display, options
from workflows.cancellation import Cancellation
from workflows.gate_messages import SIGNAL_SLOT
from workflows.lookups import learn_settings
from workflows.messages import (
    BLOCKED,
    ERROR_ISSUE_DELETED,
    ERROR_TOO_MANY_WAITING,
    ERROR_WRONG_ISSUE,
    IDLE,
    MEMO_STATUS,
    ORDER_DELETE_FORCED,
    QUERY_ORDER_OF,
    QUERY_STATUS,
    QUERY_WHY,
    QUEUED,
    SIGNAL_DELETE,
    SIGNAL_EVENT,
    SIGNAL_LOOK,
    SIGNAL_REPLACE,
    SIGNAL_RETRY,
    SIGNAL_STOP,
    UPDATE_ENSURE,
    WORKFLOW_TYPE,
    DeleteRequest,
    EnsureRequest,
    Handover,
    OrderKey,
    Published,
    StartInput,
    Status,
    StopRequest,
    Unreadable,
    Why,
)
from workflows.reconcile import Reconciliation
from workflows.run_messages import (
    ERROR_NO_RUNS,
    ERROR_REQUEST_REFUSED,
    QUERY_RUNS,
    SIGNAL_CANCEL_RUN,
    SIGNAL_PAUSE,
    SIGNAL_RESUME,
    UPDATE_RUN,
    CancelRun,
    PauseOrder,
    RunOrder,
    RunReceipt,
    RunsView,
    receipt_of,
    receipts_of,
    view_of,
)
from workflows.run_reports import RunReports
from workflows.runs import RunSteps
from workflows.slots import Slots

WAITING_UPDATES_MAX = 8
"""Ensure updates in flight. Temporal admits 10 per workflow and refuses further ones without a reason."""


@workflow.defn(name=WORKFLOW_TYPE)
class IssueSandboxWorkflow:
    """Exactly one sandbox for one issue."""

    @workflow.init
    def __init__(self, start: StartInput) -> None:
        self._memory = start.memory or Memory(start.issue_id, start.name)
        self._memory.requests.answers.clear()  # Callers wait in one run; a memory that somebody typed may name some.
        self._doing = IDLE
        self._is_rolling = False
        self._cancellation = Cancellation()
        self._telling: tuple[asyncio.Task[None], ...] = ()
        self._slots = Slots(self._memory)
        self._runs = RunSteps(self._memory, self._show, self._slots)
        self._published: Published | None = None
        self._searchable: list[SearchAttributeUpdate[Any]] = []

    @workflow.run
    async def run(self, start: StartInput) -> None:
        """Serve the issue until the history is long, then go on in a new run with the same memory.

        A cancel settles the command in flight and ends the workflow; the sandbox stays as it is.
        """
        known = self._memory
        if {start.name, known.name} != {workflow.info().workflow_id} or not start.issue_id == known.issue_id > 0:
            raise ApplicationError(
                f"the workflow ID must be the sandbox name: {workflow.info().workflow_id!r} is not {known.name!r}, of "
                f"issue {known.issue_id}",
                type=ERROR_WRONG_ISSUE,
                non_retryable=True,
            )
        reports = RunReports(self._memory)
        self._telling = (asyncio.create_task(self._tell()), asyncio.create_task(reports.tell()))
        await self._cancellation.settle(self.serve())

    async def serve(self) -> None:
        """The loop. Returns when the workflow retires or is cancelled; raises when it continues as new."""
        if not self._memory.policy_hash and not self._is_lookup_next():
            await learn_settings(self._memory)
            self._require_right_name()
        while not self._cancellation.is_requested:
            steer(self._memory, workflow.now())  # A timer of 0 s is due at the moment from which it counts.
            with self._cancellation.waiting():
                await self._next_work()
            for telling in self._telling:
                if telling.done():
                    telling.result()  # Raises: nothing but a bug ends it.
            self._memory.progress.is_woken = False
            if workflow.info().is_continue_as_new_suggested():
                await self._roll()
            if self._is_due_to_retire():
                break
            await self._settle_contradiction()
            await self._reconcile()
            await self._runs.advance()
            self._show_rest()
            if lightens(self._memory, workflow.info().get_current_history_length(), self._due_at(), workflow.now()):
                await self._roll()
        self._runs.let_go()
        self._is_rolling = True  # Who still waits is answered *pending*.
        await workflow.wait_condition(workflow.all_handlers_finished)

    def _is_lookup_next(self) -> bool:
        """Whether the run begins with a lookup. That brings the worker's settings, and nothing before it needs them."""
        return self._memory.requests.is_waiting and not self._memory.told.is_contradicted

    async def _next_work(self) -> None:
        """Wait until there is something to do, a blocked issue is due to be tried again, or the goal changes."""
        try:
            await workflow.wait_condition(self._is_awake, timeout=self._sleep(), timeout_summary=self._sleep_summary())
        except TimeoutError:
            return

    def _is_awake(self) -> bool:
        memory = self._memory
        progress = memory.progress
        is_woken = progress.is_woken or any(telling.done() for telling in self._telling)
        has_work = memory.has_work and progress.blocked is None
        return progress.may_unblock or is_woken or has_work or self._runs.is_due

    def _is_due_to_retire(self) -> bool:
        moment = retires_at(self._memory)
        return moment is not None and moment <= workflow.now()

    def _sleep(self) -> timedelta | None:
        """The time until something is due; None when nothing is."""
        due_at = self._due_at()
        return max(timedelta(0), due_at - workflow.now()) if due_at is not None else None

    def _due_at(self) -> datetime | None:
        """When time alone makes something due; None for never."""
        memory = self._memory
        moments = [course(memory, workflow.now())[1], retires_at(memory), self._runs.due_at()]
        if not memory.orders.is_lookup_asked:
            moments.append(memory.progress.unsure_until)
        if memory.progress.blocked is not None:
            moments.append(memory.progress.blocked.next_try_at)
        return min((moment for moment in moments if moment is not None), default=None)

    def _sleep_summary(self) -> str:
        memory = self._memory
        if memory.progress.blocked is not None:
            return "next try of a blocked issue"
        if memory.progress.unsure_until is not None:
            return "a command whose reply was lost may still take effect"
        following = display.following(memory, workflow.now())
        return f"{memory.progress.goal}, then {following}" if following else "until the workflow ends as well"

    async def _settle_contradiction(self) -> None:
        """When two snapshots of the same second disagree, ask GitHub which one is true, if the worker has a token."""
        memory = self._memory
        if not memory.told.is_contradicted or memory.told.issue is None or not memory.policy.has_github:
            return
        memory.told.is_contradicted = False
        try:
            issue = await workflow.execute_activity_method(
                GitHubActivities.read_issue, memory.told.issue, **options.github(), summary="two deliveries disagree"
            )
        except ActivityError as error:
            memory.note(Note(workflow.now(), "GitHub could not be asked", str(error.cause)))
            return
        if issue is not None:
            correct(memory, issue, workflow.now())
            memory.note(Note(workflow.now(), "GitHub was asked", f"the issue is {issue.state}"))

    async def _reconcile(self) -> None:
        memory, progress = self._memory, self._memory.progress
        steer(memory, workflow.now())
        if progress.unsure_until is not None and progress.unsure_until <= workflow.now():
            memory.orders.is_lookup_asked = True
        if not memory.has_work:
            progress.may_unblock = False
            progress.unblock()
        elif progress.may_unblock or self._is_due():
            if progress.may_unblock:
                # Somebody changed something: builds that failed before may work now.
                memory.builds.failed = 0
            progress.may_unblock = False
            await Reconciliation(memory, self._show, self._cancellation, self._slots).run()
            self._require_right_name()
        take_notice(memory, workflow.now())

    def _show_rest(self) -> None:
        """Show that nothing is under way, or what goes on beside the loop."""
        blocked = self._memory.progress.blocked
        waiting = QUEUED if blocked is not None and blocked.cause is Cause.QUEUED else BLOCKED
        self._show(self._runs.doing or (IDLE if blocked is None else waiting))
        self._publish()

    async def _tell(self) -> None:
        """Send each notice to its receiver, beside the loop, which never waits for it. A newer one takes its place.

        A run that continues as new sends the pending one again, under the same ID.
        """
        notices = self._memory.notices
        while True:
            await workflow.wait_condition(lambda: notices.pending is not None)
            notice = notices.pending
            if notice is None:
                continue
            issue = self._memory.told.issue or Issue(self._memory.issue_id)
            sending = workflow.start_activity_method(
                NoticeActivities.send_notice,
                NoticeInput(self._memory.issue_id, self._memory.name, issue.repository, issue.number, notice),
                **options.notice(workflow.now() - notice.at),
                summary=notice.kind,
            )
            await workflow.wait_condition(lambda: sending.done() or notices.pending is not notice)  # noqa: B023
            sending.cancel()
            try:
                await sending
                is_delivered = True
            except ActivityError:
                is_delivered = False
            notices.settle(notice, is_delivered=is_delivered)
            self._publish()
            self._memory.progress.is_woken = True  # The end of a deleted issue's workflow may have waited for this.

    def _require_right_name(self) -> None:
        """End a new workflow under a wrong name. One that has seen a sandbox stays blocked, and keeps its memory."""
        memory = self._memory
        objection = name_objection(memory.issue_id, memory.name, memory.policy.name_prefix)
        if objection and not memory.seen.sandbox_id:
            advice = REMEDIES[Cause.WRONG_NAME].advice
            raise ApplicationError(f"{objection}. {advice}", type=ERROR_WRONG_ISSUE, non_retryable=True)

    def _is_due(self) -> bool:
        """Whether nothing is blocked, or the next try of a blocked issue is due."""
        blocked = self._memory.progress.blocked
        if blocked is None:
            return True
        return blocked.next_try_at is not None and blocked.next_try_at <= workflow.now()

    async def _roll(self) -> None:
        """Continue as new. Waiting updates are answered *pending* first; the memory keeps their requests."""
        self._runs.let_go()
        self._is_rolling = True
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(
            StartInput(self._memory.issue_id, self._memory.name, self._memory),
            # Without these the new run would be blank in lists and sweeps until its next event.
            memo=workflow.memo(),
            search_attributes=workflow.info().typed_search_attributes,
        )

    @workflow.signal(name=SIGNAL_EVENT)
    def issue_event(self, event: IssueEvent) -> None:
        """A delivery for this issue. Malformed ones never get here: `workflows.signal_guard`."""
        if event.issue.id != self._memory.issue_id:
            workflow.logger.error("event_misdirected", extra={"issue_id": event.issue.id, "delivery": event.delivery})
            return
        verdict = absorb(self._memory, event, workflow.now())
        # An event that is only recorded may still move a timer or change what lists show.
        progress = self._memory.progress
        progress.is_woken = progress.is_woken or verdict is not Verdict.UNCHANGED
        progress.may_unblock = progress.may_unblock or verdict is Verdict.TAKEN
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
    def retry(self, request: OrderKey | None = None) -> None:
        """Try a blocked issue now. For an issue that is not blocked, bring its sandbox to its goal."""
        if not self._is_new(SIGNAL_RETRY, request):
            return
        memory = self._memory
        memory.note(Note(workflow.now(), "retry", "requested by signal"))
        if memory.progress.goal is Goal.RUNNING and memory.progress.blocked is None and not memory.requests.is_waiting:
            memory.ask(workflow.now(), is_person=True)
        elif memory.requests.is_waiting:
            memory.requests.is_person = memory.requests.is_trusted = True
        memory.last_inspection = None
        if memory.runs.active is not None:
            memory.runs.active.next_step_at = None
        memory.orders.is_lookup_asked = True
        memory.progress.may_unblock = True

    @workflow.signal(name=SIGNAL_LOOK)
    def look(self, _none: Unreadable | None = None) -> None:
        """Look the sandbox up again and act on the goal. This is no request for the sandbox.

        Without the parameter, the SDK would drop an argument (temporalio 1.35.0), and the guard would never see it.
        """
        self._memory.note(Note(workflow.now(), "look", "requested by signal"))
        self._memory.orders.is_lookup_asked = self._memory.progress.may_unblock = True

    @workflow.signal(name=SIGNAL_STOP)
    def stop(self, request: StopRequest | None = None) -> None:
        """Stop the sandbox now, whatever the state of the issue, until somebody asks for it again."""
        if self._is_new(SIGNAL_STOP, request):
            self._take(Order.STOP, "stop", request.ordered_at if request else None)

    @workflow.signal(name=SIGNAL_DELETE)
    def delete(self, request: DeleteRequest | None = None) -> None:
        """Delete the sandbox. Unless forced, unsaved work in it blocks the delete."""
        is_forced = request is not None and request.force
        word = "delete --force" if is_forced else "delete"
        if self._is_new(ORDER_DELETE_FORCED if is_forced else SIGNAL_DELETE, request):
            self._take(Order.DELETE, word, request.ordered_at if request else None, is_forced=is_forced)

    @workflow.signal(name=SIGNAL_REPLACE)
    def replace(self, request: OrderKey | None = None) -> None:
        """Delete the sandbox with all work in it, and create a new one."""
        if not self._is_new(SIGNAL_REPLACE, request):
            return
        memory = self._memory
        memory.note(Note(workflow.now(), "replace", "requested by signal"))
        if memory.told.is_deleted:
            return
        give_up(memory, workflow.now())
        memory.progress.may_unblock = True

    @workflow.update(name=UPDATE_ENSURE)
    async def ensure(self, request: EnsureRequest) -> Handover:
        """Have the sandbox running. Returns when it is handed over, or when the issue is blocked, with the reason."""
        memory = self._memory
        if not self._is_new(UPDATE_ENSURE, request):
            return display.handover(memory, None)
        memory.told.issue = memory.told.issue or request.issue
        memory.told.request_now(workflow.now())
        ticket = memory.ask(workflow.now(), is_person=True)
        memory.requests.answers[ticket] = None
        memory.note(Note(workflow.now(), "ensure", f"requested by {request.requested_by or 'an update'}"))
        memory.progress.may_unblock = True
        steer(memory, workflow.now())
        answers = memory.requests.answers
        try:
            await workflow.wait_condition(lambda: answers[ticket] is not None or self._is_rolling)
        finally:
            answer = answers.pop(ticket)
        return display.handover(memory, answer)

    @ensure.validator
    def validate_ensure(self, request: EnsureRequest) -> None:
        """Refuse requests for another or a deleted issue, and more waiting requests than Temporal admits."""
        self._require_served(request.issue)
        if len(self._memory.requests.answers) >= WAITING_UPDATES_MAX:
            raise ApplicationError("too many requests already wait for this sandbox", type=ERROR_TOO_MANY_WAITING)

    @workflow.update(name=UPDATE_RUN)
    async def run_order(self, order: RunOrder) -> RunReceipt:
        """Take a request for work. Returns at once: its receipt says what became of it, and so does the query."""
        memory = self._memory
        memory.told.issue = memory.told.issue or order.issue
        memory.told.request_now(workflow.now())
        known = receipt_of(memory.runs, order.key)
        if known is not None:
            return known
        request = RunRequest(RequestKind.CALL, order.key, order.requested_by, order.prompt, at=workflow.now())
        if take_request(memory, request, workflow.now()):
            memory.ask(workflow.now(), is_person=True)
            memory.progress.may_unblock = True
            steer(memory, workflow.now())
        receipt = receipt_of(memory.runs, order.key)
        if receipt is None:
            raise ApplicationError("the request was made before, and is forgotten", type=ERROR_REQUEST_REFUSED)
        return receipt

    @run_order.validator
    def validate_run_order(self, order: RunOrder) -> None:
        """Refuse requests for another or a deleted issue, empty ones, and all where nothing would run."""
        self._require_served(order.issue)
        if not order.prompt.strip() or not order.key:
            raise ApplicationError("a request for work needs a prompt and a key", type=ERROR_REQUEST_REFUSED)
        if self._memory.policy_hash and not self._memory.policy.runs.is_configured:
            raise ApplicationError(
                "nothing runs here: set ISSUEBOX_RUN_PRESET for the workers and the API", type=ERROR_NO_RUNS
            )

    @workflow.signal(name=SIGNAL_CANCEL_RUN)
    def cancel_run(self, request: CancelRun | None = None) -> None:
        """End the run that is named, or whatever runs and waits."""
        memory, name = self._memory, request.run if request else ""
        active = memory.runs.active
        if name and (active is None or active.id != name):
            return
        memory.note(Note(workflow.now(), "cancel_run", "ordered by signal"))
        if name:
            memory.runs.want(RunGoal.CANCEL)
        else:
            memory.runs.call_off(CALLED_OFF, workflow.now())
        memory.progress.is_woken = True

    @workflow.signal(name=SIGNAL_PAUSE)
    def pause(self, order: PauseOrder | None = None) -> None:
        """Interrupt the run at work, and begin nothing until somebody resumes the runs. The sandbox's goal stands."""
        order, now = order or PauseOrder(), workflow.now()
        pause_runs(self._memory, Pause(order.ordered_at or now, order.ordered_by or "somebody"), now)

    @workflow.signal(name=SIGNAL_RESUME)
    def resume(self, order: PauseOrder | None = None) -> None:
        """Let the runs go on: the one that is paused with its next attempt, and then the requests that wait."""
        order = order or PauseOrder()
        resume_runs(self._memory, order.ordered_by or "somebody", workflow.now())

    @workflow.signal(name=SIGNAL_SLOT)
    def slot(self, answer: SlotAnswer) -> None:
        """The gate grants a slot, asks whether it is held, or says the place in its queue."""
        self._slots.hear(answer)

    @workflow.query(name=QUERY_RUNS)
    def runs(self) -> RunsView:
        """The last runs, and what became of the last requests for work."""
        runs = self._memory.runs
        views = tuple(view_of(run, runs.pause) for run in runs.runs)
        return RunsView(views, receipts_of(runs), runs.pause, runs.called_off_at)

    @workflow.query(name=QUERY_STATUS)
    def status(self) -> Status:
        """What the workflow knows and what it is doing."""
        return display.status(self._memory, self._doing, workflow.now())

    @workflow.query(name=QUERY_WHY)
    def why(self) -> Why:
        """Why the sandbox is in its state: a summary and the last decisions."""
        memory = self._memory
        parts = (display.sentence(memory), display.outlook(memory, workflow.now()), display.about_run(memory))
        return Why(" ".join(part for part in parts if part), tuple(memory.notes))

    @workflow.query(name=QUERY_ORDER_OF)
    def order_of(self, key: str) -> str:
        """The order that came under this key; '' when the key is not known, or was forgotten."""
        return self._memory.deliveries.order_of(key)

    def _require_served(self, issue: Issue) -> None:
        """Raise for another issue than ours, and for one that is deleted."""
        known = self._memory
        if issue.id != known.issue_id:
            raise ApplicationError(
                f"this is the workflow of issue {known.issue_id}, not {issue.id}", type=ERROR_WRONG_ISSUE
            )
        if known.told.is_deleted:
            raise ApplicationError("the issue was deleted at GitHub", type=ERROR_ISSUE_DELETED)

    def _is_new(self, order: str, request: EnsureRequest | StopRequest | DeleteRequest | OrderKey | None) -> bool:
        """Whether to carry the order out: nothing came under its key before. The key is remembered then."""
        if request is None or not request.key:
            return True
        deliveries = self._memory.deliveries
        known = deliveries.order_of(request.key)
        if not known:
            deliveries.remember(keyed(order, request.key), "")
        elif known != order:
            self._memory.note(Note(workflow.now(), f"{order} ignored", f"its key was used for {known} before"))
        return not known

    def _take(self, order: Order, word: str, ordered_at: datetime | None, *, is_forced: bool = False) -> None:
        memory = self._memory
        memory.note(Note(workflow.now(), word, "ordered by signal"))
        give(memory, order, workflow.now(), ordered_at=ordered_at, is_forced=is_forced)
        memory.progress.may_unblock = True

    def _show(self, doing: str) -> None:
        """Show what is being done, in the Web UI's current details and in `status`."""
        self._doing = doing
        if self._published is None and self._memory.seen.at is not None:
            self._publish()  # A new issue shows in lists while its sandbox is created.
        workflow.set_current_details(display.details(self._memory, doing, workflow.now()))

    def _publish(self) -> None:
        """Publish what lists, sweeps and searches read, when it has changed."""
        memory = self._memory
        shown = display.published(memory, workflow.now())
        if self._published is not None and not display.is_news(shown, self._published, memory.policy.republish_after_s):
            return
        self._published = shown
        workflow.upsert_memo({MEMO_STATUS: asdict(shown)})
        if memory.policy.has_search_attributes:
            self._make_searchable(display.searchable(shown))

    def _make_searchable(self, attributes: list[SearchAttributeUpdate[Any]]) -> None:
        if attributes == self._searchable:
            return
        self._searchable = attributes
        workflow.upsert_search_attributes(attributes)
