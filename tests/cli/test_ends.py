"""What the commands say of workflows that are over or cannot go on, and of settings that do not fit them."""

from __future__ import annotations

import uuid

import pytest
import structlog
from temporalio.client import Client

from issuebox.domain.memory import Memory, Seen
from issuebox.temporal.fitting import warn_of_misfits
from issuebox.temporal.search_attributes import register
from tests.cli.conftest import Run, issue_in, own_namespace
from tests.cli.test_doctor import advice, failed, seen, verdicts
from tests.stuck import MARKED_S, make_stuck
from tests.waiting import until
from tests.workflow.conftest import Stack
from workflows.messages import WORKFLOW_TYPE, StartInput


@pytest.fixture
async def temporal(temporal_address: str) -> Client:
    """A namespace only for this test: the commands here read all workflows of a namespace."""
    client = await own_namespace(temporal_address, f"ends-{uuid.uuid4().hex[:8]}")
    await register(client)
    return client


@pytest.mark.parametrize("command", ["show", "why", "stop", "retry"])
async def test_terminated_workflow_is_told_as_over(issuebox: Run, stack: Stack, command: str) -> None:
    """Neither its old state as if it lived, nor that nobody ever asked."""
    await stack.ensure()
    await stack.handle.terminate()
    told = await issuebox(command, str(stack.issue_id))
    assert (told.code, told.out) == (4, "")
    assert f"the workflow of issue {stack.issue_id} was terminated at" in told.err
    assert "issuebox ensure" in told.err
    assert (await issuebox("ensure", str(stack.issue_id))).code == 0
    assert (await issuebox("show", str(stack.issue_id))).code == 0


async def test_list_of_the_ended_names_only_issues_without_a_running_workflow(
    issuebox: Run, stack: Stack, repository: str
) -> None:
    """An issue that was asked for again is in the usual list, and its old run is history."""
    again = stack.another()
    for one in (stack, again):
        await one.deliver(one.event(issue=issue_in(one, repository)))
        await one.served()
        await one.handle.terminate()
    await again.deliver(again.event(issue=issue_in(again, repository)))
    await again.served()

    async def listed(*options: str) -> list[int]:
        told = await issuebox("list", "--json", *options)
        return [row["issue_id"] for row in told.json["issues"]]

    await until(lambda: listed("--ended"), lambda ids: ids == [stack.issue_id], "the ended one is listed")
    await until(listed, lambda ids: ids == [again.issue_id], "the running one is listed")
    assert "terminated" in (await issuebox("list", "--ended")).out


async def test_stuck_workflow_is_told_everywhere(issuebox: Run, stack: Stack) -> None:
    """`show` says why, and not that no worker serves the queue; `list` marks it; the doctor fails with the command."""
    healthy = stack.another()
    await healthy.ensure()
    await make_stuck(stack)
    shown = await issuebox("show", str(stack.issue_id))
    assert (shown.code, shown.out) == (1, "")
    assert "Failed decoding arguments" in shown.err
    assert f"temporal workflow terminate --workflow-id {stack.name}" in shown.err

    async def marks() -> dict[int, bool]:
        told = await issuebox("list", "--json")
        return {row["issue_id"]: row["stuck"] is not None for row in told.json["issues"]}

    await until(marks, lambda found: found == {stack.issue_id: True, healthy.issue_id: False}, "it is marked", MARKED_S)
    assert "stuck" in (await issuebox("list", "--blocked")).out
    doctor = await issuebox("doctor", "--json", "--only", "temporal")
    assert (doctor.code, failed(doctor)) == (1, ["temporal: workflows: stuck"])
    assert stack.name in seen(doctor, "temporal: workflows: stuck")
    assert "temporal workflow terminate" in advice(doctor, "temporal: workflows: stuck")
    assert healthy.name in seen(doctor, "temporal: worker: answers")


async def test_changed_task_queue_fails_and_a_changed_prefix_warns(issuebox: Run, stack: Stack) -> None:
    """Events for workflows on an old task queue are taken with 202, and nobody serves them."""
    fitting = await issuebox("doctor", "--json", "--only", "temporal")
    assert (fitting.code, verdicts(fitting)["temporal: workflows: settings"]) == (0, "ok")
    for name, queue in ((stack.name, "old-queue"), ("old-8", stack.settings.task_queue)):
        acted = Memory(stack.issue_id, name, seen=Seen(sandbox_id="s1"))  # A new one under another name would fail.
        start = StartInput(stack.issue_id, name, acted)
        await stack.temporal.start_workflow(WORKFLOW_TYPE, start, id=name, task_queue=queue)

    async def told() -> str:
        return seen(await issuebox("doctor", "--json", "--only", "temporal"), "temporal: workflows: settings")

    text = await until(told, lambda found: "; " in found, "both are in the index")
    assert text == (
        f"1 workflow runs (such as {stack.name}) on the task queue 'old-queue', which nobody polls; "
        f"ours is {stack.settings.task_queue!r}; "
        "1 workflow runs (such as old-8) on our task queue under names that do not begin with 'claude-issue-'"
    )
    assert failed(await issuebox("doctor", "--json", "--only", "temporal")) == ["temporal: workflows: settings"]
    structlog.reset_defaults()  # Cached loggers would keep the processors from before the capture.
    with structlog.testing.capture_logs() as lines:
        await warn_of_misfits(stack.temporal, stack.settings)
    assert [line["event"] for line in lines] == ["settings_misfit"] * 2
    assert "; ".join(str(line["seen"]) for line in lines) == text


async def test_worker_that_may_not_list_starts_all_the_same(closed_address: str, stack: Stack) -> None:
    """The comparison is a help, and no condition."""
    away = await Client.connect(closed_address, lazy=True)
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as lines:
        await warn_of_misfits(away, stack.settings)
    assert [line["event"] for line in lines] == ["settings_not_compared"]
