"""Resolves what a person calls an issue to its global ID."""

from __future__ import annotations

import re

from issuebox.domain.issue import issue_id_of
from issuebox.temporal.index import Index, NotIndexedError, Row
from issuebox.temporal.issues import Issues, UnknownIssueError

ISSUE_ID_MAX = 2**63 - 1

_ID = re.compile(r"[1-9][0-9]{0,18}")
_PLACE = re.compile(
    r"(?:https?://[^/\s]+/)?(?P<repository>[\w.-]+/[\w.-]+)(?:#|/issues/)(?P<number>[1-9][0-9]{0,17})(?:[/?#]\S*)?",
    re.ASCII,
)

_LATEST = "ExecutionStatus != 'ContinuedAsNew'"
"""Workflow runs that continued as new publish nothing that their successors do not."""


class NotAnIssueNameError(ValueError):
    """The text is in none of the forms that name an issue."""


class UnknownNumberError(UnknownIssueError):
    """No issue is known by this repository and number; the text says how to get its ID."""


async def resolve(issues: Issues, text: str) -> int:
    """The global ID of the issue. Only ``owner/repo#number`` needs a call to Temporal.

    Raises NotAnIssueNameError, UnknownIssueError when no issue or more than one is known by this name, and
    UnavailableError when Temporal does not answer.
    """
    if _ID.fullmatch(text) and int(text) <= ISSUE_ID_MAX:
        return int(text)
    issue_id = issue_id_of(text, issues.name_prefix)
    if issue_id is not None and issue_id <= ISSUE_ID_MAX:
        return issue_id
    place = _PLACE.fullmatch(text)
    if place is None:
        raise NotAnIssueNameError(
            f"{text!r} names no issue: give its global ID, {issues.name_prefix}N, owner/repo#number, or its URL"
        )
    return await _find(issues, place["repository"], int(place["number"]))


async def _find(issues: Issues, repository: str, number: int) -> int:
    """Search by the search attribute. If it is not registered or finds nothing, search what all workflows published."""
    rows: list[Row] = []
    for condition in (f"IssueNumber = {number} AND {_LATEST}", _LATEST):
        try:
            rows = [
                row
                async for row in Index(issues).rows(condition)
                # GitHub ignores case in names.
                if (row.published.repository.casefold(), row.published.number) == (repository.casefold(), number)
            ]
        except NotIndexedError:
            if condition == _LATEST:
                raise
        if rows:
            break
    # A repository that was deleted and created again under its name uses the numbers of its old issues again.
    known = {row.issue_id for row in rows if row.is_running} or {row.issue_id for row in rows}
    return _only(known, repository, number)


def _only(known: set[int], repository: str, number: int) -> int:
    if len(known) == 1:
        return known.pop()
    if known:
        ids = ", ".join(str(issue_id) for issue_id in sorted(known))
        raise UnknownIssueError(f"{repository}#{number} stands for several issues: give one of their IDs ({ids})")
    raise UnknownNumberError(
        f"no issue is known as {repository}#{number} yet. Its global ID always works: "
        f"gh api repos/{repository}/issues/{number} --jq .id"
    )
