"""The walk through one repository: page by page, each row judged, each missed event sent at once.

Heartbeats record its position, `Progress`, after every page, and the next attempt continues there. An event that is
sent again after a crash has the same delivery ID, so the issue's workflow takes it only once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

import structlog

from activities.github_messages import SENT_NAMED_MAX, Counts, RepositoryInput, RepositoryReply, Sent
from issuebox.domain.errors import RefusedError
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.issue_source import (
    NO_ACTS,
    Acts,
    IssueSource,
    ListedComment,
    ListedIssue,
    Page,
    PageQuery,
    Presence,
)
from issuebox.domain.known_issues import KnownIssue, KnownIssues, KnownRequests
from issuebox.domain.phase import Cause
from issuebox.domain.resync import (
    Answer,
    Judgement,
    Mark,
    Reach,
    Window,
    acts_needed,
    judge_absent,
    judge_comments,
    judge_issue,
    may_ask,
)
from issuebox.domain.triggers import Criteria


class Stage(StrEnum):
    """The listings, in the order in which they are read."""

    ISSUES = "issues"
    COMMENTS = "comments"
    OPEN = "open"
    KNOWN = "known"
    DONE = "done"


@dataclass(slots=True)
class Place:
    """The position in a listing that is sorted by its updates.

    ``since`` follows the last update read, instead of a page number: an issue that is updated meanwhile moves to the
    end of the listing, which would shift another one across a page border, unseen.
    """

    since: datetime
    cursor: str = ""
    etag: str = ""
    pages: int = 0
    size: int = 0
    newest: datetime | None = None


@dataclass(slots=True)
class Progress:
    """Everything that another attempt needs to continue. Bounded, because heartbeats carry it.

    ``judged`` holds what was judged of this page, and of the page before, whose end this page repeats. The keys
    contain the time of the update, because an issue that is updated again must be judged again.
    """

    mark: Mark
    counts: Counts = field(default_factory=Counts)
    sent: list[Sent] = field(default_factory=list)
    stage: Stage = Stage.ISSUES
    place: Place | None = None
    judged: list[str] = field(default_factory=list)
    open_to: datetime | None = None
    known_token: str = ""
    swept_at: datetime | None = None

    def count(self, **more: int) -> None:
        """Add to the counts."""
        now = self.counts
        self.counts = Counts(**{name: getattr(now, name) + more.get(name, 0) for name in Counts.__dataclass_fields__})


OPEN_MAX = 200_000
"""Open issues of one repository whose IDs a sweep holds in memory: about 15 MB."""

LOGGED: Mapping[Answer, str] = {Answer.REFUSED: "resync_refused", Answer.LEFT_OUT: "resync_left_out"}
"""The event words of what brings no news, of which somebody may want to know why."""

_log = structlog.get_logger("issuebox.activities")


Record = Callable[[Progress], None]
"""Called after each row and each page; must not fail."""


class RepositoryWalk:
    """One attempt at one repository. Raises `ProviderError`s; the progress keeps what was done until then."""

    def __init__(
        self,
        request: RepositoryInput,
        progress: Progress,
        source: IssueSource,
        known: KnownIssues,
        criteria: Criteria,
        *,
        record: Record,
    ) -> None:
        self._request = request
        self._progress = progress
        self._source = source
        self._known = known
        self._criteria = criteria
        self._record = record
        self._window = Window(request.mark.issues.floor, takes_all=request.takes_all)
        self._names: tuple[str, ...] = (request.repository,)
        # The open issues are kept only in memory: another attempt lists them again, but judges none twice.
        self._open_ids: set[int] = set()
        self._open_cursor = ""
        self._open_from = progress.open_to
        self._was_open_read = progress.stage is Stage.KNOWN

    async def run(self) -> RepositoryReply:
        """Read to the end, one page at a time."""
        progress = self._progress
        if self._was_open_read:
            progress.stage = Stage.OPEN
        steps = {
            Stage.ISSUES: self._issues,
            Stage.COMMENTS: self._comments,
            Stage.OPEN: self._open,
            Stage.KNOWN: self._compare,
        }
        while progress.stage is not Stage.DONE:
            await steps[progress.stage]()
            self._record(progress)
        return RepositoryReply(progress.mark, progress.counts, tuple(progress.sent))

    async def _issues(self) -> None:
        """One page of what was updated."""
        reach, place = self._request.mark.issues, self._placed(self._request.mark.issues)
        page = await self._source.updated_issues(self._query(place))
        self._count(page)
        if page.is_unchanged:
            self._enter(self._after_comments() if self._request.mark.covers_comments else Stage.COMMENTS)
            return
        for found in page.items:
            if found.issue.updated_at is None or found.issue.updated_at >= reach.floor:
                await self._judge(found)
        if self._is_at_end(place, page, [_key(found.issue.id, found.issue.updated_at) for found in page.items]):
            self._progress.mark = replace(self._progress.mark, issues=_reached(reach, place))
            self._enter(Stage.COMMENTS)

    async def _comments(self) -> None:
        """One page of comments."""
        reach, place = self._request.mark.comments, self._placed(self._request.mark.comments)
        page = await self._source.comments(self._query(place))
        self._count(page)
        asking: dict[int, list[ListedComment]] = {}
        for comment in page.items:
            if may_ask(comment, reach.floor, self._criteria):
                asking.setdefault(comment.number, []).append(comment)
        for number, of_issue in asking.items():
            await self._judge_comments(number, of_issue)
        if page.is_unchanged or self._is_at_end(
            place, page, [_key(comment.id, comment.updated_at) for comment in page.items]
        ):
            comments = reach if page.is_unchanged else _reached(reach, place)
            self._progress.mark = replace(self._progress.mark, comments=comments, comments_read_at=page.read_at)
            self._enter(self._after_comments())

    async def _open(self) -> None:
        """One page of all open issues, to find unknown ones that ask for a sandbox, and to know which are absent."""
        progress = self._progress
        page = await self._source.open_issues(PageQuery(self._request.repository, cursor=self._open_cursor))
        self._count(page)
        progress.swept_at = progress.swept_at or page.read_at
        for found in page.items:
            self._open_ids.add(found.issue.id)
            if not self._was_judged(found):
                await self._judge(found)
                progress.open_to = max(progress.open_to or found.created_at, found.created_at)
        if len(self._open_ids) > OPEN_MAX:
            raise RefusedError(f"more than {OPEN_MAX} open issues are not compared", cause=Cause.INVALID)
        progress.judged = [_key(found.issue.id, found.issue.updated_at) for found in page.items]
        self._open_cursor = page.next_cursor
        if not page.next_cursor:
            progress.judged = []
            name = await self._source.full_name(self._request.repository)
            progress.count(requests=1)
            self._names = tuple(dict.fromkeys((self._request.repository, name)))
            progress.stage = Stage.KNOWN

    def _was_judged(self, found: ListedIssue) -> bool:
        """Whether an earlier attempt has judged this open issue; the listing is in the order of creation."""
        if self._open_from is None:
            return False
        return found.created_at < self._open_from or (self._was_open_read and found.created_at == self._open_from)

    async def _compare(self) -> None:
        """One page of the issues known as open; each one that GitHub does not list as open is read by itself."""
        progress = self._progress
        page = await self._known.list_open(self._names, progress.known_token)
        for listed in page.issues:
            if listed.issue.id not in self._open_ids:
                await self._judge_absent(listed)
        progress.known_token, progress.judged = page.next_token, []
        if not page.next_token:
            progress.mark = replace(progress.mark, swept_at=progress.swept_at)
            progress.stage = Stage.DONE

    async def _judge(self, found: ListedIssue) -> None:
        key = _key(found.issue.id, found.issue.updated_at)
        if key in self._progress.judged:
            return
        known = await self._known.lookup(found.issue.id)
        since = acts_needed(found, known, self._window, self._criteria)
        acts = NO_ACTS if since is None else await self._acts(found, since)
        await self._settle(key, judge_issue(found, known, self._window, self._criteria, acts), found.issue)

    async def _acts(self, found: ListedIssue, since: datetime) -> Acts:
        acts = await self._source.acts(self._request.repository, found.issue.number, since)
        self._progress.count(requests=acts.requests)
        return acts

    async def _judge_comments(self, number: int, comments: list[ListedComment]) -> None:
        """The comments of a page on one issue, which is read once. Its workflow gets them in the order of time."""
        judged = self._progress.judged
        left = [comment for comment in comments if _key(comment.id, comment.updated_at) not in judged]
        if not left:
            return
        reading = await self._source.read_issue(self._request.repository, number)
        self._progress.count(requests=reading.requests)
        found = reading.listed
        if found is None:
            is_gone = reading.presence in {Presence.GONE, Presence.MOVED}
            for comment in left:
                answer = Answer.UNASKED if is_gone else Answer.UNREADABLE
                await self._settle(_key(comment.id, comment.updated_at), Judgement(answer))
            return
        known = await self._known.lookup(found.issue.id)
        asked = await self._requests(found.issue.id) if known is not None else None
        for comment, judgement in judge_comments(left, found, known, self._criteria, asked):
            await self._settle(_key(comment.id, comment.updated_at), judgement, found.issue)

    async def _requests(self, issue_id: int) -> KnownRequests | None:
        """What the issue's workflow knows of the requests for its agent, where an agent is set up."""
        return await self._known.requests(issue_id) if self._criteria.run_on else None

    async def _judge_absent(self, listed: KnownIssue) -> None:
        # The index lags, so the workflow's current record decides whether there is anything to read.
        known = await self._known.lookup(listed.issue.id)
        is_open = known is not None and known.issue.state is IssueState.OPEN and known.issue.number > 0
        key = _key(listed.issue.id, None)
        if known is None or not is_open or key in self._progress.judged:
            return
        issue = known.issue
        reading = await self._source.read_issue(issue.repository or self._request.repository, issue.number, issue.id)
        self._progress.count(requests=reading.requests)
        await self._settle(key, judge_absent(known, reading), issue, listed=0)

    async def _settle(self, key: str, judgement: Judgement, found: Issue | None = None, *, listed: int = 1) -> None:
        """Count the row, and send its event if one was missed."""
        progress, event = self._progress, judgement.event
        if event is not None:
            await self._known.deliver(event)
            issue = event.issue
            sent = Sent(issue.id, issue.repository, issue.number, event.action, judgement.reason, event.delivery)
            if len(progress.sent) < SENT_NAMED_MAX:
                progress.sent.append(sent)
            _log.info(
                "resync_sent", issue_id=issue.id, repository=issue.repository, number=issue.number,
                intention=str(event.intention), action=event.action, delivery=event.delivery, reason=judgement.reason,
            )  # fmt: skip
        elif judgement.answer in LOGGED and found is not None:
            _log.info(
                LOGGED[judgement.answer], issue_id=found.id, repository=found.repository, number=found.number,
                reason=judgement.reason,
            )  # fmt: skip
        progress.count(listed=listed, **{judgement.answer.value: 1})
        progress.judged.append(key)
        self._record(progress)

    def _placed(self, reach: Reach) -> Place:
        """The position of this stage, which starts at the reach of the last run."""
        if self._progress.place is None:
            self._progress.place = Place(since=reach.since, etag=reach.etag)
        return self._progress.place

    def _query(self, place: Place) -> PageQuery:
        etag = place.etag if not place.pages else ""
        return PageQuery(self._request.repository, since=place.since, cursor=place.cursor, etag=etag)

    def _is_at_end(self, place: Place, page: Page[object], keys: list[str]) -> bool:
        """Move behind the page. Returns whether it was the last one. The next page may repeat `keys`."""
        place.pages += 1
        place.size += page.size
        place.etag = page.etag
        place.newest = max(place.newest or page.reached, page.reached) if page.reached else place.newest
        if not page.next_cursor:
            return True
        self._progress.judged = keys
        if page.reached is not None and page.reached > place.since:
            place.since, place.cursor = page.reached, ""
        else:
            # More than a page within one second: only GitHub's own cursor leads further.
            place.cursor = page.next_cursor
        return False

    def _enter(self, stage: Stage) -> None:
        self._progress.stage, self._progress.place, self._progress.judged = stage, None, []

    def _after_comments(self) -> Stage:
        return Stage.OPEN if self._request.is_sweep else Stage.DONE

    def _count(self, page: Page[object]) -> None:
        self._progress.count(requests=page.requests, unchanged=int(page.is_unchanged))


def _reached(reach: Reach, place: Place) -> Reach:
    return reach.moved(place.newest, place.size, place.etag, is_one_page=place.pages == 1)


def _key(row_id: int, updated_at: datetime | None) -> str:
    return f"{row_id}@{int(updated_at.timestamp()) if updated_at else 0}"
