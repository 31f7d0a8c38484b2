"""What `GitHubSource` promises, against real HTTP: each answer of GitHub, each limit, and where the token goes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from issuebox.domain.errors import ProviderError, RateLimitedError, RefusedError, TransientError
from issuebox.domain.issue_source import IssueSource, PageQuery, Presence, is_repository
from issuebox.domain.phase import Cause
from issuebox.providers.github import GitHubSource, etag_of
from issuebox.providers.github_client import GitHubOptions
from issuebox.providers.github_errors import Reply
from proofs.github_api import TOKEN, GitHub, Mishap, account, running
from tests.resync.conftest import REPOSITORY, at

QUERY = PageQuery(REPOSITORY, since=at(0))


@pytest.fixture
async def source(github: GitHub) -> AsyncIterator[GitHubSource]:
    async with GitHubSource(GitHubOptions(github.url, TOKEN, timeout_s=1.0)) as opened:
        yield opened


async def failure(source: IssueSource) -> ProviderError:
    """The error that the listing raises."""
    with pytest.raises(ProviderError) as caught:
        await source.updated_issues(QUERY)
    said = f"{caught.value!r} {caught.value}"
    assert "secret" not in said
    assert caught.value.__cause__ is None
    return caught.value


async def test_one_issue_is_read_with_what_the_criteria_need(source: GitHubSource, github: GitHub) -> None:
    """Labels, author and association are included, so that the criteria can be applied."""
    github.issue(11, 1, at=at(0), labels=[{"name": "claude"}, "plain"], author_association="MEMBER")
    reading = await source.read_issue(REPOSITORY, 1, 11)
    assert (reading.presence, reading.requests) == (Presence.FOUND, 1)
    assert reading.listed is not None
    assert (reading.listed.labels, reading.listed.association) == (("claude", "plain"), "MEMBER")
    assert (reading.listed.author, reading.listed.issue.url) == ("octocat", "https://github.com/octo/repo/issues/1")


async def test_deleted_is_told_from_switched_off_and_from_hidden(source: GitHubSource, github: GitHub) -> None:
    """Only a 410 with the word *deleted* is a deletion; a 404 proves nothing."""
    github.issue(11, 1, at=at(0))
    github.delete(1)
    assert (await source.read_issue(REPOSITORY, 1, 11)).presence is Presence.GONE
    assert (await source.read_issue(REPOSITORY, 2, 12)).presence is Presence.UNKNOWN
    github.repository().are_issues_off = True
    assert (await source.read_issue(REPOSITORY, 1, 11)).presence is Presence.UNKNOWN


async def test_transferred_is_told_from_renamed(source: GitHubSource, github: GitHub) -> None:
    """Both answer 301; behind it a transferred issue has another ID, one in a renamed repository the same."""
    github.issue(11, 1, at=at(0))
    github.issue(12, 2, at=at(0))
    github.issue(13, 3, at=at(0))
    github.transfer(1, new_id=99)
    assert (await source.read_issue(REPOSITORY, 1, 11)).presence is Presence.MOVED
    github.rename(REPOSITORY, "octo/renamed")
    found = await source.read_issue(REPOSITORY, 2, 12)
    assert found.listed is not None
    assert (found.presence, found.listed.issue.repository, found.requests) == (Presence.FOUND, "octo/renamed", 2)
    github.repository("octo/renamed").deleted.add(github.repository("octo/renamed").issues.pop(3)["number"])
    # Behind a redirect the new repository may have deleted it, so this does not count as a deletion.
    assert (await source.read_issue(REPOSITORY, 3, 13)).presence is Presence.MOVED


async def test_unchanged_listing_is_a_304(source: GitHubSource, github: GitHub) -> None:
    """With the ETag of the last answer, an unchanged listing costs nothing; a change is seen."""
    github.issue(11, 1, at=at(5))
    page = await source.updated_issues(QUERY)
    assert (len(page.items), page.is_unchanged, page.reached) == (1, False, at(5))
    query = PageQuery(REPOSITORY, since=at(0), etag=page.etag)
    again = await source.updated_issues(query)
    assert (again.items, again.is_unchanged, again.etag) == ((), True, page.etag)
    assert github.asked[-1].status == 304
    github.change(1, at=at(6), state="closed")
    assert not (await source.updated_issues(query)).is_unchanged


async def test_listing_asks_for_what_the_walk_relies_on(source: GitHubSource, github: GitHub) -> None:
    """Sorted by updates, oldest first, all states, a hundred per page, with version and user agent."""
    await source.updated_issues(QUERY)
    asked = github.asked[-1]
    assert asked.query == {
        "state": "all", "sort": "updated", "direction": "asc", "per_page": "100", "since": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    assert asked.headers["user-agent"] == "issuebox"
    assert asked.headers["x-github-api-version"] == "2022-11-28"
    assert asked.headers["authorization"] == f"token {TOKEN}"


async def test_pages_follow_each_other_and_leave_out_pull_requests(source: GitHubSource, github: GitHub) -> None:
    """A cursor leads to the next page; a pull request is counted but not listed."""
    for number in range(1, 6):
        github.issue(number, number, at=at(number), **({"pull_request": {}} if number == 2 else {}))
    github.page_size_max = 2
    numbers, cursor, sizes = [], "", []
    while True:
        page = await source.updated_issues(PageQuery(REPOSITORY, since=at(0), cursor=cursor))
        numbers += [found.issue.number for found in page.items]
        sizes.append(page.size)
        if not (cursor := page.next_cursor):
            break
    assert (numbers, sizes) == ([1, 3, 4, 5], [2, 2, 1])


async def test_acts_name_who_did_it(source: GitHubSource, github: GitHub) -> None:
    """The oldest first, without what nobody asks by. The assigner counts, not the assignee, whom GitHub calls actor."""
    github.issue(11, 1, at=at(0), labels=[{"name": "bug"}])
    github.mention(1, at=at(1))
    github.assign(1, "claude-bot", at=at(2), by=account("maintainer"))
    github.change(1, at=at(3), state="closed", by=account("helper[bot]", "Bot"))
    github.label(1, "claude", at=at(4), by=None)
    acts = await source.acts(REPOSITORY, 1, at(0))
    assert [(act.kind, act.actor, act.is_bot, act.label, act.assignee, act.at) for act in acts.items] == [
        ("labeled", "octocat", False, "bug", "", at(0)), ("assigned", "maintainer", False, "", "claude-bot", at(2)),
        ("closed", "helper[bot]", True, "", "", at(3)), ("labeled", "", False, "claude", "", at(4)),
    ]  # fmt: skip
    assert (acts.is_whole, acts.requests) == (True, 1)
    assert github.asked[-1].path == "/repos/octo/repo/issues/1/events"
    assert github.asked[-1].query["per_page"] == "100"


@pytest.mark.parametrize(
    ("pages", "is_whole", "asked"),
    [(1, True, [1]), (2, True, [1, 2]), (4, True, [1, 4, 3, 2]), (5, False, [1, 5, 4, 3])],
)
async def test_long_history_is_read_from_its_end(
    source: GitHubSource, github: GitHub, pages: int, asked: list[int], *, is_whole: bool
) -> None:
    """GitHub lists events from the oldest. At most the newest three pages are read, beside the first."""
    github.page_size_max = 2
    github.issue(11, 1, at=at(0), labels=[{"name": "claude"}])
    github.mention(1, at=at(1), times=2 * pages - 2)
    github.change(1, at=at(2), state="closed")
    acts = await source.acts(REPOSITORY, 1, at(0))
    assert [act.kind for act in acts.items] == (["labeled", "closed"] if is_whole else ["closed"])
    assert (acts.is_whole, [int(one.query["page"]) for one in github.asked]) == (is_whole, asked)
    # What is older than the time that matters is not read.
    github.forget()
    assert (await source.acts(REPOSITORY, 1, at(2))).is_whole
    assert [int(one.query["page"]) for one in github.asked] == ([1, pages] if pages > 1 else [1])


@pytest.mark.parametrize("status", [403, 404, 410, 451])
async def test_acts_that_are_not_shown_prove_nothing(source: GitHubSource, github: GitHub, status: int) -> None:
    """A token without rights, or an issue that is gone by now, does not stop the walk."""
    github.mishaps = [Mishap("/events", status)]
    acts = await source.acts(REPOSITORY, 1, at(0))
    assert (acts.items, acts.is_whole, acts.requests) == ((), False, 1)


@pytest.mark.parametrize(("status", "error"), [(401, RefusedError), (503, TransientError), (429, RateLimitedError)])
async def test_failure_to_read_acts_is_that_of_a_listing(
    source: GitHubSource, github: GitHub, status: int, error: type[ProviderError]
) -> None:
    """Wrong credentials, an outage and a limit are no answer about the issue."""
    github.mishaps = [Mishap("/events", status)]
    with pytest.raises(error):
        await source.acts(REPOSITORY, 1, at(0))


async def test_acts_are_found_in_a_renamed_repository(source: GitHubSource, github: GitHub) -> None:
    """The redirect is followed, page by page."""
    github.page_size_max = 2
    github.issue(11, 1, at=at(0), labels=[{"name": "claude"}])
    github.mention(1, at=at(1), times=3)
    github.rename(REPOSITORY, "octo/renamed")
    acts = await source.acts(REPOSITORY, 1, at(0))
    assert ([act.label for act in acts.items], acts.requests) == (["claude"], 4)


async def test_last_page_of_acts_on_another_host_is_not_read(source: GitHubSource, github: GitHub) -> None:
    """The token goes only to the configured API; the acts then count as not shown."""
    github.page_size_max = 2
    github.issue(11, 1, at=at(0))
    github.mention(1, at=at(1), times=5)
    async with running(GitHub()) as stranger:
        github.links_lead_to = stranger.url
        acts = await source.acts(REPOSITORY, 1, at(0))
        assert (acts.items, acts.is_whole, stranger.asked) == ((), False, [])


@pytest.mark.parametrize(
    "link", ["", '<{url}?page=0>; rel="last"', '<{url}?page=x>; rel="last"', '<{url}>; rel="last"']
)
async def test_number_of_pages_that_cannot_be_read_is_none(source: GitHubSource, github: GitHub, link: str) -> None:
    """GitHub leaves `last` out where it cannot count."""
    url = f"{github.url}/repositories/100/issues/1/events"
    links = f'<{url}?page=2>; rel="next"' + (", " + link.format(url=url) if link else "")
    github.mishaps = [Mishap("/events", 200, {"link": links}, b"[]")]
    acts = await source.acts(REPOSITORY, 1, at(0))
    assert (acts.items, acts.is_whole, acts.requests) == ((), False, 1)


@pytest.mark.parametrize(
    "elsewhere", ["http://127.0.0.1:9", "https://api.github.com", "http://token@{host}", "http://{host}/api"]
)
async def test_next_page_on_another_host_is_refused(source: GitHubSource, github: GitHub, elsewhere: str) -> None:
    """The token goes only to the configured API, whatever a link contains."""
    for number in range(1, 4):
        github.issue(number, number, at=at(number))
    github.page_size_max = 2
    github.links_lead_to = elsewhere.format(host=github.url.removeprefix("http://"))
    error = await failure(source)
    assert isinstance(error, RefusedError)
    assert error.cause is Cause.INVALID


async def test_redirect_to_another_host_is_refused(source: GitHubSource, github: GitHub) -> None:
    """A redirect is followed only within the API, and only to the same kind of resource."""
    async with running(GitHub()) as stranger:
        stranger.issue(11, 1, at=at(0))
        for location in (f"{stranger.url}/repos/{REPOSITORY}/issues", f"{github.url}/user", f"{github.url}/repos/o/r"):
            github.mishaps = [Mishap("/issues", 301, {"location": location})]
            assert isinstance(await failure(source), RefusedError)
        assert stranger.asked == []


async def test_redirects_in_a_circle_end(source: GitHubSource, github: GitHub) -> None:
    """A redirect to itself is given up."""
    github.mishaps = [Mishap("/issues", 301, {"location": f"{github.url}/repos/{REPOSITORY}/issues"}, times=9)]
    assert isinstance(await failure(source), RefusedError)
    assert len(github.asked) == 3


@pytest.mark.parametrize("name", ["octo", "octo/..", "../x", "a/b/c", "octo/repo?x", "octo/re po", "octo/'x", ""])
async def test_name_that_is_no_repository_is_never_asked_for(source: GitHubSource, github: GitHub, name: str) -> None:
    """Anything but owner/name never becomes part of a path or a query."""
    assert not is_repository(name)
    with pytest.raises(RefusedError):
        await source.open_issues(PageQuery(name))
    assert github.asked == []


@pytest.mark.parametrize(
    ("status", "cause"),
    [(401, Cause.CREDENTIALS), (403, Cause.FORBIDDEN), (404, Cause.FORBIDDEN), (451, Cause.FORBIDDEN),
     (410, Cause.INVALID), (422, Cause.INVALID), (400, Cause.INVALID)],
)  # fmt: skip
async def test_refusal_says_who_has_to_act(source: GitHubSource, github: GitHub, status: int, cause: Cause) -> None:
    """A failure that lasts until somebody acts is a refusal, with its cause and without GitHub's body."""
    github.mishaps = [Mishap("/issues", status)]
    error = await failure(source)
    assert isinstance(error, RefusedError)
    assert (error.cause, error.status) == (cause, status)


