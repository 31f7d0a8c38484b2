"""Whose a sandbox is, by its labels: what ours say, and the last look at those of others before something is done.

The workflow judges by what a look showed. Labels may have changed since: while nobody has labelled a sandbox that
was made by hand, any installation in the same Daytona organization may claim it.
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
    """The labels that say whose sandbox this is, readable in Daytona's dashboard. Never a secret."""
    labels = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_INSTANCE: instance, LABEL_ISSUE_ID: str(issue_id)}
    if issue is not None and issue.repository:
        labels[LABEL_REPOSITORY] = issue.repository
    if issue is not None and issue.number:
        labels[LABEL_ISSUE_NUMBER] = str(issue.number)
    return labels


def refuse_foreign(sandbox: Sandbox | None, issue_id: int, instance: str) -> None:
    """Raises RefusedError with the cause `foreign` for a sandbox that is labelled as another's."""
    whose = foreign_labels(sandbox.labels, issue_id, instance) if sandbox is not None else ""
    if sandbox is not None and whose:
        raise RefusedError(f"sandbox {sandbox.id} is another's by now: {whose}", cause=Cause.FOREIGN)
