"""Reaching Temporal from a request: one client, one deadline, and its failures as problems."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.service import RPCError, RPCStatusCode

from issuebox.domain.events import IssueEvent
from issuebox.domain.issue import Issue, sandbox_name
from issuebox.settings import ApiSettings
from issuebox.temporal.errors import ProblemError
from issuebox.temporal.start import signal_with_start, start_operation
from workflows.messages import SIGNAL_EVENT

ClientFactory = Callable[[], Awaitable[Client]]

RETRY_AFTER_S = 5
"""What a 503 asks the caller to wait. GitHub does not redeliver; the failed delivery shows in its log."""

_PASSING = {
    RPCStatusCode.UNAVAILABLE: "Temporal cannot be reached",
    RPCStatusCode.DEADLINE_EXCEEDED: "Temporal did not answer in time",
    RPCStatusCode.CANCELLED: "Temporal did not answer in time",
    RPCStatusCode.RESOURCE_EXHAUSTED: "Temporal asks for fewer requests",
    RPCStatusCode.NOT_FOUND: "Temporal does not know the namespace",
    RPCStatusCode.UNAUTHENTICATED: "Temporal refuses the credentials",
    RPCStatusCode.PERMISSION_DENIED: "Temporal refuses the credentials",
    RPCStatusCode.FAILED_PRECONDITION: "no worker serves the task queue",
    RPCStatusCode.INTERNAL: "Temporal has an internal error",
    RPCStatusCode.UNKNOWN: "Temporal has an internal error",
    RPCStatusCode.ABORTED: "Temporal has an internal error",
}
"""Failures that are not the caller's fault and may pass, with the sentence for each."""


class Temporal:
    """The app's one client, made at the first use, and what is asked of it."""

    def __init__(self, factory: ClientFactory, settings: ApiSettings) -> None:
        self._factory = factory
        self._settings = settings
        self._client: Client | None = None

    async def client(self) -> Client:
        """The client. Making it lazily opens no connection, so a Temporal that is down is found out later."""
        if self._client is None:
            self._client = await self._factory()
        return self._client

    @property
    def half_s(self) -> float:
        """Half of what a call may take, for those that need a second one when the first is not answered."""
        return self._settings.temporal_timeout_s / 2

    async def check(self) -> None:
        """Return when Temporal is reached and serves our namespace; its gRPC health knows of no namespaces."""
        async with self.within(self.half_s):
            client = await self.client()
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))

    async def deliver(self, event: IssueEvent, timeout_s: float | None = None) -> str:
        """Signal-with-start: the event is stored by Temporal when this returns. The workflow's ID."""
        name = self.name(event.issue.id)
        async with self.within(timeout_s):
            await signal_with_start(await self.client(), event, name=name, task_queue=self._settings.task_queue)
        return name

    async def signal(self, issue_id: int, signal: str, *arguments: object) -> bool:
        """Signal the issue's workflow; whether one runs. The signal is stored by Temporal when this returns True."""
        async with self.within():
            handle = (await self.client()).get_workflow_handle(self.name(issue_id))
            try:
                await handle.signal(signal, args=arguments)
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND or is_namespace_missing(error):
                    raise
                return False
        return True

    async def deliver_if_running(self, event: IssueEvent) -> str | None:
        """Signal alone: the ID of the workflow that has the event, None when none runs."""
        is_stored = await self.signal(event.issue.id, SIGNAL_EVENT, event)
        return self.name(event.issue.id) if is_stored else None

    def start_operation(self, issue: Issue) -> WithStartWorkflowOperation[object, object]:
        """The start of an update-with-start for the issue's workflow."""
        return start_operation(issue, name=self.name(issue.id), task_queue=self._settings.task_queue)

    def name(self, issue_id: int) -> str:
        """The sandbox's name, which is the workflow's ID."""
        return sandbox_name(issue_id, self._settings.name_prefix)

    @asynccontextmanager
    async def within(self, timeout_s: float | None = None) -> AsyncIterator[None]:
        """Bound what is asked of Temporal; a failure that may pass becomes a 503 with ``Retry-After``.

        The bound is ours: a lazy connection to a host that never answers has none of its own.
        """
        try:
            async with asyncio.timeout(timeout_s or self._settings.temporal_timeout_s):
                yield
        except TimeoutError as error:
            raise unavailable(_PASSING[RPCStatusCode.DEADLINE_EXCEEDED]) from error
        except RPCError as error:
            if (reason := _PASSING.get(error.status)) is None:
                raise
            raise unavailable(reason) from error
        except RuntimeError as error:
            # The SDK raises this, with the cause in the text, when a connection cannot be made.
            raise unavailable(_PASSING[RPCStatusCode.UNAVAILABLE]) from error


def is_namespace_missing(error: RPCError) -> bool:
    """Whether NOT_FOUND is about the namespace, and so not about the issue."""
    return any(detail.Is(NamespaceNotFoundFailure.DESCRIPTOR) for detail in error.grpc_status.details)


def unavailable(reason: str) -> ProblemError:
    """A 503 that says what is away and when to come back."""
    return ProblemError(503, "unavailable", f"{reason}; try again later", {"Retry-After": str(RETRY_AFTER_S)})
