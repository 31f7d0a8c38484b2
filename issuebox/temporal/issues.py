"""The one client of the issues' workflows, for API, command line, audit and resync: start, signal, update, query.

Every call that may start an issue's workflow uses the one that runs already. Failures are `IssuesError`s with a
sentence for people; the caller maps them to an HTTP status or an exit code.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Self, TypeVar

from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateHandle,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from temporalio.common import QueryRejectCondition
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from issuebox.domain.events import EVENT_OF_AUDIT, Intention, IssueEvent
from issuebox.domain.issue import Issue, sandbox_name
from issuebox.domain.memory import keyed
from issuebox.domain.phase import Outcome
from issuebox.domain.workflow_ends import advice_for, what_follows
from issuebox.temporal import runs
from issuebox.temporal.fairness import Urgency
from issuebox.temporal.starts import StartOptions, start_options
from workflows.messages import (
    ERROR_ISSUE_DELETED,
    ERROR_WRONG_ISSUE,
    ORDER_DELETE_FORCED,
    QUERY_ORDER_OF,
    QUERY_STATUS,
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
    StartInput,
    Status,
    StopRequest,
)
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
    RunView,
)

TIMED: Mapping[str, type[StopRequest | DeleteRequest]] = {SIGNAL_STOP: StopRequest, SIGNAL_DELETE: DeleteRequest}
"""Orders that carry the time at which they were given."""

KEYED = frozenset({SIGNAL_RETRY, SIGNAL_REPLACE})
"""Orders that carry nothing but the key under which they were given."""

KEPT_ANSWER_S = 0.5
"""How long to wait at least for the answer to a repeated request: Temporal has it at once when it was given before."""

ClientFactory = Callable[[], Awaitable[Client]]
T = TypeVar("T")

_PASSING: Mapping[RPCStatusCode, str] = {
    RPCStatusCode.UNAVAILABLE: "Temporal cannot be reached",
    RPCStatusCode.DEADLINE_EXCEEDED: "Temporal did not answer in time",
    RPCStatusCode.CANCELLED: "Temporal did not answer in time",
    RPCStatusCode.RESOURCE_EXHAUSTED: "Temporal limits the rate of requests",
    RPCStatusCode.NOT_FOUND: "Temporal does not know the namespace",
    RPCStatusCode.UNAUTHENTICATED: "Temporal refuses the credentials",
    RPCStatusCode.PERMISSION_DENIED: "Temporal refuses the credentials",
    RPCStatusCode.FAILED_PRECONDITION: "no worker serves the task queue",
    RPCStatusCode.INTERNAL: "Temporal has an internal error",
    RPCStatusCode.UNKNOWN: "Temporal has an internal error",
    RPCStatusCode.ABORTED: "Temporal has an internal error",
}
"""Failures that are not the caller's fault and may pass, with a sentence for each."""

_LASTING = {
    RPCStatusCode.NOT_FOUND,
    RPCStatusCode.UNAUTHENTICATED,
    RPCStatusCode.PERMISSION_DENIED,
    RPCStatusCode.FAILED_PRECONDITION,
}
"""Those of them that pass only when somebody does something. The others are AwayErrors."""


class IssuesError(Exception):
    """A call to an issue's workflow failed; the text is a sentence for people."""


class UnavailableError(IssuesError):
    """Temporal, or a worker, does not answer: try again later."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; try again later")


class AwayError(UnavailableError):
    """Temporal itself did not take the call: the same call may succeed within seconds."""


class UnknownIssueError(IssuesError):
    """Temporal has no workflow of the issue."""


class EndedError(UnknownIssueError):
    """The issue's newest workflow run is over: nobody acts on orders, and what it knew is history."""


class StuckError(IssuesError):
    """The issue's workflow runs but cannot go on, because its workflow task fails again and again."""


class WrongIssueError(IssuesError):
    """The workflow of this name was started for another issue. A person must resolve that."""


class IssueDeletedError(IssuesError):
    """The issue was deleted at GitHub, which is final."""


class NoRunsError(IssuesError):
    """No agent is set up here, so a request for work would never be served."""


class RunRefusedError(IssuesError):
    """The request for work was not taken. The same request under another key may be."""


class UnknownRunError(IssuesError):
    """The issue has no run of this ID, or has forgotten it."""


