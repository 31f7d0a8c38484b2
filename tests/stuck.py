"""A workflow that cannot go on, for the tests of what is said about it."""

from __future__ import annotations

from datetime import timedelta

from issuebox.domain.workflow_ends import Stuck
from issuebox.temporal import runs
from tests.waiting import until
from tests.workflow.conftest import Stack
from workflows.messages import WORKFLOW_TYPE

MARKED_S = 60.0
"""A server from 1.30 marks it in its list after the fifth failure; of an older one we look at each workflow."""

TASK_TIMEOUT = timedelta(seconds=1)
"""Instead of 10 s: a failing task is tried again after it."""


async def make_stuck(stack: Stack) -> None:
    """Start the issue's workflow with a wrong input, as a person may by hand, and wait until it is stuck."""
    await stack.temporal.start_workflow(
        WORKFLOW_TYPE, "nonsense", id=stack.name, task_queue=stack.settings.task_queue, task_timeout=TASK_TIMEOUT
    )

    async def stuck() -> Stuck | None:
        return await runs.stuck(stack.temporal, await stack.handle.describe())

    await until(stuck, bool, "the workflow is stuck")
