"""What resync does about what it finds at GitHub: tables from (known, found) to what is sent. Pure.

1. Nothing is sent that is known already; the workflow drops what turns out not to be new.
2. An issue without a workflow is treated as just ``opened``: the triggers decide, and only within the window.
3. A label, an assignment or a reopening counts by who did it, as for a delivery. The listing does not tell. Where the
   answer depends on it (`acts_needed`), the issue's acts are read. Who is not known may not ask.
4. Only GitHub's answer *deleted* leads to a delete. *Not found* proves nothing.
5. A comment that asks for a run is known by its key, so a newer one does not hide it. A run is requested only by what
   was done within the window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import takewhile

from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.issue_source import (
    NO_ACTS,
    Act,
    ActKind,
    Acts,
    ListedComment,
    ListedIssue,
    Presence,
    Reading,
)
from issuebox.domain.known_issues import KnownIssue, KnownRequests
from issuebox.domain.run import QUEUE_MAX, RequestKind, RunRequest, comment_key
from issuebox.domain.triggers import Criteria, Detection, Facts, asks, at_best, detect, says

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


FINAL = frozenset({Standing.TRANSFERRED, Standing.DELETED})

NOT_TOLD = "GitHub does not tell who asked for it"
"""Why a request is refused that the webhook might have taken."""


EDITED = "the comment was edited: what it said at first is not known"
"""Why a comment is refused that somebody may have changed. An edit asks for nothing: nobody else's speaks for you."""

LEFT_OUT = f"more than {QUEUE_MAX} requests would wait for this issue's agent"
"""Why a missed request is not sent: the issue's workflow would refuse it."""


class Answer(StrEnum):
    """Completes "the issue was …". ``unasked``: nobody asks for a sandbox."""

    SENT = "sent"
    KNOWN = "known"
    UNASKED = "unasked"
    REFUSED = "refused"
    UNREADABLE = "unreadable"
    LEFT_OUT = "left_out"


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


@dataclass(frozen=True, slots=True)
class Case:
    """A listed issue beside what its workflow knows."""

    found: ListedIssue
    known: KnownIssue | None
    window: Window
    criteria: Criteria

    @property
    def standing(self) -> Standing:
        """What is known of the issue."""
        return standing_of(self.known)

    @property
    def is_told(self) -> bool:
        """Whether the workflow knows more than the listing: the issue left for good, or has another, newer state."""
        if self.known is None or not self.known.is_published:
            return False
        is_other = self.found.issue.state is not self.known.issue.state
        return self.standing in FINAL or (is_other and self.found.issue.is_older_than(self.known.issue))

    @property
    def is_settled(self) -> bool:
        """Whether only an explicit request asks: the issue is closed, or its workflow knows already that it is open."""
        return self.found.issue.state is IssueState.CLOSED or self.standing is Standing.OPEN

    @property
    def is_opening(self) -> bool:
        """Whether the issue counts as just opened. A close has called that request off."""
        if self.is_settled or self.standing is Standing.CLOSED:
            return False
        return self.window.takes_all or (self.found.created_at >= self.window.since and not self.found.is_reopened)

    def facts(self, action: str, act: Act | None = None) -> Facts:
        """What trigger detection reads. Without an act, the issue's author did it."""
        found = self.found
        return Facts(
            "issues",
            action,
            label=act.label if act else "",
            assignee=act.assignee if act else "",
            is_bot=act.is_bot if act else found.is_bot,
            repository=found.issue.repository,
            sender=act.actor if act else found.author,
            author=found.author,
            issue_association=found.association,
            labels=found.labels,
        )

    def shown(self) -> Iterator[Facts]:
        """How somebody may have asked, as far as the listing shows it, by one who may ask if anybody may."""
        found, at = self.found, self.found.created_at
        if found.issue.state is IssueState.OPEN and (self.standing is Standing.CLOSED or found.is_reopened):
            yield at_best(self.facts("reopened"))
        for label in found.labels:
            yield at_best(self.facts("labeled", Act(0, ActKind.LABELED, at, label=label)))
        for assignee in found.assignees:
            yield at_best(self.facts("assigned", Act(0, ActKind.ASSIGNED, at, assignee=assignee)))

    def started(self, detection: Detection, by: str, at: datetime) -> RunRequest | None:
        """What the issue itself asks of the agent by what somebody did. Only what is as new as the window asks."""
        if not detection.run or at < self.window.since:
            return None
        return RunRequest(RequestKind.START, author=by, body=self.found.body, at=at)

    def counts(self, facts: Facts, at: datetime) -> bool:
        """Whether this asks for something new if it was done at that time, by one who may ask."""
        detection = detect(at_best(facts), self.criteria)
        # A label asks for as long as an issue without a workflow carries it. A reopening is bound as an opening is.
        is_bound = self.is_settled or (facts.action == "reopened" and self.standing is not Standing.CLOSED)
        # A newer request, a close, or an opening that was taken: its labels come with it.
        opened_at = self.found.created_at if self.is_settled else None
        done_at = (self.known.requested_at if self.known else None, self.found.issue.closed_at, opened_at)
        return (
            (detection.is_explicit if self.is_settled else detection.intention is Intention.ENSURE)
            and (not is_bound or at >= self.window.since)
            and all(before is None or at > before for before in done_at)
        )


