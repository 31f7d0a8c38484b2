"""The workers' settings that a workflow goes by, asked for where no look has brought them yet."""

from __future__ import annotations

from temporalio import workflow

from activities.sandboxes import SandboxActivities
from issuebox.domain.memory import Memory
from workflows import options


async def learn_settings(memory: Memory) -> None:
    """Ask the worker at hand."""
    memory.patience = await workflow.execute_local_activity_method(
        SandboxActivities.read_patience, start_to_close_timeout=options.LOCAL_TIMEOUT
    )
    memory.edition = memory.patience.edition()
