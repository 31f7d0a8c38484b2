"""Every Daytona state and every kind of failure, from an event to its outcome, on the whole path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from issuebox.domain.phase import GATED, Cause, Outcome, Phase
from tests.waiting import until

from .conftest import Stack, Started

Arrange = Callable[[Stack, str], Awaitable[object]]


async def _stop(stack: Stack, sandbox_id: str) -> None:
    await stack.daytona.admin.act(sandbox_id, "stop")
    await stack.provider.settle(sandbox_id, 5.0)


async def _archive(stack: Stack, sandbox_id: str) -> None:
    await _stop(stack, sandbox_id)
    await stack.daytona.admin.act(sandbox_id, "archive")
    await until(stack.state, lambda state: state == "archived", "archived after its turn for a backup")


async def _slow(stack: Stack, **durations: float) -> None:
    await stack.daytona.admin.config(durations=durations)


async def _stopping(stack: Stack, sandbox_id: str) -> None:
    await _slow(stack, stop_s=1.0)
    await stack.daytona.admin.act(sandbox_id, "stop")


async def _archiving(stack: Stack, sandbox_id: str) -> None:
    await stack.daytona.admin.config(backup_every_s=3600)  # It would never end: Daytona has to be asked to start.
    await _stop(stack, sandbox_id)
    await stack.daytona.admin.act(sandbox_id, "archive")


async def _starting(stack: Stack, sandbox_id: str) -> None:
    await _stop(stack, sandbox_id)
    await _slow(stack, start_s=1.0)
    await stack.daytona.admin.act(sandbox_id, "start")


async def _restoring(stack: Stack, sandbox_id: str) -> None:
    await _archive(stack, sandbox_id)
    await _slow(stack, restore_s=1.0)
    await stack.daytona.admin.act(sandbox_id, "start")


async def _recoverable(stack: Stack, sandbox_id: str) -> None:
    await stack.daytona.admin.act(sandbox_id, "break", recoverable=True, reason="disk full")


async def _nothing(_stack: Stack, _sandbox_id: str) -> None:
    return


SAME_SANDBOX: list[tuple[Arrange, Outcome]] = [
    (_nothing, Outcome.REUSED),
    (_stop, Outcome.STARTED),
    (_archive, Outcome.STARTED),
    (_stopping, Outcome.STARTED),
    (_archiving, Outcome.STARTED),
    (_starting, Outcome.REUSED),
    (_restoring, Outcome.REUSED),
    (_recoverable, Outcome.RECOVERED),
]


@pytest.mark.parametrize(("arrange", "outcome"), SAME_SANDBOX, ids=[row[0].__name__[1:] for row in SAME_SANDBOX])
async def test_state_leads_back_to_the_same_running_sandbox(stack: Stack, arrange: Arrange, outcome: Outcome) -> None:
    """Whatever state its sandbox was left in, the issue gets the same one back, running."""
    first = await stack.ensure()
    assert first.sandbox is not None
    await arrange(stack, first.sandbox.id)
    handover = await stack.ensure()
    assert handover.sandbox is not None
    assert (handover.outcome, handover.sandbox.id) == (outcome, first.sandbox.id)
    assert handover.sandbox.phase is Phase.USABLE
    assert [row.state for row in await stack.live()] == ["started"]


async def test_paused_sandbox_is_started(start: Started) -> None:
    """A virtual machine that was paused is resumed by a start."""
    stack = await start(snapshot="linux-vm-small")
    first = await stack.ensure()
    assert first.sandbox is not None
    await stack.daytona.admin.act(first.sandbox.id, "set-state", state="paused", desired_state="paused")
    handover = await stack.ensure()
    assert (handover.outcome, handover.sandbox and handover.sandbox.id) == (Outcome.STARTED, first.sandbox.id)


async def test_sandbox_that_cannot_resume_is_reported(stack: Stack) -> None:
    """A start is refused with 422 because the sandbox's class cannot resume: a person must act."""
    first = await stack.ensure()
    assert first.sandbox is not None
    await stack.daytona.admin.act(first.sandbox.id, "set-state", state="paused", desired_state="paused")
    handover = await stack.ensure()
    assert handover.blocked is not None
    assert handover.blocked.cause is Cause.INVALID


