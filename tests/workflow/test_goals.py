"""Every state of a sandbox with every goal, and every command whose sandbox changes before it is sent.

Each runs the whole path. The rows of one goal are issues of one stack, so the table takes only the time
of its slowest row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from issuebox.domain.phase import Cause, Goal
from issuebox.worker import build_worker
from tests.waiting import until
from workflows.messages import SIGNAL_DELETE, SIGNAL_LOOK, SIGNAL_REPLACE, DeleteRequest

from .conftest import Stack, Started
from .meddling import Meddler

GONE = ""
TIMES = {
    # goal: when a closed issue is stopped, archived, deleted
    Goal.STOPPED: (0.0, -1.0, -1.0),
    Goal.ARCHIVED: (0.0, 0.0, -1.0),
    Goal.DELETED: (0.0, 0.0, 0.0),
}
SETTLES = {"creating": "started", "starting": "started", "restoring": "started", "snapshotting": "started"} | {
    "stopping": "stopped",
    "destroying": "destroyed",
}
"""What a transitional state becomes when a person at Daytona lets it end."""


@dataclass(frozen=True)
class Row:
    """A state of the sandbox when the goal is set, and its state in the end for each goal.

    ``unforced`` is the end of a delete that unsaved work may hold, ``forced`` of one that it may not.
    """

    state: str
    stopped: str | Cause
    archived: str | Cause
    unforced: str | Cause
    forced: str | Cause


ROWS = [
    Row("missing", GONE, GONE, GONE, GONE),
    Row("creating", "stopped", "archived", GONE, GONE),
    Row("starting", "stopped", "archived", GONE, GONE),
    Row("restoring", "stopped", "archived", GONE, GONE),
    Row("started", "stopped", "archived", GONE, GONE),
    Row("snapshotting", "stopped", "archived", GONE, GONE),
    Row("stopping", "stopped", "archived", GONE, GONE),
    Row("archiving", "archiving", "archiving", GONE, GONE),
    Row("stopped", "stopped", "archived", GONE, GONE),
    Row("paused", "paused", "archived", GONE, GONE),
    Row("archived", "archived", "archived", GONE, GONE),
    Row("recoverable", "error", "error", GONE, GONE),
    Row("error", Cause.BROKEN, Cause.BROKEN, Cause.UNSAVED, GONE),
    Row("build_failed", GONE, GONE, GONE, GONE),
    Row("destroying", GONE, GONE, GONE, GONE),
    Row("some_new_state", Cause.UNKNOWN_STATE, Cause.UNKNOWN_STATE, Cause.UNKNOWN_STATE, Cause.UNKNOWN_STATE),
]


async def _arrange(stack: Stack, state: str) -> str:
    """Bring the issue's sandbox into that state; returns its ID."""
    admin = stack.daytona.admin
    if state == "missing":
        await stack.ensure()
        await admin.act(stack.name, "delete")
        await until(stack.state, lambda state: state == GONE, "the sandbox gone")
        return ""
    handover = await stack.ensure()
    assert handover.sandbox is not None
    sandbox_id = handover.sandbox.id
    if state == "started":
        return sandbox_id
    if state == "recoverable":
        await admin.act(sandbox_id, "break", recoverable=True)
    elif state == "error":
        await admin.act(sandbox_id, "break", recoverable=False)
    elif state == "build_failed":
        await admin.act(sandbox_id, "build-failed")
    elif state in {"stopped", "stopping", "archived", "archiving", "restoring"}:
        await admin.act(sandbox_id, "stop")
        await stack.provider.settle(sandbox_id, 5.0)
        if state == "archived":
            await admin.act(sandbox_id, "archive")
            await until(stack.state, lambda state: state == "archived", "archived after its turn for a backup")
    if state in {*SETTLES, "paused", "archiving", "some_new_state"}:
        others = {"paused": "paused", "archiving": "archived", "some_new_state": "started"}
        desired = others.get(state) or SETTLES[state]
        await admin.act(sandbox_id, "set-state", state=state, desired_state=desired)
    return sandbox_id


async def _let_it_end(stack: Stack, sandbox_id: str, state: str) -> None:
    if state not in SETTLES:
        return
    await until(stack.status, lambda status: "waiting for Daytona" in status.doing, f"{state} is waited for")
    end = SETTLES[state]
    await stack.daytona.admin.act(sandbox_id, "set-state", state=end, desired_state=end)


async def _play(stack: Stack, row: Row, goal: Goal, *, is_forced: bool) -> str:
    """From the state to the goal; returns what is wrong in the end, '' for nothing."""
    sandbox_id = await _arrange(stack, row.state)
    if is_forced:
        await stack.order(SIGNAL_DELETE, DeleteRequest(force=True))
    else:
        await stack.close()
    await _let_it_end(stack, sandbox_id, row.state)
    status = await stack.reached(goal)
    word = {Goal.STOPPED: row.stopped, Goal.ARCHIVED: row.archived}.get(goal, row.forced if is_forced else row.unforced)
    if isinstance(word, Cause):
        seen: object = status.blocked.cause if status.blocked else None
    else:
        if word == "archived":  # The goal counts as reached while Daytona makes the backup that each archive waits for.
            await until(stack.state, lambda state: state != "archiving", "archived after its turn for a backup")
        seen = await stack.state()
    created = len([e for e in await stack.daytona.admin.journal(kind="created") if e.name == stack.name])
    return "" if (seen, created) == (word, 1) else f"{row.state}: {seen!r} after {created} creates, expected {word!r}"


