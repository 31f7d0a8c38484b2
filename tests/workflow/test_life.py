"""The life of one issue on the whole path: closed, reopened, deleted, transferred, and a person's orders."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from issuebox.domain.issue import IssueState
from issuebox.domain.phase import Cause, Goal, Outcome
from issuebox.domain.unsaved_work import WorkState
from tests.waiting import until
from workflows.messages import (
    ERROR_ISSUE_DELETED,
    MEMO_STATUS,
    SIGNAL_DELETE,
    SIGNAL_LOOK,
    SIGNAL_REPLACE,
    SIGNAL_STOP,
    DeleteRequest,
    Published,
)

from .conftest import Stack, Started

NEVER = -1.0
LADDER = {"close_stop_after_s": 0.3, "close_archive_after_s": 1.5, "close_delete_after_s": 3.0}
STOPS = {"close_stop_after_s": 0.0, "close_archive_after_s": NEVER, "close_delete_after_s": NEVER}
DELETES = {"close_stop_after_s": 0.0, "close_archive_after_s": 0.0, "close_delete_after_s": 0.0}


async def _dirty(stack: Stack, sandbox_id: str) -> None:
    """Somebody leaves work in the sandbox that is nowhere else."""
    made = await stack.provider.execute(sandbox_id, "git init -q repo && echo work > repo/notes.txt", 10.0)
    assert made.exit_code == 0, made.output


async def _id(stack: Stack) -> str:
    handover = await stack.ensure()
    assert handover.sandbox is not None, handover
    return handover.sandbox.id


async def test_closed_issue_is_stopped_then_archived_then_deleted(start: Started) -> None:
    """Each step comes after its time, to the same sandbox, and no other is created."""
    stack = await start(**LADDER)
    sandbox_id = await _id(stack)
    await stack.close()
    for state in ("started", "stopped", "archived", ""):
        await until(stack.state, lambda seen, state=state: seen == state, f"the sandbox {state or 'gone'}")
    status = await stack.reached(Goal.DELETED)
    assert (status.outcome, status.blocked, status.goal_due_at) == (Outcome.DELETED, None, None)
    created = await stack.daytona.admin.journal(kind="created")
    assert [entry.sandbox_id for entry in created if entry.name == stack.name] == [sandbox_id]


@pytest.mark.parametrize("rung", ["started", "stopped", "archived"])
async def test_reopening_at_any_rung_brings_the_same_sandbox_back(start: Started, rung: str) -> None:
    """Reopened while still running, when stopped, or when archived: the same sandbox runs, and no timer is left."""
    times = {"started": (600.0, NEVER), "stopped": (0.0, NEVER), "archived": (0.0, 0.0)}[rung]
    stack = await start(close_stop_after_s=times[0], close_archive_after_s=times[1], close_delete_after_s=700.0)
    sandbox_id = await _id(stack)
    await stack.close()
    await until(stack.state, lambda state: state == rung, f"the sandbox {rung}")
    await stack.reached({"started": Goal.RUNNING, "stopped": Goal.STOPPED, "archived": Goal.ARCHIVED}[rung])
    await stack.deliver(stack.event(action="reopened"))
    status = await until(stack.status, lambda s: s.deliveries_seen == 2 and not s.requests_waiting, "served")
    assert (status.goal, status.goal_due_at, await stack.state()) == (Goal.RUNNING, None, "started")
    assert status.sandbox is not None
    assert status.sandbox.id == sandbox_id


async def test_close_during_a_create_is_honoured_when_it_settles(start: Started) -> None:
    """The current create ends and its sandbox is stopped; the waiting caller gets the reason."""
    stack = await start(**STOPS)
    await stack.daytona.admin.add_fault("create", {"kind": "slow", "seconds": 1.0}, name=stack.name)
    waiting = asyncio.create_task(stack.ensure())
    await until(stack.state, lambda state: state == "creating", "the create under way")
    await stack.close()
    await stack.reached(Goal.STOPPED)
    assert await stack.state() == "stopped"
    assert (await waiting).outcome is Outcome.STOPPED


async def test_stop_during_a_start_is_honoured_when_it_settles(stack: Stack) -> None:
    """The same for a person's stop while the sandbox starts."""
    sandbox_id = await _id(stack)
    await stack.daytona.admin.act(sandbox_id, "stop")
    await stack.provider.settle(sandbox_id, 5.0)
    await stack.daytona.admin.add_fault("start", {"kind": "slow", "seconds": 1.0}, name=stack.name)
    await stack.deliver()
    await until(stack.state, lambda state: state == "starting", "the start under way")
    await stack.order(SIGNAL_STOP)
    await stack.reached(Goal.STOPPED)
    assert await stack.state() == "stopped"


