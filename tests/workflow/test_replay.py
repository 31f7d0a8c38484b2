"""Recorded histories replay on today's code: the workflow is deterministic, and its commands are as recorded.

A change of the commands would fail the workflow tasks of every running issue. Until version 1.0.0 such a change
records the histories anew, with ``uv run pytest tests/workflow/record.py``, and is noted in the changelog; from
1.0.0 on it is patched (`workflow.patched`), and the old histories stay (decision 16).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from issuebox.temporal.connect import DATA_CONVERTER
from issuebox.worker import WORKFLOW_RUNNER
from workflows.issue_sandbox import IssueSandboxWorkflow
from workflows.signal_guard import SignalGuard

from .conftest import Stack
from .record import STORIES

HISTORIES = Path(__file__).parent / "histories"
RECORDED = sorted(HISTORIES.glob("*.json"))


def test_every_story_is_recorded() -> None:
    """Each story has exactly one history, so none is lost by accident."""
    assert {path.stem for path in RECORDED} == set(STORIES)


@pytest.mark.parametrize("path", RECORDED, ids=[path.stem for path in RECORDED])
async def test_recorded_history_replays(path: Path) -> None:
    """Today's code issues the same commands from the same history."""
    await replay(json.loads(path.read_text()))


async def replays(stack: Stack) -> None:
    """A worker that takes the issue over issues the same commands from its history."""
    await replay((await stack.handle.fetch_history()).to_json_dict())


async def replay(history: dict[str, Any]) -> None:
    """Raises when today's code would not have issued the history's commands."""
    replayer = Replayer(
        workflows=[IssueSandboxWorkflow],
        interceptors=[SignalGuard()],
        workflow_runner=WORKFLOW_RUNNER,
        data_converter=DATA_CONVERTER,
    )
    workflow_id = history["events"][0]["workflowExecutionStartedEventAttributes"]["workflowId"]
    await replayer.replay_workflow(WorkflowHistory.from_json(workflow_id, history))