@pytest.mark.parametrize(
    ("goal", "is_forced"),
    [(Goal.STOPPED, False), (Goal.ARCHIVED, False), (Goal.DELETED, False), (Goal.DELETED, True)],
    ids=["stopped", "archived", "deleted", "forced"],
)
async def test_every_state_ends_as_the_goal_wants(start: Started, goal: Goal, *, is_forced: bool) -> None:
    """Whatever the sandbox's state: the goal is reached, or the issue is blocked with its cause."""
    stop_s, archive_s, delete_s = TIMES[goal] if not is_forced else (-1.0, -1.0, -1.0)
    stack = await start(
        close_stop_after_s=stop_s, close_archive_after_s=archive_s, close_delete_after_s=delete_s,
        unknown_budget_s=0.5, snapshot="linux-vm-small",
    )  # fmt: skip
    wrong = await asyncio.gather(*(_play(stack.another(), row, goal, is_forced=is_forced) for row in ROWS))
    assert not [what for what in wrong if what]


Change = Callable[[Stack], Awaitable[object]]


async def _set(stack: Stack, state: str) -> None:
    rows = await stack.live()
    if rows:
        await stack.daytona.admin.act(rows[0].id, "set-state", state=state, desired_state=state)
    else:
        made = await stack.daytona.admin.create(name=stack.name)
        await stack.provider.settle(made.id, 5.0)
        if state != "started":
            await stack.daytona.admin.act(made.id, "set-state", state=state, desired_state=state)


async def _break(stack: Stack) -> None:
    if not await stack.live():
        await _set(stack, "started")
    await stack.daytona.admin.act(stack.name, "break", recoverable=True)


async def _delete(stack: Stack) -> None:
    is_unseen = not await stack.live()
    if is_unseen:
        await _set(stack, "started")
    await stack.daytona.admin.act(stack.name, "delete")
    if is_unseen:
        # A sandbox that the workflow never saw may still be dying when it creates its own: see the README.
        await until(stack.state, lambda state: state == GONE, "the unseen sandbox gone")


CHANGES: dict[str, Change] = {
    "started": lambda stack: _set(stack, "started"),
    "stopped": lambda stack: _set(stack, "stopped"),
    "archived": lambda stack: _set(stack, "archived"),
    "breaks": _break,
    "deleted": _delete,
}
"""What happens to the sandbox between the lookup and the command. If there is none yet, one appears."""

COMMANDS: dict[str, tuple[str, Goal]] = {
    "create_sandbox": ("missing", Goal.RUNNING),
    "start_sandbox": ("stopped", Goal.RUNNING),
    "recover_sandbox": ("recoverable", Goal.RUNNING),
    "inspect_sandbox": ("started", Goal.STOPPED),
    "stop_sandbox": ("started", Goal.STOPPED),
    "archive_sandbox": ("stopped", Goal.ARCHIVED),
    "delete_sandbox": ("stopped", Goal.DELETED),
}
"""For each command, a state and a goal that lead to it."""

ENDS: dict[Goal, set[str]] = {
    Goal.RUNNING: {"started"},
    # An error that Daytona can repair is left alone until somebody asks for the sandbox.
    Goal.STOPPED: {"stopped", "archived", "error", GONE},
    Goal.ARCHIVED: {"archived", "error", GONE},
    Goal.DELETED: {GONE},
}


async def _meddle(stack: Stack, meddler: Meddler, change: str, state: str, goal: Goal) -> str:
    await _arrange(stack, state)
    meddler.changes[stack.name] = lambda: CHANGES[change](stack)
    if goal is Goal.RUNNING:
        await stack.deliver()
        await until(stack.status, lambda status: status.deliveries_seen == 1 and not status.requests_waiting, "served")
    else:
        await stack.close()
        await stack.reached(goal)
    end = await stack.state()
    if stack.name in meddler.changes:
        return f"{change}: {meddler.command} was never sent"
    return "" if end in ENDS[goal] else f"{change}: {end!r}"


@pytest.mark.parametrize("command", COMMANDS)
async def test_change_between_lookup_and_command_ends_as_the_goal_wants(start: Started, command: str) -> None:
    """The command meets another state than the lookup did, and the goal is reached all the same."""
    state, goal = COMMANDS[command]
    stop_s, archive_s, delete_s = TIMES.get(goal, (-1.0, -1.0, -1.0))
    meddler = Meddler(command)
    stack = await start(
        interceptors=[meddler],
        close_stop_after_s=stop_s, close_archive_after_s=archive_s, close_delete_after_s=delete_s,
    )  # fmt: skip
    wrong = await asyncio.gather(*(_meddle(stack.another(), meddler, change, state, goal) for change in CHANGES))
    assert not [what for what in wrong if what]