_REFUSALS: Mapping[str, type[IssuesError]] = {
    ERROR_WRONG_ISSUE: WrongIssueError,
    ERROR_ISSUE_DELETED: IssueDeletedError,
    ERROR_NO_RUNS: NoRunsError,
    ERROR_REQUEST_REFUSED: RunRefusedError,
}
"""The final refusals of an update by the workflow."""


class KeyReusedError(IssuesError):
    """The caller has used the key for another order of this issue."""


class _NotTakenError(Exception):
    """The workflow did not receive the request: no worker took it, or too many wait already."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller. ``source`` appears in the workflow's log of deliveries, ``title`` in its decisions."""

    source: str
    title: str


class _Use(Enum):
    """Of a key: first, repeated for the same order, or untold because nobody can say now."""

    FIRST = auto()
    REPEATED = auto()
    UNTOLD = auto()


class Issues:
    """The issues' workflows of one installation. The first use creates the client, which is kept."""

    def __init__(self, factory: ClientFactory, *, name_prefix: str, task_queue: str, timeout_s: float) -> None:
        self._factory = factory
        self._client: Client | None = None
        self.name_prefix = name_prefix
        self.task_queue = task_queue
        self.timeout_s = timeout_s
        """Timeout of a call to Temporal; a worker gets half of it."""

    @classmethod
    def over(cls, client: Client, *, name_prefix: str, task_queue: str, timeout_s: float) -> Self:
        """The same with a client that is already connected."""

        async def ready() -> Client:
            return client

        return cls(ready, name_prefix=name_prefix, task_queue=task_queue, timeout_s=timeout_s)

    async def client(self) -> Client:
        """The client. A lazy client opens no connection yet, so that only a later call fails when Temporal is down."""
        if self._client is None:
            self._client = await self._factory()
        return self._client

    def name(self, issue_id: int) -> str:
        """The sandbox's name, which is the workflow's ID."""
        return sandbox_name(issue_id, self.name_prefix)

    async def check(self) -> None:
        """Return if Temporal answers and serves our namespace, which its gRPC health check does not cover."""
        async with self.within(self.timeout_s / 2):
            client = await self.client()
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))

    async def adopt(self, event: IssueEvent) -> None:
        """Start the issue's workflow with the event's snapshot, although it asks for nothing. Safe to repeat."""
        async with self.within():
            await self._signal_with_start(event)

    async def deliver(self, event: IssueEvent, *, may_start: bool = True, timeout_s: float | None = None) -> str | None:
        """Signal the event to the issue's workflow, and return the workflow's ID once Temporal has stored it.

        When no workflow runs, this starts one, except for an event that asks for nothing or with `may_start` false:
        then it returns None. Safe to repeat: the workflow recognizes the delivery.
        """
        issue = event.issue
        if not may_start or event.intention is Intention.IGNORE:
            has_it = await self.signal(self.name(issue.id), SIGNAL_EVENT, event, timeout_s=timeout_s)
            return self.name(issue.id) if has_it else None
        async with self.within(timeout_s):
            await self._signal_with_start(event)
        return self.name(issue.id)

    async def signal(self, name: str, signal: str, *arguments: object, timeout_s: float | None = None) -> bool:
        """Signal the workflow of this name. True when Temporal has stored the signal, False when none runs."""
        async with self.within(timeout_s):
            handle = (await self.client()).get_workflow_handle(name)
            return await found(_answered(handle.signal(signal, args=arguments))) is not None

    async def order(self, issue_id: int, signal: str, *arguments: object, key: str = "") -> None:
        """Send one of the workflow's signals; Temporal has stored it then. Raises UnknownIssueError when none runs.

        What was sent under the same `key` before is not sent again. Raises KeyReusedError when it was another order.
        """
        if signal in TIMED:
            request = arguments[0] if arguments else TIMED[signal]()
            assert isinstance(request, StopRequest | DeleteRequest)  # noqa: S101 -- for the type checker
            arguments = (replace(request, ordered_at=datetime.now(UTC), key=key),)
        elif key and signal in KEYED:
            arguments = (OrderKey(key),)
        is_forced = any(isinstance(argument, DeleteRequest) and argument.force for argument in arguments)
        if await self._use_of(issue_id, key, ORDER_DELETE_FORCED if is_forced else signal) is _Use.REPEATED:
            return
        if not await self.signal(self.name(issue_id), signal, *arguments):
            async with self.within():
                raise await self._gone(issue_id)

    async def look(self, name: str) -> bool:
        """Have the workflow look its sandbox up and act on its goal; False when none runs."""
        return await self.signal(name, SIGNAL_LOOK)

    async def query(self, issue_id: int, name: str, kind: type[T], *arguments: object) -> T:
        """The answer of the issue's workflow to one of its queries.

        Raises EndedError for a run that is over, although Temporal would answer: what it knew is history. Raises
        StuckError when the workflow cannot answer because its workflow task fails again and again.
        """
        async with self.within():
            handle = (await self.client()).get_workflow_handle(self.name(issue_id))
            try:
                async with asyncio.timeout(self.timeout_s / 2):
                    answer: T | None = await found(
                        handle.query(
                            name,
                            args=arguments,
                            result_type=kind,
                            reject_condition=QueryRejectCondition.NOT_OPEN,
                        )
                    )
            except WorkflowQueryRejectedError:
                answer = None
            except TimeoutError as error:
                # Temporal holds a query until a worker takes it. If Temporal answers now, no worker was there.
                await self._raise_if_stuck(issue_id)
                raise UnavailableError("no worker answers for this issue") from error
            except RPCError as error:
                if error.status is RPCStatusCode.FAILED_PRECONDITION:
                    await self._raise_if_stuck(issue_id)
                raise
            except WorkflowQueryFailedError as error:
                raise UnavailableError(f"the workflow could not answer: {error}") from error
            if answer is None:
                raise await self._gone(issue_id)
        return answer

    async def ensure(self, issue: Issue, wait_s: float, caller: Caller, *, key: str = "") -> Handover:
        """Request the sandbox by update, and wait. An update that the workflow cannot take is sent as a signal.

        The outcome is `pending` when the sandbox is not usable within `wait_s`; the work continues. Under a `key` that
        was used before, this asks for nothing: it waits for the answer to the first request, and returns that. Raises
        WrongIssueError, IssueDeletedError, and KeyReusedError when the key was used for another order.
        """
        use = await self._use_of_known(issue.id, key)
        if use is _Use.REPEATED:
            return await self._repeated(issue, wait_s, key)
        # What has a key goes as an update even if nobody waits: that keeps the answer for those who repeat it.
        if (wait_s > 0 or key) and use is not _Use.UNTOLD:
            try:
                asked = EnsureRequest(issue, caller.title, key)
                handle = await self._accepted(issue, UPDATE_ENSURE, asked, Handover, key)
                return await _result(handle, wait_s) or self._pending(issue)
            except _NotTakenError:
                pass
        return await self.request(issue, caller, self.timeout_s / 2, key=key)

    async def request(self, issue: Issue, caller: Caller, timeout_s: float | None = None, *, key: str = "") -> Handover:
        """Request the sandbox by signal-with-start, for a person: stored when this returns, and served later.

        Like the update, it counts from its arrival at the workflow. The clock of this host is not GitHub's.
        """
        delivery = keyed(UPDATE_ENSURE, key) if key else f"{caller.source}-{uuid.uuid4()}"
        event = IssueEvent(
            issue=issue, delivery=delivery, event=caller.source, action="ensure", is_explicit=True,
            intention=Intention.ENSURE,
        )  # fmt: skip
        await self.deliver(event, timeout_s=timeout_s)
        return self._pending(issue)

    async def run(self, issue: Issue, prompt: str, caller: Caller, *, key: str = "") -> RunReceipt:
        """Ask the issue's agent for work. Returns what became of the request; the same `key` is the same request.

        The workflow has taken it when this returns. Raises NoRunsError, RunRefusedError, WrongIssueError,
        IssueDeletedError, and UnavailableError when no worker took it in time: one may take it later, so repeat it
        under the same key.
        """
        order = RunOrder(issue, prompt, f"call-{key or uuid.uuid4().hex}", caller.title)
        try:
            receipt = await _result(await self._accepted(issue, UPDATE_RUN, order, RunReceipt), self.timeout_s / 2)
        except _NotTakenError:
            receipt = None
        if receipt is None:
            async with self.within():
                await self._raise_if_stuck(issue.id)
            raise UnavailableError("no worker answers for this issue")
        if receipt.state == "refused":
            raise RunRefusedError(receipt.reason)
        return receipt

    async def runs(self, issue_id: int) -> RunsView:
        """The last runs of the issue, and the receipts of the last requests. Raises as `query`."""
        return await self.query(issue_id, QUERY_RUNS, RunsView)

    async def find_run(self, issue_id: int, run: str) -> RunView:
        """One run of the issue. Raises UnknownRunError, and as `query`."""
        for view in (await self.runs(issue_id)).runs:
            if view.id == run:
                return view
        raise UnknownRunError(f"issue {issue_id} has no run {run}, or has forgotten it: it keeps the last ones")

    async def cancel_run(self, issue_id: int, run: str = "") -> None:
        """Have the run ended; without `run`, whatever runs and waits. Stored when this returns, and safe to repeat.

        Raises UnknownIssueError, and UnknownRunError if a worker can tell.
        """
        try:
            if run:
                await self.find_run(issue_id, run)
        except AwayError:
            raise
        except (UnavailableError, StuckError):
            pass  # The workflow ignores the name of a run that is none of its own.
        await self.order(issue_id, SIGNAL_CANCEL_RUN, CancelRun(run))

    async def pause_runs(self, issue_id: int, caller: Caller) -> None:
        """Have the agent rest until somebody resumes its runs. Stored when this returns, and safe to repeat.

        Raises UnknownIssueError.
        """
        await self.order(issue_id, SIGNAL_PAUSE, PauseOrder(caller.title, datetime.now(UTC)))

    async def resume_runs(self, issue_id: int, caller: Caller) -> None:
        """Have the agent go on. Stored when this returns, and safe to repeat. Raises UnknownIssueError."""
        await self.order(issue_id, SIGNAL_RESUME, PauseOrder(caller.title, datetime.now(UTC)))

    def start_operation(self, issue: Issue) -> WithStartWorkflowOperation[object, object]:
        """The start of an update-with-start for the issue's workflow. The SDK allows only one use of it."""
        return WithStartWorkflowOperation(WORKFLOW_TYPE, self._input(issue), **self._options(issue, Urgency.PERSON))

    @asynccontextmanager
    async def within(self, timeout_s: float | None = None) -> AsyncIterator[None]:
        """Limit the time of calls to Temporal, and turn failures that may pass into UnavailableErrors.

        A lazy connection to a host that never answers has no timeout of its own.
        """
        try:
            async with asyncio.timeout(timeout_s or self.timeout_s):
                yield
        except TimeoutError as error:
            raise AwayError(_PASSING[RPCStatusCode.DEADLINE_EXCEEDED]) from error
        except RPCError as error:
            if (reason := _PASSING.get(error.status)) is None:
                raise
            kind = UnavailableError if error.status in _LASTING else AwayError
            raise kind(reason) from error
        except RuntimeError as error:
            # The SDK raises this, with the cause in the text, when it cannot connect.
            raise AwayError(_PASSING[RPCStatusCode.UNAVAILABLE]) from error

    async def _signal_with_start(self, event: IssueEvent) -> None:
        client = await self.client()
        await client.start_workflow(
            WORKFLOW_TYPE,
            self._input(event.issue),
            start_signal=SIGNAL_EVENT,
            start_signal_args=[event],
            **self._options(event.issue, _urgency(event)),
        )

    async def _use_of(self, issue_id: int, key: str, order: str) -> _Use:
        """What the workflow remembers of the key. Raises UnknownIssueError when none runs, and KeyReusedError.

        A workflow that cannot tell now still carries nothing out twice: it looks at the key, too.
        """
        if not key:
            return _Use.FIRST
        try:
            used = await self.query(issue_id, QUERY_ORDER_OF, str, key)
        except AwayError:
            raise
        except (UnavailableError, StuckError):
            return _Use.UNTOLD
        if used and used != order:
            raise KeyReusedError(
                f"the key was used for another order of this issue ({used}): give this one its own key"
            )
        return _Use.REPEATED if used else _Use.FIRST

    async def _use_of_known(self, issue_id: int, key: str) -> _Use:
        try:
            return await self._use_of(issue_id, key, UPDATE_ENSURE)
        except UnknownIssueError:
            return _Use.FIRST

    async def _repeated(self, issue: Issue, wait_s: float, key: str) -> Handover:
        """The answer to the request that came first under the key.

        Temporal keeps it with the workflow run. Of a request that came in an earlier run, or as a signal, only what
        became of it is known: whether it still waits, or else how the sandbox is now.
        """
        handle = (await self.client()).get_workflow_handle(self.name(issue.id))
        answer: Handover | None
        try:
            answer = await _result(handle.get_update_handle(key, result_type=Handover), max(wait_s, KEPT_ANSWER_S))
        except _NotTakenError:
            answer = None
        if answer is not None:
            return answer
        status = await self.query(issue.id, QUERY_STATUS, Status)
        outcome = Outcome.PENDING if status.requests_waiting else status.outcome or Outcome.PENDING
        return Handover(issue.id, status.name, outcome, status.sandbox, status.blocked)

    async def _accepted(
        self, issue: Issue, update: str, asked: object, kind: type[T], update_id: str = ""
    ) -> WorkflowUpdateHandle[T]:
        """The update once the workflow has accepted or refused it. Raises `_NotTakenError` when it did neither.

        Temporal stores an update only when a worker has accepted it, but a signal at once.
        """
        operation = self.start_operation(issue)
        # The SDK also keeps each error in a future, and asyncio warns about one that is never retrieved.
        started = asyncio.ensure_future(operation.workflow_handle())
        started.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            async with self.within(self.timeout_s / 2):
                return await (await self.client()).start_update_with_start_workflow(
                    update,
                    asked,
                    id=update_id or str(uuid.uuid4()),
                    start_workflow_operation=operation,
                    wait_for_stage=WorkflowUpdateStage.ACCEPTED,
                    result_type=kind,
                )
        except (WorkflowUpdateRPCTimeoutOrCancelledError, UnavailableError) as error:
            raise_if_cancelled()
            raise _NotTakenError from error
        finally:
            started.cancel()  # Otherwise it waits forever after a failed connection.

    async def _gone(self, issue_id: int) -> UnknownIssueError:
        """Why no workflow runs for the issue."""
        handle = (await self.client()).get_workflow_handle(self.name(issue_id))
        description = await found(handle.describe())
        ended = None if description is None else runs.ended(description)
        if ended is None:
            return UnknownIssueError(
                f"nobody has asked for a sandbox of issue {issue_id} yet, "
                "or its workflow ended so long ago that Temporal no longer keeps it"
            )
        return EndedError(f"the workflow of issue {issue_id} {ended}. {what_follows(ended)}")

    async def _raise_if_stuck(self, issue_id: int) -> None:
        """Raise StuckError with what helps when the issue's workflow is stuck."""
        client, name = await self.client(), self.name(issue_id)
        description = await found(client.get_workflow_handle(name).describe())
        stuck = None if description is None else await runs.stuck(client, description)
        if stuck is not None:
            raise StuckError(f"the workflow of issue {issue_id} {stuck}. {advice_for(stuck, name)}")

    def _pending(self, issue: Issue) -> Handover:
        return Handover(issue.id, self.name(issue.id), Outcome.PENDING)

    def _input(self, issue: Issue) -> StartInput:
        return StartInput(issue.id, self.name(issue.id))

    def _options(self, issue: Issue, urgency: Urgency) -> StartOptions:
        return start_options(self.name(issue.id), self.task_queue, issue, urgency)


