"""The two ways to look a sandbox up: at once, and for as long as it takes.

A look is most often answered in a few ms. The first is made within the workflow task, as a local activity: it
costs no task of its own and Temporal a third of the work. What it cannot find out in one short attempt is looked
for as an activity, with retries that last for hours, that survive every worker, and that people can watch.
"""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import ActivityError, FailureError

with workflow.unsafe.imports_passed_through():
    from activities.messages import Look
    from activities.sandboxes import SandboxActivities
    from issuebox.domain.memory import Memory
    from issuebox.domain.phase import Goal
    from workflows import options
    from workflows.asking import lookup_input
    from workflows.setback import Setback, read_failure
    from workflows.worker_settings import learn_settings


async def look_at_once(memory: Memory) -> Look | Setback:
    """One attempt of a few seconds. Whatever comes of it, the worker's settings are known then."""
    try:
        look = await workflow.execute_local_activity_method(
            SandboxActivities.lookup_sandbox,
            lookup_input(memory, is_doubted=False),
            **options.look_at_once(),
            summary=_summary(memory),
        )
    except FailureError as error:
        if not memory.knows_settings:
            await learn_settings(memory)
        return read_failure(error)
    return _learned(memory, look)


async def look_durably(memory: Memory, *, is_doubted: bool) -> Look | Setback:
    """Attempts within `unreachable_after_s`. A doubted look also asks whether Daytona answers lists."""
    try:
        look = await workflow.execute_activity_method(
            SandboxActivities.lookup_sandbox,
            lookup_input(memory, is_doubted=is_doubted),
            **options.look(memory.patience.unreachable_after_s),
            summary=_summary(memory),
        )
    except ActivityError as error:
        return read_failure(error)
    return _learned(memory, look)


def _summary(memory: Memory) -> str | None:
    return None if memory.goal is Goal.RUNNING else f"it should be {memory.goal}"


def _learned(memory: Memory, look: Look) -> Look:
    """The look, and with it the worker's settings where they are others than known."""
    if look.patience is not None:
        memory.patience, memory.edition, memory.knows_settings = look.patience, look.edition, True
    return look
