"""What an issue's workflow is started with: the same at every door, except how urgent it is."""

from __future__ import annotations

from typing import TypedDict

from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from issuebox.domain.issue import Issue
from issuebox.domain.text import as_markdown, cut_to_bytes, json_bytes
from issuebox.temporal.fairness import Urgency, priority_of

SUMMARY_BYTES_MAX = 160
"""Of a workflow's summary as JSON: with its envelope, half of Temporal's limit of 400 bytes
(`limit.userMetadataSummarySize`). The dev server does not enforce it (1.29.1)."""


class StartOptions(TypedDict):
    """The keywords of the SDK's start calls."""

    id: str
    task_queue: str
    id_reuse_policy: WorkflowIDReusePolicy
    id_conflict_policy: WorkflowIDConflictPolicy
    static_summary: str
    static_details: str | None
    priority: Priority


def start_options(workflow_id: str, task_queue: str, issue: Issue, urgency: Urgency) -> StartOptions:
    """How the issue's workflow is started, if none runs."""
    return {
        "id": workflow_id,
        "task_queue": task_queue,
        "id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        "id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING,
        "static_summary": summary(issue),
        "static_details": issue.url or None,
        "priority": priority_of(urgency, issue.repository),
    }


def summary(issue: Issue) -> str:
    """One line for Temporal's Web UI, which shows it as Markdown: repository, number, title."""
    if not issue.repository:
        return f"issue {issue.id}"
    line = as_markdown(f"{issue.repository}#{issue.number} {issue.title}".strip())
    summary = cut_to_bytes(line, SUMMARY_BYTES_MAX)
    return summary if json_bytes(summary) <= SUMMARY_BYTES_MAX else cut_to_bytes(line, SUMMARY_BYTES_MAX // 2)
