"""How the workflow of an issue is started: alone, with an event, or with an update. Never called by a workflow.

Whatever starts it, one runs for each issue: where one runs already, it is used.
"""

from __future__ import annotations

from typing import TypedDict

from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from issuebox.domain.events import IssueEvent
from issuebox.domain.issue import Issue
from workflows.messages import SIGNAL_EVENT, WORKFLOW_TYPE, StartInput


class _Options(TypedDict):
    id: str
    task_queue: str
    id_reuse_policy: WorkflowIDReusePolicy
    id_conflict_policy: WorkflowIDConflictPolicy
    static_summary: str
    static_details: str | None


async def start(client: Client, issue: Issue, *, name: str, task_queue: str) -> None:
    """Start the workflow `name`, unless one runs. Raises the SDK's RPCError. Safe to repeat."""
    await client.start_workflow(WORKFLOW_TYPE, StartInput(issue.id, name), **_options(issue, name, task_queue))


async def signal_with_start(client: Client, event: IssueEvent, *, name: str, task_queue: str) -> None:
    """Signal the workflow `name`, which is started when none runs: the event is stored when this returns.

    Raises the SDK's RPCError. Safe to repeat: the workflow knows the delivery.
    """
    await client.start_workflow(
        WORKFLOW_TYPE,
        StartInput(event.issue.id, name),
        start_signal=SIGNAL_EVENT,
        start_signal_args=[event],
        **_options(event.issue, name, task_queue),
    )


def start_operation(issue: Issue, *, name: str, task_queue: str) -> WithStartWorkflowOperation[object, object]:
    """The start of an update-with-start for the workflow `name`; used once, as the SDK has it."""
    return WithStartWorkflowOperation(WORKFLOW_TYPE, StartInput(issue.id, name), **_options(issue, name, task_queue))


def summary(issue: Issue) -> str:
    """One line for Temporal's Web UI: repository, number, title."""
    if not issue.repository:
        return f"issue {issue.id}"
    return f"{issue.repository}#{issue.number} {issue.title}".strip()[:200]


def _options(issue: Issue, name: str, task_queue: str) -> _Options:
    return {
        "id": name,
        "task_queue": task_queue,
        "id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        "id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING,
        "static_summary": summary(issue),
        "static_details": issue.url or None,
    }
