"""The parts of GitHub's webhook bodies that are used, with their limits.

They are read strictly: a number in quotes or a missing field is an error, not a guess. All other fields are
ignored, because GitHub adds fields all the time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.issue import Issue, IssueState, title_line
from issuebox.domain.triggers import Detection, Facts

_ID_MAX = 2**63 - 1

Id = Annotated[int, Field(gt=0, le=_ID_MAX)]
Word = Annotated[str, StringConstraints(max_length=255)]
RepositoryName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}$")]


Title = Annotated[str, AfterValidator(title_line)]
Url = Annotated[str, StringConstraints(max_length=500, pattern=r"^https?://\S*$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class Account(_Part):
    """A GitHub account: the sender, the assignee or the author."""

    login: Word
    type: Word = "User"


class Label(_Part):
    """The label of a ``labeled`` event, or one that the issue carries."""

    name: Word


class Comment(_Part):
    """The comment of an ``issue_comment`` event."""

    body: str = ""
    created_at: AwareDatetime
    author_association: Word | None = None


class IssuePart(_Part):
    """The issue, as it was when the event happened. GitHub may leave out labels and deleted accounts."""

    id: Id
    number: Id
    title: Title
    state: Literal["open", "closed"]
    updated_at: AwareDatetime
    closed_at: AwareDatetime | None = None
    html_url: Url = ""
    user: Account | None = None
    author_association: Word | None = None
    labels: tuple[Label | None, ...] | None = None
    pull_request: dict[str, object] | None = None


class Repository(_Part):
    """The issue's repository."""

    full_name: RepositoryName


class IssueDelivery(_Part):
    """The body of an ``issues`` or ``issue_comment`` delivery."""

    action: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,64}$")]
    issue: IssuePart
    repository: Repository
    sender: Account
    label: Label | None = None
    assignee: Account | None = None
    comment: Comment | None = None

    def facts(self, event: str) -> Facts:
        """What trigger detection reads."""
        return Facts(
            event=event,
            action=self.action,
            label=self.label.name if self.label else "",
            assignee=self.assignee.login if self.assignee else "",
            comment=self.comment.body if self.comment else "",
            is_pull_request=self.is_pull_request,
            is_bot=self.sender.type == "Bot",
            repository=self.repository.full_name,
            sender=self.sender.login,
            author=self.issue.user.login if self.issue.user else "",
            issue_association=self.issue.author_association or "",
            comment_association=(self.comment.author_association or "") if self.comment else "",
            labels=tuple(label.name for label in self.issue.labels or () if label),
        )

    @property
    def is_pull_request(self) -> bool:
        """Whether the delivery is about a pull request. For GitHub that is an issue, but it has no sandbox."""
        return self.issue.pull_request is not None

    def to_event(self, event: str, delivery: str, digest: str, detection: Detection) -> IssueEvent:
        """The event for the workflow."""
        return IssueEvent(
            issue=Issue(
                id=self.issue.id,
                repository=self.repository.full_name,
                number=self.issue.number,
                title=self.issue.title,
                url=self.issue.html_url,
                state=self._state(event),
                updated_at=self.issue.updated_at,
                closed_at=self.issue.closed_at,
            ),
            intention=detection.intention,
            delivery=delivery,
            digest=digest,
            event=event,
            action=self.action,
            is_explicit=detection.is_explicit,
            requested_at=self._requested_at(),
        )

    def _state(self, event: str) -> IssueState:
        """``transferred`` and ``deleted`` carry the earlier state. A comment's ``deleted`` is not about the issue."""
        gone = {"transferred": IssueState.TRANSFERRED, "deleted": IssueState.DELETED} if event == "issues" else {}
        return gone.get(self.action, IssueState(self.issue.state))

    def _requested_at(self) -> datetime:
        return self.comment.created_at if self.comment else self.issue.updated_at


class CommentDelivery(IssueDelivery):
    """The body of an ``issue_comment`` delivery, which always has a comment."""

    comment: Comment


SHAPES: Mapping[str, type[IssueDelivery]] = {"issues": IssueDelivery, "issue_comment": CommentDelivery}
"""The model of the body of each used event."""

IGNORED = frozenset({Intention.IGNORE, Intention.PONG})
"""Intentions that ask a workflow for nothing."""


class AmbiguousBodyError(ValueError):
    """Two parsers could read the same body differently."""


def require_unambiguous(body: bytes) -> None:
    """Raise on repeated keys and on NaN, which pydantic's parser accepts. Call it only after that parser.

    Pydantic's parser has limited the nesting, so this one cannot overflow the stack.
    """
    json.loads(body, object_pairs_hook=_require_distinct_keys, parse_constant=_refuse_constant)


def _require_distinct_keys(pairs: list[tuple[str, object]]) -> None:
    if len({key for key, _ in pairs}) < len(pairs):
        raise AmbiguousBodyError("an object repeats a key")


def _refuse_constant(name: str) -> None:
    raise AmbiguousBodyError(f"{name} is not JSON")
