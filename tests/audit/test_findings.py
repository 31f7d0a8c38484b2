"""What an audit finds when something is wrong, and what it leaves alone."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.service import RPCError

from issuebox.domain.audit import Kind
from tests.waiting import until
from workflows.audit_messages import AuditReport
from workflows.messages import SIGNAL_DELETE, DeleteRequest, Published

from .conftest import Audited, Started


def kinds(report: AuditReport) -> list[Kind]:
    return [finding.kind for finding in report.findings]


async def test_clean_world_keeps_the_promise(world: Audited) -> None:
    """Sandboxes with their workflows, and workflows with their sandboxes, raise no suspicion."""
    for number in (1, 2, 3):
        await world.ensured(world.issue(number))
    report = await world.audit()
    assert report.promise_holds
    assert (report.sandboxes, report.sandboxes_leaving, report.issues, report.issues_compared) == (3, 0, 3, 3)
    assert (report.suspects, report.findings, report.mended, report.is_complete) == (0, (), 0, True)


async def test_empty_world_keeps_the_promise(world: Audited) -> None:
    """Without sandboxes and workflows the promise holds."""
    report = await world.audit()
    assert report.promise_holds
    assert (report.sandboxes, report.issues) == (0, 0)


async def test_orphan_gets_its_workflow_and_is_not_touched(world: Audited) -> None:
    """The workflow is started without a request; Daytona is only read."""
    row = await world.made(world.stack.name, issue_id=str(world.stack.issue_id))
    began = await world.stack.journal_end()
    report = await world.audit()
    (finding,) = report.findings
    assert (finding.kind, finding.issue_id, finding.sandbox_id) == (Kind.ORPHAN, world.stack.issue_id, row.id)
    assert (finding.seen, finding.mended) == ("started, and no workflow runs for it", True)
    assert report.promise_holds
    assert (await world.stack.status()).requests_waiting == 0
    assert await world.commands(began) == []


async def test_orphan_is_only_reported_when_mending_is_off(world: Audited) -> None:
    """`--no-mend` starts no workflow, and the remaining finding breaks the promise."""
    await world.made(world.stack.name, issue_id=str(world.stack.issue_id))
    report = await world.audit(mend=False)
    assert (kinds(report), report.mended, report.promise_holds) == ([Kind.ORPHAN], 0, False)
    with pytest.raises(RPCError, match="not found"):
        await world.stack.handle.describe()


async def test_setting_decides_about_mending_when_the_input_does_not(start: Started) -> None:
    """Schedules start audits that leave it to the setting."""
    world = await start(audit_mend=False)
    await world.made(world.stack.name, issue_id=str(world.stack.issue_id))
    assert (await world.audit()).mended == 0
    assert (await world.audit(mend=True)).mended == 1


async def test_duplicate_is_reported_and_left_alone(world: Audited) -> None:
    """Only a person can decide which of two sandboxes holds the work."""
    await world.ensured(world.stack)
    copy = await world.made("a-copy", issue_id=str(world.stack.issue_id))
    began = await world.stack.journal_end()
    report = await world.audit()
    (finding,) = report.findings
    assert (finding.kind, finding.sandbox_id, finding.mended) == (Kind.DUPLICATE, copy.id, False)
    assert world.stack.name in finding.seen
    assert not report.promise_holds
    assert await world.commands(began) == []


async def test_stray_is_reported(world: Audited) -> None:
    """A sandbox for an issue that has none with its name, and one for no issue at all."""
    await world.made("a-stray", issue_id=str(world.stack.issue_id))
    await world.made("nobodys")
    report = await world.audit()
    assert kinds(report) == [Kind.STRAY, Kind.STRAY]
    assert [finding.issue_id for finding in report.findings] == [world.stack.issue_id, 0]
    assert not report.promise_holds


async def test_conflict_is_reported(world: Audited) -> None:
    """A name of one issue with the label of another one."""
    await world.made(world.stack.name, issue_id="1")
    report = await world.audit()
    (finding,) = report.findings
    assert finding.kind is Kind.CONFLICT
    assert finding.seen == f"started, named for issue {world.stack.issue_id}, and labelled for issue '1'"
    assert not report.promise_holds


async def test_lost_sandbox_is_reported(world: Audited) -> None:
    """The workflow knows a sandbox that somebody deleted at Daytona."""
    sandbox_id = await world.ensured(world.stack)
    await world.stack.daytona.admin.act(sandbox_id, "delete")
    await _destroyed(world, sandbox_id)
    report = await world.audit(mend=False)
    (finding,) = report.findings
    assert (finding.kind, finding.sandbox_id, finding.name) == (Kind.LOST, sandbox_id, world.stack.name)
    assert not report.promise_holds


@pytest.mark.parametrize("goal", ["stopped", "archived", "deleted"])
async def test_leak_is_reported(world: Audited, goal: str) -> None:
    """A sandbox runs although its issue's goal is to rest."""
    row = await world.made(world.stack.name, issue_id=str(world.stack.issue_id))
    await world.published(world.stack, Published(phase="usable", sandbox_id=row.id, goal=goal))
    report = await world.audit(mend=False)
    (finding,) = report.findings
    assert (finding.kind, finding.sandbox_id) == (Kind.LEAK, row.id)
    assert finding.seen == f"started, although it should be {goal}"


