"""GitHub of a chaos run: fates by the seed, and the evidence that it keeps about the comments of runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from issuebox.domain.errors import ProviderError
from issuebox.domain.run_comment import marker
from issuebox.providers.github_client import GitHubOptions
from issuebox.providers.github_comments import GitHubComments
from proofs.chaos.comments import FATES, ToldGitHub, told_of
from proofs.chaos.terms import REPOSITORY
from proofs.checker.evidence import Delivery, Evidence, Expectation, Receipt
from proofs.checker.rules import check
from proofs.github_api import TOKEN, running
from proofs.github_comments import Fate

RUN, FINE = "r-0123456789ab", 3
RECEIPT = Receipt(issue=7, key="start-1", state="over", run=RUN)
SINCE = datetime.now(UTC) - timedelta(days=1)
AT_WORK, DONE = f"{marker(RUN)}\nIt works. To stop it: comment.", f"{marker(RUN)}\nDone."


@pytest.fixture
async def github() -> AsyncIterator[ToldGitHub]:
    """One that does what it is asked, with one issue."""
    async with running(ToldGitHub(1, fine=FINE)) as server:
        assert isinstance(server, ToldGitHub)
        server.is_calm = True
        server.know([(7, 5)])
        yield server


@pytest.fixture
async def comments(github: ToldGitHub) -> AsyncIterator[GitHubComments]:
    async with GitHubComments(GitHubOptions(github.url, TOKEN)) as client:
        yield client


def broken(github: ToldGitHub) -> list[str]:
    """What the checker says of the comments."""
    opened = Delivery(
        delivery="d", issue=7, action="opened", expects=Expectation.NOTHING, updated_at=1, sent_at=1, status=202
    )
    evidence = Evidence(journal=[], deliveries=[opened], receipts=[RECEIPT], comments=github.told())
    return [violation.what for violation in check(evidence, only=frozenset("M"))]


async def look(comments: GitHubComments) -> None:
    await comments.own(REPOSITORY, 5, SINCE, marker(RUN))


async def create(comments: GitHubComments, body: str = DONE) -> int:
    return await comments.create(REPOSITORY, 5, body)


async def test_each_fate_is_dealt_in_each_round_and_the_same_for_the_same_seed() -> None:
    def dealt(seed: int) -> list[Fate | None]:
        github = ToldGitHub(seed, fine=FINE)
        return [github._deal("create") for _ in range(2 * len(FATES["create"]) + FINE)]

    assert dealt(1) == dealt(1) != dealt(2)
    first, second = dealt(1)[: len(FATES["create"])], dealt(1)[len(FATES["create"]) :]
    assert set(first) == set(FATES["create"])
    assert Counter(second) == Counter([*FATES["create"], *[None] * FINE])


async def test_run_is_told_once_its_comment_says_the_end(github: ToldGitHub, comments: GitHubComments) -> None:
    assert broken(github) == [f"run {RUN} is told in 0 comments"]
    await look(comments)
    made = await create(comments, AT_WORK)
    assert broken(github) == [f"run {RUN} is over, and its comment says that it is not"]
    await comments.edit(REPOSITORY, made, DONE)
    assert broken(github) == []
    await told_of(github, [RECEIPT])


async def _nothing(_comments: GitHubComments) -> None:
    """Nobody looks."""


@pytest.mark.parametrize(
    ("between", "words"), [(_nothing, "nobody had looked for the first"), (look, "beside one that a look had shown")]
)
async def test_second_comment_is_found_although_it_was_deleted(
    github: ToldGitHub, comments: GitHubComments, between: Callable[[GitHubComments], Awaitable[None]], words: str
) -> None:
    """Whether nobody looked before it, or did not heed what there was."""
    await look(comments)
    await create(comments)
    await between(comments)
    await comments.delete(REPOSITORY, await create(comments))
    (what,) = broken(github)
    assert what.endswith(words)


async def test_comment_that_a_proxy_doubled_is_mended_by_a_delete(github: ToldGitHub, comments: GitHubComments) -> None:
    await look(comments)
    github.is_calm = False
    github._decks["create"] = [Fate.TWICE]
    twin = await create(comments)
    github.is_calm = True
    assert broken(github) == [f"run {RUN} is told in 2 comments"]
    await comments.delete(REPOSITORY, twin)
    assert broken(github) == []
    assert github.counts() == {"comments": 2, "comments that were deleted": 1, "create twice": 1}


async def test_outage_after_a_create_hides_the_comment_from_one_look(
    github: ToldGitHub, comments: GitHubComments
) -> None:
    """What could not be seen is no look."""
    await look(comments)
    github.is_calm = False
    github._decks["create"] = [Fate.AWAY]
    with pytest.raises(ProviderError):
        await create(comments)
    github.is_calm = True
    with pytest.raises(ProviderError):
        await look(comments)
    assert (await comments.own(REPOSITORY, 5, SINCE, marker(RUN)))[0].body == DONE
    assert broken(github) == []