@pytest.mark.parametrize(
    "mishap",
    [Mishap("/issues", 500), Mishap("/issues", 502, body=b"<html>"), Mishap("/issues", is_drop=True),
     Mishap("/issues", 200, body=b'[{"id": 1'), Mishap("/issues", 200, body=b'{"secret": 1}'),
     Mishap("/issues", 200, body=b'[{"id": "secret"}]')],
    ids=["500", "502", "cut off", "half a body", "an object", "another shape"],
)  # fmt: skip
async def test_outage_is_transient(source: GitHubSource, github: GitHub, mishap: Mishap) -> None:
    """A failure that may pass can be tried again, and is tried only once: Temporal retries."""
    github.mishaps = [mishap]
    assert type(await failure(source)) is TransientError
    assert len(github.asked) == 1


async def test_nobody_there_is_transient() -> None:
    """A refused connection is an outage."""
    async with GitHubSource(GitHubOptions("http://127.0.0.1:9", TOKEN)) as source:
        assert type(await failure(source)) is TransientError


async def test_slow_answer_is_cut_off(source: GitHubSource, github: GitHub) -> None:
    """A request has one deadline."""
    github.mishaps = [Mishap("/issues", 200, before=lambda: time.sleep(1.3))]
    assert type(await failure(source)) is TransientError


