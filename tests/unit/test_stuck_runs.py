"""What helps a stuck workflow, read from its newest events: to which event a reset goes, and what that repeats."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseResponse
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus

from issuebox.temporal import runs

KINDS = {"done": "WORKFLOW_TASK_COMPLETED", "failed": "WORKFLOW_TASK_FAILED"}


def _event(number: int, word: str) -> HistoryEvent:
    kind = KINDS.get(word, "WORKFLOW_EXECUTION_SIGNALED")
    event = HistoryEvent(event_id=number, event_type=EventType.Value(f"EVENT_TYPE_{kind}"))
    if word == "failed":
        event.workflow_task_failed_event_attributes.failure.message = "[TMPRL1100] Nondeterminism error"
    elif word not in KINDS:
        event.workflow_execution_signaled_event_attributes.signal_name = word
    return event


@pytest.mark.parametrize(
    ("words", "reset_to", "repeats_orders"),
    [
        (("issue_event", "done", "failed"), 2, False),
        (("done", "issue_event", "done", "delete", "failed"), 3, True),
        # The task to which the reset goes is done anew, with the signals that it took.
        (("done", "delete", "done", "issue_event", "failed"), 3, True),
        (("done", "replace", "done", "failed"), 3, True),
        (("delete", "done", "issue_event", "done", "failed"), 4, False),
        (("delete", "done", "failed"), 2, True),
        (("done", "stop", "done", "failed"), 3, False),
        (("delete", "failed"), None, True),
    ],
)
async def test_reset_that_repeats_an_order_is_not_advised(
    words: tuple[str, ...], reset_to: int | None, *, repeats_orders: bool
) -> None:
    """An order to delete would meet the sandbox that is there now."""
    events = [_event(number, word) for number, word in enumerate(words, start=1)]

    async def newest_first(_request: object) -> GetWorkflowExecutionHistoryReverseResponse:
        reply = GetWorkflowExecutionHistoryReverseResponse()
        reply.history.events.extend(reversed(events))
        return reply

    service = SimpleNamespace(get_workflow_execution_history_reverse=newest_first)
    client = cast("Client", SimpleNamespace(namespace="default", workflow_service=service))
    raw = SimpleNamespace(pending_workflow_task=SimpleNamespace(attempt=5), pending_activities=[])
    description = SimpleNamespace(raw_description=raw, status=WorkflowExecutionStatus.RUNNING, id="w", run_id="r")
    stuck = await runs.stuck(client, cast("WorkflowExecutionDescription", description))
    assert stuck is not None
    assert (stuck.reset_to, stuck.repeats_orders) == (reset_to, repeats_orders)
