"""Interceptors that count for the metrics: calls of Temporal's client, and commands about sandboxes.

They are installed only in a process that shows metrics. They change nothing of what passes through.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from temporalio import activity, client, worker
from temporalio.exceptions import ApplicationError, CancelledError

from issuebox import metrics
from issuebox.domain.phase import Action

COMMANDS: Mapping[str, Action] = {
    "create_sandbox": Action.CREATE,
    "start_sandbox": Action.START,
    "recover_sandbox": Action.RECOVER,
    "set_up_sandbox": Action.SET_UP,
    "inspect_sandbox": Action.INSPECT,
    "stop_sandbox": Action.STOP,
    "archive_sandbox": Action.ARCHIVE,
    "delete_sandbox": Action.DELETE,
}
"""The action of each activity that counts as a command."""

DONE, CUT_OFF, FAILED = "done", "cut_off", "Exception"
"""Outcomes of a command beside the names of errors in `issuebox.domain.errors`; the last one is a bug."""


class CountedCommands(worker.Interceptor):
    """Counts commands by their action and outcome, with their time."""

    def intercept_activity(self, next: worker.ActivityInboundInterceptor) -> worker.ActivityInboundInterceptor:  # noqa: A002
        return _Counted(next)


class _Counted(worker.ActivityInboundInterceptor):
    async def execute_activity(self, input: worker.ExecuteActivityInput) -> Any:  # noqa: A002
        action = COMMANDS.get(activity.info().activity_type)
        if action is None:
            return await super().execute_activity(input)
        began, outcome = time.monotonic(), FAILED
        try:
            reply = await super().execute_activity(input)
            outcome = DONE
        except (asyncio.CancelledError, CancelledError):
            outcome = CUT_OFF
            raise
        except ApplicationError as error:
            outcome = error.type or FAILED
            raise
        finally:
            metrics.count(metrics.COMMANDS, action=action, outcome=outcome)
            metrics.observe(metrics.COMMAND_DURATION, time.monotonic() - began, action=action)
        return reply


class TimedCalls(client.Interceptor):
    """Takes the time of a client's calls. Lists, which are read page by page, are not among them."""

    def intercept_client(self, next: client.OutboundInterceptor) -> client.OutboundInterceptor:  # noqa: A002
        return _Timed(next)


class _Timed(client.OutboundInterceptor):
    async def start_workflow(self, input: client.StartWorkflowInput) -> client.WorkflowHandle[Any, Any]:  # noqa: A002
        with _timed("signal_with_start" if input.start_signal else "start"):
            return await super().start_workflow(input)

    async def signal_workflow(self, input: client.SignalWorkflowInput) -> None:  # noqa: A002
        with _timed("signal"):
            await super().signal_workflow(input)

    async def query_workflow(self, input: client.QueryWorkflowInput) -> Any:  # noqa: A002
        with _timed("query"):
            return await super().query_workflow(input)

    async def describe_workflow(self, input: client.DescribeWorkflowInput) -> client.WorkflowExecutionDescription:  # noqa: A002
        with _timed("describe"):
            return await super().describe_workflow(input)

    async def start_update_with_start_workflow(
        self,
        input: client.StartWorkflowUpdateWithStartInput,  # noqa: A002
    ) -> client.WorkflowUpdateHandle[Any]:
        with _timed("update_with_start"):
            return await super().start_update_with_start_workflow(input)


@contextmanager
def _timed(call: str) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    finally:
        metrics.observe(metrics.TEMPORAL_CALL_DURATION, time.monotonic() - began, call=call)
