"""Waits until every issue's workflow is at rest. It only *waits*: the checker decides whether all is right then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypeVar

from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.service import RPCError

from proofs.chaos.tally import Tally
from proofs.chaos.terms import NAME_PREFIX

K = TypeVar("K")
V = TypeVar("V")

POLL_INTERVAL_S: Final = 0.5
AT_ONCE_MAX: Final = 20
QUERY_TIMEOUT: Final = timedelta(seconds=5)
QUERY: Final = 'WorkflowType = "IssueSandboxWorkflow" AND ExecutionStatus = "Running"'
AT_WORK: Final = frozenset({"working", "ending"})
"""States of a run in which something of it may be alive."""
HOLDS: Final = frozenset({"broken", "unbuilt", "foreign", "unsaved"})
"""Causes of a block that wait for a person. All others pass once the faults have ended."""
QUEUED: Final = "queued for a slot"
"""What a workflow does that waits for others to go down: it is at rest while all slots are in use."""


class NotAtRestError(AssertionError):
    """The deadline passed. The text says which issues are not at rest, and what they do."""


MENDED_EVERY: Final = 20
"""How often operators look after those that are not at rest, in polls."""


async def nothing_is_full() -> bool:
    """Without a cap, nobody waits for a slot."""
    return False


async def settled(
    client: Client,
    tally: Tally,
    timeout_s: float,
    mend: Callable[[Collection[str]], Awaitable[None]] | None = None,
    is_full: Callable[[], Awaitable[bool]] = nothing_is_full,
) -> None:
    """Return when every running workflow was seen at rest. Raises `NotAtRestError` after `timeout_s`.

    Not all at the same moment: of hundreds that wait for a person, some are always in another lookup. `mend` is what
    operators do about the others.
    `is_full`: all slots are in use, so that who waits for one is at rest.
    """
    polls = 0
    restless: dict[str, str] = {"all": "not queried yet"}
    rested: set[str] = set()
    try:
        async with asyncio.timeout(timeout_s):
            while restless:
                restless = await _restless(client, tally, rested, is_full)
                polls += 1
                if restless and mend is not None and polls % MENDED_EVERY == 0:
                    await mend(restless)
                if restless:
                    await asyncio.sleep(POLL_INTERVAL_S)
    except TimeoutError as error:
        raise NotAtRestError(
            f"{len(restless)} issues are not at rest after {timeout_s:.0f} s: {shown(restless)}"
        ) from error


def shown(restless: Mapping[str, str]) -> str:
    """What the first of them do."""
    return "; ".join(f"{name}: {doing}" for name, doing in sorted(restless.items())[:10])


async def answers(questions: Iterable[K], ask: Callable[[K], Awaitable[V]]) -> dict[K, V]:
    """The answer to each question, a few at once."""
    room, asked = asyncio.Semaphore(AT_ONCE_MAX), list(questions)

    async def answer(question: K) -> V:
        async with room:
            return await ask(question)

    return dict(zip(asked, await asyncio.gather(*map(answer, asked)), strict=True))


async def _restless(
    client: Client, tally: Tally, rested: set[str], is_full: Callable[[], Awaitable[bool]]
) -> dict[str, str]:
    """The workflows that were not seen at rest yet, and what they do. Adds those at rest now to `rested`.

    Not those that wait for a slot: their turn may come.
    """
    names = [execution.id async for execution in client.list_workflows(QUERY)]
    found = await answers((name for name in names if name not in rested), partial(_unrest, client))
    queued = {name for name, doing in found.items() if doing == QUEUED}
    rested |= {name for name, doing in found.items() if not doing}
    is_queue_at_rest = bool(queued) and await is_full()
    tally.queued = {int(name.removeprefix(NAME_PREFIX)) for name in queued} if is_queue_at_rest else set()
    restless = {name: doing for name, doing in found.items() if doing and not (name in queued and is_queue_at_rest)}
    tally.restless = restless
    tally.workflows, tally.at_rest = len(names), len(names) - len(restless)
    return restless


async def _unrest(client: Client, name: str) -> str:
    """What the workflow does; '' when it is at rest."""
    try:
        status: dict[str, Any] = await client.get_workflow_handle(name).query("status", rpc_timeout=QUERY_TIMEOUT)
    except (RPCError, WorkflowQueryFailedError) as error:
        return f"does not answer ({error})"
    blocked, run = status["blocked"], status["run"]
    if run and run["state"] in AT_WORK:
        return f"run {run['id']} is {run['state']}, attempt {run['attempt']} is {run['phase']}: {run['reason']}"
    is_queued = blocked and blocked["cause"] == "queued" and not status["goal_due_at"]
    if blocked and status["doing"].startswith(("blocked", "queued")) and (is_queued or blocked["cause"] in HOLDS):
        return QUEUED if is_queued else ""
    if (
        not blocked
        and not status["run_pause"]
        and status["goal"] == "running"
        and (status["run_requests_waiting"] or _waits(run))
    ):
        return f"{status['run_requests_waiting']} requests wait for a run; the last one is {run}"
    is_resting = status["doing"].startswith("resting") and not status["requests_waiting"] and not blocked
    if is_resting and not status["goal_due_at"]:
        return ""
    why = f", blocked: {blocked['cause']}: {blocked['reason']}" if blocked else ""
    due = f", next goal at {status['goal_due_at']}" if status["goal_due_at"] else ""
    return f"{status['doing']}, goal {status['goal']}{why}{due}"


def _waits(run: dict[str, Any] | None) -> bool:
    return run is not None and run["state"] == "waiting"
