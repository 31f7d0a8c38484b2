"""A small GitHub: the events of an issue, in a possible order, and the webhook body of each.

It has its own clock, in whole seconds as GitHub's `updated_at`. The clock runs ahead of the real one, because a test
does in a second what takes people an hour.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from proofs.checker.evidence import Expectation


class IssueAction(StrEnum):
    """What people do to an issue; GitHub's own words."""

    OPENED = "opened"
    CLOSED = "closed"
    REOPENED = "reopened"
    LABELED = "labeled"
    COMMENTED = "created"
    EDITED = "edited"
    TRANSFERRED = "transferred"
    DELETED = "deleted"


class IssueState(StrEnum):
    """The state of an issue."""

    NOT_OPENED = "not opened"
    OPEN = "open"
    CLOSED = "closed"
    GONE = "gone"


_A, _S = IssueAction, IssueState

POSSIBLE: Mapping[IssueState, tuple[IssueAction, ...]] = {
    _S.NOT_OPENED: (_A.OPENED,),
    _S.OPEN: (_A.CLOSED, _A.LABELED, _A.COMMENTED, _A.EDITED, _A.TRANSFERRED, _A.DELETED),
    _S.CLOSED: (_A.REOPENED, _A.LABELED, _A.COMMENTED, _A.EDITED, _A.TRANSFERRED, _A.DELETED),
    _S.GONE: (),
}

LEADS_TO: Mapping[IssueAction, IssueState] = {
    _A.OPENED: _S.OPEN,
    _A.REOPENED: _S.OPEN,
    _A.CLOSED: _S.CLOSED,
    _A.TRANSFERRED: _S.GONE,
    _A.DELETED: _S.GONE,
}
"""Actions that are not here leave the state as it is."""

STAYS = tuple(action for action in IssueAction if LEADS_TO.get(action) is not IssueState.GONE)
LEAVES = tuple(action for action in IssueAction if LEADS_TO.get(action) is IssueState.GONE)

EXPECTATIONS: Mapping[IssueAction, Expectation] = {
    _A.OPENED: Expectation.RUNNING,
    _A.REOPENED: Expectation.RUNNING,
    _A.LABELED: Expectation.RUNNING,
    _A.COMMENTED: Expectation.RUNNING,
    _A.EDITED: Expectation.NOTHING,
    _A.CLOSED: Expectation.STOPPED,
    _A.TRANSFERRED: Expectation.STOPPED,
    _A.DELETED: Expectation.GONE,
}


@dataclass(frozen=True, slots=True)
class Event:
    """An event, as GitHub would send it. A delivery by a second hook gets another ID."""

    issue: int
    action: IssueAction
    expects: Expectation
    updated_at: datetime
    closed_at: datetime | None
    number: int
    kind: str
    body: bytes = field(repr=False)
    delivery: str = field(default_factory=lambda: str(uuid.uuid4()))


class GitHubIssue:
    """One issue and its history."""

    def __init__(self, issue: int, number: int) -> None:
        self.issue = issue
        self.number = number
        self.state = IssueState.NOT_OPENED
        self._events = 0
        self._second: datetime | None = None
        self._closed_at: datetime | None = None

    @property
    def possible(self) -> tuple[IssueAction, ...]:
        """The actions that are possible next."""
        return POSSIBLE[self.state]

    def apply(self, action: IssueAction, now: float, *, is_same_second: bool) -> Event:
        """Do the action, in the next second of the clock, or in the same second as the event before."""
        if self._second is None or not is_same_second:
            self._second = self._next_second(now)
        self._events += 1
        self.state = LEADS_TO.get(action, self.state)
        if self.state is IssueState.OPEN:
            self._closed_at = None
        elif action is IssueAction.CLOSED:
            self._closed_at = self._second
        kind = "issue_comment" if action is IssueAction.COMMENTED else "issues"
        body = json.dumps(self._payload(action, self._second)).encode()
        # Only a request reports an earlier close: the service ignores the others, and a close reports itself.
        closed_at = self._closed_at if EXPECTATIONS[action] is Expectation.RUNNING else None
        return Event(self.issue, action, EXPECTATIONS[action], self._second, closed_at, self._events, kind, body)

    def _next_second(self, now: float) -> datetime:
        moment = datetime.fromtimestamp(int(now) + 1, UTC)
        return moment if self._second is None else max(moment, self._second + timedelta(seconds=1))

    def _payload(self, action: IssueAction, moment: datetime) -> dict[str, Any]:
        updated_at = _stamp(moment)
        account = {"login": "octocat", "type": "User"}
        issue = {
            "id": self.issue,
            "number": self.number,
            "title": "A title",
            "state": "closed" if self._closed_at else "open",
            "html_url": f"https://github.com/octo/repo/issues/{self.number}",
            "updated_at": updated_at,
            "closed_at": _stamp(self._closed_at) if self._closed_at else None,
            "user": account,
            "author_association": "OWNER",
            "labels": [],
            # Two events of the same second have different bodies, as comments and timelines grow.
            "comments": self._events,
        }
        extras: dict[IssueAction, dict[str, Any]] = {
            IssueAction.LABELED: {"label": {"name": "claude"}},
            IssueAction.COMMENTED: {
                "comment": {"body": "@claude", "created_at": updated_at, "author_association": "OWNER"}
            },
        }
        common = {"action": action.value, "issue": issue, "repository": {"full_name": "octo/repo"}, "sender": account}
        return common | extras.get(action, {})


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
