"""How an event gets to the workflow of its issue. Called by clients, never from within a workflow."""

from __future__ import annotations

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from issuebox.domain.events import IssueEvent
from issuebox.domain.issue import Issue
from workflows.messages import RULES, SIGNAL_EVENT, WORKFLOW_TYPE, StartInput


async def signal_with_start(client: Client, event: IssueEvent, *, name: str, task_queue: str) -> None:
    """Signal the workflow `name`, which is started when none runs: the event is stored when this returns.

    Raises the SDK's RPCError. Safe to repeat: the workflow knows the delivery.
    """
    await client.start_workflow(
        WORKFLOW_TYPE,
        StartInput(event.issue.id, name, rules=RULES),
        id=name,
        task_queue=task_queue,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        start_signal=SIGNAL_EVENT,
        start_signal_args=[event],
        static_summary=summary(event.issue),
        static_details=event.issue.url or None,
    )


def summary(issue: Issue) -> str:
    """One line for Temporal's Web UI: repository, number, title."""
    if not issue.repository:
        return f"issue {issue.id}"
    return f"{issue.repository}#{issue.number} {issue.title}".strip()[:200]
