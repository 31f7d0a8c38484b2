"""Sandboxes whose workflow ended, cannot go on, or is not served: what the audit finds, and what it adopts."""

from __future__ import annotations

import pytest

from issuebox.domain.audit import CANCELLED_ADVICE, Finding, Kind, Mend
from issuebox.domain.issue import IssueState
from issuebox.domain.phase import Goal
from tests.stuck import make_stuck
from tests.waiting import until
from workflows.messages import SIGNAL_EVENT, WORKFLOW_TYPE, StartInput

from .conftest import Audited


async def only(world: Audited, *, mend: bool | None = None) -> Finding:
    (finding,) = (await world.audit(mend=mend)).findings
    return finding


async def closed(world: Audited) -> str:
    """The sandbox of an issue that is closed and that lists show as closed."""
    sandbox_id = await world.ensured(world.stack)
    await world.stack.close()

    async def state() -> str:
        row = await world.index.describe(world.stack.name)
        return row.published.issue_state if row else ""

    await until(state, lambda found: found == "closed", "the close is published")
    return sandbox_id


async def test_terminated_workflow_of_a_closed_issue_begins_with_what_it_published(world: Audited) -> None:
    """The new one knows the issue as closed: its timers begin anew, and nothing wakes the sandbox."""
    sandbox_id = await closed(world)
    await world.stack.handle.terminate()
    began = await world.stack.journal_end()
    finding = await only(world)
    assert (finding.kind, finding.mended) == (Kind.ORPHAN, True)
    assert "its last one was terminated at" in finding.seen
    status = await until(world.stack.status, lambda found: found.sandbox is not None, "it has looked")
    assert status.issue is not None
    assert (status.issue.state, status.issue.repository, status.issue.number) == (IssueState.CLOSED, "octo/repo", 5)
    assert status.sandbox is not None
    assert (status.sandbox.id, status.requests_waiting) == (sandbox_id, 0)
    assert status.goal_due_at is not None
    assert await world.commands(began) == []


async def test_late_opened_does_not_wake_an_adopted_closed_issue(world: Audited) -> None:
    """What the ended workflow knew of the close still judges late deliveries."""
    late = world.stack.event(action="opened")
    await closed(world)
    await world.stack.handle.terminate()
    assert (await only(world)).mended
    await world.stack.handle.signal(SIGNAL_EVENT, late)
    await until(world.stack.status, lambda status: status.deliveries_seen >= 2, "the late delivery came")
    assert (await world.stack.status()).requests_waiting == 0


async def test_cancelled_workflow_is_left_alone_until_somebody_asks(world: Audited) -> None:
    """A cancellation is a person's: the audit says so, and the next event adopts the sandbox."""
    sandbox_id = await world.ensured(world.stack)
    await world.stack.handle.cancel()
    await until(world.stack.handle.describe, lambda found: found.close_time is not None, "the workflow has ended")
    finding = await only(world)
    assert (finding.kind, finding.mended, finding.mend) == (Kind.ORPHAN, False, Mend.NOTHING)
    assert "its last one was cancelled at" in finding.seen
    assert finding.advice == CANCELLED_ADVICE
    handover = await world.stack.ensure()
    assert handover.sandbox is not None
    assert handover.sandbox.id == sandbox_id
    assert (await world.audit()).promise_holds


async def test_orphan_without_any_workflow_begins_with_its_labels(world: Audited) -> None:
    """The database may be lost: the labels say which issue it is, and resync then learns whether it is open."""
    issue_id = str(world.stack.issue_id)
    await world.made(world.stack.name, issue_id=issue_id, repository="octo/repo", issue_number="5")
    assert (await only(world)).mended
    status = await until(world.stack.status, lambda found: found.sandbox is not None, "it has looked")
    assert status.issue is not None
    assert (status.issue.repository, status.issue.number, status.issue.updated_at) == ("octo/repo", 5, None)
    assert (status.goal, status.requests_waiting) == (Goal.RUNNING, 0)


@pytest.mark.parametrize("number", ["five", "0", "9" * 400])
async def test_labels_that_name_no_issue_are_left_out(world: Audited, number: str) -> None:
    """A label may contain anything."""
    issue_id = str(world.stack.issue_id)
    await world.made(world.stack.name, issue_id=issue_id, repository="octo/repo", issue_number=number)
    assert (await only(world)).mended
    status = await world.stack.status()
    assert status.issue is not None
    assert (status.issue.repository, status.issue.number) == ("", 0)


async def test_workflow_that_fails_its_task_for_ever_is_stuck(world: Audited) -> None:
    """Somebody started it by hand with a wrong input: it takes every event, and does nothing."""
    await make_stuck(world.stack)
    await world.listed(world.stack.name)
    # Each event makes Temporal count the attempts anew.
    await world.stack.deliver()
    report = await world.audit()
    (finding,) = report.findings
    assert (finding.kind, finding.name, finding.sandbox_id) == (Kind.STUCK, world.stack.name, "")
    assert "Failed decoding arguments" in finding.seen
    assert f"temporal workflow terminate --workflow-id {world.stack.name}" in finding.advice
    assert "reset" not in finding.advice
    assert not report.promise_holds
    await world.stack.handle.terminate()
    assert (await world.audit()).promise_holds
    await world.stack.deliver()
    assert (await world.stack.served()).sandbox is not None


async def test_workflow_on_another_task_queue_serves_nobody_here(world: Audited) -> None:
    """ISSUEBOX_TASK_QUEUE was changed: the workflow exists, and no worker of ours has it."""
    row = await world.made(world.stack.name, issue_id=str(world.stack.issue_id))
    await world.stack.temporal.start_workflow(
        WORKFLOW_TYPE, StartInput(world.stack.issue_id, world.stack.name), id=world.stack.name, task_queue="old-queue"
    )
    finding = await only(world)
    assert (finding.kind, finding.sandbox_id, finding.mended) == (Kind.UNSERVED, row.id, False)
    assert "'old-queue'" in finding.seen
