"""The commands about the agent's work: asking, following, cancelling, reading what it wrote."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run, environment
from tests.waiting import until
from tests.workflow.conftest import Stack, Started
from tests.workflow.test_agent_runs import WORK, working
from workflows.messages import MEMO_STATUS

JOB = 'cat "$ISSUEBOX_RUN_DIR/prompt.md" >~/prompt; echo hello; echo oh >&2; [ ! -e ~/hold ] || sleep 60'


@pytest.fixture
def log_dir(tmp_path: Path) -> str:
    return str(tmp_path / "runs")


@pytest.fixture
async def stack(start: Started, log_dir: str) -> Stack:
    """An agent that says hello, and goes on for a minute where a file says so."""
    return await start(**WORK, run_command=JOB, run_log_dir=log_dir)


async def counted(stack: Stack, query: str) -> int:
    """How many workflows Temporal's index finds."""
    return (await stack.temporal.count_workflows(query)).count


async def hold(stack: Stack) -> None:
    """Have the next run work until it is cancelled."""
    sandbox = (await stack.ensure()).sandbox
    assert sandbox is not None
    await stack.provider.execute(sandbox.id, "touch ~/hold", 10.0)


async def test_request_is_followed_to_its_end(stack: Stack, issuebox: Run, log_dir: str) -> None:
    """One command asks, waits and says what came of it; the others say the same."""
    issue = str(stack.issue_id)
    ran = await issuebox("run", issue, "--prompt", "Say hello", "--wait", "--key", "first")
    assert (ran.code, ran.err) == (0, "")
    assert " is done." in ran.out
    again = await issuebox("run", issue, "--prompt", "Say hello", "--wait", "--key", "first", "--json")
    [run] = (await issuebox("runs", issue, "--json")).json["runs"]
    assert (again.code, again.json) == (0, run)
    assert (run["state"], run["outcome"], run["keys"], run["exit_code"]) == ("done", "done", ["call-first"], 0)
    found = f"RunState = 'done' AND WorkflowId = '{stack.name}'"
    await until(lambda: counted(stack, found), lambda count: count == 1, "the search attribute says so")
    logs = await issuebox("logs", issue, ISSUEBOX_RUN_LOG_DIR=log_dir)
    assert (logs.code, logs.out, logs.err) == (0, "hello\n", "oh\n")
    named = await issuebox("logs", issue, run["id"], "-f", ISSUEBOX_RUN_LOG_DIR=log_dir)
    assert named.out == "hello\n"
    assert f"{run['id']}, done" in (await issuebox("show", issue)).out
    assert f"Run {run['id']} is done." in (await issuebox("why", issue)).out
    table = (await issuebox("runs", issue)).out
    assert run["id"] in table
    assert "A further comment continues the conversation." in table


async def test_run_at_work_is_listed_shown_and_cancelled(stack: Stack, issuebox: Run) -> None:
    """With what waits behind it. A request that was called off ends with 1, and says so."""
    issue = str(stack.issue_id)
    await hold(stack)
    asked = await issuebox("run", issue, "--prompt", "Go on for long")
    assert asked.code == 0
    assert f"issuebox logs -f {issue}" in asked.out
    run = await working(stack)
    waiting = asyncio.ensure_future(issuebox("run", issue, "--prompt", "And this", "--wait"))
    await until(stack.status, lambda status: status.run_requests_waiting == 1, "the second request waits")
    shown = (await issuebox("show", issue)).out
    assert f"{run.id}, working" in shown
    assert "1 request(s) for the next run" in shown
    assert "1 request waits for the next run." in (await issuebox("why", issue)).out.replace("\n", " ")

    async def listed() -> bool:
        return any(row["issue_id"] == stack.issue_id for row in (await issuebox("runs", "--json")).json["issues"])

    await until(listed, bool, "the run is in the list")
    assert stack.name in (await issuebox("runs")).out or "octo/repo#5" in (await issuebox("runs")).out
    cancelled = await issuebox("cancel", issue)
    assert (cancelled.code, cancelled.err) == (0, "")
    refused = await waiting
    assert refused.code == 1
    assert "was refused" in refused.out
    assert "somebody called it off" in refused.out

    async def state() -> str:
        memo = await (await stack.handle.describe()).memo()
        return str(memo.get(MEMO_STATUS, {}).get("run", ""))

    await until(state, lambda word: word == "cancelled", "it is published as cancelled")
    assert "cancelled" in (await issuebox("runs", issue)).out


async def test_runs_are_paused_and_resumed(stack: Stack, issuebox: Run) -> None:
    """Who paused them is told wherever people look, with the way on. An issue that nobody knows is a 4."""
    issue = str(stack.issue_id)
    await hold(stack)
    await issuebox("run", issue, "--prompt", "Go on for long")
    run = await working(stack)
    paused = await issuebox("pause", issue)
    assert (paused.code, paused.err) == (0, "")
    assert f"was asked to pause its agent. Follow it with: issuebox runs {issue}" in paused.out.replace("\n", " ")
    assert (await issuebox("pause", issue, "--json")).json["asked"] == "pause"

    async def state() -> str:
        return str((await issuebox("runs", issue, "--json")).json["runs"][-1]["state"])

    await until(state, lambda word: word == "paused", "it rests")
    await issuebox("run", issue, "--prompt", "And this")
    for command in ("runs", "show", "why"):
        said = (await issuebox(command, issue)).out.replace("\n", " ")
        assert "by the command line since" in " ".join(said.split()), said
        assert f"issuebox resume {issue}" in " ".join(said.split()), said
    found = f"RunState = 'paused' AND WorkflowId = '{stack.name}'"
    await until(lambda: counted(stack, found), lambda count: count == 1, "the search attribute says so")
    resumed = await issuebox("resume", issue)
    assert (resumed.code, resumed.err) == (0, "")
    assert (await issuebox("resume", issue, "--json")).json["asked"] == "resume"
    again = await working(stack)
    assert (again.id, again.attempt) == (run.id, 2)
    for command in ("pause", "resume"):
        unknown = await issuebox(command, str(stack.another().issue_id))
        assert (unknown.code, unknown.out) == (4, "")


