"""A delivery carries a snapshot and perhaps a request: without permission only the request is refused.

The whole product as `issuebox dev` runs it, with timers of seconds. The timers of an earlier close never end an open
issue's sandbox, whoever reopened the issue and however that became known.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta

import pytest
import pytest_asyncio

from issuebox.dev.demo.stack import REPOSITORY, SETTINGS, Stack, running, until
from issuebox.dev.mock_delivery import MockIssue, MockSender, build, post
from issuebox.domain.triggers import Association
from localdaytona.journal import Entry
from proofs.github_api import TOKEN, GitHub
from proofs.github_api import running as github_running

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

LADDER = {
    "ISSUEBOX_CLOSE_STOP_AFTER_S": "20",
    "ISSUEBOX_CLOSE_ARCHIVE_AFTER_S": "21",
    "ISSUEBOX_CLOSE_DELETE_AFTER_S": "22",
    "ISSUEBOX_MIN_ASSOCIATION": "COLLABORATOR",
}
"""Long enough to reopen within the first rung on a busy machine; a control issue shows that the ladder was walked."""

AUTHOR = MockSender("octocat", Association.NONE)
MAINTAINER = MockSender("maintainer", Association.NONE)
BOT = MockSender("helper[bot]", Association.NONE, is_bot=True)
PASSER_BY = MockSender("passer-by", Association.NONE)

ENDS = frozenset({"stop", "archive", "delete"})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def github() -> AsyncIterator[GitHub]:
    """GitHub's REST API, for resync."""
    async with github_running(GitHub()) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(github: GitHub, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """One stack for all tests; each has its own issues."""
    settings = LADDER | {"ISSUEBOX_GITHUB_API_URL": github.url, "ISSUEBOX_GITHUB_TOKEN": TOKEN}
    async with running(tmp_path_factory.mktemp("stack") / "data", SETTINGS | settings) as stack:
        yield stack


class Issue:
    """One issue on GitHub's side: each act is a second later than the one before."""

    def __init__(self, stack: Stack, number: int, began: datetime) -> None:
        self.stack = stack
        self.number = number
        self.updated_at = began
        self.closed_at: datetime | None = None

    async def acts(self, action: str, sender: MockSender, comment: str = "@claude") -> dict[str, object]:
        """Send the delivery of one act; returns the API's answer."""
        self.updated_at += timedelta(seconds=1)
        self.closed_at = {"closed": self.updated_at, "reopened": None}.get(action, self.closed_at)
        about = MockIssue(self.number, REPOSITORY, updated_at=self.updated_at, closed_at=self.closed_at)
        mock = build(action, about, self.stack.stack.webhook_secret, sender=sender, comment=comment)
        reply = await post(self.stack.http, self.stack.stack.api_url, mock)
        assert reply.status_code == 202, reply.text
        answer: dict[str, object] = reply.json()
        return answer

    async def served(self) -> None:
        """The author may not ask, but a maintainer labels the issue, so it has its sandbox."""
        assert (await self.acts("opened", AUTHOR))["intention"] == "ignore"
        assert (await self.acts("labeled", MAINTAINER))["intention"] == "ensure"
        await self.stack.served(self.number)


async def reopened_by_author(issue: Issue, _github: GitHub) -> None:
    assert (await issue.acts("reopened", AUTHOR))["intention"] == "ignore"


async def reopened_by_bot(issue: Issue, _github: GitHub) -> None:
    assert (await issue.acts("reopened", BOT))["intention"] == "ignore"


async def reported_by_comment(issue: Issue, _github: GitHub) -> None:
    """The delivery of the reopening was lost; a passer-by's comment carries the issue's state."""
    issue.closed_at = None
    assert (await issue.acts("comment", PASSER_BY, "me too"))["intention"] == "ignore"


async def reported_by_edit(issue: Issue, _github: GitHub) -> None:
    """A delivery that can never ask carries the issue's state as well."""
    issue.closed_at = None
    assert (await issue.acts("edited", PASSER_BY))["intention"] == "ignore"


async def found_by_resync(issue: Issue, github: GitHub) -> None:
    """No delivery reported it: resync finds that the author reopened the issue, who may not ask."""
    github.issue(issue.number, issue.number, at=issue.updated_at - timedelta(seconds=2), repo=REPOSITORY)
    github.change(issue.number, at=issue.updated_at, repo=REPOSITORY, state="closed")
    issue.updated_at += timedelta(seconds=1)
    github.change(issue.number, at=issue.updated_at, repo=REPOSITORY, state="open")
    since = (issue.updated_at - timedelta(minutes=5)).isoformat()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "issuebox", "resync", REPOSITORY, "--since", since),
        *("--data", str(issue.stack.data_dir)),
        env=os.environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


