"""What an issue is told of its runs, over the whole path: real Temporal, localdaytona, GitHub's stand-in over HTTP."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.common import RetryPolicy

import activities.run_reports
import activities.runs
from issuebox.domain.issue import IssueState
from issuebox.domain.run import RunOutcome
from issuebox.domain.run_comment import marker
from issuebox.worker import build_worker
from proofs.github_api import TOKEN, running
from proofs.github_comments import Fate, GitHubWithComments
from tests.waiting import until
from workflows import options
from workflows.messages import SIGNAL_LOOK
from workflows.run_messages import SIGNAL_RESUME

from .conftest import FAST, Stack, Started
from .test_agent_runs import ask, in_the_sandbox, over, runs, working
from .test_agent_runs_paused import PAUSED_BY_ANN, pause, rested, stopped_under_it

NUMBER = 5
DONE = "**The agent is done.**"
PAUSED_S = 10.0
UNTIL_TOLD_TO = "while [ ! -e ~/go ]; do sleep 0.1; done"


@pytest.fixture
async def github() -> AsyncIterator[GitHubWithComments]:
    """The stand-in with the issue that the stack's deliveries are about."""
    async with running(GitHubWithComments()) as server:
        assert isinstance(server, GitHubWithComments)
        server.issue(7, NUMBER, at=datetime.now(UTC))
        yield server
        server.mischiefs.clear()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tenths of a second instead of seconds."""
    retry = RetryPolicy(initial_interval=timedelta(seconds=0.1), non_retryable_error_types=["RefusedError"])
    monkeypatch.setattr(options, "REPORT_RETRY", retry)
    monkeypatch.setattr(options, "REPORT_PACE", timedelta(seconds=1))
    monkeypatch.setattr(activities.run_reports, "LOOK_AGAIN_S", 0.1)
    monkeypatch.setattr(activities.runs, "PAUSE_S", 0.1)
    monkeypatch.setattr(activities.runs, "PAUSE_MAX_S", 0.2)


def telling(github: GitHubWithComments, command: str, **changes: object) -> dict[str, object]:
    """The settings of a worker that tells issues of its runs."""
    return {
        "run_preset": "command", "run_command": command, "github_token": TOKEN, "github_api_url": github.url,
    } | changes  # fmt: skip


async def told(github: GitHubWithComments, words: str, timeout_s: float = 30.0) -> str:
    """Wait until there is one comment of ours, and it says this; its text."""

    async def texts() -> list[str]:
        return [body["body"] for body in github.written()]

    seen = await until(texts, lambda seen: len(seen) == 1 and words in seen[0], f"told {words!r}", timeout_s)
    return seen[0]


async def go(stack: Stack) -> None:
    """Let the job end."""
    (row,) = await stack.live()
    await stack.provider.execute(row.id, "touch ~/go", 10.0)


async def asked(stack: Stack, github: GitHubWithComments, text: str = "@claude do it") -> int:
    """Somebody comments at GitHub, and the delivery comes; the comment's ID."""
    comment_id = github.say(NUMBER, text)
    await ask(stack, comment_id, text)
    return comment_id


async def test_run_is_told_from_its_request_to_its_end(start: Started, github: GitHubWithComments) -> None:
    """👀 under the comment that asked, one comment that says how to stop it, and in the end what came of it."""
    stack = await start(**telling(github, f"{UNTIL_TOLD_TO}; echo all is well"))
    comment_id = await asked(stack, github)
    run = await working(stack)
    text = await told(github, "To stop it:")
    assert text.startswith(marker(run.id))
    assert "@claude" not in text
    await go(stack)
    (run,) = await over(stack)
    text = await told(github, DONE)
    assert "To stop it:" not in text
    assert "A further comment continues the conversation." in text
    assert github.reactions == {comment_id: {(github.login, "eyes")}}


@pytest.mark.parametrize("fate", [Fate.LOST_BEFORE, Fate.LOST_AFTER, Fate.TWICE])
async def test_one_comment_is_left_whatever_reply_is_lost(
    start: Started, github: GitHubWithComments, fate: Fate
) -> None:
    """Of the create, the edits and the reaction."""
    github.do("POST", "/comments", fate, times=2)
    github.do("POST", "/reactions", fate)
    github.do("PATCH", "", fate)
    stack = await start(**telling(github, UNTIL_TOLD_TO))
    comment_id = await asked(stack, github)
    await working(stack)
    await until(_met(github, "POST"), bool, "a create met its fate")
    await go(stack)
    await over(stack)
    await told(github, DONE)
    assert github.reactions == {comment_id: {(github.login, "eyes")}}


