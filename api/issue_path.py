"""The issue in a REST address: how it is given, and where its state is read."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

IssueIdPath = Annotated[int, Path(gt=0, lt=2**63, description="GitHub's global issue.id, not the number.")]


def status_url(issue_id: int) -> str:
    """Where the issue's state is read."""
    return f"/v1/issues/{issue_id}/sandbox"