def acts_needed(found: ListedIssue, known: KnownIssue | None, window: Window, criteria: Criteria) -> datetime | None:
    """Since when it must be known who did what to the issue; None when the answer does not depend on that."""
    case = Case(found, known, window, criteria)
    if case.is_told or not _depends_on_who(case):
        return None
    if case.is_settled:
        return window.since
    return (known.issue.updated_at if known else None) or found.created_at


def judge_issue(
    found: ListedIssue, known: KnownIssue | None, window: Window, criteria: Criteria, acts: Acts = NO_ACTS
) -> Judgement:
    """What becomes of a listed issue, given what its workflow knows, and its acts where those are needed."""
    case = Case(found, known, window, criteria)
    if case.is_told:
        return Judgement(Answer.KNOWN, reason="it left, or a newer state is known")
    admitted = [_by(case, act, detection) for act, detection in _asking(case, acts) if _is_admitted(act, detection)]
    opened = _opened(case)
    asked = max([opened, *admitted] if opened else admitted, key=_weight, default=None)
    return asked or _unasked(case, _refused(case, acts))


def _weight(judgement: Judgement) -> int:
    """Of several requests one is sent. One for a run asks for the sandbox as well, and so does an explicit one, which
    is known by its time from then on: no later resync takes it for a new one.
    """
    event = judgement.event
    return 0 if event is None or event.request is None else 1 + event.is_explicit


def _depends_on_who(case: Case) -> bool:
    updated_at = case.found.issue.updated_at or case.found.created_at
    shown = [facts for facts in case.shown() if case.counts(facts, updated_at)]
    if _opened(case) is None:
        return bool(shown)
    # The sandbox is asked for by the opening. A label that came with it may ask for a run, too.
    return any(case.started(detect(at_best(facts), case.criteria), "", updated_at) for facts in shown)


def _unasked(case: Case, refusal: str) -> Judgement:
    """What becomes of a listed issue whose sandbox nobody requests who may: its workflow still gets the snapshot."""
    issue, known = case.found.issue, case.known
    answer = Answer.REFUSED if refusal else Answer.UNASKED
    match TABLE[case.standing][issue.state]:
        case Step.CLOSE:
            return _send(issue, Intention.STOP, "closed", "it is closed")
        case Step.REOPEN:
            reason = f"it is open, but its sandbox may not be requested: {refusal}" if refusal else "it is open"
            return _send(issue, Intention.IGNORE, "reopened", reason, answer)
        case _ if refusal and known is not None and known.issue.is_older_than(issue):
            return _send(issue, Intention.IGNORE, "labeled", refusal, answer)
        case _:
            return Judgement(answer if known is None or refusal else Answer.KNOWN, reason=refusal)


def may_ask(comment: ListedComment, since: datetime, criteria: Criteria) -> bool:
    """Whether the comment may ask for a sandbox, so that its issue must be read. An old comment never does."""
    is_spoken = bool(criteria.phrase) and says(comment.body, criteria.phrase)
    return is_spoken and not comment.is_pull_request and comment.created_at >= since


