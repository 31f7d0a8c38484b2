"""The commands that ask: what reaches the workflow, what they print, and their exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from tests.cli.conftest import Ran, Run, environment
from tests.waiting import until
from tests.workflow.conftest import Stack

QUOTA = {"kind": "status", "status": 400, "message": "Total CPU limit exceeded."}


async def signals(stack: Stack) -> list[tuple[str, str]]:
    """The signals in the workflow's history, each with its arguments as JSON."""
    history = await stack.handle.fetch_history()
    taken = [
        event.workflow_execution_signaled_event_attributes
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
    ]
    return [(s.signal_name, " ".join(payload.data.decode() for payload in s.input.payloads)) for s in taken]


async def test_ensure_hands_the_sandbox_over(stack: Stack, issuebox: Run) -> None:
    """With exit code 0 there is a running sandbox, and standard output has all that is needed to use it."""
    ran = await issuebox("ensure", str(stack.issue_id))
    [live] = await stack.live()
    assert (ran.code, ran.err, live.state) == (0, "", "started")
    for fact in (f"{stack.name} was created.", "started", "us", live.id, f"{stack.daytona.base_url}/toolbox/{live.id}"):
        assert fact in ran.out


async def test_ensure_again_reuses_and_prints_json(stack: Stack, issuebox: Run) -> None:
    """The output is the same sandbox, as one JSON document and nothing else."""
    first = await issuebox("ensure", stack.name, "--json")
    again = await issuebox("ensure", stack.name, "--json")
    assert (first.json["outcome"], again.json["outcome"], again.code) == ("created", "reused", 0)
    assert first.json["sandbox"]["id"] == again.json["sandbox"]["id"]


async def test_ensure_of_a_blocked_issue_says_why_and_what_helps(stack: Stack, issuebox: Run) -> None:
    """The exit code is 1; the output has the provider's reason and our advice."""
    await stack.daytona.admin.add_fault("create", QUOTA, times=None)
    ran = await issuebox("ensure", str(stack.issue_id))
    assert (ran.code, ran.err) == (1, "")
    assert f"{stack.name} is blocked." in ran.out
    assert "Total CPU limit exceeded." in ran.out
    assert "raise the organization's limit" in ran.out
    assert "when its turn comes, see `issuebox queue`" in ran.out


async def test_ensure_that_cannot_wait_longer_says_that_the_work_continues(stack: Stack, issuebox: Run) -> None:
    """The exit code is 1 when the time is up, and the sandbox is still created."""
    await stack.daytona.admin.config(durations={"create_s": 4.0})
    ran = await issuebox("ensure", str(stack.issue_id), "--wait", "0.5")
    assert ran.code == 1
    assert "is not ready after 0.5 s; the work continues" in ran.out
    await stack.served()
    assert [row.state for row in await stack.live()] == ["started"]


async def test_ensure_that_a_stop_called_off_is_no_success(stack: Stack, issuebox: Run) -> None:
    """A script that waits for a sandbox does not get exit code 0 when somebody stopped it meanwhile."""
    await stack.ensure()
    await issuebox("stop", str(stack.issue_id))
    await until(stack.live, lambda rows: rows[0].state == "stopped", "the sandbox stopped")
    await stack.daytona.admin.config(durations={"start_s": 6.0})
    asking = asyncio.create_task(issuebox("ensure", str(stack.issue_id)))
    await until(stack.live, lambda rows: rows[0].state == "starting", "the sandbox starting")
    await issuebox("stop", str(stack.issue_id))
    ran = await asking
    assert (ran.code, "called off" in ran.out) == (1, True), ran


async def test_ensure_without_a_worker_is_stored(
    temporal: Client, issue_id: int, run: Run, temporal_address: str
) -> None:
    """When no worker serves the queue, the request waits in Temporal, and the command says so within seconds."""
    ran = await run("ensure", str(issue_id), TEMPORAL_ADDRESS=temporal_address, ISSUEBOX_TASK_QUEUE=f"queue-{issue_id}")
    assert (ran.code, "the work continues" in ran.out) == (1, True), ran
    description = await temporal.get_workflow_handle(f"claude-issue-{issue_id}").describe()
    assert description.task_queue == f"queue-{issue_id}"


async def test_start_asks_and_does_not_wait(stack: Stack, issuebox: Run, repository: str) -> None:
    """The request is stored as a person's, with the issue's details from the options; the sandbox comes later."""
    await stack.daytona.admin.config(durations={"create_s": 3.0})
    ran = await issuebox("start", str(stack.issue_id), "--repo", repository, "--number", "5", "--title", "A bug")
    assert (ran.code, ran.err) == (0, "")
    assert f"issuebox show {stack.issue_id}" in ran.out
    [(name, event)] = await signals(stack)
    assert name == "issue_event"
    assert '"is_explicit":true' in event
    status = await stack.served()
    assert status.issue is not None
    assert (status.issue.repository, status.issue.number, status.issue.title) == (repository, 5, "A bug")
    assert [row.state for row in await stack.live()] == ["started"]


@pytest.mark.parametrize(
    ("arguments", "signal"),
    [
        (["stop"], ("stop", ["key", "ordered_at"])),
        (["delete"], ("delete", ["force", "key", "ordered_at"])),
        (["delete", "--force", "--yes"], ("delete", ["force", "key", "ordered_at"])),
        (["replace", "-y"], ("replace", [])),
        (["retry"], ("retry", [])),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
async def test_command_is_one_signal(
    stack: Stack, issuebox: Run, arguments: list[str], signal: tuple[str, list[str]]
) -> None:
    """Each order reaches the workflow once, as the signal of its name, with its argument."""
    await stack.ensure()
    command, *options = arguments
    ran = await issuebox(command, str(stack.issue_id), *options, "--json")
    assert (ran.code, ran.err) == (0, "")
    assert ran.json == {"issue_id": stack.issue_id, "name": stack.name, "asked": command}
    [(name, given)] = await signals(stack)
    argument = json.loads(given or "{}")
    assert (name, sorted(argument)) == signal
    assert argument.get("force", False) is ("--force" in options)


@pytest.mark.parametrize("arguments", [["delete", "--force"], ["replace"]], ids=" ".join)
async def test_work_is_not_given_up_without_confirmation(stack: Stack, issuebox: Run, arguments: list[str]) -> None:
    """Without a terminal and --yes, the command is refused as misuse, and nothing reaches the workflow."""
    await stack.ensure()
    command, *options = arguments
    ran = await issuebox(command, str(stack.issue_id), *options)
    assert (ran.code, ran.out) == (2, "")
    assert "--yes" in ran.err
    assert await signals(stack) == []


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("y", 0)])
async def test_person_on_a_terminal_is_asked(
    stack: Stack, temporal_address: str, tmp_path: Path, answer: str, code: int
) -> None:
    """The default answer is no; only a yes reaches the workflow."""
    await stack.ensure()
    ran = await on_terminal(["replace", str(stack.issue_id)], answer, tmp_path, temporal_address)
    assert (ran.code, "with all unsaved work in it" in ran.out) == (code, True), ran
    assert await signals(stack) == ([("replace", "")] if answer == "y" else [])


async def on_terminal(arguments: list[str], answer: str, directory: Path, address: str) -> Ran:
    """Run the command with a terminal as its input, and type the answer there."""
    leader, follower = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "issuebox", *arguments),
        env=environment(directory, {"TEMPORAL_ADDRESS": address}),
        stdin=follower,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    os.close(follower)
    os.write(leader, f"{answer}\n".encode())
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    os.close(leader)
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), "")
