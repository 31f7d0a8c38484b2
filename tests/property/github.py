"""A small GitHub: what happens to an issue, in an order that can happen there, and the webhook body of each event.

It has a clock of its own in whole seconds, as GitHub's `updated_at` has, which runs ahead of the real one: a test
makes in a second what takes people an hour.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from proofs.checker.evidence import Wish


class Happening(StrEnum):
    """What people do to an issue."""

    OPENED = "opened"
    CLOSED = "closed"
    REOPENED = "reopened"
    LABELED = "labeled"
    COMMENTED = "created"
    EDITED = "edited"
    TRANSFERRED = "transferred"
    DELETED = "deleted"


class Stand(StrEnum):
    """Where an issue stands."""

    UNBORN = "unborn"
    OPEN = "open"
    CLOSED = "closed"
    GONE = "gone"


_H, _S = Happening, Stand

POSSIBLE: Mapping[Stand, tuple[Happening, ...]] = {
    _S.UNBORN: (_H.OPENED,),
    _S.OPEN: (_H.CLOSED, _H.LABELED, _H.COMMENTED, _H.EDITED, _H.TRANSFERRED, _H.DELETED),
    _S.CLOSED: (_H.REOPENED, _H.LABELED, _H.COMMENTED, _H.EDITED, _H.TRANSFERRED, _H.DELETED),
    _S.GONE: (),
}

LEADS_TO: Mapping[Happening, Stand] = {
    _H.OPENED: _S.OPEN,
    _H.REOPENED: _S.OPEN,
    _H.CLOSED: _S.CLOSED,
    _H.TRANSFERRED: _S.GONE,
    _H.DELETED: _S.GONE,
}
"""What is not named leaves the issue where it stands."""

STAYS = tuple(what for what in Happening if LEADS_TO.get(what) is not Stand.GONE)
LEAVES = tuple(what for what in Happening if LEADS_TO.get(what) is Stand.GONE)

WISHES: Mapping[Happening, Wish] = {
    _H.OPENED: Wish.RUNNING,
    _H.REOPENED: Wish.RUNNING,
    _H.LABELED: Wish.RUNNING,
    _H.COMMENTED: Wish.RUNNING,
    _H.EDITED: Wish.NOTHING,
    _H.CLOSED: Wish.STOPPED,
    _H.TRANSFERRED: Wish.STOPPED,
    _H.DELETED: Wish.GONE,
}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, as GitHub would send it. Sent anew by a second hook it gets an ID of its own."""

    issue: int
    what: Happening
    wish: Wish
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
        self.stand = Stand.UNBORN
        self._events = 0
        self._second: datetime | None = None
        self._closed_at: datetime | None = None

    @property
    def possible(self) -> tuple[Happening, ...]:
        """What can happen to it next."""
        return POSSIBLE[self.stand]

    def happen(self, what: Happening, now: float, *, is_same_second: bool) -> Event:
        """Let it happen. The next second of the clock, or with the event before in one."""
        if self._second is None or not is_same_second:
            self._second = self._next_second(now)
        self._events += 1
        self.stand = LEADS_TO.get(what, self.stand)
        if self.stand is Stand.OPEN:
            self._closed_at = None
        elif what is Happening.CLOSED:
            self._closed_at = self._second
        kind = "issue_comment" if what is Happening.COMMENTED else "issues"
        body = json.dumps(self._payload(what, self._second)).encode()
        # A close of its own speaks for itself; what is ignored never tells anybody.
        closed_at = self._closed_at if WISHES[what] is Wish.RUNNING else None
        return Event(self.issue, what, WISHES[what], self._second, closed_at, self._events, kind, body)

    def _next_second(self, now: float) -> datetime:
        moment = datetime.fromtimestamp(int(now) + 1, UTC)
        return moment if self._second is None else max(moment, self._second + timedelta(seconds=1))

    def _payload(self, what: Happening, moment: datetime) -> dict[str, Any]:
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
            # Two events of one second do not have the same body, as comments and timelines grow.
            "comments": self._events,
        }
        extras: dict[Happening, dict[str, Any]] = {
            Happening.LABELED: {"label": {"name": "claude"}},
            Happening.COMMENTED: {
                "comment": {"body": "@claude", "created_at": updated_at, "author_association": "OWNER"}
            },
        }
        common = {"action": what.value, "issue": issue, "repository": {"full_name": "octo/repo"}, "sender": account}
        return common | extras.get(what, {})


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
