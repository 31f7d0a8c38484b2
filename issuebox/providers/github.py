"""GitHub's issues as an `IssueSource`: one issue, and the listings page by page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlencode

from issuebox.domain.errors import RefusedError, TransientError
from issuebox.domain.issue_source import (
    Acts,
    ListedComment,
    ListedIssue,
    Page,
    PageQuery,
    Presence,
    Reading,
    is_repository,
)
from issuebox.domain.phase import Cause
from issuebox.providers import github_models as models
from issuebox.providers.github_client import GONE, NOT_FOUND, NOT_MODIFIED, GitHubClient, GitHubOptions, Question
from issuebox.providers.github_errors import Reply

PAGE_SIZE = 100
"""GitHub's maximum."""

ETAG_BYTES_MAX = 100

ACTS_PAGES_MAX = 3
"""The newest pages of an issue's events that are read, besides the first one, which says how many there are."""

T = TypeVar("T")
Bodies = tuple[models.EventBody, ...]


class GitHubSource:
    """Issues at GitHub. Opens no connection before the first request."""

    def __init__(self, options: GitHubOptions) -> None:
        self._client = GitHubClient(options)
        self._is_authorized = bool(options.token or options.app_id)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Release connections."""
        await self._client.close()

    @property
    def is_authorized(self) -> bool:
        """Whether a token or an App is configured."""
        return self._is_authorized

    async def read_issue(self, repository: str, number: int, issue_id: int = 0) -> Reading:
        """Read one issue. See `IssueSource`."""
        question = Question(repository, f"/issues/{number}", may_be_gone=True)
        answer = await self._client.get(question)
        if answer.reply.status == NOT_FOUND:
            return Reading(Presence.UNKNOWN, None, question.requests)
        if answer.reply.status == GONE:
            return Reading(_gone(answer.reply, is_redirected=answer.is_redirected), None, question.requests)
        found = self._client.parsed(answer.reply, models.ISSUE, question).listed(repository)
        if issue_id and found.issue.id != issue_id:
            # A redirect means a transfer, or a renamed repository, which keeps the ID. Without one the name was reused.
            presence = Presence.MOVED if answer.is_redirected else Presence.UNKNOWN
            return Reading(presence, None, question.requests)
        return Reading(Presence.FOUND, found, question.requests)

    async def acts(self, repository: str, number: int, since: datetime) -> Acts:
        """What was done to one issue. See `IssueSource`."""
        history = _History(self._client, repository, number)
        try:
            bodies, is_whole = await history.newest(since)
        except RefusedError as error:
            if error.cause is Cause.CREDENTIALS:
                raise
            return Acts((), is_whole=False, requests=history.requests)
        acts = tuple(act for act in (body.act() for body in bodies) if act is not None)
        return Acts(acts, is_whole, history.requests)

    async def full_name(self, repository: str) -> str:
        """The repository's name as GitHub spells it now."""
        question = Question(repository)
        answer = await self._client.get(question)
        name = self._client.parsed(answer.reply, models.REPOSITORY, question).full_name
        if not is_repository(name):
            raise TransientError("GitHub's answer cannot be read: a repository without a name")
        return name

    async def updated_issues(self, query: PageQuery) -> Page[ListedIssue]:
        """Open and closed issues, least recently updated first."""
        return await self._issues(query, {"state": "all", "sort": "updated", "direction": "asc"})

    async def open_issues(self, query: PageQuery) -> Page[ListedIssue]:
        """Open issues, oldest first."""
        return await self._issues(query, {"state": "open", "sort": "created", "direction": "asc"})

    async def comments(self, query: PageQuery) -> Page[ListedComment]:
        """Comments of all issues, least recently updated first."""
        question = _listing(query, "/issues/comments", {"sort": "updated", "direction": "asc"})
        reply = (await self._client.get(question)).reply
        if reply.status == NOT_MODIFIED:
            return _unchanged(reply, question)
        bodies = self._client.parsed(reply, models.COMMENTS, question)
        listed = tuple(comment for comment in (body.listed() for body in bodies) if comment is not None)
        return self._page(reply, question, listed, [body.updated_at for body in bodies])

    async def _issues(self, query: PageQuery, parameters: Mapping[str, str]) -> Page[ListedIssue]:
        question = _listing(query, "/issues", parameters)
        reply = (await self._client.get(question)).reply
        if reply.status == NOT_MODIFIED:
            return _unchanged(reply, question)
        bodies = self._client.parsed(reply, models.ISSUES, question)
        listed = (body.listed(query.repository) for body in bodies)
        issues = tuple(issue for issue in listed if not issue.is_pull_request)
        return self._page(reply, question, issues, [body.updated_at for body in bodies])

    def _page(self, reply: Reply, question: Question, items: tuple[T, ...], updates: list[datetime]) -> Page[T]:
        return Page(
            items=items,
            read_at=reply.read_at,
            size=len(updates),
            reached=max(updates, default=None),
            next_cursor=self._client.next_cursor(reply, question),
            etag=etag_of(reply),
            requests=question.requests,
        )


@dataclass(slots=True)
class _History:
    """The events of one issue. GitHub lists them from the oldest, and only its links tell how many pages there are."""

    client: GitHubClient
    repository: str
    number: int
    requests: int = 0

    async def newest(self, since: datetime) -> tuple[Bodies, bool]:
        """Read from the end back to `since`, oldest first, and whether that was reached."""
        reply, question, first = await self._page(1)
        last = self.client.last_page(reply, question)
        if last == 1:
            return first, True
        bodies: Bodies = ()
        for page in range(last, max(1, last - ACTS_PAGES_MAX), -1):
            _, _, older = await self._page(page)
            bodies = older + bodies
            if older and older[0].created_at < since:
                return bodies, True
        return (first + bodies, True) if 1 < last <= 1 + ACTS_PAGES_MAX else (bodies, False)

    async def _page(self, page: int) -> tuple[Reply, Question, Bodies]:
        query = urlencode({"per_page": PAGE_SIZE, "page": page})
        question = Question(self.repository, f"/issues/{self.number}/events", query)
        try:
            reply = (await self.client.get(question)).reply
        finally:
            self.requests += question.requests
        return reply, question, self.client.parsed(reply, models.EVENTS, question)


def etag_of(reply: Reply) -> str:
    """The page's ETag; one of unusual length is not kept, since each resync's report carries it to the next."""
    etag = reply.headers.get("etag", "")
    return etag if len(etag) <= ETAG_BYTES_MAX and etag.isascii() else ""


def _gone(reply: Reply, *, is_redirected: bool) -> Presence:
    """What a 410 means. A repository with issues switched off also answers 410, and that deletes nothing.

    After a redirect, the issue may have been deleted in its new repository: for us it was transferred.
    """
    if "deleted" not in reply.message:
        return Presence.UNKNOWN
    return Presence.MOVED if is_redirected else Presence.GONE


def _unchanged(reply: Reply, question: Question) -> Page[T]:
    return Page((), reply.read_at, etag=question.etag, is_unchanged=True, requests=question.requests)


def _listing(query: PageQuery, place: str, parameters: Mapping[str, str]) -> Question:
    """The request for one page. A cursor holds all parameters of its listing."""
    given = dict(parameters) | {"per_page": str(PAGE_SIZE)}
    if query.since is not None:
        given["since"] = query.since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Question(query.repository, place, query.cursor or urlencode(given), etag=query.etag)
