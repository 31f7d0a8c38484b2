"""What tells issues of runs, against GitHub's stand-in over HTTP: one comment for each run, whatever reply is lost."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import run_reports
from activities.run_messages import HeardInput, Reported, ReportInput
from activities.run_reports import RunReportActivities
from issuebox.domain.errors import RateLimitedError
from issuebox.domain.issue import Issue
from issuebox.domain.run import Run, RunOutcome, RunPhase
from issuebox.domain.run_comment import Hints, Surroundings, marker
from issuebox.providers.github_client import LIMITS, GitHubOptions
from issuebox.providers.github_comments import GitHubComments, WritePace
from proofs.github_api import TOKEN, Mishap, running
from proofs.github_comments import Fate, GitHubWithComments
from tests.waiting import until

NUMBER = 5
ISSUE = Issue(7, "octo/repo", NUMBER, url="https://github.com/octo/repo/issues/5")
RUN = Run("r-0123456789ab", (), datetime.now(UTC))
WORKING = replace(RUN, phase=RunPhase.RUNNING, begun_at=datetime.now(UTC), first_begun_at=datetime.now(UTC))
OVER = replace(WORKING, outcome=RunOutcome.DONE, ended_at=datetime.now(UTC))
SECRET = "hunter2-hunter2"


@pytest.fixture
async def github() -> AsyncIterator[GitHubWithComments]:
    """The stand-in with one issue."""
    async with running(GitHubWithComments()) as server:
        assert isinstance(server, GitHubWithComments)
        server.issue(7, NUMBER, at=datetime.now(UTC) - timedelta(days=3))
        yield server


@pytest.fixture
async def reports(github: GitHubWithComments) -> AsyncIterator[RunReportActivities]:
    async with GitHubComments(GitHubOptions(github.url, TOKEN, timeout_s=2.0)) as comments:
        yield RunReportActivities(comments, Hints("claude", "@claude"), lambda text: text.replace(SECRET, "*"))


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of a second instead of five."""
    monkeypatch.setattr(run_reports, "LOOK_AGAIN_S", 0.1)


async def report(reports: RunReportActivities, run: Run = WORKING, *, attempt: int = 1, is_unsure: bool = False) -> int:
    """One attempt at the activity; the comment's ID."""
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, attempt=attempt)
    request = ReportInput(7, "claude-issue-7", run, Surroundings(ISSUE, "Nothing to do."), is_unsure=is_unsure)
    reported: Reported = await environment.run(reports.report_run, request)
    return reported.comment_id


async def until_reported(reports: RunReportActivities, run: Run = WORKING) -> int:
    """Attempts one after the other, as Temporal would make them."""
    for attempt in range(1, 6):
        try:
            return await report(reports, run, attempt=attempt)
        except ApplicationError:
            continue
    raise AssertionError("five attempts failed")


async def test_run_is_told_in_one_comment(github: GitHubWithComments, reports: RunReportActivities) -> None:
    """The first report creates it, the others edit it, and one that says the same writes nothing."""
    comment_id = await report(reports)
    [written] = github.written()
    assert (written["id"], written["body"].startswith(marker(RUN.id))) == (comment_id, True)
    run = replace(WORKING, comment_id=comment_id)
    assert await report(reports, replace(run, progress="testing")) == comment_id
    assert await report(reports, replace(OVER, comment_id=comment_id)) == comment_id
    [written] = github.written()
    assert "**The agent is done.**" in written["body"]
    assert [asked.method for asked in github.writes()] == ["POST", "PATCH", "PATCH"]


async def test_first_report_is_adopted_when_it_is_there(
    github: GitHubWithComments, reports: RunReportActivities
) -> None:
    """A worker was killed between the create and its reply, or the workflow was reset: nobody knows the ID."""
    comment_id = await report(reports)
    assert await report(reports) == comment_id
    assert await report(reports, attempt=2) == comment_id
    assert await report(reports, is_unsure=True) == comment_id
    assert [asked.method for asked in github.writes()] == ["POST"], "it says the same already"


