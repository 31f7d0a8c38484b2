"""The parts of GitHub's webhook bodies that are used, with their limits.

A body is read for what its row of the trigger table needs. There it is read strictly: a number in quotes or a missing
field is an error, not a guess. All other fields are ignored, because GitHub adds fields all the time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import parse_qsl

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.issue import Issue, IssueState, title_line
from issuebox.domain.run import RequestKind, RunRequest, comment_key
from issuebox.domain.triggers import TABLE, Detection, Facts

_ID_MAX = 2**63 - 1

Id = Annotated[int, Field(gt=0, le=_ID_MAX)]
Word = Annotated[str, StringConstraints(max_length=255)]
RepositoryName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}$")]
ActionName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,64}$")]
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

    id: Id | None = None
    body: str | None = None
    created_at: AwareDatetime
    user: Account | None = None
    author_association: Word | None = None


class Repository(_Part):
    """The issue's repository."""

    full_name: RepositoryName


class IssueSnapshot(_Part):
    """The issue, as it was when the event happened."""

    id: Id
    number: Id
    title: Title
    state: Literal["open", "closed"]
    updated_at: AwareDatetime
    closed_at: AwareDatetime | None = None
    html_url: Url = ""
    body: str | None = None
    pull_request: dict[str, object] | None = None


class IssuePart(IssueSnapshot):
    """The issue with what decides who may ask. GitHub may leave out labels and deleted accounts."""

    user: Account | None = None
    author_association: Word | None = None
    labels: tuple[Label | None, ...] | None = None


class SnapshotDelivery(_Part):
    """What the end of an issue needs of a delivery: the snapshot of the issue, whoever sent it."""

    action: ActionName
    issue: IssueSnapshot
    repository: Repository

    def facts(self, event: str) -> Facts:
        """What trigger detection reads."""
        return Facts(event, self.action, is_pull_request=self.is_pull_request, repository=self.repository.full_name)

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
                author=self.facts(event).author,
            ),
            intention=detection.intention,
            delivery=delivery,
            digest=digest,
            event=event,
            action=self.action,
            is_explicit=detection.is_explicit,
            requested_at=self._requested_at(),
            sender=self.facts(event).sender,
            is_trusted=detection.is_trusted,
            request=self._request(event, detection.run) if detection.run and not detection.run_objection else None,
        )

    def _request(self, event: str, kind: RequestKind) -> RunRequest | None:
        """What the agent is asked, in the words of this delivery."""
        return RunRequest(kind, author=self.facts(event).sender, body=self.issue.body or "", at=self._requested_at())

    def _state(self, event: str) -> IssueState:
        """``transferred`` and ``deleted`` carry the earlier state. A comment's ``deleted`` is not about the issue."""
        gone = {"transferred": IssueState.TRANSFERRED, "deleted": IssueState.DELETED} if event == "issues" else {}
        return gone.get(self.action, IssueState(self.issue.state))

    def _requested_at(self) -> datetime:
        return self.issue.updated_at


class IssueDelivery(SnapshotDelivery):
    """The body of an ``issues`` delivery."""

    issue: IssuePart
    sender: Account | None = None
    label: Label | None = None
    assignee: Account | None = None

    def facts(self, event: str) -> Facts:
        """What trigger detection reads. The author counts as the sender where GitHub names none."""
        sender = self.sender or self._author()
        return replace(
            super().facts(event),
            label=self.label.name if self.label else "",
            assignee=self.assignee.login if self.assignee else "",
            is_bot=sender is not None and sender.type == "Bot",
            sender=sender.login if sender else "",
            author=self.issue.user.login if self.issue.user else "",
            issue_association=self.issue.author_association or "",
            labels=tuple(label.name for label in self.issue.labels or () if label),
        )

    def _author(self) -> Account | None:
        return self.issue.user


class CommentDelivery(IssueDelivery):
    """The body of an ``issue_comment`` delivery."""

    comment: Comment

    def facts(self, event: str) -> Facts:
        """What trigger detection reads."""
        association = self.comment.author_association or ""
        return replace(super().facts(event), comment=self.comment.body or "", comment_association=association)

    def _author(self) -> Account | None:
        return self.comment.user

    def _requested_at(self) -> datetime:
        return self.comment.created_at

    def _request(self, event: str, kind: RequestKind) -> RunRequest | None:
        """Without the comment's ID nobody could tell it from a repetition: then it asks for the sandbox alone."""
        request, number = super()._request(event, kind), self.comment.id
        if request is None or number is None:
            return None
        return replace(request, key=comment_key(number), text=self.comment.body or "", comment_id=number)


