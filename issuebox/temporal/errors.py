"""The errors that end a request, without what renders them: the command line meets them too, and needs no FastAPI."""

from __future__ import annotations

from collections.abc import Mapping


class ProblemError(Exception):
    """Ends a request with a problem."""

    def __init__(self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})


def unknown_issue(issue_id: int) -> ProblemError:
    """404: Temporal has no workflow of this issue."""
    return ProblemError(404, "unknown-issue", f"nobody has asked for a sandbox of issue {issue_id} yet")
