"""The checks of the demo: what each one does, what it expects, and what it saw."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from issuebox.dev.demo.stack import Stack, until
from localdaytona.types import JSONObject

Run = Callable[[Stack], Awaitable[str]]

LOG_WORDS = ("sandbox_lookup", "sandbox_created", "sandbox_reused", "sandbox_started")


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the table. `run` returns what it saw, or raises AssertionError with what it saw instead."""

    number: str
    title: str
    expected: str
    run: Run


def same(what: str, expected: object, seen: object) -> None:
    if expected != seen:
        raise AssertionError(f"{what} should be {expected}, is {seen}")


async def _created(stack: Stack) -> str:
    await stack.send("opened", 1)
    status = await stack.served(1)
    sandbox = await stack.one(1)
    same("the name", "claude-issue-1", sandbox.name)
    same("the state", "started", sandbox.state)
    return f"{status['outcome']}: {sandbox.name} is {sandbox.state}"


async def _reused(stack: Stack) -> str:
    before = await stack.one(1)
    await stack.send("opened", 1)
    status = await stack.served(1, deliveries=2)
    after = await stack.one(1)
    same("the sandbox", before.id, after.id)
    same("the number of creates", 1, await stack.creates(1))
    return f"{status['outcome']}: {short(after.id)} again"


async def _restarted(stack: Stack) -> str:
    before = await stack.one(1)
    await stack.act(1, "stop")
    await stack.settled(1, "stopped")
    await stack.send("opened", 1)
    status = await stack.served(1, deliveries=3)
    after = await stack.one(1)
    same("the sandbox", before.id, after.id)
    same("the state", "started", after.state)
    return f"{status['outcome']}: {short(after.id)} is {after.state} again"


async def _separate(stack: Stack) -> str:
    await asyncio.gather(stack.send("opened", 2), stack.send("opened", 3))
    await asyncio.gather(stack.served(2), stack.served(3))
    sandboxes = [await stack.one(issue) for issue in (1, 2, 3)]
    same("the number of different sandboxes", 3, len({sandbox.id for sandbox in sandboxes}))
    return ", ".join(f"{sandbox.name} {short(sandbox.id)}" for sandbox in sandboxes[1:])


async def _logged(stack: Stack) -> str:
    words = [line["event"] for line in stack.log_lines(1)]
    missing = [word for word in LOG_WORDS if word not in words]
    same("what the log does not show", [], missing)
    return f"{len(words)} lines for issue 1 (below)"


async def _recoverable(stack: Stack) -> str:
    before = await _first(stack, 11)
    await stack.act(11, "break", recoverable=True, reason="disk full")
    return await _back(stack, 11, before)


async def _broken(stack: Stack) -> str:
    before = await _first(stack, 12)
    await stack.act(12, "break", recoverable=False, reason="node lost")
    await stack.send("labeled", 12)
    status = await stack.blocked(12)
    after = await stack.one(12)
    same("the sandbox", before, after.id)
    same("the cause", "broken", status["blocked"]["cause"])
    return f"blocked ({status['blocked']['cause']}), {short(after.id)} kept"


async def _unbuilt(stack: Stack) -> str:
    await stack.admin.add_fault("create", {"kind": "build_failed", "reason": "flaky build"}, name=stack.name(13))
    await stack.send("opened", 13)
    await stack.served(13)
    sandbox = await stack.settled(13, "started")
    same("the number of creates", 2, await stack.creates(13))
    return f"failed one deleted, {short(sandbox.id)} built and started"


async def _archived(stack: Stack) -> str:
    before = await _first(stack, 14)
    await stack.act(14, "stop")
    await stack.settled(14, "stopped")
    await stack.act(14, "archive")
    await stack.settled(14, "archived")
    return await _back(stack, 14, before)


async def _stopping(stack: Stack) -> str:
    before = await _first(stack, 15)
    await stack.act(15, "stop")
    return await _back(stack, 15, before)


async def _deleted_by_hand(stack: Stack) -> str:
    before = await _first(stack, 16)
    await stack.act(16, "delete")
    await stack.send("labeled", 16)
    status = await stack.served(16, deliveries=2)
    after = await stack.one(16)
    if after.id == before:
        raise AssertionError("the deleted sandbox is still there")
    return f"{status['outcome']}: {short(after.id)} after {short(before)} was gone"


async def _reply_lost(stack: Stack) -> str:
    return await _despite(stack, 17, {"kind": "drop_after"}, ("create",))


async def _server_errors(stack: Stack) -> str:
    return await _despite(stack, 18, {"kind": "status", "status": 500}, ("get", "create"), times=2)


async def _timeouts(stack: Stack) -> str:
    return await _despite(stack, 19, {"kind": "hang", "after": True}, ("create",))


async def _burst(stack: Stack) -> str:
    await stack.send("opened", 20, copies=50)
    await stack.served(20, deliveries=50)
    sandbox = await stack.one(20)
    same("the number of creates", 1, await stack.creates(20))
    return f"50 accepted, 1 create, {short(sandbox.id)} is {sandbox.state}"