async def test_reopening_during_the_delete_makes_a_new_one_when_the_old_is_gone(start: Started) -> None:
    """The event is not lost, and the new sandbox is not created while the old one is still dying."""
    stack = await start(**DELETES)
    sandbox_id = await _id(stack)
    await stack.daytona.admin.config(durations={"destroy_s": 1.0})
    await stack.close()
    await until(stack.state, lambda state: state == "destroying", "the delete under way")
    await stack.deliver(stack.event(action="reopened"))
    status = await until(stack.status, lambda s: s.deliveries_seen == 2 and not s.requests_waiting, "served")
    assert status.sandbox is not None
    assert status.sandbox.id != sandbox_id
    journal = await stack.daytona.admin.journal()
    gone = next(e.seq for e in journal if e.sandbox_id == sandbox_id and e.kind == "destroyed")
    born = next(e.seq for e in journal if e.sandbox_id == status.sandbox.id and e.kind == "created")
    assert gone < born


async def test_request_on_a_closed_issue_starts_it_and_counts_the_timers_anew(start: Started) -> None:
    """A person may work on a closed issue; when the time has passed again, the sandbox is stopped again."""
    stack = await start(close_stop_after_s=1.0, close_archive_after_s=NEVER, close_delete_after_s=NEVER)
    sandbox_id = await _id(stack)
    await stack.close()
    await until(stack.state, lambda state: state == "stopped", "stopped")
    handover = await stack.ensure()
    assert handover.sandbox is not None
    assert (handover.outcome, handover.sandbox.id) == (Outcome.STARTED, sandbox_id)
    status = await stack.status()
    assert status.goal_due_at is not None
    await until(stack.state, lambda state: state == "stopped", "stopped again")


async def test_transferred_issue_is_stopped(start: Started) -> None:
    """The new issue has its own ID; the old one's sandbox is stopped and kept."""
    stack = await start(**STOPS)
    await _id(stack)
    await stack.close(IssueState.TRANSFERRED)
    await stack.reached(Goal.STOPPED)
    assert await stack.state() == "stopped"


async def test_deleted_issue_loses_its_sandbox_and_in_the_end_its_workflow(start: Started) -> None:
    """The sandbox goes at once, late deliveries wake nothing, and then the workflow ends."""
    stack = await start(forget_after_s=3.0, redelivered_within_s=3.0)
    await _id(stack)
    await stack.close(IssueState.DELETED)
    await stack.reached(Goal.DELETED)
    assert await stack.state() == ""
    await stack.deliver()
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await stack.ensure()
    assert isinstance(refused.value.cause, ApplicationError)
    assert refused.value.cause.type == ERROR_ISSUE_DELETED
    await until(
        stack.handle.describe, lambda seen: seen.status is WorkflowExecutionStatus.COMPLETED, "the workflow ended"
    )
    assert await stack.state() == ""


async def test_stop_by_a_person_holds_until_somebody_asks(stack: Stack) -> None:
    """An open issue's sandbox stays stopped, and the next request starts the same one."""
    sandbox_id = await _id(stack)
    await stack.order(SIGNAL_STOP)
    await stack.reached(Goal.STOPPED)
    assert await stack.state() == "stopped"
    assert await _id(stack) == sandbox_id