def judge_comments(
    comments: Iterable[ListedComment],
    found: ListedIssue,
    known: KnownIssue | None,
    criteria: Criteria,
    asked: KnownRequests | None = None,
) -> Iterator[tuple[ListedComment, Judgement]]:
    """What becomes of comments on one issue, in the order in which they are to be sent: that of their time.

    `asked` is None when nobody can say what the workflow knows. It takes no request twice.
    """
    room, has_workflow = QUEUE_MAX - (asked.waiting if asked else 0), known is not None
    for comment in sorted(comments, key=lambda one: (one.created_at, one.id)):
        judgement = judge_comment(comment, found, known, criteria, asked)
        event = judgement.event
        match event.request.kind if event and event.request else None:
            case RequestKind.CANCEL if not has_workflow:
                judgement = Judgement(Answer.UNASKED, reason="nothing was asked of the agent before")
            case RequestKind.CANCEL:
                room = QUEUE_MAX
            case RequestKind.COMMENT if room <= 0:
                judgement = Judgement(Answer.LEFT_OUT, reason=f"{LEFT_OUT}: comment {comment.id}")
            case RequestKind.COMMENT:
                room -= 1
        yield comment, judgement
        has_workflow = has_workflow or judgement.event is not None


def judge_comment(
    comment: ListedComment,
    found: ListedIssue,
    known: KnownIssue | None,
    criteria: Criteria,
    asked: KnownRequests | None = None,
) -> Judgement:
    """What becomes of a comment that contains the trigger phrase."""
    issue, asked_at = found.issue, comment.created_at
    facts = replace(
        Case(found, known, Window(asked_at), criteria).facts("created"),
        event="issue_comment",
        comment=comment.body,
        sender=comment.author,
        comment_association=comment.association,
        is_bot=comment.is_bot,
        is_pull_request=found.is_pull_request,
    )
    detection = detect(facts, criteria)
    if detection.run is RequestKind.CANCEL:
        return _judge_stop(comment, found, detection, asked)
    if known is not None and (standing_of(known) is Standing.DELETED or _is_known(comment, known, detection, asked)):
        return Judgement(Answer.KNOWN)
    # Closing with a comment creates both in the same second.
    if found.is_pull_request or (issue.closed_at is not None and issue.closed_at >= asked_at):
        return Judgement(Answer.UNASKED, reason="it is a pull request, or was closed after the comment")
    if comment.is_edited or detection.intention is not Intention.ENSURE:
        return Judgement(Answer.REFUSED, reason=EDITED if comment.is_edited else detection.reason)
    event = _said(comment, found, Intention.ENSURE, detection.run)
    return Judgement(Answer.SENT, event, detection.reason)


def _is_known(comment: ListedComment, known: KnownIssue, detection: Detection, asked: KnownRequests | None) -> bool:
    """Whether the workflow knows the request: for a run by its key, for the sandbox alone by a request as new."""
    if detection.run is not None:
        return asked is not None and comment_key(comment.id) in asked.keys
    return known.requested_at is not None and known.requested_at >= comment.created_at


def _judge_stop(
    comment: ListedComment, found: ListedIssue, detection: Detection, asked: KnownRequests | None
) -> Judgement:
    """What becomes of a comment that calls the agent's work off. Its time says which requests it is about."""
    called_off_at = asked.called_off_at if asked else None
    if called_off_at is not None and called_off_at >= comment.created_at:
        return Judgement(Answer.KNOWN)
    if comment.is_edited or detection.run_objection:
        return Judgement(Answer.REFUSED, reason=EDITED if comment.is_edited else detection.run_objection)
    return Judgement(Answer.SENT, _said(comment, found, Intention.IGNORE, RequestKind.CANCEL), detection.reason)


def _said(comment: ListedComment, found: ListedIssue, intention: Intention, kind: RequestKind | None) -> IssueEvent:
    """The event that the delivery of the comment would have made."""
    request = RunRequest(
        kind, comment_key(comment.id), comment.author, comment.body, found.body, comment.id, comment.created_at
    ) if kind else None  # fmt: skip
    return IssueEvent(
        issue=found.issue, intention=intention, delivery=f"resync-comment-{comment.id}", event="issue_comment",
        action="created", is_explicit=intention is Intention.ENSURE, requested_at=comment.created_at, is_resync=True,
        request=request, is_trusted=kind is not None,
    )  # fmt: skip


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


