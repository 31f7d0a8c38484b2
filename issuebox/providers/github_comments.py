"""GitHub's comments as `Comments`: our own ones found, written, edited and deleted, and 👀 under those of others.

All that is written passes one pace per process, because GitHub limits what makes content more strictly than reads
("Rate limits for the REST API": in general no more than 80 such requests a minute and 500 an hour).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlencode

from issuebox.domain.comments import OwnComment
from issuebox.domain.errors import RateLimitedError, TransientError
from issuebox.providers import github_models as models
from issuebox.providers.github_client import GONE, LIMITS, NOT_FOUND, Answer, GitHubClient, GitHubOptions, Question

PAGE_SIZE: Final = 100
"""GitHub's maximum."""

PAGES_MAX: Final = 30
"""An issue has 2,500 comments at most."""

RESERVED: Final = 0.25
"""The part of each limit that is kept for what is needed."""


class WritePace:
    """How many writes may be sent. Each limit counts those of the last so many seconds."""

    def __init__(
        self, limits: Sequence[tuple[float, int]] = LIMITS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._sent: deque[float] = deque()

    def enter(self, *, is_needed: bool) -> None:
        """Count one write. Raises RateLimitedError, with the time at which there is room, when it must not be sent."""
        now = self._clock()
        while self._sent and self._sent[0] <= now - max(seconds for seconds, _ in self._limits):
            self._sent.popleft()
        for seconds, most in self._limits:
            room = most if is_needed else int(most * (1 - RESERVED))
            if len(self._sent) >= room and self._sent[-room] > now - seconds:
                wait_s = self._sent[-room] + seconds - now
                raise RateLimitedError("enough was written to GitHub for now: it was not asked", retry_after_s=wait_s)
        self._sent.append(now)


class GitHubComments:
    """Comments at GitHub. Opens no connection before the first request."""

    def __init__(self, options: GitHubOptions, pace: WritePace | None = None) -> None:
        self._client = GitHubClient(options)
        self._pace = pace or WritePace(options.limits)
        self._login = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def own(self, repository: str, number: int, since: datetime, marker: str) -> tuple[OwnComment, ...]:
        """Our own comments. See `Comments`. Of somebody else, a comment with our marker is none of ours."""
        self._login = self._login or await self._client.login()
        given = {"since": since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "per_page": str(PAGE_SIZE)}
        query, found = urlencode(given), list[OwnComment]()
        for _ in range(PAGES_MAX):
            question = Question(repository, f"/issues/{number}/comments", query)
            reply = (await self._client.get(question)).reply
            found += [
                OwnComment(body.id, body.body or "")
                for body in self._client.parsed(reply, models.COMMENTS, question)
                if body.user is not None and body.user.login == self._login and (body.body or "").startswith(marker)
            ]
            query = self._client.next_cursor(reply, question)
            if not query:
                return tuple(sorted(found, key=lambda comment: comment.id))
        raise TransientError(f"GitHub's comments of {repository}#{number} have no end")

    async def create(self, repository: str, number: int, body: str) -> int:
        """Write a comment. See `Comments`."""
        question = Question(repository, f"/issues/{number}/comments")
        answer = await self._write("POST", question, {"body": body})
        return self._client.parsed(answer.reply, models.MADE, question).id

    async def edit(self, repository: str, comment_id: int, body: str, *, is_needed: bool = True) -> bool:
        """Replace a comment's text. See `Comments`."""
        question = Question(repository, f"/issues/comments/{comment_id}", may_be_gone=True)
        answer = await self._write("PATCH", question, {"body": body}, is_needed=is_needed)
        return answer.reply.status not in {NOT_FOUND, GONE}

    async def delete(self, repository: str, comment_id: int) -> None:
        """Delete a comment. See `Comments`."""
        await self._write("DELETE", Question(repository, f"/issues/comments/{comment_id}", may_be_gone=True))

    async def react(self, repository: str, comment_id: int) -> None:
        """Put 👀 under a comment. See `Comments`. GitHub answers a repetition with the reaction that is there."""
        question = Question(repository, f"/issues/comments/{comment_id}/reactions", may_be_gone=True)
        await self._write("POST", question, {"content": "eyes"})

    async def _write(
        self, method: str, question: Question, body: Mapping[str, str] | None = None, *, is_needed: bool = True
    ) -> Answer:
        self._pace.enter(is_needed=is_needed)
        return await self._client.write(method, question, body)