def _urgency(event: IssueEvent) -> Urgency:
    return Urgency.SWEEP if event.is_resync or event.event == EVENT_OF_AUDIT else Urgency.EVENT


async def found(call: Awaitable[T]) -> T | None:
    """The result of the call; None when Temporal has no workflow of that name. Raises all other RPCErrors."""
    try:
        return await call
    except RPCError as error:
        is_namespace = any(detail.Is(NamespaceNotFoundFailure.DESCRIPTOR) for detail in error.grpc_status.details)
        if error.status is not RPCStatusCode.NOT_FOUND or is_namespace:
            raise
        return None


async def _answered(call: Awaitable[None]) -> bool:
    await call
    return True


def raise_if_cancelled() -> None:
    """Go on with a cancellation: the SDK makes a failed call of it (1.35.0), and Ctrl-C would only end that call."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _result(handle: WorkflowUpdateHandle[T], wait_s: float) -> T | None:
    """The result of the update; None when it does not come within `wait_s`. The work continues either way.

    Raises `_NotTakenError` when the workflow refused the update for now or ended before serving it.
    """
    try:
        async with asyncio.timeout(wait_s):
            return await handle.result()
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError, RPCError):
        raise_if_cancelled()
        return None
    except WorkflowUpdateFailedError as error:
        cause = error.cause
        if isinstance(cause, ApplicationError) and (refusal := _REFUSALS.get(cause.type or "")):
            raise refusal(cause.message) from error
        raise _NotTakenError from error