def _opened(case: Case) -> Judgement | None:
    """The request that was made by opening the issue; None when there is none or it is refused."""
    detection = detect(case.facts("opened"), case.criteria)
    if not case.is_opening or detection.intention is not Intention.ENSURE:
        return None
    request = case.started(detection, case.found.author, case.found.created_at)
    return _send(case.found.issue, Intention.ENSURE, "opened", detection.reason, request=request)


def _asking(case: Case, acts: Acts) -> Iterator[tuple[Act, Detection]]:
    """The acts by which somebody asks for something new, may he or not. The newest first."""
    for act in _since_the_close(acts):
        facts = case.facts(act.kind, act)
        if _is_carried(act, case.found) and case.counts(facts, act.at):
            yield act, detect(facts, case.criteria)


def _is_admitted(act: Act, detection: Detection) -> bool:
    return bool(act.actor) and detection.intention is Intention.ENSURE


def _by(case: Case, act: Act, detection: Detection) -> Judgement:
    """The request that somebody made by an act."""
    issue = case.found.issue
    event = IssueEvent(
        issue=issue, intention=Intention.ENSURE, delivery=f"resync-event-{act.id}-{issue.state}", event="issues",
        action=act.kind, is_explicit=detection.is_explicit, requested_at=act.at, is_resync=True,
        is_trusted=detection.is_trusted,
        request=case.started(detection, act.actor, act.at),
    )  # fmt: skip
    return Judgement(Answer.SENT, event, detection.reason)


def _refused(case: Case, acts: Acts) -> str:
    """Why a request is refused; '' when nobody asks."""
    reasons = (detection.reason if act.actor else NOT_TOLD for act, detection in _asking(case, acts))
    if reason := _refusal(case) or next(reasons, ""):
        return reason
    return NOT_TOLD if _depends_on_who(case) and not _is_answered(case, acts) else ""


def _is_answered(case: Case, acts: Acts) -> bool:
    """Whether the acts tell all that matters. GitHub may hide one, but no issue reopens by itself."""
    is_reopened = case.standing is Standing.CLOSED and case.found.issue.state is IssueState.OPEN
    return acts.is_whole and (not is_reopened or any(act.kind is ActKind.REOPENED for act in _since_the_close(acts)))


def _refusal(case: Case) -> str:
    """Why what the listing shows is refused, whoever asked by a label, an assignment or a reopening; '' for none."""
    if case.is_settled:
        return ""
    opening = [case.facts("opened")] if case.is_opening else []
    asking = (facts for facts in (*opening, *case.shown()) if asks(facts, case.criteria))
    detections = (detect(facts, case.criteria) for facts in asking)
    return next((one.reason for one in detections if one.intention is Intention.IGNORE), "")


def _since_the_close(acts: Acts) -> Iterator[Act]:
    """The acts since the newest close, which called off what was asked before. The newest first."""
    return takewhile(lambda act: act.kind is not ActKind.CLOSED, reversed(acts.items))


def _is_carried(act: Act, found: ListedIssue) -> bool:
    """Whether what was put on the issue is still there."""
    match act.kind:
        case ActKind.LABELED:
            return act.label.casefold() in {label.casefold() for label in found.labels}
        case ActKind.ASSIGNED:
            return act.assignee.casefold() in {assignee.casefold() for assignee in found.assignees}
        case _:
            return True


def _send(
    issue: Issue,
    intention: Intention,
    action: str,
    reason: str,
    answer: Answer = Answer.SENT,
    *,
    request: RunRequest | None = None,
) -> Judgement:
    """An event whose delivery ID names the state of the issue, so that finding it again is a repeated delivery."""
    stamp = int(issue.updated_at.timestamp()) if issue.updated_at else 0
    event = IssueEvent(
        issue=issue, intention=intention, delivery=f"resync-{issue.id}-{stamp}-{issue.state}", event="issues",
        action=action, is_resync=True, request=request,
    )  # fmt: skip
    return Judgement(answer, event, reason)
