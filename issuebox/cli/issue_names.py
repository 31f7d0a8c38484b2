"""Resolves what a person calls an issue to its global ID."""

from __future__ import annotations

import re

from issuebox.domain.issue import issue_id_of
from issuebox.temporal.issues import Issues
from issuebox.temporal.numbers import find_anyhow

ISSUE_ID_MAX = 2**63 - 1

_ID = re.compile(r"[1-9][0-9]{0,18}")
_PLACE = re.compile(
    r"(?:https?://[^/\s]+/)?(?P<repository>[\w.-]+/[\w.-]+)(?:#|/issues/)(?P<number>[1-9][0-9]{0,17})(?:[/?#]\S*)?",
    re.ASCII,
)


class NotAnIssueNameError(ValueError):
    """The text is in none of the forms that name an issue."""


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
    return (await find_anyhow(issues, place["repository"], int(place["number"]))).issue_id
