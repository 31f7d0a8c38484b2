"""Workflows that version 0.1 began go on with this one: their past is not touched, their next event is acted on."""

from __future__ import annotations

import pytest
from temporalio import workflow
from temporalio.worker import UnsandboxedWorkflowRunner

from issuebox.domain.phase import Goal
from issuebox.worker import build_worker
from tests.waiting import until

from .conftest import Started


async def test_run_of_version_0_1_follows_its_issue_from_its_next_event_on(
    start: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The close that 0.1 only recorded stays recorded; what comes after the upgrade stops the sandbox."""
    stack = await start(has_worker=False, close_stop_after_s=0.0, close_archive_after_s=-1.0, close_delete_after_s=-1.0)
    with monkeypatch.context() as as_in_0_1:
        # Without the sandbox of workflows, so that what is set here is what the workflow sees.
        as_in_0_1.setattr("issuebox.worker.WORKFLOW_RUNNER", UnsandboxedWorkflowRunner())
        as_in_0_1.setattr(workflow, "patched", lambda _id: False)
        async with build_worker(stack.temporal, stack.provider, stack.settings, is_searchable=True):
            await stack.ensure()
            await stack.close()
            status = await until(stack.status, lambda status: status.deliveries_seen == 1, "the close recorded")
            assert (status.goal, await stack.state()) == (Goal.RUNNING, "started")
    async with build_worker(stack.temporal, stack.provider, stack.settings, is_searchable=True):
        status = await stack.status()
        assert (status.goal, await stack.state()) == (Goal.RUNNING, "started")
        await stack.close()
        await stack.reached(Goal.STOPPED)
        assert await stack.state() == "stopped"