async def test_unsaved_work_holds_the_delete_and_is_reported(start: Started) -> None:
    """Work that is only in the sandbox is kept and shown in state, label and why. The sandbox is stopped."""
    stack = await start(**DELETES)
    sandbox_id = await _id(stack)
    await _dirty(stack, sandbox_id)
    await stack.close()
    status = await stack.blocked()
    assert status.blocked is not None
    assert (status.blocked.cause, await stack.state()) == (Cause.UNSAVED, "stopped")
    assert status.inspection is not None
    assert status.inspection.state is WorkState.UNSAVED
    assert "repo" in status.blocked.reason
    assert any("repo" in note.reason for note in (await stack.why()).notes)
    [row] = await stack.live()
    assert row.labels["issuebox-work"] == "unsaved"


async def test_held_delete_goes_on_when_the_work_is_saved(start: Started) -> None:
    """A person saves the work and sends `retry`: the sandbox is inspected again and deleted."""
    stack = await start(**DELETES)
    sandbox_id = await _id(stack)
    await _dirty(stack, sandbox_id)
    await stack.close()
    await stack.blocked()
    await stack.daytona.admin.act(sandbox_id, "start")
    await stack.provider.settle(sandbox_id, 5.0)
    await stack.provider.execute(sandbox_id, "rm -rf repo", 10.0)
    await stack.retry()
    await until(stack.state, lambda state: state == "", "the sandbox gone")


async def test_handed_over_sandbox_has_no_verdict_any_more(stack: Stack) -> None:
    """Somebody may save the work, or make more of it: lists must not show what was found before."""
    await _dirty(stack, await _id(stack))
    await stack.order(SIGNAL_DELETE)
    held = await stack.blocked()
    assert held.inspection is not None
    assert (await stack.ensure()).outcome is Outcome.STARTED
    assert (await stack.status()).inspection is None


async def test_held_sandbox_is_not_started_again_and_again(start: Started) -> None:
    """The slow retry of a held delete costs one lookup, not a start, while nobody uses the sandbox."""
    stack = await start(**DELETES, blocked_retry_initial_s=0.2, blocked_retry_max_s=0.2)
    sandbox_id = await _id(stack)
    await _dirty(stack, sandbox_id)
    await stack.close()
    await stack.blocked()
    before = await stack.journal_end()
    await until(stack.status, lambda s: s.blocked is not None and s.blocked.tries >= 4, "tried again")
    assert set(await stack.requests(after=before)) == {"get"}


async def test_forced_delete_gives_unsaved_work_up(start: Started) -> None:
    """Only a person's forced delete gives the work up."""
    stack = await start(**DELETES)
    await _dirty(stack, await _id(stack))
    await stack.close()
    await stack.blocked()
    await stack.order(SIGNAL_DELETE, DeleteRequest(force=True))
    await until(stack.state, lambda state: state == "", "the sandbox gone")


async def test_delete_without_argument_is_not_forced(stack: Stack) -> None:
    """The `temporal` CLI sends it without input."""
    await _dirty(stack, await _id(stack))
    await stack.order(SIGNAL_DELETE)
    status = await stack.blocked()
    assert status.blocked is not None
    assert (status.blocked.cause, await stack.state()) == (Cause.UNSAVED, "stopped")


async def test_replace_gives_a_broken_sandbox_up_for_a_new_one(stack: Stack) -> None:
    """A sandbox that nobody can repair is replaced when a person orders it, and only then."""
    sandbox_id = await _id(stack)
    await stack.daytona.admin.act(sandbox_id, "break", recoverable=False)
    handover = await stack.ensure()
    assert handover.outcome is Outcome.BLOCKED
    await stack.order(SIGNAL_REPLACE)
    status = await stack.served()
    assert status.sandbox is not None
    assert (status.blocked, status.sandbox.id != sandbox_id, await stack.state()) == (None, True, "started")


async def test_replace_exchanges_a_running_sandbox_once(stack: Stack) -> None:
    """The old one is gone before the new one is created, and the new one is not replaced in turn."""
    sandbox_id = await _id(stack)
    await _dirty(stack, sandbox_id)
    await stack.order(SIGNAL_REPLACE)
    await until(stack.status, lambda s: s.sandbox is not None and s.sandbox.id != sandbox_id, "another sandbox")
    status = await stack.served()
    created = [e for e in await stack.daytona.admin.journal(kind="created") if e.name == stack.name]
    assert (len(created), status.outcome, await stack.state()) == (2, Outcome.CREATED, "started")