Reopening = Callable[[Issue, GitHub], Awaitable[None]]
WAYS: list[Reopening] = [reopened_by_author, reopened_by_bot, reported_by_comment, reported_by_edit, found_by_resync]


async def test_sandboxes_of_open_issues_outlive_the_timers_of_their_closes(stack: Stack, github: GitHub) -> None:
    """Whoever reopens the issue, the timers of its close end; without a reopening the same close runs to the delete.

    All ways share one ladder, so that it can be long enough for a process to start on a busy machine.
    """
    began = _now() - timedelta(minutes=1)
    control, *issues = (Issue(stack, 300 + number, began) for number in range(1 + len(WAYS)))
    await asyncio.gather(*(issue.served() for issue in (control, *issues)))
    await asyncio.gather(*(issue.acts("closed", AUTHOR) for issue in (control, *issues)))
    for issue in issues:
        assert (await stack.status(issue.number))["issue"]["state"] == "closed"
    before = [await stack.one(issue.number) for issue in issues]
    await asyncio.gather(*(reopen(issue, github) for reopen, issue in zip(WAYS, issues, strict=True)))
    for reopen, issue in zip(WAYS, issues, strict=True):
        await _known_as_open(stack, issue.number, f"the issue {reopen.__name__}")
    assert (await stack.one(control.number)).state == "started", "reopened before the ladder's first rung"
    await until(lambda: stack.live(control.number), lambda rows: not rows, "the control went down the ladder")
    for reopen, issue, sandbox in zip(WAYS, issues, before, strict=True):
        assert await _ends(stack, sandbox.id) == [], reopen.__name__
        seen = await stack.status(issue.number)
        assert (seen["goal"], seen["goal_due_at"], seen["blocked"]) == ("running", None, None), reopen.__name__
        assert (await stack.one(issue.number)).state == "started", reopen.__name__


async def test_refused_request_gets_no_sandbox_by_its_snapshot(stack: Stack) -> None:
    """The request stays refused: a sandbox that the close stopped is not started, and no workflow is."""
    issue = Issue(stack, 390, _now() - timedelta(minutes=1))
    await issue.served()
    before = await stack.one(390)
    await issue.acts("closed", AUTHOR)
    await stack.settled(390, "stopped")
    answer = await issue.acts("reopened", AUTHOR)
    assert (answer["intention"], answer["workflow_id"]) == ("ignore", "claude-issue-390")
    assert "ISSUEBOX_MIN_ASSOCIATION" in str(answer["reason"])
    await _known_as_open(stack, 390, "the reopened issue")
    stranger = Issue(stack, 391, issue.updated_at)
    assert "workflow_id" not in await stranger.acts("opened", AUTHOR)
    assert await stack.status(391) == {}
    starts = [entry for entry in await _commands(stack, before.id) if entry.operation == "start"]
    assert (starts, (await stack.one(390)).state) == ([], "stopped")


async def test_late_snapshot_changes_nothing(stack: Stack) -> None:
    """An older snapshot does not undo a close, nor does one of the same second in a passer-by's delivery."""
    issue = Issue(stack, 395, _now() - timedelta(minutes=1))
    await issue.served()
    await issue.acts("closed", AUTHOR)
    closed_at = issue.updated_at
    for back_s in (30, 1, 0):
        late = Issue(stack, 395, closed_at - timedelta(seconds=back_s + 1))
        assert (await late.acts("comment", PASSER_BY, "me too"))["intention"] == "ignore"
    await stack.settled(395, "stopped")
    assert (await stack.status(395))["issue"]["state"] == "closed"


def _now() -> datetime:
    """GitHub's clock, in whole seconds as GitHub's times are."""
    return datetime.now().astimezone().replace(microsecond=0)


async def _known_as_open(stack: Stack, number: int, what: str) -> None:
    """Wait until the issue's workflow knows that it is open. A busy API may give no status for a moment."""
    await until(
        lambda: stack.status(number), lambda seen: bool(seen) and seen["issue"]["state"] == "open", f"{what} is known"
    )


async def _commands(stack: Stack, sandbox_id: str) -> list[Entry]:
    return [entry for entry in await stack.admin.journal(kind="request") if entry.sandbox_id == sandbox_id]


async def _ends(stack: Stack, sandbox_id: str) -> list[Entry]:
    """The commands that stop, archive or delete this sandbox."""
    return [entry for entry in await _commands(stack, sandbox_id) if entry.operation in ENDS]