@pytest.mark.parametrize("state", ["snapshotting", "forking", "resizing"])
async def test_busy_sandbox_is_waited_for(stack: Stack, state: str) -> None:
    """A sandbox of which a snapshot is being taken is neither started nor replaced."""
    first = await stack.ensure()
    assert first.sandbox is not None
    await stack.daytona.admin.act(first.sandbox.id, "set-state", state=state, desired_state="started")
    before = await stack.journal_end()
    await stack.deliver()
    await until(stack.status, lambda status: "waiting for Daytona" in status.doing, "the workflow waits")
    await stack.daytona.admin.act(first.sandbox.id, "set-state", state="started", desired_state="started")
    status = await stack.served()
    assert status.sandbox is not None
    assert status.sandbox.id == first.sandbox.id
    assert set(await stack.requests(after=before)) == {"get"}


async def test_deleted_by_hand_waits_for_the_old_one_to_go_and_is_created_anew(stack: Stack) -> None:
    """The name is free at once, yet no second sandbox is created while the first is still dying."""
    first = await stack.ensure()
    assert first.sandbox is not None
    await stack.daytona.admin.config(durations={"destroy_s": 1.0})
    await stack.daytona.admin.act(first.sandbox.id, "delete")
    handover = await stack.ensure()
    assert handover.sandbox is not None
    assert handover.outcome is Outcome.CREATED
    assert handover.sandbox.id != first.sandbox.id
    journal = await stack.daytona.admin.journal()
    gone = next(e.seq for e in journal if e.sandbox_id == first.sandbox.id and e.kind == "destroyed")
    born = next(e.seq for e in journal if e.sandbox_id == handover.sandbox.id and e.kind == "created")
    assert gone < born


async def test_archived_and_deleted_by_hand_is_created_anew(stack: Stack) -> None:
    """An archived sandbox on its way out still reads as archived; it is not started."""
    first = await stack.ensure()
    assert first.sandbox is not None
    await _archive(stack, first.sandbox.id)
    await stack.daytona.admin.config(durations={"discard_s": 0.5})
    await stack.daytona.admin.act(first.sandbox.id, "delete")
    handover = await stack.ensure()
    assert handover.outcome is Outcome.CREATED
    assert len(await stack.live()) == 1


async def test_broken_sandbox_is_kept_and_reported(stack: Stack) -> None:
    """An error that Daytona cannot repair may hide work: the sandbox is kept, and a person gets the reason."""
    first = await stack.ensure()
    assert first.sandbox is not None
    await stack.daytona.admin.act(first.sandbox.id, "break", recoverable=False, reason="node lost")
    before = await stack.journal_end()
    handover = await stack.ensure()
    assert handover.outcome is Outcome.BLOCKED
    assert handover.blocked is not None
    assert handover.blocked.cause is Cause.BROKEN
    assert handover.blocked.next_try_at is not None
    assert "node lost" in handover.blocked.reason
    assert handover.blocked.advice
    assert await stack.requests(after=before) == ["get"]
    assert [row.id for row in await stack.live()] == [first.sandbox.id]


@pytest.mark.parametrize("effect", ["fail_transition", "build_failed"])
async def test_sandbox_that_never_ran_is_made_again(stack: Stack, effect: str) -> None:
    """A failed build holds no work: it is deleted and built again, and the second one is handed over."""
    await stack.daytona.admin.add_fault("create", {"kind": effect, "reason": "flaky"}, times=1)
    handover = await stack.ensure()
    assert handover.outcome is Outcome.CREATED
    assert len(await stack.live()) == 1
    assert (await stack.requests()).count("create") == 2


async def test_two_failed_builds_in_a_row_are_made_again(stack: Stack) -> None:
    """Daytona answers 404 to the second one's name for 10 s. It is found all the same: deleted, and made again."""
    assert (await stack.daytona.admin.config())["name_cache_s"] == 10
    await stack.daytona.admin.add_fault("create", {"kind": "fail_transition", "reason": "flaky"}, times=2)
    handover = await stack.ensure()
    assert handover.outcome is Outcome.CREATED
    assert len(await stack.live()) == 1
    assert (await stack.requests()).count("create") == 3


async def test_snapshot_that_never_comes_up_blocks_after_a_few_builds(stack: Stack) -> None:
    """Builds are tried `builds_max` times in a row, then a person must check the snapshot."""
    await stack.daytona.admin.add_fault("create", {"kind": "build_failed", "reason": "bad image"}, times=None)
    handover = await stack.ensure()
    assert handover.blocked is not None
    assert handover.blocked.cause is Cause.UNBUILT
    assert (await stack.requests()).count("create") == stack.worker.policy.limits.builds_max
    await stack.daytona.admin.set_faults()
    await stack.retry()
    status = await stack.served()
    assert status.outcome is Outcome.CREATED
    assert len(await stack.live()) == 1