async def test_delete_that_outlasts_its_command_is_followed_to_its_end(start: Started) -> None:
    """The workflow waits for it and sees it end: that needs no confirmation, as one *not found* alone would."""
    stack = await start(daytona_listen_s=0.2, confirm_gone_s=60.0)
    await stack.ensure()
    await stack.daytona.admin.config(durations={"destroy_s": 1.0})
    await stack.order(SIGNAL_DELETE)
    assert (await stack.reached(Goal.DELETED)).doing == "resting until the next event"
    assert await stack.live() == []


async def test_lists_see_goal_and_work(start: Started) -> None:
    """The memo has what sweeps need: the goal, when it changes, the issue's state and the verdict on its work."""
    stack = await start(close_stop_after_s=0.0, close_archive_after_s=600.0)
    await _dirty(stack, await _id(stack))
    await stack.close()
    await stack.reached(Goal.STOPPED)

    async def memo() -> Published:
        description = await stack.handle.describe()
        return await description.memo_value(MEMO_STATUS, Published(), type_hint=Published)

    seen = await until(memo, lambda seen: seen.goal == "stopped" and bool(seen.work), "the memo written")
    assert (seen.issue_state, seen.work, seen.state) == ("closed", "unsaved", "stopped")
    assert seen.goal_due_at


async def test_searches_find_the_issue_by_what_it_is(start: Started) -> None:
    """By repository, number, state of the issue, phase, and cause of a block, as in the README's queries."""
    stack = await start(**DELETES)
    await _dirty(stack, await _id(stack))
    await stack.close()
    await stack.blocked()
    query = (
        f"WorkflowId = '{stack.name}' AND IssueRepository = 'octo/repo' AND IssueNumber = 5 "
        "AND IssueState = 'closed' AND SandboxPhase = 'stopped' AND SandboxBlocked = 'unsaved'"
    )
    await until(lambda: stack.temporal.count_workflows(query), lambda found: found.count == 1, "found by what it is")
    await stack.order(SIGNAL_DELETE, DeleteRequest(force=True))
    # Its earlier run, which continued as new before this rest, is found as well.
    unset = f"WorkflowId = '{stack.name}' AND SandboxBlocked IS NULL AND SandboxPhase = 'missing'"
    unset += " AND ExecutionStatus = 'Running'"
    await until(lambda: stack.temporal.count_workflows(unset), lambda found: found.count == 1, "no longer blocked")


async def test_close_of_a_blocked_issue_is_published_and_tries_nothing(start: Started) -> None:
    """Lists show the truth even while the issue waits for its next try."""
    stack = await start(close_stop_after_s=600.0)
    await stack.daytona.admin.config(runner_available=False)
    await stack.deliver()
    await stack.blocked()
    before = await stack.journal_end()
    await stack.close()
    query = f"WorkflowId = '{stack.name}' AND IssueState = 'closed'"
    await until(lambda: stack.temporal.count_workflows(query), lambda found: found.count == 1, "shown as closed")
    assert await stack.requests(after=before) == []


@pytest.mark.parametrize(("ladder", "state"), [(STOPS, "stopped"), (DELETES, "")])
async def test_false_404_does_not_hide_what_a_lost_create_has_made(
    start: Started, ladder: dict[str, float], state: str
) -> None:
    """The issue is closed while its create has no known outcome: one 404 does not prove that nothing was created."""
    stack = await start(**ladder, daytona_command_timeout_s=1.0)
    await stack.daytona.admin.add_fault("create", {"kind": "hang", "after": True})
    await stack.daytona.admin.add_fault("get", {"kind": "not_found"}, skip=1)
    await stack.deliver()
    await until(stack.state, lambda seen: seen == "started", "the sandbox made")
    await stack.close()
    await until(stack.state, lambda seen: seen == state, f"the sandbox {state or 'gone'}")
    assert len(await stack.daytona.admin.journal(kind="fault")) == 2


async def test_false_404_does_not_pass_for_a_deleted_sandbox(start: Started) -> None:
    """With its database down, Daytona finds nothing: the goal is reached only when the sandbox is really gone."""
    stack = await start(**DELETES, confirm_gone_s=2.0)
    await _id(stack)
    await stack.daytona.admin.add_fault("get", {"kind": "not_found"}, name=stack.name, times=2)
    await stack.close()
    await until(stack.state, lambda state: state == "", "the sandbox gone")
    status = await stack.reached(Goal.DELETED)
    assert (status.outcome, status.blocked) == (Outcome.DELETED, None)