async def test_resumed_run_is_told_to_be_at_work_as_soon_as_it_is(
    start: Started, github: GitHubWithComments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before that it is paused, and not interrupted, however long it was paused."""
    monkeypatch.setattr(activities.run_reports, "EDIT_PACE_S", 600.0)  # Its follower tells nothing.
    stack = await start(**telling(github, UNTIL_TOLD_TO))
    await asked(stack, github)
    await working(stack)
    await told(github, "To stop it:")
    await pause(stack)
    await told(github, "The agent's work is paused.")
    monkeypatch.setattr(options, "REPORT_PACE", timedelta(seconds=PAUSED_S))
    await asyncio.sleep(PAUSED_S)  # So that the pace keeps nothing back.
    await stack.order(SIGNAL_RESUME)
    await told(github, "The agent is at work.")
    await go(stack)
    await told(github, DONE)


async def test_second_stop_in_the_dashboard_pauses_the_run_and_is_told(
    start: Started, github: GitHubWithComments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever stops it again so soon means it. The issue says why, and how to let it go on."""
    monkeypatch.setattr(activities.run_reports, "EDIT_PACE_S", 600.0)  # Its follower tells nothing.
    stack = await start(**telling(github, f"echo begun >>~/worked; {UNTIL_TOLD_TO}"))
    await asked(stack, github)
    await stopped_under_it(stack, 1)
    await stopped_under_it(stack, 2)
    seen = await rested(stack)
    cause = "its sandbox was stopped under it twice within 10 minutes"
    assert seen.pause is not None
    assert (seen.pause.by, seen.pause.reason) == ("", cause)
    assert (seen.runs[-1].attempt, seen.runs[-1].outcome) == (2, None)
    text = await told(github, "The agent's work is paused.")
    assert cause in text
    assert f"To let it go on: run `issuebox resume {stack.issue_id}`" in text
    assert await stack.state() == "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(options, "REPORT_PACE", timedelta(seconds=30))
        await stack.order(SIGNAL_RESUME)
        assert (await working(stack)).attempt == 3
        await told(github, "The agent is at work.")
    await pause(stack)
    assert f"It was {PAUSED_BY_ANN}." in await told(github, "The agent's work is paused.")
    await stack.order(SIGNAL_RESUME)
    await working(stack)
    await go(stack)
    (run,) = await over(stack)
    await told(github, DONE)
    assert (run.outcome, run.cut_off, (await runs(stack)).pause) == (RunOutcome.DONE, 2, None)
    assert await in_the_sandbox(stack, "cat ~/worked") == "begun\n" * 4


async def test_newest_state_is_told_when_github_is_back(start: Started, github: GitHubWithComments) -> None:
    """GitHub is away for the whole run, and the workflow continues as new: one comment, which says how it ended."""
    away = github.do("POST", "/comments", Fate.REFUSED, status=502, times=10_000)
    stack = await start(**telling(github, UNTIL_TOLD_TO), grace_s=0.0)
    await asked(stack, github)
    await working(stack)
    before = (await stack.handle.describe()).run_id

    async def looked() -> str | None:
        await stack.order(SIGNAL_LOOK)
        return (await stack.handle.describe()).run_id

    await until(looked, lambda seen: seen != before, "it continued as new", 60.0)
    await go(stack)
    await over(stack)
    met = away.met

    async def tries() -> int:
        return away.met - met

    await until(tries, lambda seen: seen >= 2, "the newest state is being told")
    assert github.written() == []
    away.times = 0
    await told(github, DONE)
    [(_, first), *_] = github.revisions[github.written()[0]["id"]]
    assert DONE in first


async def test_run_that_ended_while_no_worker_ran_is_told_by_the_next(
    start: Started, github: GitHubWithComments
) -> None:
    """Within a minute: never *at work* for ever."""
    stack = await start(**telling(github, UNTIL_TOLD_TO, grace_s=0.0), has_worker=False)
    async with serving(stack):
        await asked(stack, github)
        await working(stack)
        await told(github, "To stop it:")
    await go(stack)
    (row,) = await stack.live()
    ended = "cat ~/.issuebox/runs/*/1/exit"

    async def exit_file() -> str:
        return (await stack.provider.execute(row.id, ended, 10.0)).output

    await until(exit_file, lambda seen: "finished" in seen, "the job has ended")
    async with serving(stack):
        await told(github, DONE, timeout_s=60.0)


async def test_worker_killed_between_create_and_reply_leaves_one_comment(
    start: Started, github: GitHubWithComments, temporal_address: str, tmp_path: Path
) -> None:
    """kill -9: the next worker finds the comment and goes on with it."""
    stack = await start(**telling(github, UNTIL_TOLD_TO), has_worker=False)
    held = github.do("POST", "/comments", Fate.HELD)
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(_plain(stack)))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.audit.worker_process", str(settings), temporal_address, "100"
    )
    try:
        await asked(stack, github)
        await until(_met(github, "POST"), bool, "the create was carried out", 60.0)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert held.met == len(github.written()) == 1
    async with serving(stack):
        await go(stack)
        await over(stack)
        await told(github, DONE)
    assert [write.path for write in github.writes("POST") if write.path.endswith("/comments")] == [
        f"/repos/octo/repo/issues/{NUMBER}/comments"
    ]


