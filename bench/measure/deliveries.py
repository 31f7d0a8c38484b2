"""The deliveries of a burst: which are sent, in which order, and the answer to each."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bench.measure.load import Line, drive, post_request
from issuebox.dev.mock_delivery import MockIssue, build
from proofs.checker.evidence import Delivery, Expectation

REPOSITORY = "octo/repo"

SCRIPT = ("opened", "labeled", "comment", "comment", "reopened", "labeled", "comment", "comment")
"""What happens to each issue, one second apart. Every event asks for the sandbox."""
COPIES = 2
"""How many deliveries of each issue are sent twice, byte for byte."""
PER_ISSUE = len(SCRIPT) + COPIES


@dataclass(frozen=True, slots=True)
class Post:
    """One POST: the request as sent, and what its sender knows about it."""

    request: bytes
    delivery: str
    issue: int
    action: str
    updated_at: datetime


def burst(issues: int, secret: str, seed: int, base: datetime) -> list[Post]:
    """The deliveries of issues 1 to `issues`, shuffled: no order and no pause between any two of them.

    `base` is when the issues were opened at GitHub. The same seed gives the same order.
    """
    draw = random.Random(seed)
    found = []
    for issue in range(1, issues + 1):
        events = [_post(issue, step, action, secret, base) for step, action in enumerate(SCRIPT)]
        found += [*events, *draw.sample(events, COPIES)]
    draw.shuffle(found)
    return found


def _post(issue: int, step: int, action: str, secret: str, base: datetime) -> Post:
    updated_at = base + timedelta(seconds=step)
    about = MockIssue(issue, REPOSITORY, title=f"Bench issue {issue}", updated_at=updated_at)
    # Two comments of one second with the same text would be one event with two IDs.
    mock = build(action, about, secret, comment=f"@claude, step {step}")
    request = post_request("/webhooks/github", mock.headers, mock.body)
    return Post(request, mock.delivery, issue, action, updated_at)


def opened(issue: int, repository: str, secret: str, updated_at: datetime) -> Post:
    """The delivery of an issue that was opened, and asks for its sandbox by that."""
    mock = build("opened", MockIssue(issue, repository, title=f"Bench issue {issue}", updated_at=updated_at), secret)
    return Post(post_request("/webhooks/github", mock.headers, mock.body), mock.delivery, issue, "opened", updated_at)


async def send(port: int, posts: Sequence[Post], callers: int) -> list[Delivery]:
    """Post them to the API on this port by `callers` at once. Returns the deliveries in the order of the answers."""
    lines = [Line(port) for _ in range(callers)]
    noted: list[Delivery] = []

    async def call(caller: int, number: int) -> None:
        post, sent_at = posts[number], time.time()
        try:
            status: int | None = await lines[caller].post(post.request)
        except (OSError, asyncio.IncompleteReadError):
            status = None
        noted.append(_noted(post, sent_at, time.time(), status))

    try:
        await drive(len(posts), callers, call)
    finally:
        for line in lines:
            await line.close()
    return noted


def _noted(post: Post, sent_at: float, answered_at: float, status: int | None) -> Delivery:
    return Delivery(
        delivery=post.delivery,
        issue=post.issue,
        action=post.action,
        expects=Expectation.RUNNING,
        updated_at=post.updated_at.timestamp(),
        sent_at=sent_at,
        answered_at=answered_at if status is not None else None,
        status=status,
    )