async def test_work_of_a_person_who_starts_the_sandbox_just_before_the_inspection_is_kept(start: Started) -> None:
    """A person starts it just before our start for an inspection, and works in it until it is stopped afterwards."""
    before_start, before_stop = Meddler("start_sandbox"), Meddler("stop_sandbox")
    stop_s, archive_s, delete_s = TIMES[Goal.DELETED]
    stack = await start(
        interceptors=[before_start, before_stop],
        close_stop_after_s=stop_s, close_archive_after_s=archive_s, close_delete_after_s=delete_s,
    )  # fmt: skip
    sandbox_id = await _arrange(stack, "stopped")

    async def write() -> None:
        made = await stack.provider.execute(sandbox_id, "git init -q repo && echo work > repo/notes.txt", 10.0)
        assert made.exit_code == 0

    async def wake() -> None:
        await stack.daytona.admin.act(stack.name, "start")
        await until(stack.state, lambda state: state == "started", "started by hand")
        before_stop.changes[stack.name] = write

    before_start.changes[stack.name] = wake
    await stack.close()
    status = await stack.reached(Goal.DELETED)
    assert {**before_start.changes, **before_stop.changes} == {}, "a command was never sent"
    assert status.blocked is not None
    assert (status.blocked.cause, await stack.state()) == (Cause.UNSAVED, "stopped")


async def test_work_of_a_person_who_starts_the_sandbox_just_before_the_delete_is_kept(start: Started) -> None:
    """The delete asks whether it is awake: nobody has inspected what is being done in it."""
    meddler = Meddler("delete_sandbox")
    stop_s, archive_s, delete_s = TIMES[Goal.DELETED]
    stack = await start(
        interceptors=[meddler],
        close_stop_after_s=stop_s, close_archive_after_s=archive_s, close_delete_after_s=delete_s,
    )  # fmt: skip
    sandbox_id = await _arrange(stack, "stopped")

    async def work() -> None:
        await stack.daytona.admin.act(stack.name, "start")
        await until(stack.state, lambda state: state == "started", "started by hand")
        made = await stack.provider.execute(sandbox_id, "git init -q repo && echo work > repo/notes.txt", 10.0)
        assert made.exit_code == 0

    meddler.changes[stack.name] = work
    await stack.close()
    status = await stack.reached(Goal.DELETED)
    assert meddler.changes == {}, "no delete was sent"
    assert status.blocked is not None
    assert (status.blocked.cause, await stack.state()) == (Cause.UNSAVED, "stopped")


async def test_signal_look_acts_on_the_goal_and_creates_nothing(start: Started) -> None:
    """A sweep has the workflow look its sandbox up: a leak is stopped, a lost sandbox is only noted."""
    stack = await start(close_stop_after_s=0, close_archive_after_s=-1, close_delete_after_s=-1)
    leaking, lost = stack.another(), stack.another()
    for each in (leaking, lost):
        await each.ensure()
    await leaking.close()
    await leaking.reached(Goal.STOPPED)
    await stack.daytona.admin.act(leaking.name, "start")
    await until(leaking.state, lambda state: state == "started", "started by hand")
    await leaking.order(SIGNAL_LOOK)
    await until(leaking.state, lambda state: state == "stopped", "stopped again")
    await stack.daytona.admin.act(lost.name, "delete")
    await until(lost.state, lambda state: state == GONE, "deleted by hand")
    await lost.order(SIGNAL_LOOK)
    await until(lost.status, lambda status: status.sandbox is None and status.doing.startswith("resting"), "noted")
    assert await lost.state() == GONE


@pytest.mark.parametrize("order", [SIGNAL_DELETE, SIGNAL_REPLACE])
async def test_sandbox_made_after_an_order_is_not_given_up_by_it(start: Started, order: str) -> None:
    """The order was about the sandbox that the workflow knew. No worker was there to carry it out."""
    stack = await start(has_worker=False)
    admin = stack.daytona.admin
    async with build_worker(stack.temporal, stack.provider, stack.worker):
        known = (await stack.ensure()).sandbox
        assert known is not None
    await stack.order(order, *([DeleteRequest(force=True)] if order == SIGNAL_DELETE else []))
    await admin.act(known.id, "delete")
    await until(stack.state, lambda state: state == GONE, "deleted by hand")
    made = await admin.create(name=stack.name, labels={})
    await until(stack.state, lambda state: state == "started", "made anew by hand")
    wrote = await stack.provider.execute(made.id, "git init -q repo && echo work > repo/notes.txt", 10.0)
    assert wrote.exit_code == 0
    async with build_worker(stack.temporal, stack.provider, stack.worker):
        if order == SIGNAL_DELETE:
            status = await stack.blocked()
            assert status.blocked is not None
            assert status.blocked.cause is Cause.UNSAVED
        else:
            await stack.served()
    assert [row.id for row in await stack.live()] == [made.id]