async def test_comment_whose_reply_was_lost_is_found_at_once(
    github: GitHubWithComments, reports: RunReportActivities
) -> None:
    """In the same attempt."""
    github.do("POST", "/comments", Fate.LOST_AFTER)
    comment_id = await report(reports)
    assert [body["id"] for body in github.written()] == [comment_id]


@pytest.mark.parametrize("given", [{"attempt": 2}, {"is_unsure": True}])
async def test_create_that_is_carried_out_late_is_waited_for(
    github: GitHubWithComments, reports: RunReportActivities, given: dict[str, int]
) -> None:
    """Who does not know what became of an earlier create looks twice."""

    def later() -> None:
        github.say(NUMBER, f"{marker(RUN.id)}\nlate", github.login)

    github.mishaps.append(Mishap("/comments", status=0, skip=1, before=later))
    comment_id = await report(reports, **given)
    assert [body["id"] for body in github.written()] == [comment_id]
    assert [asked.method for asked in github.writes()] == ["PATCH"]


@pytest.mark.parametrize("fate", [Fate.LOST_BEFORE, Fate.LOST_AFTER, Fate.LATE, Fate.TWICE])
@pytest.mark.parametrize("times", [1, 2])
async def test_one_comment_is_left_whatever_reply_is_lost(
    github: GitHubWithComments, reports: RunReportActivities, fate: Fate, times: int
) -> None:
    """After the last report, also where a create was carried out late or twice."""
    github.do("POST", "/comments", fate, times=times, seconds=0.35)
    comment_id = await until_reported(reports)
    await _nothing_late(github)
    assert await until_reported(reports, replace(OVER, comment_id=comment_id)) > 0
    [written] = github.written()
    assert "**The agent is done.**" in written["body"]
    assert github.mischiefs[0].met >= 1


async def test_of_two_comments_the_younger_is_deleted(github: GitHubWithComments, reports: RunReportActivities) -> None:
    """And the older one goes on, also when the younger one was known."""
    older = github.say(NUMBER, f"{marker(RUN.id)}\nolder", github.login)
    younger = github.say(NUMBER, f"{marker(RUN.id)}\nyounger", github.login)
    assert await report(reports, replace(OVER, comment_id=younger)) == older
    [written] = github.written()
    assert written["id"] == older
    assert "**The agent is done.**" in written["body"]


async def test_comment_that_is_kept_is_told_the_end_whatever_is_lost_meanwhile(
    github: GitHubWithComments, reports: RunReportActivities
) -> None:
    """The known comment was the younger one, and is deleted: that is no person's deed, and the older one goes on."""
    older = github.say(NUMBER, f"{marker(RUN.id)}\nolder", github.login)
    younger = github.say(NUMBER, f"{marker(RUN.id)}\nyounger", github.login)
    lost = github.do("PATCH", f"/{older}", Fate.LOST_BEFORE)
    assert await until_reported(reports, replace(OVER, comment_id=younger)) == older
    [written] = github.written()
    assert (written["id"], lost.met) == (older, 1)
    assert "**The agent is done.**" in written["body"]