async def test_spent_primary_limit_waits_for_the_reset(source: GitHubSource, github: GitHub) -> None:
    """At 0 remaining no request is sent before the reset, by GitHub's clock; then it continues."""
    github.remaining = 0
    await source.updated_issues(QUERY)
    error = await failure(source)
    assert isinstance(error, RateLimitedError)
    assert error.retry_after_s is not None
    assert 1.0 < error.retry_after_s <= 3.0
    assert len(github.asked) == 1


@pytest.mark.parametrize(
    ("status", "headers", "body", "between"),
    [
        (403, {"x-ratelimit-remaining": "0"}, b"{}", (2.5, 3.0)),
        (429, {"x-ratelimit-remaining": "0"}, b"{}", (2.5, 3.0)),
        (403, {"retry-after": "17"}, b"{}", (17, 17)),
        (429, {"retry-after": "17"}, b"{}", (17, 17)),
        (429, {}, b"{}", (60, 60)),
        (403, {}, b'{"message": "You have exceeded a secondary rate limit. secret"}', (60, 60)),
        (429, {"retry-after": "999999"}, b"{}", (3700, 3700)),
    ],
)
async def test_rate_limit_says_when_to_come_back(
    github: GitHub, status: int, headers: dict[str, str], body: bytes, between: tuple[float, float]
) -> None:
    """Primary and secondary limits give the pause that GitHub asks for, and nothing is sent within it."""
    github.mishaps = [Mishap("/issues", status, headers, body)]
    async with GitHubSource(GitHubOptions(github.url, TOKEN)) as source:
        error = await failure(source)
        assert isinstance(error, RateLimitedError)
        assert error.retry_after_s is not None
        assert between[0] <= error.retry_after_s <= between[1]
        assert isinstance(await failure(source), RateLimitedError)
    assert len(github.asked) == 1


