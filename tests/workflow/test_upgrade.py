"""Workflows that earlier versions began: their past is not touched, their next event is acted on."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow

from issuebox.domain.phase import Goal, Outcome
from issuebox.worker import build_worker
from tests.waiting import until
from workflows.messages import RULES

from .conftest import Started
from .test_replay import HISTORIES, replay

MARKED = sorted(path for release in ("0.2.0", "0.3.0") for path in (HISTORIES / release).glob("*.json"))


async def test_run_of_version_0_1_follows_its_issue_from_its_next_event_on(
    start: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The close that 0.1 only recorded stays recorded; what comes after the upgrade stops the sandbox."""
    stack = await start(has_worker=False, close_stop_after_s=0.0, close_archive_after_s=-1.0, close_delete_after_s=-1.0)
    stack.rules = 0
    with monkeypatch.context() as as_in_0_1:
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


@pytest.mark.parametrize("path", MARKED, ids=[f"{path.parent.name}-{path.stem}" for path in MARKED])
async def test_run_that_an_earlier_worker_began_for_a_newer_api_replays(path: Path) -> None:
    """While versions are mixed, a start may say rules that the worker which took it did not know."""
    history = json.loads(path.read_text())
    first = history["events"][0]["workflowExecutionStartedEventAttributes"]["input"]["payloads"][0]
    first["data"] = _with_rules(first["data"])
    await replay(history)


def _with_rules(data: str) -> str:
    start: dict[str, Any] = json.loads(base64.b64decode(data))
    assert "rules" not in start
    return base64.b64encode(json.dumps(start | {"rules": RULES}).encode()).decode()


async def test_run_that_is_started_by_hand_without_rules_is_served_and_replays(start: Started) -> None:
    """As an earlier version's API starts them, and as the README does with Temporal's command line."""
    stack = await start()
    stack.rules = 0
    assert (await stack.ensure()).outcome is Outcome.CREATED
    assert (await stack.ensure()).outcome is Outcome.REUSED
    history = (await stack.handle.fetch_history()).to_json_dict()
    markers = [event["eventType"] for event in history["events"] if "MARKER" in event["eventType"]]
    assert len(markers) == 3, "two patches and a local activity"
    await replay(history)
