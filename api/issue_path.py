"""The issue in a REST address: how it is given, where its state is read, and that nobody knows it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from api.problems import ProblemError

IssueIdPath = Annotated[int, Path(gt=0, lt=2**63, description="GitHub's global issue.id, not the number.")]


def status_url(issue_id: int) -> str:
    """Where the issue's state is read."""
    return f"/v1/issues/{issue_id}/sandbox"


def unknown_issue(issue_id: int) -> ProblemError:
    """404: Temporal has no workflow of this issue."""
    return ProblemError(404, "unknown-issue", f"nobody has asked for a sandbox of issue {issue_id} yet")