async def test_comment_that_a_follower_kept_is_told_the_end(
    github: GitHubWithComments, reports: RunReportActivities, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A create was carried out late. The follower finds both comments, and the workflow still knows the younger one."""
    monkeypatch.setattr(run_reports, "EDIT_PACE_S", 0.05)
    older = github.say(NUMBER, f"{marker(RUN.id)}\nolder", github.login)
    younger = github.say(NUMBER, f"{marker(RUN.id)}\nyounger", github.login)
    with reports.telling(ReportInput(7, "claude-issue-7", WORKING, Surroundings(ISSUE))) as tell:

        async def told() -> bool:
            tell("testing")
            return older in github.revisions

        await until(told, bool, "the follower tells the progress in the older one")
    assert await report(reports, replace(OVER, comment_id=younger)) == older
    [written] = github.written()
    assert "**The agent is done.**" in written["body"]


async def test_comments_of_others_are_left_alone(github: GitHubWithComments, reports: RunReportActivities) -> None:
    """The marker is no secret: whoever copies it has a comment of his own. So has another run of ours."""
    theirs = github.say(NUMBER, f"{marker(RUN.id)}\nmine", "mallory")
    quoted = github.say(NUMBER, f"I saw {marker(RUN.id)}", github.login)
    other = github.say(NUMBER, f"{marker('r-000000000000')}\nother", github.login)
    comment_id = await report(reports)
    await report(reports, replace(OVER, comment_id=comment_id))
    bodies = {body["id"]: body["body"] for body in github.repository().comments}
    assert set(bodies) == {theirs, quoted, other, comment_id}
    assert [bodies[each][-4:] for each in (theirs, quoted, other)] == ["mine", " -->", "ther"]


async def test_own_comment_is_found_behind_many(github: GitHubWithComments, reports: RunReportActivities) -> None:
    """Page by page."""
    github.page_size_max = 2
    for _ in range(5):
        github.say(NUMBER, "hello")
    comment_id = await report(reports)
    assert await report(reports, is_unsure=True) == comment_id
    assert len(github.written()) == 1


async def test_comment_that_somebody_deleted_is_not_written_again(
    github: GitHubWithComments, reports: RunReportActivities
) -> None:
    """Whoever deletes it does not want it."""
    comment_id = await report(reports)
    github.repository().comments.clear()
    assert await report(reports, replace(OVER, comment_id=comment_id)) == -1
    assert github.written() == []


async def test_last_report_stands_when_an_earlier_one_comes_late(
    github: GitHubWithComments, reports: RunReportActivities
) -> None:
    """Never *at work* for ever: a request that nobody waited for any more is carried out after the last one."""
    comment_id = await report(reports)
    github.do("PATCH", "", Fate.OVERTAKEN)
    with pytest.raises(ApplicationError):
        await report(reports, replace(WORKING, comment_id=comment_id, progress="testing"))
    await report(reports, replace(OVER, comment_id=comment_id))
    assert ["testing" in text for _, text in github.revisions[comment_id]] == [False, False, True, False]
    assert "**The agent is done.**" in github.written()[0]["body"]


async def test_secrets_are_not_told(github: GitHubWithComments, reports: RunReportActivities) -> None:
    """Whatever the agent says."""
    words = dict.fromkeys(("summary", "reason", "trouble", "progress", "branch", "pull_request"), f"it is {SECRET}")
    comment_id = await report(reports, replace(WORKING, **words))
    await report(reports, replace(OVER, comment_id=comment_id, **words))
    texts = [text for _, text in github.revisions[comment_id]]
    assert len(texts) == 2
    assert [SECRET in text.replace("\\", "") for text in texts] == [False, False]
    assert all("it is \\*" in text for text in texts)


async def test_request_is_heard_once(github: GitHubWithComments, reports: RunReportActivities) -> None:
    """One reaction, however often it is shown; a comment that is gone is none to react to."""
    comment_id = github.say(NUMBER, "@claude do it")
    request = HeardInput(7, "claude-issue-7", ISSUE, (comment_id, 999))
    github.do("POST", "/reactions", Fate.LOST_AFTER)
    with pytest.raises(ApplicationError):
        await ActivityEnvironment().run(reports.show_heard, request)
    await ActivityEnvironment().run(reports.show_heard, request)
    assert github.reactions == {comment_id: {(github.login, "eyes")}}


@pytest.mark.parametrize(("status", "kind"), [(403, "RefusedError"), (404, "RefusedError"), (502, "TransientError")])
async def test_refusal_says_what_it_is(
    github: GitHubWithComments, reports: RunReportActivities, status: int, kind: str
) -> None:
    """A 403 without a limit is for a person to mend, a 502 is tried again. Nothing was created."""
    github.do("POST", "/comments", Fate.REFUSED, status=status)
    with pytest.raises(ApplicationError) as raised:
        await report(reports)
    assert raised.value.type == kind
    assert github.written() == []


async def test_rate_limit_is_kept_to(github: GitHubWithComments, reports: RunReportActivities) -> None:
    """Within the time that GitHub asked for, it is not asked again, by a write or a read."""
    github.do("POST", "/comments", Fate.REFUSED, status=403, headers={"retry-after": "1"})
    with pytest.raises(ApplicationError) as raised:
        await report(reports)
    assert raised.value.type == "RateLimitedError"
    assert raised.value.next_retry_delay == timedelta(seconds=1)
    asked = len(github.asked)
    with pytest.raises(ApplicationError):
        await report(reports, attempt=2)
    assert len(github.asked) == asked

    async def again() -> int:
        try:
            return await report(reports, attempt=2)
        except ApplicationError:
            return 0

    assert await until(again, bool, "it is written in the end", 5.0)
    assert len(github.written()) == 1


async def test_app_writes_as_itself(github: GitHubWithComments) -> None:
    """Its own comments are those of its bot account."""
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    github.app_public_key = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    theirs = github.say(NUMBER, f"{marker(RUN.id)}\nmine", github.login)
    async with GitHubComments(GitHubOptions(github.url, app_id="12", private_key=pem)) as comments:
        reports = RunReportActivities(comments, Hints())
        comment_id = await report(reports)
        assert await report(reports, attempt=2) == comment_id != theirs
    assert len(github.written("the-app[bot]")) == 1


async def test_renamed_repository_is_followed(github: GitHubWithComments, reports: RunReportActivities) -> None:
    """GitHub redirects writes as it does reads."""
    github.rename("octo/repo", "octo/new")
    assert await report(reports) > 0
    assert len(github.repository("octo/new").comments) == 1


async def test_follower_tells_at_its_pace(
    github: GitHubWithComments, reports: RunReportActivities, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the progress changes."""
    monkeypatch.setattr(run_reports, "EDIT_PACE_S", 0.3)
    comment_id = await report(reports)
    request = ReportInput(7, "claude-issue-7", WORKING, Surroundings(ISSUE))
    steps = itertools.count()
    with reports.telling(request) as tell:

        async def edits() -> list[tuple[datetime, str]]:
            tell(f"step {next(steps)}")
            return github.revisions[comment_id][1:]

        edited = await until(edits, lambda seen: len(seen) == 4, "it is edited four times")
    gaps = [(later - earlier).total_seconds() for (earlier, _), (later, _) in itertools.pairwise(edited)]
    assert min(gaps) >= 0.29


async def test_follower_is_not_held_up_by_github(
    github: GitHubWithComments, reports: RunReportActivities, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal and a lost reply are nothing to it."""
    monkeypatch.setattr(run_reports, "EDIT_PACE_S", 0.05)
    comment_id = await report(reports)
    github.do("PATCH", "", Fate.REFUSED)
    github.do("PATCH", "", Fate.LOST_BEFORE)
    with reports.telling(ReportInput(7, "claude-issue-7", WORKING, Surroundings(ISSUE))) as tell:

        async def told() -> bool:
            tell("testing")
            return len(github.revisions[comment_id]) > 1

        await until(told, bool, "the third edit is written")
    with reports.telling(None) as tell:
        tell("nothing")


def test_pace_keeps_what_is_short_for_what_is_needed() -> None:
    """80 writes a minute and 500 an hour; of each limit a quarter only for first and last reports."""
    now = [0.0]
    pace = WritePace(clock=lambda: now[0])
    assert LIMITS == ((60.0, 80), (3600.0, 500))
    for _ in range(60):
        pace.enter(is_needed=False)
    with pytest.raises(RateLimitedError):
        pace.enter(is_needed=False)
    for _ in range(20):
        pace.enter(is_needed=True)
    with pytest.raises(RateLimitedError) as raised:
        pace.enter(is_needed=True)
    assert raised.value.retry_after_s == 60.0
    sent = 80
    while sent < 500:
        now[0] += 60.0
        for _ in range(min(80, 500 - sent)):
            pace.enter(is_needed=True)
            sent += 1
    now[0] += 60.0
    with pytest.raises(RateLimitedError) as raised:
        pace.enter(is_needed=True)
    assert raised.value.retry_after_s == 3600.0 - now[0]
    now[0] = 3600.0
    pace.enter(is_needed=True)


async def _nothing_late(github: GitHubWithComments) -> None:
    async def late() -> int:
        return len(github.late)

    await until(late, lambda count: count == 0, "every late request is carried out")
