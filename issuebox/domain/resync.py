"""What resync does about what it finds at GitHub: tables from (known, found) to what is sent. Pure.

1. Nothing is sent that is known already; the workflow drops what turns out not to be new.
2. An issue without a workflow is treated as just ``opened``: the triggers decide, and only within the window.
3. Only GitHub's answer *deleted* leads to a delete. *Not found* proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.issue_source import ListedComment, ListedIssue, Presence, Reading
from issuebox.domain.known_issues import KnownIssue
from issuebox.domain.triggers import Criteria, Facts, detect, says

OVERLAP = timedelta(minutes=2)
"""How far each run reads back over what was read already: GitHub's listings may show updates out of order."""

SETTLED = timedelta(minutes=1)
"""This long after an issue's last update, the comment that caused the update is in the listing of comments too."""

RELISTED_MAX = 50
"""A listing keeps its ``since``, so that its ETag stays valid, until it holds more rows than this."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far one listing of a repository was read: everything updated before ``to`` is dealt with.

    ``since`` is the parameter of the listing, at or before ``to``; ``etag`` is that of its last answer.
    """

    to: datetime
    since: datetime
    etag: str = ""

    @property
    def floor(self) -> datetime:
        """What was updated before this time is not judged again."""
        return self.to - OVERLAP

    def moved(self, newest: datetime | None, size: int, etag: str, *, is_one_page: bool) -> Reach:
        """The reach after the whole listing was read; `newest` is the last update in it."""
        to = max(self.to, newest or self.to)
        if is_one_page and etag and size <= RELISTED_MAX:
            return Reach(to, self.since, etag)
        return Reach(to, to - OVERLAP)


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a repository was read. ``swept_at`` is the last full comparison of what is known as open."""

    issues: Reach
    comments: Reach
    comments_read_at: datetime | None = None
    swept_at: datetime | None = None

    @classmethod
    def at(cls, since: datetime) -> Mark:
        """The mark of a repository that is to be read from this time on."""
        return cls(Reach(since, since), Reach(since, since))

    @property
    def covers_comments(self) -> bool:
        """Whether an unchanged listing of issues proves that no comment is missing: each comment updates its issue."""
        return self.comments_read_at is not None and self.comments_read_at >= self.issues.to + SETTLED


class Standing(StrEnum):
    """What is known of an issue. ``unread``: it has a workflow that has published nothing yet."""

    UNKNOWN = "unknown"
    UNREAD = "unread"
    OPEN = "open"
    CLOSED = "closed"
    TRANSFERRED = "transferred"
    DELETED = "deleted"


class Step(StrEnum):
    """What to do about the difference between known and found."""

    ASK = "ask"
    REOPEN = "reopen"
    CLOSE = "close"
    NOTHING = "nothing"


TABLE: Mapping[Standing, Mapping[IssueState, Step]] = {
    standing: {IssueState.OPEN: when_open, IssueState.CLOSED: when_closed}
    for standing, (when_open, when_closed) in {
        # known as:            found open,   found closed
        Standing.UNKNOWN: (Step.ASK, Step.NOTHING),
        Standing.UNREAD: (Step.REOPEN, Step.CLOSE),
        Standing.OPEN: (Step.NOTHING, Step.CLOSE),
        Standing.CLOSED: (Step.REOPEN, Step.NOTHING),
        # Both are final for the workflow: the ID never comes back.
        Standing.TRANSFERRED: (Step.NOTHING, Step.NOTHING),
        Standing.DELETED: (Step.NOTHING, Step.NOTHING),
    }.items()
}

assert set(TABLE) == set(Standing), "every standing has its row"  # noqa: S101


class Answer(StrEnum):
    """Completes "the issue was …". ``unasked``: nobody asks for a sandbox."""

    SENT = "sent"
    KNOWN = "known"
    UNASKED = "unasked"
    REFUSED = "refused"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of something found at GitHub. ``event`` is set exactly when an event must be sent.

    A refused request still sends the snapshot of the issue when its workflow does not know it.
    """

    answer: Answer
    event: IssueEvent | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """Which unknown issues count: those created since ``since``, or with ``takes_all`` every open one."""

    since: datetime
    takes_all: bool = False


def standing_of(known: KnownIssue | None) -> Standing:
    """What is known of an issue, as a row of the table."""
    if known is None:
        return Standing.UNKNOWN
    return Standing(known.issue.state) if known.is_published else Standing.UNREAD


def judge_issue(found: ListedIssue, known: KnownIssue | None, window: Window, criteria: Criteria) -> Judgement:
    """What becomes of a listed issue, given what its workflow knows."""
    match TABLE[standing_of(known)][found.issue.state]:
        case Step.NOTHING:
            return Judgement(Answer.UNASKED if known is None else Answer.KNOWN)
        case Step.ASK:
            return _ask(found, window, criteria)
        case _ if known is not None and known.is_published and found.issue.is_older_than(known.issue):
            return Judgement(Answer.KNOWN, reason="a newer state is known")
        case Step.CLOSE:
            return _send(found.issue, Intention.STOP, "closed", "it is closed")
        case Step.REOPEN:
            detection = detect(_facts(found, "reopened"), criteria)
            if detection.intention is Intention.ENSURE:
                return _send(found.issue, Intention.ENSURE, "reopened", "it is open")
            reason = f"it is open, but its sandbox may not be requested: {detection.reason}"
            return _send(found.issue, Intention.IGNORE, "reopened", reason, Answer.REFUSED)


