"""The two ways to look a sandbox up: at once, and durably.

Most lookups are answered in a few ms. The first one runs within the workflow task, as a local activity: it needs no
activity task and costs Temporal a third of the work. When its one short attempt fails, an ordinary activity takes
over, with retries that survive any worker and that people can watch.

Both bring the worker's settings. Where no lookup comes first, `learn_settings` asks the worker at hand.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import suppress

from temporalio import workflow
from temporalio.exceptions import FailureError

from activities.messages import CommandReply, LookupResult
from activities.sandboxes import SandboxActivities
from issuebox.domain.memory import Memory
from issuebox.domain.phase import RUNS, Goal
from workflows import options
from workflows.failures import Failure, read_failure
from workflows.inputs import lookup_input


async def lookup_at_once(memory: Memory) -> LookupResult | Failure:
    """One short attempt. Afterwards the worker's settings are known, even if the attempt failed."""
    lookup = await _found(
        memory,
        workflow.execute_local_activity_method(
            SandboxActivities.lookup_sandbox,
            lookup_input(memory, is_doubted=False),
            **options.lookup_at_once(),
            summary=_summary(memory),
        ),
    )
    if not memory.policy_hash:
        await learn_settings(memory)
    return lookup


async def lookup_durably(memory: Memory, *, is_doubted: bool) -> LookupResult | Failure:
    """Attempts within `unreachable_after_s`. A doubted lookup also checks that Daytona answers lists."""
    return await _found(
        memory,
        workflow.execute_activity_method(
            SandboxActivities.lookup_sandbox,
            lookup_input(memory, is_doubted=is_doubted),
            **options.lookup(memory.policy.unreachable_after_s),
            summary=_summary(memory),
        ),
    )


async def look_while_late(memory: Memory, sending: workflow.ActivityHandle[CommandReply]) -> None:
    """Wait for the reply of a command that brings the sandbox up. While it is late, look at the sandbox.

    Once that runs the activity is cut off: its worker may be dead. A read of the past shows nothing. A look that fails
    is the last one, because Daytona is not reached.
    """
    pause = options.LOOK_AFTER
    while True:
        with suppress(TimeoutError):
            await workflow.wait_condition(sending.done, timeout=pause, timeout_summary="before a look: no reply yet")
            return
        pause *= 2
        look = await lookup_at_once(memory)
        if not isinstance(look, LookupResult):
            return
        found = look.sandbox
        if found is not None and found.phase in RUNS and not memory.seen.shows_past(found, workflow.now()):
            sending.cancel()
            return


def _summary(memory: Memory) -> str | None:
    return None if memory.progress.goal is Goal.RUNNING else f"the sandbox should be {memory.progress.goal}"


async def _found(memory: Memory, answer: Awaitable[LookupResult]) -> LookupResult | Failure:
    """The lookup's answer. Takes over the worker's settings when they differ from the known ones."""
    try:
        lookup = await answer
    except FailureError as error:
        return read_failure(error)
    if lookup.policy is not None:
        memory.policy, memory.policy_hash = lookup.policy, lookup.policy_hash
    return lookup


async def learn_settings(memory: Memory) -> None:
    """Read the settings of the worker at hand."""
    memory.policy = await workflow.execute_local_activity_method(
        SandboxActivities.read_policy, start_to_close_timeout=options.LOCAL_TIMEOUT
    )
    memory.policy_hash = memory.policy.hash()