async def test_failed_build_counts_once_however_often_its_delete_is_sent(stack: Stack) -> None:
    """Failed deletes prove nothing about the snapshot: one failed sandbox counts once."""
    await stack.daytona.admin.add_fault("create", {"kind": "fail_transition", "reason": "flaky"}, times=1)
    await stack.daytona.admin.add_fault(
        "delete", {"kind": "status", "status": 502}, times=stack.worker.policy.limits.builds_max
    )
    handover = await stack.ensure()
    assert handover.outcome is Outcome.CREATED
    assert (await stack.requests()).count("create") == 2


async def test_unknown_state_waits_then_reports_and_never_creates(start: Started) -> None:
    """A state of a newer Daytona is waited on, reported, and served when it turns into a known one."""
    stack = await start(unknown_budget_s=0.5)
    first = await stack.ensure()
    assert first.sandbox is not None
    await stack.daytona.admin.act(first.sandbox.id, "set-state", state="hibernating")
    handover = await stack.ensure()
    assert handover.blocked is not None
    assert handover.blocked.cause is Cause.UNKNOWN_STATE
    await stack.daytona.admin.act(first.sandbox.id, "set-state", state="started", desired_state="started")
    again = await stack.ensure()
    assert (again.outcome, again.sandbox and again.sandbox.id) == (Outcome.REUSED, first.sandbox.id)
    assert len(await stack.live()) == 1


async def test_stuck_start_is_reported_and_kept(start: Started) -> None:
    """A start that Daytona never finishes blocks the issue; once released, the same sandbox is used."""
    stack = await start(pending_budget_s=1.0, daytona_settle_timeout_s=0.5, daytona_command_timeout_s=1.0)
    first = await stack.ensure()
    assert first.sandbox is not None
    await _stop(stack, first.sandbox.id)
    await stack.daytona.admin.add_fault("start", {"kind": "stuck"})
    handover = await stack.ensure()
    assert handover.blocked is not None
    assert handover.blocked.cause is Cause.STUCK
    await stack.daytona.admin.act(first.sandbox.id, "release")
    again = await stack.ensure()
    assert again.sandbox is not None
    assert again.sandbox.id == first.sandbox.id


async def test_sandbox_made_by_hand_is_adopted_and_labelled(stack: Stack) -> None:
    """A sandbox that somebody made with our name is used, and gets our labels."""
    made = await stack.daytona.admin.create(name=stack.name, labels={"team": "red"})
    handover = await stack.ensure()
    assert handover.sandbox is not None
    assert (handover.outcome, handover.sandbox.id) == (Outcome.REUSED, made.id)
    [row] = await stack.live()
    assert row.labels["issue-id"] == str(stack.issue_id)
    assert row.labels["team"] == "red"


async def test_foreign_sandbox_under_our_name_is_never_touched(stack: Stack) -> None:
    """Labels of another issue are a conflict for a person to settle."""
    labels = {"managed-by": "issuebox", "issue-id": "1"}
    made = await stack.daytona.admin.create(name=stack.name, labels=labels)
    await stack.provider.settle(made.id, 5.0)
    handover = await stack.ensure()
    assert handover.blocked is not None
    assert handover.blocked.cause is Cause.FOREIGN
    [row] = await stack.live()
    assert row.labels == labels
    assert set(await stack.requests()) == {"get"}


FAULTS: list[tuple[str, dict[str, object]]] = [
    ("create", {"kind": "drop"}),
    ("create", {"kind": "drop_after"}),
    ("create", {"kind": "status", "status": 500}),
    ("create", {"kind": "status_after", "status": 502}),
    ("create", {"kind": "malformed"}),
    ("create", {"kind": "hang"}),
    ("create", {"kind": "hang", "after": True}),
    ("create", {"kind": "status", "status": 429, "headers": {"Retry-After-sandbox-create": "0"}}),
    ("get", {"kind": "status", "status": 500}),
    ("get", {"kind": "status", "status": 503}),
    ("get", {"kind": "drop"}),
    ("get", {"kind": "hang"}),
    ("get", {"kind": "malformed"}),
    ("get", {"kind": "not_found"}),
    ("start", {"kind": "drop"}),
    ("start", {"kind": "drop_after"}),
    ("start", {"kind": "status", "status": 500}),
    ("start", {"kind": "status_after", "status": 502}),
    ("start", {"kind": "conflict", "text": "state_change"}),
    ("start", {"kind": "conflict", "text": "modified"}),
    ("start", {"kind": "conflict", "text": "in_progress"}),
    ("start", {"kind": "not_found"}),
]


