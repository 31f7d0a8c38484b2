"""Whom a sandbox belongs to, by its labels: the labels of ours, and the last check before a command.

The workflow judges by what a lookup showed. The labels may have changed since: while a sandbox that was made by
hand has no labels, any installation in the same Daytona organization may claim it.
"""

from __future__ import annotations

from issuebox.domain.errors import RefusedError
from issuebox.domain.issue import Issue
from issuebox.domain.phase import Cause
from issuebox.domain.sandbox import (
    LABEL_INSTANCE,
    LABEL_ISSUE_ID,
    LABEL_ISSUE_NUMBER,
    LABEL_MANAGED_BY,
    LABEL_REPOSITORY,
    MANAGED_BY,
    Sandbox,
    foreign_labels,
)


def identity_labels(instance: str, issue_id: int, issue: Issue | None) -> dict[str, str]:
    """The labels that identify a sandbox's installation and issue, readable in Daytona's dashboard. Never a secret."""
    labels = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_INSTANCE: instance, LABEL_ISSUE_ID: str(issue_id)}
    if issue is not None and issue.repository:
        labels[LABEL_REPOSITORY] = issue.repository
    if issue is not None and issue.number:
        labels[LABEL_ISSUE_NUMBER] = str(issue.number)
    return labels


def refuse_foreign(sandbox: Sandbox | None, issue_id: int, instance: str) -> None:
    """Raise RefusedError with the cause `foreign` for a sandbox with somebody else's labels."""
    whose = foreign_labels(sandbox.labels, issue_id, instance) if sandbox is not None else ""
    if sandbox is not None and whose:
        raise RefusedError(f"sandbox {sandbox.id} is not ours: {whose}", cause=Cause.FOREIGN)
