"""GitHub's side of the chaos run: deliveries go to both APIs in turn, and are sent again until acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

import proofs.chaos.github
from api.payload import read
from issuebox.domain.events import Intention
from issuebox.domain.triggers import Association, Criteria, detect
from proofs.chaos.github import TRIES_MAX, GitHub
from proofs.chaos.people import work_left
from proofs.chaos.story import Post, stories
from proofs.chaos.tally import Tally
from proofs.chaos.terms import SETTINGS
from proofs.checker.evidence import Expectation

Answer = Callable[[int], int | None]
"""From the number of a POST to its status. None: the connection is closed without an answer."""


@asynccontextmanager
async def _apis(answer: Answer) -> AsyncIterator[tuple[list[str], list[tuple[int, str]]]]:
    """Two receivers, and the deliveries that each of them got, in order."""
    numbers = count()
    got: list[tuple[int, str]] = []

    def receiver(place: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]:
        async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            fields = dict(line.split(": ", 1) for line in head.splitlines()[1:] if ": " in line)
            await reader.readexactly(int(fields["content-length"]))
            got.append((place, fields["x-github-delivery"]))
            status = answer(next(numbers))
            if status is not None:
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
                await writer.drain()
            writer.close()

        return receive

    servers = [await asyncio.start_server(receiver(place), "127.0.0.1", 0) for place in range(2)]
    try:
        yield [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers], got
    finally:
        for server in servers:
            server.close()
            await server.wait_closed()


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redeliveries within milliseconds."""
    monkeypatch.setattr(proofs.chaos.github, "PAUSE_FIRST_S", 0.001)
    monkeypatch.setattr(proofs.chaos.github, "PAUSE_MAX_S", 0.01)


def _posts(issues: int) -> tuple[Post, ...]:
    return stories(1, issues, 30.0)


async def _sent(answer: Answer, posts: tuple[Post, ...]) -> tuple[Tally, list[tuple[int, str]]]:
    tally = Tally()
    async with _apis(answer) as (urls, got):
        # The load began a minute ago: all of it is due.
        await GitHub(urls, "secret", int(time.time()) - 60, tally).send_all(posts)
    return tally, got


async def test_both_apis_get_their_share_and_each_answer_is_noted() -> None:
    """There is one line for each POST, with what the delivery expects."""
    tally, got = await _sent(lambda _: 202, _posts(3))
    assert tally.acknowledged == len(tally.posts) == len(got) == 30
    assert {place for place, _ in got} == {0, 1}
    assert (tally.waiting, tally.redeliveries, tally.given_up) == (0, 0, 0)
    assert Expectation.RUNNING in {post.expects for post in tally.posts}
    assert not tally.in_flight


@pytest.mark.parametrize("failure", [503, None])
async def test_refused_or_unanswered_delivery_is_sent_again_with_the_same_id(failure: int | None) -> None:
    """Each try has its own line, and only the last one is acknowledged."""
    posts = _posts(1)[:1]
    tally, got = await _sent(lambda number: failure if number < 3 else 202, posts)
    assert [post.status for post in tally.posts] == [failure, failure, failure, 202]
    assert {delivery for _, delivery in got} == {posts[0].delivery}
    assert (tally.redeliveries, tally.given_up) == (3, 0)


async def test_delivery_that_is_never_acknowledged_is_given_up_and_noted() -> None:
    """No rule requires its effect, and the run goes on."""
    tally, got = await _sent(lambda _: 500, _posts(1)[:1])
    assert len(got) == len(tally.posts) == TRIES_MAX
    assert (tally.acknowledged, tally.given_up, tally.waiting) == (0, 1, 0)


async def test_resync_sends_the_deliveries_of_an_issue_one_after_the_other() -> None:
    """In the given order, the next once the one before was taken; those of another issue meanwhile."""
    posts = tuple(reversed(_posts(2)))
    tally = Tally()
    async with _apis(lambda number: 503 if number % 3 == 0 else 202) as (urls, got):
        await GitHub(urls, "secret", int(time.time()), tally).send_again(posts)
    for issue in (1, 2):
        ids = [post.delivery for post in posts if post.event.issue == issue]
        taken = [post.delivery for post in tally.posts if post.issue == issue and post.is_acknowledged]
        assert taken == ids
    assert len(got) > len(posts) == tally.deliveries_total
    assert tally.waiting == 0


async def test_copies_of_one_delivery_have_one_body() -> None:
    """A redelivery is the same to the last byte."""
    github = GitHub(["http://127.0.0.1:1"], "secret", 1_000_000, Tally())
    posts = _posts(1)
    same = [post for post in posts if post.event == posts[0].event]
    assert len({github._mock(post).body for post in same}) == 1


def test_each_delivery_is_by_its_sender_and_notes_the_close_that_it_reports() -> None:
    """The API refuses the request of a bot and of an author who may not ask, and takes their facts."""
    base = 1_000_000
    github = GitHub(["http://127.0.0.1:1"], "secret", base, Tally())
    criteria = Criteria(min_association=Association(SETTINGS["ISSUEBOX_MIN_ASSOCIATION"]))
    refused = 0
    for post in stories(1, 60, 45.0):
        kind, event = post.event.kind, post.event
        line, mock = github._line(post), github._mock(post)
        github_event = mock.headers["X-GitHub-Event"]
        delivery = read(github_event, kind.action.replace("comment", "created"), mock.body)
        intention = detect(delivery.facts(github_event), criteria).intention
        assert (intention is Intention.ENSURE) == (kind.expects is Expectation.RUNNING), kind
        refused += kind.expects is Expectation.KEPT
        is_reported = event.closed_at is not None and kind.action != "closed"
        assert line.closed_at == (base + event.closed_at if is_reported and event.closed_at is not None else None)
    assert refused


def test_work_is_found_even_when_the_answer_was_lost(tmp_path: Path) -> None:
    """The answer to the person who left it may get lost; then only the sandbox itself shows the work."""
    for sandbox_id, file in (("worked-in", "home/work/notes.txt"), ("other", "home/work/other.txt")):
        path = tmp_path / "sandboxes" / sandbox_id / file
        path.parent.mkdir(parents=True)
        path.touch()
    assert work_left(tmp_path) == {"worked-in"}
