"""Finds an issue by its repository and number, in what the workflows publish. The global ID needs no search.

GitHub reads names without regard to case, and a repository that was deleted and created again under its name uses the
numbers of its old issues again.
"""

from __future__ import annotations

from issuebox.domain.issue import IssueState
from issuebox.temporal.index import Index, NotIndexedError, Row
from issuebox.temporal.issues import Issues, UnknownIssueError
from workflows import search_attributes

_LATEST = "ExecutionStatus != 'ContinuedAsNew'"
"""Workflow runs that continued as new publish nothing that their successors do not."""

GONE = frozenset({IssueState.TRANSFERRED, IssueState.DELETED})
"""States of an issue that no longer has its number."""


class UnknownNumberError(UnknownIssueError):
    """No issue is known by this repository and number; the text says how to get its ID."""


class AmbiguousNumberError(UnknownIssueError):
    """Several issues are known by this repository and number; the text has their IDs."""


async def find(issues: Issues, repository: str, number: int) -> Row:
    """The newest workflow run of the issue, as Temporal's index shows it, which lags a moment.

    Raises UnknownNumberError, AmbiguousNumberError, and NotIndexedError when the search attributes are not registered.
    """
    return _only(await _rows(issues, by_number(number), repository, number), repository, number)


async def find_anyhow(issues: Issues, repository: str, number: int) -> Row:
    """The same. If the search finds nothing or is not possible, this reads what all workflows have published."""
    try:
        rows = await _rows(issues, by_number(number), repository, number)
    except NotIndexedError:
        rows = []
    return _only(rows or await _rows(issues, _LATEST, repository, number), repository, number)


def by_number(number: int) -> str:
    """The condition for the issues of all repositories that have this number."""
    return f"{search_attributes.NUMBER.name} = {number} AND {_LATEST}"


async def _rows(issues: Issues, condition: str, repository: str, number: int) -> list[Row]:
    wanted = repository.casefold(), number
    return [
        row
        async for row in Index(issues).rows(condition)
        if (row.published.repository.casefold(), row.published.number) == wanted
    ]


def _only(rows: list[Row], repository: str, number: int) -> Row:
    """The row of the only issue among them. Those that left give way, and then those whose workflow has ended."""
    place = f"{repository}#{number}"
    here = [row for row in rows if row.published.issue_state not in GONE] or rows
    newest: dict[int, Row] = {}
    for row in [row for row in here if row.is_running] or here:
        newest.setdefault(row.issue_id, row)
    if len(newest) > 1:
        ids = ", ".join(map(str, sorted(newest)))
        raise AmbiguousNumberError(f"{place} stands for several issues: give one of their IDs ({ids})")
    for row in newest.values():
        return row
    raise UnknownNumberError(
        f"no issue is known as {place} yet. Its global ID always works: "
        f"gh api repos/{repository}/issues/{number} --jq .id"
    )