async def test_without_credentials_public_issues_are_read(github: GitHub) -> None:
    """No token is sent when there is none, and `is_authorized` is False."""
    github.issue(11, 1, at=at(5))
    async with GitHubSource(GitHubOptions(github.url)) as source:
        assert not source.is_authorized
        assert len((await source.updated_issues(QUERY)).items) == 1
    assert "authorization" not in github.asked[-1].headers


KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()


def install(github: GitHub) -> None:
    """The App's public key, as GitHub has it."""
    public = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    github.app_public_key = public.decode()
    github.tokens.clear()


async def test_app_makes_one_installation_token(github: GitHub) -> None:
    """The App finds its installation, creates a token, and keeps both."""
    install(github)
    async with GitHubSource(GitHubOptions(github.url, app_id="123", private_key=PEM)) as source:
        page = await source.updated_issues(QUERY)
        await source.comments(QUERY)
    assert (source.is_authorized, page.requests) == (True, 3)
    assert [asked.path for asked in github.asked] == [
        "/repos/octo/repo/installation", "/app/installations/77/access_tokens", "/repos/octo/repo/issues",
        "/repos/octo/repo/issues/comments",
    ]  # fmt: skip


async def test_refused_installation_token_is_made_anew(github: GitHub) -> None:
    """A kept token that GitHub no longer accepts is dropped; a new one that it refuses is for the operator to fix."""
    install(github)
    async with GitHubSource(GitHubOptions(github.url, app_id="123", private_key=PEM)) as source:
        await source.updated_issues(QUERY)
        github.tokens.clear()
        assert type(await failure(source)) is TransientError
        await source.updated_issues(QUERY)
        assert github.installation_tokens == 2
        github.mishaps = [Mishap("/issues", 401, times=9)]
        await failure(source)
        error = await failure(source)
    assert isinstance(error, RefusedError)
    assert error.cause is Cause.CREDENTIALS


@pytest.mark.parametrize("key", ["-----BEGIN secret", "/no/such/secret/file", ""])
async def test_private_key_that_cannot_be_read_is_not_shown(github: GitHub, key: str) -> None:
    """The operator must fix a wrong key; the error does not quote it."""
    async with GitHubSource(GitHubOptions(github.url, app_id="123", private_key=key)) as source:
        error = await failure(source)
    assert isinstance(error, RefusedError)
    assert error.cause is Cause.CREDENTIALS


def test_options_do_not_show_secrets() -> None:
    """A log line or traceback with the options in it shows no secret."""
    assert "secret" not in repr(GitHubOptions(token="secret", private_key="secret"))


@pytest.mark.parametrize(("given", "kept"), [('W/"ab"', 'W/"ab"'), ("x" * 101, ""), ("é", "")])
def test_etag_of_unusual_length_is_not_kept(given: str, kept: str) -> None:
    """Each report carries it to the next resync; without one, the page is read again."""
    assert etag_of(Reply(200, {"etag": given}, b"")) == kept