async def test_broken_sandbox_that_comes_up_again_is_followed_again(start: Started) -> None:
    """Whoever repairs a closed issue's sandbox at Daytona need not report it: the workflow looks it up now and then."""
    stack = await start(**STOPS, blocked_retry_initial_s=0.2, blocked_retry_max_s=0.5)
    sandbox_id = await _id(stack)
    await stack.daytona.admin.act(sandbox_id, "break", recoverable=False)
    await stack.close()
    status = await stack.blocked()
    assert status.blocked is not None
    assert status.blocked.cause is Cause.BROKEN
    await stack.daytona.admin.act(sandbox_id, "set-state", state="started", desired_state="started")
    await until(stack.state, lambda state: state == "stopped", "it is stopped, as the closed issue wants")


async def test_outage_at_both_lookups_does_not_pass_for_a_deleted_sandbox(start: Started) -> None:
    """However long or often Daytona lacks its database: an outage never proves that a sandbox is gone."""
    stack = await start(**DELETES, confirm_gone_s=0.2)
    await _id(stack)
    await stack.daytona.admin.config(outage=True, outage_404_s=60.0, read_cache_s=0.0)
    await stack.close()

    async def refused() -> int:
        replies = await stack.daytona.admin.journal(kind="reply", operation="list")
        return sum(reply.detail["status"] == 500 for reply in replies)

    await until(refused, lambda count: count >= 2, "two doubted lookups met the outage")
    await stack.daytona.admin.config(outage=False)
    await until(stack.state, lambda state: state == "", "the sandbox gone")
    assert (await stack.reached(Goal.DELETED)).outcome is Outcome.DELETED


async def test_forced_delete_does_not_apply_to_a_later_sandbox(stack: Stack) -> None:
    """A forced delete does not give up a sandbox that a person makes by hand afterwards."""
    await _dirty(stack, await _id(stack))
    await stack.order(SIGNAL_DELETE, DeleteRequest(force=True))
    await until(stack.state, lambda state: state == "", "the sandbox gone")
    await stack.reached(Goal.DELETED)
    made = await stack.daytona.admin.create(name=stack.name)
    await stack.provider.settle(made.id, 5.0)
    await _dirty(stack, made.id)
    await stack.order(SIGNAL_LOOK)
    await stack.order(SIGNAL_DELETE)
    status = await stack.blocked()
    assert status.blocked is not None
    assert (status.blocked.cause, await stack.state()) == (Cause.UNSAVED, "stopped")


async def test_forced_delete_that_found_no_sandbox_does_not_apply_to_a_later_one(stack: Stack) -> None:
    """There was none whose work somebody could have given up. The order to delete stands, and unsaved work holds it."""
    await stack.daytona.admin.config(cpu_max=0)
    await stack.ensure()
    await stack.order(SIGNAL_DELETE, DeleteRequest(force=True))
    await stack.reached(Goal.DELETED)
    await stack.daytona.admin.config(cpu_max=None)
    made = await stack.daytona.admin.create(name=stack.name)
    await stack.provider.settle(made.id, 5.0)
    await _dirty(stack, made.id)
    await stack.order(SIGNAL_LOOK)
    blocked = (await stack.blocked()).blocked
    assert blocked is not None
    assert (blocked.cause, await stack.state()) == (Cause.UNSAVED, "stopped")


async def test_time_without_a_zone_harms_nothing(stack: Stack) -> None:
    """A signal typed by hand cannot keep the workflow from reading GitHub's own deliveries."""
    bare = "2026-01-01T10:00:00"
    typed = {"issue": {"id": stack.issue_id, "updated_at": bare}, "requested_at": bare}
    await stack.deliver()
    await stack.handle.signal("issue_event", typed)
    await stack.deliver()
    status = await until(stack.status, lambda s: s.deliveries_seen == 3 and not s.requests_waiting, "all read")
    assert status.sandbox is not None