async def test_named_run_is_cancelled_and_no_other(stack: Stack, issuebox: Run) -> None:
    """A name that the issue does not have ends nothing."""
    await hold(stack)
    await issuebox("run", str(stack.issue_id), "--prompt", "Go on for long")
    run = await working(stack)
    unknown = await issuebox("cancel", str(stack.issue_id), "r-000000000000")
    assert (unknown.code, unknown.out) == (4, "")
    assert "has no run r-000000000000" in unknown.err
    assert (await working(stack)).id == run.id
    assert (await issuebox("cancel", str(stack.issue_id), run.id, "--json")).json["asked"] == "cancel"
    ended = await issuebox("run", str(stack.issue_id), "--prompt", "x", "--key", run.keys[0].removeprefix("call-"))
    assert ended.code == 0


async def test_logs_say_what_there_is_to_read(stack: Stack, issuebox: Run, log_dir: str) -> None:
    """Nothing yet, nothing kept, or no run at all: each has a sentence of its own, and no output."""
    issue = str(stack.issue_id)
    await stack.ensure()
    none = await issuebox("logs", issue, ISSUEBOX_RUN_LOG_DIR=log_dir)
    assert (none.code, none.out) == (4, "")
    assert "has not worked yet" in none.err
    await issuebox("run", issue, "--prompt", "x", "--wait")
    nowhere = await issuebox("logs", issue)
    assert (nowhere.code, nowhere.out) == (2, "")
    assert "set ISSUEBOX_RUN_LOG_DIR" in nowhere.err
    elsewhere = await issuebox("logs", issue, ISSUEBOX_RUN_LOG_DIR=f"{log_dir}/other")
    assert (elsewhere.code, elsewhere.out) == (0, "")
    assert "nothing was copied" in elsewhere.err


async def test_issue_without_runs_says_how_to_ask(stack: Stack, issuebox: Run) -> None:
    """An empty list is an answer."""
    await stack.ensure()
    ran = await issuebox("runs", str(stack.issue_id))
    assert (ran.code, "issuebox run ISSUE --prompt TEXT" in ran.out) == (0, True)


async def test_request_where_no_agent_is_set_up_is_refused(start: Started, run: Run, temporal_address: str) -> None:
    """With a sentence that names the setting. For an issue that is not known yet, the request is refused later."""
    stack = await start()
    await stack.ensure()
    given = {"TEMPORAL_ADDRESS": temporal_address, "ISSUEBOX_TASK_QUEUE": stack.settings.task_queue}
    ran = await run("run", str(stack.issue_id), "--prompt", "x", **given)
    assert (ran.code, ran.out) == (1, "")
    assert "ISSUEBOX_RUN_PRESET" in ran.err
    other = stack.another()
    later = await run("run", str(other.issue_id), "--prompt", "x", "--wait", **given)
    assert later.code == 1
    assert "ISSUEBOX_RUN_PRESET is empty" in f"{later.out} {later.err}"


@pytest.mark.parametrize(
    ("prompt", "typed", "said"),
    [(" ", "", "the prompt is empty"), ("-", "", "the prompt is empty"), ("-", "x" * 32769, "the prompt is too long")],
)
def test_prompt_is_checked_before_anything_is_asked(tmp_path: Path, prompt: str, typed: str, said: str) -> None:
    """No Temporal is needed to say that there is nothing to do."""
    ran = piped(tmp_path, typed, "--prompt", prompt)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert said in ran.stderr


async def test_prompt_comes_from_standard_input(stack: Stack, temporal_address: str, tmp_path: Path) -> None:
    """With its lines, and as the person wrote it."""
    given = {"TEMPORAL_ADDRESS": temporal_address, "ISSUEBOX_TASK_QUEUE": stack.settings.task_queue}
    ran = await asyncio.to_thread(
        piped, tmp_path, "First\n\n- second: é\n", "--prompt", "-", "--wait", issue=str(stack.issue_id), **given
    )
    assert ran.returncode == 0, ran.stderr
    [row] = await stack.live()
    assert "First\n\n- second: é\n" in (await stack.provider.execute(row.id, "cat ~/prompt", 10.0)).output


def piped(
    tmp_path: Path, typed: str, *arguments: str, issue: str = "1", **given: str
) -> subprocess.CompletedProcess[str]:
    """`issuebox run` with this on standard input."""
    given = {"TEMPORAL_ADDRESS": "127.0.0.1:1", "PYTHONUTF8": "1"} | given
    command = [sys.executable, "-P", "-m", "issuebox", "run", issue, *arguments]
    return subprocess.run(
        command, input=typed, capture_output=True, text=True, check=False, encoding="utf-8",
        env=environment(tmp_path, given), cwd=Path(__file__).parents[2],
    )  # fmt: skip