def may_ask(comment: ListedComment, since: datetime, criteria: Criteria) -> bool:
    """Whether the comment may ask for a sandbox, so that its issue must be read. An edited old comment never does."""
    is_spoken = bool(criteria.phrase) and says(comment.body, criteria.phrase)
    return is_spoken and not comment.is_pull_request and comment.created_at >= since


def judge_comment(
    comment: ListedComment, found: ListedIssue, known: KnownIssue | None, criteria: Criteria
) -> Judgement:
    """What becomes of a comment that contains the trigger phrase."""
    issue, asked_at = found.issue, comment.created_at
    if known is not None and (
        (known.requested_at is not None and known.requested_at >= asked_at) or standing_of(known) is Standing.DELETED
    ):
        return Judgement(Answer.KNOWN)
    # Closing with a comment creates both in the same second.
    if found.is_pull_request or (issue.closed_at is not None and issue.closed_at >= asked_at):
        return Judgement(Answer.UNASKED, reason="it is a pull request, or was closed after the comment")
    facts = replace(
        _facts(found, "created"),
        event="issue_comment",
        comment=comment.body,
        sender=comment.author,
        comment_association=comment.association,
        is_bot=comment.is_bot,
    )
    detection = detect(facts, criteria)
    if detection.intention is not Intention.ENSURE:
        return Judgement(Answer.REFUSED, reason=detection.reason)
    event = IssueEvent(
        issue=issue, intention=Intention.ENSURE, delivery=f"resync-comment-{comment.id}", event="issue_comment",
        action="created", is_explicit=True, requested_at=asked_at, is_resync=True,
    )  # fmt: skip
    return Judgement(Answer.SENT, event, "a comment asks for it")


def judge_absent(known: KnownIssue, reading: Reading) -> Judgement:
    """What becomes of an issue that is known as open and that GitHub does not list as open."""
    issue = known.issue
    match reading.presence:
        case Presence.GONE:
            return _send(replace(issue, state=IssueState.DELETED), Intention.DELETE, "deleted", "it was deleted")
        case Presence.MOVED:
            return _send(replace(issue, state=IssueState.TRANSFERRED), Intention.STOP, "transferred", "it moved")
        case Presence.FOUND if reading.listed is not None and reading.listed.issue.id == issue.id:
            if reading.listed.issue.state is IssueState.OPEN:
                return Judgement(Answer.KNOWN)
            return _send(reading.listed.issue, Intention.STOP, "closed", "it is closed")
        case _:
            return Judgement(Answer.UNREADABLE, reason="GitHub does not show it, which proves nothing")


def authoritative(issue: Issue, reading: Reading) -> Issue | None:
    """The state of the issue as one read gives it; None when the read proves nothing."""
    match reading.presence:
        case Presence.FOUND if reading.listed is not None and reading.listed.issue.id == issue.id:
            return reading.listed.issue
        case Presence.GONE:
            return replace(issue, state=IssueState.DELETED)
        case Presence.MOVED:
            return replace(issue, state=IssueState.TRANSFERRED)
        case _:
            return None


def _ask(found: ListedIssue, window: Window, criteria: Criteria) -> Judgement:
    """The first way to ask that the criteria admit."""
    reason = ""
    for facts in _ways(found, window):
        detection = detect(facts, criteria)
        if detection.intention is Intention.ENSURE:
            return _send(found.issue, Intention.ENSURE, facts.action, detection.reason)
        reason = reason or (detection.reason if facts.action == "opened" else "")
    return Judgement(Answer.REFUSED if reason else Answer.UNASKED, reason=reason)


def _ways(found: ListedIssue, window: Window) -> Iterator[Facts]:
    """How somebody may have asked: by opening the issue, by a label that it carries, by an assignment."""
    if window.takes_all or found.created_at >= window.since:
        yield _facts(found, "opened")
    for label in found.labels:
        yield _facts(found, "labeled", label=label)
    for assignee in found.assignees:
        yield _facts(found, "assigned", assignee=assignee)


def _facts(found: ListedIssue, action: str, *, label: str = "", assignee: str = "") -> Facts:
    """What trigger detection reads of a listed issue.

    GitHub's listing does not name who labelled, assigned or reopened an issue, so the issue's author counts as the
    sender. Otherwise resync would soon admit a request that the webhook has just refused.
    """
    return Facts(
        "issues",
        action,
        label=label,
        assignee=assignee,
        is_bot=found.is_bot,
        repository=found.issue.repository,
        sender=found.author,
        author=found.author,
        issue_association=found.association,
        labels=found.labels,
    )


def _send(issue: Issue, intention: Intention, action: str, reason: str, answer: Answer = Answer.SENT) -> Judgement:
    """An event whose delivery ID names the state of the issue, so that finding it again is a repeated delivery."""
    stamp = int(issue.updated_at.timestamp()) if issue.updated_at else 0
    event = IssueEvent(
        issue=issue, intention=intention, delivery=f"resync-{issue.id}-{stamp}-{issue.state}", event="issues",
        action=action, is_resync=True,
    )  # fmt: skip
    return Judgement(answer, event, reason)