async def test_blocked_issue_is_no_leak(world: Audited) -> None:
    """A sandbox that keeps running because of unsaved work is no leak."""
    row = await world.made(world.stack.name, issue_id=str(world.stack.issue_id))
    await world.published(world.stack, Published(phase="usable", sandbox_id=row.id, goal="deleted", blocked="unsaved"))
    report = await world.audit()
    assert (report.issues_compared, kinds(report), report.promise_holds) == (1, [], True)


async def test_other_installations_are_left_alone(world: Audited, start: Started) -> None:
    """Neither the sandboxes of another instance nor the workflows of another task queue are judged."""
    other = await start(instance="other")
    await other.made("claude-issue-1-copy", issue_id="1")
    sandbox_id = await other.ensured(other.stack)
    await other.stack.daytona.admin.act(sandbox_id, "delete")
    report = await world.audit()
    assert (report.promise_holds, report.sandboxes, report.issues) == (True, 0, 0)
    assert (await other.audit(mend=False)).sandboxes >= 1


@pytest.mark.parametrize("goal", ["running", "stopped", "deleted"])
async def test_sandbox_of_another_installation_is_counted_and_no_finding(world: Audited, goal: str) -> None:
    """A workflow that does not know yet that the sandbox is another's gets no signal to act on its goal."""
    labels = world.ours.labels | {"issuebox-instance": "other"}
    row = await world.made(world.stack.name, labels, issue_id=str(world.stack.issue_id))
    await world.published(world.stack, Published(phase="usable", sandbox_id=row.id, goal=goal))
    began = await world.stack.journal_end()
    report = await world.audit(mend=True)
    assert (report.foreign, report.issues_compared, kinds(report), report.promise_holds) == (1, 1, [], True)
    assert await world.commands(began) == []


async def test_name_that_another_installation_has_makes_ours_a_stray(world: Audited) -> None:
    """Beside another installation's sandbox, ours is no duplicate: it is our only one."""
    labels = world.ours.labels | {"issuebox-instance": "other"}
    await world.made(world.stack.name, labels, issue_id=str(world.stack.issue_id))
    await world.made("a-copy", issue_id=str(world.stack.issue_id))
    report = await world.audit(mend=False)
    assert kinds(report) == [Kind.STRAY]


async def test_block_ends_by_the_audit_when_the_sandbox_of_another_is_gone(world: Audited) -> None:
    """Then the name is free, and the issue's open request gets its own sandbox."""
    labels = world.ours.labels | {"issuebox-instance": "other"}
    row = await world.made(world.stack.name, labels, issue_id=str(world.stack.issue_id))
    handover = await world.stack.ensure()
    assert handover.blocked is not None
    await world.listed(world.stack.name, lambda record: record.blocked == "foreign")
    assert ((await world.audit()).foreign, await world.stack.state()) == (1, "started")
    await world.stack.daytona.admin.act(row.id, "delete")
    await _destroyed(world, row.id)
    report = await world.audit()
    assert (report.foreign, kinds(report), report.mended, report.promise_holds) == (0, [Kind.LOST], 1, True)
    await world.stack.served()
    [own] = await world.stack.live()
    assert own.labels["issuebox-instance"] == world.stack.settings.instance


async def test_several_findings_come_in_one_report(world: Audited) -> None:
    """A finding that cannot be mended does not keep the others from being mended."""
    orphan, twin = world.issue(1), world.issue(2)
    await world.made(orphan.name, issue_id=str(orphan.issue_id))
    await world.ensured(twin)
    await world.made("twin-copy", issue_id=str(twin.issue_id))
    report = await world.audit()
    found = {finding.kind: finding.mended for finding in report.findings}
    assert found == {Kind.ORPHAN: True, Kind.DUPLICATE: False}
    assert (report.mended, report.suspects, report.promise_holds) == (1, 2, False)


async def _destroyed(world: Audited, sandbox_id: str) -> None:
    await until(
        lambda: world.stack.daytona.admin.sandbox(sandbox_id), lambda row: row.state == "destroyed", "it is destroyed"
    )


async def test_two_audits_at_once_agree(world: Audited) -> None:
    """A manual audit beside a scheduled one starts the same workflow only once."""
    await world.made(world.stack.name, issue_id=str(world.stack.issue_id))
    first, second = await asyncio.gather(world.audit(), world.audit())
    assert (first.promise_holds, second.promise_holds) == (True, True)


async def test_deleted_sandbox_that_was_not_destroyed_is_reported_and_breaks_no_promise(world: Audited) -> None:
    """Every other read says that it is gone. Its container may cost, and nobody here can remove it."""
    sandbox_id = await world.ensured(world.stack)
    await world.stack.daytona.admin.add_fault("delete", {"kind": "fail_transition", "reason": "device busy"})
    await world.stack.order(SIGNAL_DELETE, DeleteRequest(force=True))
    await world.listed(world.stack.name, lambda record: record.phase == "missing")
    report = await world.audit()
    (finding,) = report.findings
    assert (finding.kind, finding.sandbox_id, finding.issue_id) == (
        Kind.UNDESTROYED, sandbox_id, world.stack.issue_id
    )  # fmt: skip
    assert "device busy" in finding.seen
    assert (finding.mended, report.promise_holds) == (False, True)