@pytest.mark.parametrize(
    ("operation", "effect"), FAULTS, ids=["-".join(map(str, (row[0], *row[1].values()))) for row in FAULTS]
)
async def test_fault_twice_in_a_row_ends_in_one_running_sandbox(
    start: Started, operation: str, effect: dict[str, object]
) -> None:
    """Refused, lost, broken or hanging requests: in the end there is one sandbox, and it runs."""
    # Two reads that hang take 2 s, which must be well within the time for a lookup.
    stack = await start(daytona_request_timeout_s=1.0, daytona_command_timeout_s=1.0, unreachable_after_s=20.0)
    if operation == "start":
        first = await stack.ensure()
        assert first.sandbox is not None
        await _stop(stack, first.sandbox.id)
    await stack.daytona.admin.add_fault(operation, effect, times=2)
    handover = await stack.ensure()
    assert handover.sandbox is not None, handover
    assert handover.sandbox.phase is Phase.USABLE
    assert [row.state for row in await stack.live()] == ["started"]
    assert len(await stack.sandboxes()) == 1


BLOCKS: list[tuple[str, dict[str, object], Cause]] = [
    ("create", {"kind": "status", "status": 401, "message": "Invalid credentials"}, Cause.CREDENTIALS),
    ("get", {"kind": "status", "status": 401, "message": "Invalid credentials"}, Cause.CREDENTIALS),
    ("create", {"kind": "status", "status": 403, "message": "Organization is suspended"}, Cause.FORBIDDEN),
    ("create", {"kind": "status", "status": 400, "message": "Snapshot x not found"}, Cause.INVALID),
    ("create", {"kind": "status", "status": 400, "message": "Total CPU limit exceeded."}, Cause.QUOTA),
    ("create", {"kind": "status", "status": 400, "message": "No available runners"}, Cause.CAPACITY),
    ("get", {"kind": "status", "status": 503}, Cause.UNREACHABLE),
]


@pytest.mark.parametrize(("operation", "effect", "cause"), BLOCKS, ids=[f"{row[0]}-{row[2]}" for row in BLOCKS])
async def test_refusal_blocks_and_a_retry_serves(
    stack: Stack, operation: str, effect: dict[str, object], cause: Cause
) -> None:
    """A refused request is reported with its cause, never lost, and served when that becomes possible."""
    await stack.daytona.admin.add_fault(operation, effect, times=None)
    await stack.deliver()
    status = await stack.blocked()
    assert status.blocked is not None
    assert status.blocked.cause is cause
    assert (status.blocked.next_try_at is None) == (cause in GATED)
    assert status.requests_waiting == 1
    await stack.daytona.admin.set_faults()
    await stack.retry()
    served = await stack.served()
    assert (served.outcome, served.blocked) == (Outcome.CREATED, None)
    assert len(await stack.live()) == 1


async def test_blocked_issue_is_tried_again_by_itself(start: Started) -> None:
    """The workflow notices by itself that a runner has become free."""
    stack = await start(blocked_retry_initial_s=0.3, blocked_retry_max_s=0.5)
    await stack.daytona.admin.config(runner_available=False)
    await stack.deliver()
    await stack.blocked()
    await stack.daytona.admin.config(runner_available=True)
    assert (await stack.served()).outcome is Outcome.CREATED


async def test_quota_answer_to_a_duplicate_create_finds_the_twin(stack: Stack) -> None:
    """Daytona checks the name last, so after a lost first create the second may fail with a quota error."""
    await stack.daytona.admin.config(cpu_max=1)
    await stack.daytona.admin.set_faults(
        {"match": {"operation": "create"}, "effect": {"kind": "drop_after"}, "times": 1},
        {"match": {"operation": "get"}, "effect": {"kind": "not_found"}, "times": 2},
    )
    handover = await stack.ensure()
    assert handover.sandbox is not None, handover
    assert len(await stack.live()) == 1


async def test_name_that_answers_a_false_404_is_found_in_the_end(start: Started) -> None:
    """After a delete and a new create by hand, reads by name answer 404 for seconds while create answers 409."""
    stack = await start()
    await stack.daytona.admin.config(name_cache_s=2.0, durations={"destroy_s": 0.0})
    first = await stack.ensure()
    assert first.sandbox is not None
    await stack.provider.lookup(stack.name)
    await stack.provider.delete(first.sandbox.id)
    made = await stack.daytona.admin.create(name=stack.name)
    handover = await stack.ensure()
    assert handover.sandbox is not None, handover
    assert handover.sandbox.id == made.id
    assert len(await stack.live()) == 1