SHAPES: Mapping[str, type[IssueDelivery]] = {"issues": IssueDelivery, "issue_comment": CommentDelivery}
"""The model of the whole body of each used event that is about an issue."""


def intentions(event: str, action: str) -> frozenset[Intention]:
    """What the rows of the trigger table make of this action; none for an action that is not used."""
    return frozenset(row.intention for row in TABLE if (row.event, row.action) == (event, action))


def read(event: str, action: str, body: bytes) -> SnapshotDelivery:
    """The delivery, as whole as its row needs. Raises pydantic's ValidationError when something is missing for that."""
    try:
        return SHAPES[event].model_validate_json(body)
    except ValidationError:
        if Intention.ENSURE in intentions(event, action):
            raise
        return SnapshotDelivery.model_validate_json(body)


IGNORED = frozenset({Intention.IGNORE, Intention.PONG})
"""Intentions that ask a workflow for nothing."""


class UnreadableBodyError(ValueError):
    """The body is no JSON object, can be read in two ways, or is not that of its event. The text says which."""


def read_object(body: bytes) -> Mapping[str, object]:
    """The body, if every parser reads the same in it: no repeated keys, no NaN, UTF-8. Raises UnreadableBodyError."""
    try:
        content = json.loads(body.decode(), object_pairs_hook=_require_distinct_keys, parse_constant=_refuse_constant)
    except UnreadableBodyError:
        raise
    except (ValueError, RecursionError) as error:
        raise UnreadableBodyError("the body is not JSON") from error
    if not isinstance(content, dict):
        raise UnreadableBodyError("the body is not a JSON object")
    return content


def _require_distinct_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise UnreadableBodyError("the body is not valid: an object repeats a key")
    return content


def _refuse_constant(name: str) -> None:
    raise UnreadableBodyError(f"the body is not valid: {name} is not JSON")


@dataclass(frozen=True, slots=True)
class Signs:
    """How the body of one event differs from the bodies of the others that are read."""

    has: frozenset[str] = frozenset()
    lacks: frozenset[str] = frozenset()
    actions: frozenset[str] = frozenset()
    """Actions that no other event has, of those that are read."""


# fmt: off
SIGNS: Mapping[str, Signs] = {
    "ping": Signs(has=frozenset({"zen", "hook_id"}), lacks=frozenset({"issue", "comment"})),
    "issues": Signs(
        has=frozenset({"action", "issue"}),
        lacks=frozenset({"comment"}),
        actions=frozenset({
            "opened", "closed", "reopened", "transferred", "assigned", "unassigned", "labeled", "unlabeled", "locked",
            "unlocked", "milestoned", "demilestoned", "typed", "untyped",
        }),
    ),
    "issue_comment": Signs(has=frozenset({"action", "issue", "comment"}), actions=frozenset({"created"})),
}
# fmt: on


def require_agreement(event: str, content: Mapping[str, object]) -> None:
    """Raise UnreadableBodyError unless the body is one of this event.

    GitHub signs the body and not X-GitHub-Event. Without this, the signed body of a deleted comment, sent again as
    `issues`, would delete the issue's sandbox.
    """
    signs = SIGNS[event]
    if missing := sorted(signs.has - content.keys()):
        raise UnreadableBodyError(f"the body is not one of the event {event!r}: it has no {missing[0]!r}")
    if foreign := sorted(signs.lacks & content.keys()):
        raise UnreadableBodyError(f"the body is not one of the event {event!r}: it has {foreign[0]!r}")
    action = content.get("action")
    if any(action in other.actions for name, other in SIGNS.items() if name != event and isinstance(action, str)):
        raise UnreadableBodyError(f"the body is not one of the event {event!r}: that has no action {action!r}")


def form_payload(body: bytes) -> bytes:
    """The JSON in a form-encoded body, whose only field has to be ``payload``. Raises UnreadableBodyError.

    GitHub does not sign the content type either. A JSON body begins with a brace, so it is never taken for a form.
    """
    try:
        ((name, payload),) = parse_qsl(body, keep_blank_values=True, strict_parsing=True, max_num_fields=1)
    except ValueError as error:
        raise UnreadableBodyError("the body is not a form with one field 'payload'") from error
    if name != b"payload":
        raise UnreadableBodyError("the body is not a form with one field 'payload'")
    return payload
