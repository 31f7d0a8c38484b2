"""Mending through the workflow: the audit asks it for a lookup, and then reads whether that helped."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import Client

from issuebox.domain.audit import Kind
from issuebox.domain.phase import Goal
from localdaytona.testing import Server
from tests.waiting import until
from workflows.audit_messages import AuditReport
from workflows.messages import SIGNAL_STOP, Published

from .conftest import Audited, Started, working

LOOK_S = 4.0
"""Enough for the workflow to inspect and stop the sandbox before the audit reads whether it did."""


def mended(report: AuditReport) -> list[tuple[Kind, bool]]:
    return [(finding.kind, finding.mended) for finding in report.findings]


async def leak(world: Audited) -> str:
    """Somebody starts, at Daytona, the sandbox of an issue whose goal is *stopped*; returns its ID."""
    issue, admin = world.stack, world.stack.daytona.admin
    sandbox_id = await world.ensured(issue)
    await issue.order(SIGNAL_STOP)
    await issue.reached(Goal.STOPPED)
    await world.listed(issue.name, lambda record: record.goal == "stopped")
    await admin.act(sandbox_id, "start")
    await until(lambda: admin.sandbox(sandbox_id), lambda row: row.state == "started", "it runs")
    return sandbox_id


async def test_leak_is_stopped_by_its_workflow(start: Started) -> None:
    """The audit itself stops nothing: it asks the workflow, and sees that this helped."""
    world = await start(audit_recheck_s=LOOK_S)
    sandbox_id = await leak(world)
    began = await world.stack.journal_end()
    report = await world.audit()
    assert mended(report) == [(Kind.LEAK, True)]
    assert (report.mended, report.promise_holds) == (1, True)
    assert (await world.stack.daytona.admin.sandbox(sandbox_id)).state == "stopped"
    assert await world.commands(began) == ["stop"]


async def test_leak_that_goes_on_is_not_called_mended(start: Started) -> None:
    """Daytona does not stop it: the workflow has tried and is blocked or still trying, and the sandbox still runs."""
    world = await start(audit_recheck_s=LOOK_S, attempts_max=2)
    sandbox_id = await leak(world)
    await world.stack.daytona.admin.add_fault("stop", {"kind": "status", "status": 503}, times=None)
    report = await world.audit()
    assert mended(report) == [(Kind.LEAK, False)]
    assert not report.promise_holds
    assert (await world.stack.daytona.admin.sandbox(sandbox_id)).state == "started"


async def test_lost_sandbox_becomes_known_to_its_workflow(world: Audited) -> None:
    """The workflow looks it up and publishes that it is missing; nothing is created."""
    admin = world.stack.daytona.admin
    sandbox_id = await world.ensured(world.stack)
    await admin.act(sandbox_id, "delete")
    await until(lambda: admin.sandbox(sandbox_id), lambda row: row.state == "destroyed", "it is destroyed")
    began = await world.stack.journal_end()
    report = await world.audit()
    assert mended(report) == [(Kind.LOST, True)]
    assert report.promise_holds
    assert await world.commands(began) == []
    assert (await world.audit()).suspects == 0


async def test_sandbox_of_an_issue_that_only_ended_is_found(start: Started) -> None:
    """The workflow of an issue that nobody asked for asks Daytona nothing, until the audit has it look."""
    ladder = {"close_stop_after_s": 0.0, "close_archive_after_s": -1.0, "close_delete_after_s": -1.0}
    world = await start(audit_recheck_s=LOOK_S, **ladder)
    row = await world.made(world.stack.name, issue_id=str(world.stack.issue_id))
    await world.stack.close()
    await world.listed(world.stack.name, lambda record: record.goal == "stopped")
    assert (await world.stack.daytona.admin.sandbox(row.id)).state == "started"
    report = await world.audit()
    assert mended(report) == [(Kind.UNSEEN, True)]
    assert report.promise_holds
    assert (await world.stack.daytona.admin.sandbox(row.id)).state == "stopped"


async def test_leak_whose_workflow_ended_is_an_orphan(world: Audited) -> None:
    """A workflow may be terminated at any moment: its sandbox still runs and needs a workflow."""
    row = await world.made(world.stack.name, issue_id=str(world.stack.issue_id))
    await world.published(world.stack, Published(phase="usable", sandbox_id=row.id, goal="stopped"))
    auditing = asyncio.create_task(world.audit(mend=False))
    await world.stack.handle.terminate()
    assert mended(await auditing) == [(Kind.ORPHAN, False)]
    assert not await world.records.look(world.stack.name)


@pytest.mark.parametrize("mends", [True, False])
async def test_issue_that_rests_learns_of_shorter_timers(
    temporal: Client, daytona: Server, issue_id: int, mends: bool
) -> None:
    """The settings changed while a closed issue rested: nothing else would wake its workflow before its old timer."""
    queue = f"issuebox-{issue_id}"
    async with working(temporal, daytona, issue_id, task_queue=queue, close_stop_after_s=3600) as before:
        sandbox_id = await before.ensured(before.stack)
        await before.stack.close()
        await until(before.stack.status, lambda status: status.goal_due_at is not None, "the close is known")
        await before.listed(before.stack.name, lambda record: record.timers.startswith("stopped:3600 "))
    async with working(temporal, daytona, issue_id, task_queue=queue, close_stop_after_s=0) as world:
        report = await world.audit(mend=mends)
        assert (report.outdated, report.promise_holds, report.findings) == (1, True, ())
        if not mends:
            assert (await world.stack.status()).goal is Goal.RUNNING
            assert (await world.audit(mend=False)).outdated == 1
            return
        await world.stack.reached(Goal.STOPPED)
        assert (await daytona.admin.sandbox(sandbox_id)).state == "stopped"
        await world.listed(world.stack.name, lambda record: record.timers.startswith("stopped:0 "))
        assert (await world.audit()).outdated == 0