async def _refused(stack: Stack) -> str:
    stack.kill("localdaytona")
    await stack.send("opened", 21)
    await stack.served(21)
    sandbox = await stack.one(21)
    same("the state", "started", sandbox.state)
    return f"waited for Daytona to return: {short(sandbox.id)} is {sandbox.state}"


async def _all_killed(stack: Stack) -> str:
    await stack.admin.add_fault("create", {"kind": "slow", "seconds": 3}, name=stack.name(22))
    await stack.send("opened", 22)
    await until(lambda: stack.creates(22), lambda creates: creates == 1, "the create of issue 22 has begun")
    for part in ("worker", "api", "temporal", "localdaytona"):
        stack.kill(part)
    await stack.served(22)
    sandbox = await stack.one(22)
    same("the state", "started", sandbox.state)
    same("the number of creates", 1, await stack.creates(22))
    return f"all four came back: {short(sandbox.id)} is {sandbox.state}, 1 create"


async def _never_two(stack: Stack) -> str:
    """Read from localdaytona's journal which sandboxes held a name at every moment of the demo."""
    alive: dict[str, set[str]] = {}
    names: dict[str, str] = {}
    most = 0
    for entry in await stack.admin.journal():
        if entry.sandbox_id is None:
            continue
        if entry.kind == "created" and entry.name:
            names[entry.sandbox_id] = entry.name
            holders = alive.setdefault(entry.name, set())
            holders.add(entry.sandbox_id)
            most = max(most, len(holders))
        elif entry.kind == "destroyed" and entry.sandbox_id in names:
            alive[names[entry.sandbox_id]].discard(entry.sandbox_id)
    same("the largest number of live sandboxes of one issue at any time", 1, most)
    return f"{len(names)} sandboxes for {len(alive)} issues, never two at once"


async def _first(stack: Stack, issue: int) -> str:
    """Make the issue's sandbox run, and return its ID."""
    await stack.send("opened", issue)
    await stack.served(issue)
    return (await stack.one(issue)).id


async def _back(stack: Stack, issue: int, before: str) -> str:
    """Send another event and expect that the same sandbox runs again."""
    await stack.send("labeled", issue)
    status = await stack.served(issue, deliveries=2)
    after = await stack.one(issue)
    same("the sandbox", before, after.id)
    same("the state", "started", after.state)
    return f"{status['outcome']}: {short(after.id)} is {after.state}"


async def _despite(stack: Stack, issue: int, effect: JSONObject, operations: tuple[str, ...], times: int = 1) -> str:
    """Send an event while these requests about the issue fail, and expect one sandbox in the end."""
    for operation in operations:
        await stack.admin.add_fault(operation, effect, name=stack.name(issue), times=times)
    await stack.send("opened", issue)
    await stack.served(issue)
    sandbox = await stack.one(issue)
    same("the state", "started", sandbox.state)
    same("the number of creates", 1, await stack.creates(issue))
    return f"one sandbox, {short(sandbox.id)} is {sandbox.state}, 1 create"


def short(sandbox_id: str) -> str:
    return sandbox_id[:8]


IN_ORDER: tuple[Check, ...] = (
    Check("1", "mock event for issue #1", "claude-issue-1 is created", _created),
    Check("2", "the same event again", "the same sandbox is reused", _reused),
    Check("3", "stopped by hand, event sent again", "the same sandbox is restarted", _restarted),
    Check("4", "events for issues #2 and #3", "separate sandboxes", _separate),
    Check("5", "the worker's log", "lookup, create, reuse, restart", _logged),
)

AT_ONCE: tuple[Check, ...] = (
    Check("6a", "error, recoverable", "recovered, same sandbox", _recoverable),
    Check("6b", "error, not recoverable", "blocked, nothing replaced", _broken),
    Check("6c", "build_failed", "deleted and built again", _unbuilt),
    Check("6d", "archived", "started, same sandbox", _archived),
    Check("6e", "in the middle of a stop", "waited, started, same sandbox", _stopping),
    Check("6f", "deleted by hand", "waited until gone, then created", _deleted_by_hand),
    Check("6g", "create: reply lost after commit", "one sandbox", _reply_lost),
    Check("6h", "500s on lookup and create", "one sandbox", _server_errors),
    Check("6j", "50 copies of one event at once", "one sandbox, one create", _burst),
)

SLOW = Check("6i", "create: no reply until the timeout", "one sandbox", _timeouts)
"""Takes as long as the worker waits for a create, so that it begins with the first check."""

LAST: tuple[Check, ...] = (
    Check("6k", "Daytona refuses connections", "waits for it, one sandbox", _refused),
    Check("6l", "kill -9 of all four processes during a create", "one sandbox, event not lost", _all_killed),
    Check("all", "Daytona's journal of the whole demo", "never two live sandboxes of one issue", _never_two),
)
