"""GitHub's side: sends the deliveries of the plan, and sends a delivery again that was not acknowledged.

The real GitHub marks such a delivery as failed, and a person, a script or resync sends it again. Here it is sent again
automatically, a few times. A delivery that never gets a 2xx is noted as not acknowledged: no rule requires its effect.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

import httpx

from issuebox.dev.mock_delivery import AUTHOR, MockDelivery, MockIssue, MockSender, build, post
from issuebox.domain.triggers import Association
from proofs.chaos.story import Event, Post
from proofs.chaos.tally import Tally
from proofs.chaos.terms import REPOSITORY
from proofs.checker.evidence import Delivery

TITLE: Final = "of the chaos run"
GIVE_UP_S: Final = 10.0
"""How long GitHub waits for an answer."""
TRIES_MAX: Final = 8
PAUSE_FIRST_S: Final = 0.5
PAUSE_MAX_S: Final = 8.0
AT_ONCE_MAX: Final = 100

SENDERS: Final = {
    "maintainer": MockSender("maintainer", Association.OWNER),
    "author": MockSender(AUTHOR, Association.NONE),
    "bot": MockSender("helper[bot]", Association.NONE, is_bot=True),
}
"""By `Kind.sender`. The run's settings let only collaborators ask for a sandbox, and no bot."""


class GitHub:
    """Sends to the APIs in turn. `base`: the beginning of the load, a whole epoch second."""

    def __init__(self, api_urls: Sequence[str], secret: str, base: int, tally: Tally) -> None:
        self._api_urls = api_urls
        self._secret = secret
        self._base = base
        self._tally = tally
        self._turn = count()
        self._room = asyncio.Semaphore(AT_ONCE_MAX)

    async def send_all(self, posts: Sequence[Post]) -> None:
        """Send each delivery when it is due. Returns when each is acknowledged or given up."""
        self._tally.deliveries_total = self._tally.waiting = len(posts)
        async with httpx.AsyncClient(timeout=GIVE_UP_S, trust_env=False) as http, asyncio.TaskGroup() as tasks:
            for each in posts:
                await asyncio.sleep(max(0.0, self._base + each.at_s - time.time()))
                tasks.create_task(self._deliver(http, each))

    async def send_again(self, posts: Sequence[Post]) -> None:
        """Send these once more, those of one issue one after the other. Returns when each was answered or given up."""
        self._tally.deliveries_total += len(posts)
        self._tally.waiting += len(posts)
        issues = {post.event.issue for post in posts}
        async with httpx.AsyncClient(timeout=GIVE_UP_S, trust_env=False) as http, asyncio.TaskGroup() as tasks:
            for issue in issues:
                tasks.create_task(self._in_order(http, [post for post in posts if post.event.issue == issue]))

    async def _in_order(self, http: httpx.AsyncClient, posts: Sequence[Post]) -> None:
        for each in posts:
            await self._deliver(http, each)

    async def _deliver(self, http: httpx.AsyncClient, each: Post) -> None:
        mock = self._mock(each)
        for number in range(TRIES_MAX):
            async with self._room:
                noted = await self._post(http, each, mock)
                self._tally.posts.append(noted)
            self._tally.redeliveries += number > 0
            if noted.is_acknowledged:
                break
            await asyncio.sleep(min(PAUSE_FIRST_S * 2**number, PAUSE_MAX_S))
        else:
            self._tally.given_up += 1
        self._tally.waiting -= 1

    async def _post(self, http: httpx.AsyncClient, each: Post, mock: MockDelivery) -> Delivery:
        """Send one POST, which is noted before it is sent. Returns its line, without a status when nobody answered."""
        number = next(self._turn)
        noted = self._tally.in_flight[number] = self._line(each)
        try:
            reply = await post(http, self._api_urls[number % len(self._api_urls)], mock)
        except httpx.TransportError:
            return noted
        else:
            return noted.model_copy(update={"answered_at": time.time(), "status": reply.status_code})
        finally:
            del self._tally.in_flight[number]

    def _line(self, each: Post) -> Delivery:
        event = each.event
        return Delivery(
            delivery=each.delivery,
            issue=event.issue,
            action=event.kind.action,
            expects=event.kind.expects,
            updated_at=self._base + event.second,
            closed_at=self._reported_close(event),
            sent_at=time.time(),
            asks=event.asks,
        )

    def _reported_close(self, event: Event) -> float | None:
        """The time of the earlier close that the delivery reports; None for none, and for the close itself."""
        is_reported = event.closed_at is not None and event.kind.action != "closed"
        return self._base + event.closed_at if is_reported and event.closed_at is not None else None

    def _mock(self, each: Post) -> MockDelivery:
        event = each.event
        issue = MockIssue(
            event.issue,
            REPOSITORY,
            title=f"Issue {event.issue} {TITLE}",
            updated_at=self._moment(event.second),
            closed_at=None if event.closed_at is None else self._moment(event.closed_at),
        )
        return _built(event, issue, self._secret, each.delivery)

    def _moment(self, second: int) -> datetime:
        return datetime.fromtimestamp(self._base, UTC) + timedelta(seconds=second)


def _built(event: Event, issue: MockIssue, secret: str, delivery: str) -> MockDelivery:
    return build(
        event.kind.action,
        issue,
        secret,
        comment=event.comment,
        comment_id=event.comment_id,
        detail=event.label,
        delivery=delivery,
        sender=SENDERS[event.kind.sender],
    )