async def test_follower_tells_the_progress_within_its_pace(
    start: Started, github: GitHubWithComments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the progress changes; and the last report does not wait."""
    monkeypatch.setattr(activities.run_reports, "EDIT_PACE_S", 1.0)
    job = 'n=0; while [ ! -e ~/go ]; do n=$((n+1)); echo "step $n" >"$ISSUEBOX_RUN_DIR/progress"; sleep 0.05; done'
    stack = await start(**telling(github, job))
    await asked(stack, github)
    await working(stack)
    [comment] = await until(_written(github), bool, "it is told")

    async def edits() -> list[tuple[datetime, str]]:
        return [each for each in github.revisions[comment] if "step" in each[1]]

    seen = await until(edits, lambda seen: len(seen) >= 3, "three edits with progress")
    assert min(later - earlier for (earlier, _), (later, _) in itertools.pairwise(seen)) > timedelta(seconds=0.8)
    await go(stack)
    await over(stack)
    await told(github, DONE)
    events = [event async for event in stack.handle.fetch_history_events()]
    scheduled = [event.activity_task_scheduled_event_attributes.activity_type.name for event in events]
    assert scheduled.count("report_run") == 2, "the edits in between cost no history"


async def test_refused_report_fails_no_run_and_is_noted(start: Started, github: GitHubWithComments) -> None:
    """A token that may only read."""
    github.do("POST", "/comments", Fate.REFUSED, times=100)
    github.do("POST", "/reactions", Fate.REFUSED, times=100)
    stack = await start(**telling(github, "true"))
    await asked(stack, github)
    (run,) = await over(stack)
    assert run.outcome is RunOutcome.DONE

    async def notes() -> list[str]:
        return [note.what for note in (await stack.why()).notes]

    seen = await until(
        notes, lambda seen: f"run {run.id} could not be told" in seen, "it is noted that nothing could be told"
    )
    assert "nothing shows that a request was heard" in seen
    assert github.written() == []
    assert 1 <= len([each for each in github.writes() if each.path.endswith("/comments")]) <= 2, "it is not repeated"


async def test_no_run_and_no_handover_waits_for_github(start: Started, github: GitHubWithComments) -> None:
    """Reports that hang, and only one slot for them."""
    github.do("POST", "", Fate.HELD, times=100)
    stack = await start(**telling(github, "true"), notices_slots=1, grace_s=0.0)
    await asked(stack, github)
    async with asyncio.timeout(30):
        await over(stack)
        await stack.another().ensure()


@pytest.mark.parametrize("changes", [{"run_report": "none"}, {"github_token": ""}])
async def test_nothing_is_written_where_nobody_asked_for_it(
    start: Started, github: GitHubWithComments, changes: dict[str, object]
) -> None:
    """Switched off, or without credentials."""
    stack = await start(**telling(github, "true") | changes)
    await asked(stack, github)
    await over(stack)
    await asked(stack, github)
    await over(stack, 2)
    assert github.asked == []


async def test_follow_up_is_heard_and_told_in_a_comment_of_its_own(start: Started, github: GitHubWithComments) -> None:
    """Three requests while the agent works make one more run, which has one more comment."""
    stack = await start(**telling(github, UNTIL_TOLD_TO))
    first = await asked(stack, github)
    await working(stack)
    later = [await asked(stack, github, f"@claude and {number}") for number in range(3)]

    async def heard() -> set[int]:
        return set(github.reactions)

    await until(heard, lambda seen: seen == {first, *later}, "all are heard")
    await go(stack)
    told_runs = await over(stack, 2)

    async def texts() -> list[str]:
        return [body["body"] for body in github.written()]

    seen = await until(texts, lambda seen: [DONE in text for text in seen] == [True, True], "both are told")
    assert [text.splitlines()[0] for text in seen] == [marker(run.id) for run in told_runs]


async def test_nothing_is_told_of_a_deleted_issue(start: Started, github: GitHubWithComments) -> None:
    """Its comments are gone with it; the workflow does not wait for them."""
    stack = await start(**telling(github, UNTIL_TOLD_TO))
    await asked(stack, github)
    await working(stack)
    await told(github, "To stop it:")
    github.delete(NUMBER)
    await stack.close(IssueState.DELETED)
    seen = await until(lambda: runs(stack), lambda seen: bool(seen.runs[-1].outcome), "the run is over", 30.0)
    assert seen.runs[-1].outcome is RunOutcome.CANCELLED
    assert len(github.writes("PATCH")) == 0


@asynccontextmanager
async def serving(stack: Stack) -> AsyncIterator[None]:
    """A worker of the stack's own process."""
    async with build_worker(stack.temporal, stack.provider, stack.worker, is_searchable=True):
        yield


def _plain(stack: Stack) -> dict[str, object]:
    """The worker's settings as JSON."""
    given = stack.settings
    return {
        **FAST,
        "task_queue": given.task_queue,
        "daytona_api_key": given.daytona_api_key.get_secret_value(),
        "daytona_api_url": given.daytona_api_url,
        "daytona_target": given.daytona_target,
        "run_preset": given.run_preset,
        "run_command": given.run_command,
        "github_token": given.github_token.get_secret_value(),
        "github_api_url": given.github_api_url,
    }


def _met(github: GitHubWithComments, method: str):
    async def met() -> int:
        return next(one.met for one in github.mischiefs if one.method == method and one.ending == "/comments")

    return met


def _written(github: GitHubWithComments):
    async def written() -> list[int]:
        return [body["id"] for body in github.written()]

    return written
