"""What an audit must not report: Daytona's list lags, flaps and shows the dying, and a 404 alone proves nothing."""

from __future__ import annotations

import asyncio

from issuebox.domain.audit import Kind
from issuebox.domain.phase import Goal
from tests.waiting import until
from workflows.audit_messages import AuditReport
from workflows.messages import SIGNAL_DELETE, DeleteRequest

from .conftest import Audited, Started

DYING_S = 60.0
"""A destroy that does not end within a test."""


async def test_dying_sandboxes_are_no_findings(world: Audited) -> None:
    """A sandbox being destroyed keeps its labels and is listed under another name; it is no duplicate."""
    await world.ensured(world.stack)
    copy = await world.made("a-copy", issue_id=str(world.stack.issue_id))
    orphan = await world.made(world.issue(1).name, issue_id=str(world.issue(1).issue_id))
    await world.stack.daytona.admin.config(durations={"destroy_s": DYING_S})
    for dying in (copy, orphan):
        await world.stack.daytona.admin.act(dying.id, "delete")
    report = await world.audit()
    assert (report.sandboxes, report.sandboxes_leaving, report.suspects) == (3, 2, 0)
    assert report.promise_holds


async def test_deleted_sandbox_that_the_list_still_shows_is_no_finding(start: Started) -> None:
    """The list shows them as alive; read by ID they are dying or gone."""
    world = await start(audit_recheck_s=2.0)
    await world.ensured(world.stack)
    wrong = [
        await world.made("a-copy", issue_id=str(world.stack.issue_id)),
        await world.made(world.issue(1).name, issue_id=str(world.issue(1).issue_id)),
    ]
    await world.stack.daytona.admin.config(list_lag_s=60)
    await _after_lag(world, [row.id for row in wrong])
    for row in wrong:
        await world.stack.daytona.admin.act(row.id, "delete")
    report = await world.audit()
    assert report.suspects == 2
    assert (report.findings, report.promise_holds) == ((), True)


async def _after_lag(world: Audited, ids: list[str]) -> None:
    """Shorten the lag until the list shows these: from now on it shows the world as it was that long ago."""

    async def listed() -> list[str]:
        page = await world.stack.provider.list_page(world.ours.labels)
        return [sandbox.id for sandbox in page.sandboxes if sandbox.state == "started"]

    await world.stack.daytona.admin.config(list_lag_s=1.0)
    await until(listed, lambda found: set(ids) <= set(found), "the late list shows them")


async def test_busy_world_behind_a_late_and_flapping_list_is_clean(start: Started) -> None:
    """Sandboxes are created, stopped, deleted and created again during the walks, all correctly: nothing is found."""
    world = await start(audit_recheck_s=2.0)
    admin = world.stack.daytona.admin
    await admin.config(list_lag_s=0.7, list_flap_probability=0.5)
    issues = [world.issue(number) for number in range(1, 9)]
    await asyncio.gather(*(issue.ensure() for issue in issues[:4]))

    async def bustle() -> None:
        for issue, late in zip(issues[:4], issues[4:], strict=True):
            await late.ensure()
            await admin.act(issue.name, "stop")
            await issue.order(SIGNAL_DELETE, DeleteRequest(force=True))
            await issue.reached(Goal.DELETED)
            await issue.ensure()

    bustling = asyncio.create_task(bustle())
    reports: list[AuditReport] = []
    while not bustling.done():
        reports.append(await world.audit())
    await bustling
    assert [report.findings for report in reports] == [()] * len(reports)
    assert all(report.promise_holds for report in reports)
    assert max(report.sandboxes for report in reports) > 0


async def test_sandbox_created_during_the_walk_is_no_finding(world: Audited) -> None:
    """Its workflow runs before it is created, and the walk describes the workflow after it has seen the sandbox."""
    await world.stack.daytona.admin.add_fault("list", {"kind": "delay", "seconds": 4.0})
    auditing = asyncio.create_task(world.audit())
    await until(world.stack.daytona.admin.faults, lambda plan: plan.rules[0].fired > 0, "the walk has begun")
    await asyncio.gather(*(world.issue(number).ensure() for number in range(1, 6)))
    report = await auditing
    assert report.sandboxes == 5
    assert (report.suspects, report.findings) == (0, ())


async def test_sandbox_that_answers_404_twice_is_not_lost(world: Audited) -> None:
    """A false 404 raises a suspicion and a second one confirms it; the next read refutes it."""
    sandbox_id = await world.ensured(world.stack)
    await world.stack.daytona.admin.add_fault("get", {"kind": "not_found"}, sandbox_id=sandbox_id, times=2)
    report = await world.audit()
    assert (report.suspects, report.findings) == (1, ())


async def test_daytona_without_its_database_is_not_believed(world: Audited) -> None:
    """It answers 404 to every read by ID and 500 to a list: while a list fails, no read counts."""
    admin = world.stack.daytona.admin
    await world.ensured(world.stack)
    await admin.add_fault("get", {"kind": "not_found"}, times=None)
    # The walks' own lists work, the two after the rereads fail; then everything works again.
    await admin.add_fault("list", {"kind": "status", "status": 500}, skip=2, times=2)
    auditing = asyncio.create_task(world.audit(mend=False))
    await until(admin.faults, lambda plan: plan.rules[1].fired == 2, "two rereads did not count")
    await admin.set_faults()
    report = await auditing
    assert (report.suspects, report.findings) == (1, ())


async def test_read_that_fails_is_repeated_and_concludes_nothing(world: Audited) -> None:
    """An outage in the middle of the walks makes the audit late but not wrong."""
    await world.ensured(world.stack)
    await world.made("a-copy", issue_id=str(world.stack.issue_id))
    for operation in ("list", "get"):
        await world.stack.daytona.admin.add_fault(operation, {"kind": "status", "status": 503}, times=2)
    report = await world.audit()
    assert [finding.kind for finding in report.findings] == [Kind.DUPLICATE]
    assert (report.sandboxes, report.issues_compared) == (2, 1)
