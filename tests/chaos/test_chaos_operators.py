"""Operators in a chaos run: which workflow they end, where they reset to, and what they send again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo, PendingWorkflowTaskInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse
from temporalio.client import WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

import proofs.chaos.operators
from proofs.chaos.cluster import Cluster
from proofs.chaos.fault_schedule import MOMENTS, Meddle, Stray
from proofs.chaos.operators import Operators, is_in_moment, newest_first, reset_points
from proofs.chaos.parts import Part
from proofs.chaos.story import stories
from proofs.chaos.tally import Tally
from proofs.chaos.terms import INSTANCE, STRANGE_INSTANCE
from proofs.checker.evidence import Expectation
from tests.chaos.test_chaos_parts import ENDS_IN_ORDER, part_of


def _described(*activities: str, has_task: bool = False, name: str = "claude-issue-1") -> WorkflowExecutionDescription:
    raw = DescribeWorkflowExecutionResponse()
    for activity in activities:
        info = PendingActivityInfo()
        info.activity_type.name = activity
        raw.pending_activities.append(info)
    if has_task:
        raw.pending_workflow_task.CopyFrom(PendingWorkflowTaskInfo(attempt=1))
    return cast(
        "WorkflowExecutionDescription",
        SimpleNamespace(raw_description=raw, id=name, run_id=f"run of {name}", status=WorkflowExecutionStatus.RUNNING),
    )


@pytest.mark.parametrize(
    ("described", "moment"),
    [
        (_described("create_sandbox"), "in a create"),
        (_described("stop_sandbox"), "in a command"),
        (_described("delete_sandbox"), "in a command"),
        (_described(), "at rest"),
        (_described("lookup_sandbox"), None),
        (_described("settle_sandbox"), None),
        (_described(has_task=True), None),
    ],
)
def test_moment_is_read_from_pending_activities(described: WorkflowExecutionDescription, moment: str | None) -> None:
    """A lookup and a wait are no commands, and a workflow with a task to do is not at rest."""
    assert [each for each in MOMENTS if each != "blocked" and is_in_moment(described, each)] == [moment] * bool(moment)


def _history(*words: str) -> list[HistoryEvent]:
    """Completed workflow tasks, and signals by their names."""
    events = []
    for number, word in enumerate(words, start=1):
        is_task = word == "task"
        kind = "WORKFLOW_TASK_COMPLETED" if is_task else "WORKFLOW_EXECUTION_SIGNALED"
        event = HistoryEvent(event_id=number, event_type=EventType.Value(f"EVENT_TYPE_{kind}"))
        if not is_task:
            event.workflow_execution_signaled_event_attributes.signal_name = word
        events.append(event)
    return events


@pytest.mark.parametrize(
    ("words", "points"),
    [
        (("issue_event", "task", "issue_event", "task"), [2, 4]),
        (("task", "stop", "task"), [1, 3]),
        (("task", "delete", "task", "task"), [4]),
        (("task", "task", "replace"), []),
        (("task", "replace", "task"), []),
        ((), []),
    ],
)
def test_reset_repeats_no_delete_and_no_replacement(words: tuple[str, ...], points: list[int]) -> None:
    """A reset does the workflow task anew at which it aims, with the signals that this task took."""
    assert reset_points(_history(*words)) == points


ALL_POSTS = stories(1, 60, 45.0)


@pytest.mark.parametrize("issue", range(1, 61))
def test_resync_sends_what_counts_of_the_issue_once_and_the_newest_first(issue: int) -> None:
    """No close that was undone, and no request as if the issue were still closed."""
    posts = [post for post in ALL_POSTS if post.event.issue == issue]
    again = newest_first(ALL_POSTS, issue)
    sent = {post.delivery for post in again}
    assert len(sent) == len(again)
    assert [post.event.second for post in again] == sorted((post.event.second for post in again), reverse=True)
    opened_at = max(post.event.second for post in posts if post.event.kind.action in {"opened", "reopened"})
    missing = [post.event for post in posts if post.delivery not in sent]
    assert all(event.closed_at is not None and event.second < opened_at for event in missing)
    assert not any(event.kind.expects is Expectation.RUNNING for event in missing)
    before = [post.event for post in again if post.event.second < opened_at]
    assert all(event.closed_at is None for event in before)


class Temporal:
    """Workflows by name, with what their memo says, and what was done to each."""

    def __init__(self, blocked: dict[str, str]) -> None:
        self.blocked = blocked
        self.ended: dict[str, WorkflowExecutionStatus] = {}
        self.done: list[tuple[str, str]] = []

    async def list_workflows(self, query: str) -> AsyncIterator[Any]:
        wants_running = "Running" in query
        for name, cause in self.blocked.items():
            if (name not in self.ended) is wants_running:
                yield SimpleNamespace(
                    id=name, run_id=f"run of {name}", memo=self._memo(cause), status=self._status(name)
                )

    def _memo(self, cause: str) -> Any:
        async def memo() -> dict[str, Any]:
            return {"status": {"blocked": cause}}

        return memo

    def _status(self, name: str) -> WorkflowExecutionStatus:
        return self.ended.get(name, WorkflowExecutionStatus.RUNNING)

    def get_workflow_handle(self, name: str, run_id: str = "") -> Any:
        async def describe() -> WorkflowExecutionDescription:
            if name not in self.blocked:
                raise RPCError("no", RPCStatusCode.NOT_FOUND, b"")
            return _described(name=name)

        async def did(word: str) -> None:
            self.done.append((name, word))

        return SimpleNamespace(
            describe=describe,
            cancel=lambda: did("cancel"),
            terminate=lambda reason: did("terminate"),
            signal=did,
        )


class Admin:
    """Daytona's sandboxes, by their labels."""

    def __init__(self, *rows: dict[str, str]) -> None:
        self.rows = [SimpleNamespace(id=f"s{n}", labels=labels, hidden=False) for n, labels in enumerate(rows)]

    async def sandboxes(self) -> list[Any]:
        return self.rows


class Http:
    """Records the labels that were put."""

    def __init__(self) -> None:
        self.put_labels: list[tuple[str, dict[str, str]]] = []

    async def put(self, url: str, json: dict[str, Any], headers: dict[str, str]) -> Any:
        self.put_labels.append((url.rsplit("/", 2)[1], json["labels"]))
        return SimpleNamespace(raise_for_status=lambda: None)


def _cluster(temporal: Temporal, admin: Admin | None = None, http: Http | None = None, **more: Any) -> Cluster:
    async def client() -> Temporal:
        return temporal

    found = SimpleNamespace(temporal=client, admin=admin, http=http, daytona_url="http://d", **more)
    return cast("Cluster", found)


@pytest.mark.parametrize(
    ("moment", "name"), [("blocked", "claude-issue-1"), ("at rest", "claude-issue-3"), ("in a create", "")]
)
async def test_first_workflow_in_the_moment_is_ended(moment: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the given issue on, and round again to the first; the end is noted before it is done."""
    monkeypatch.setattr(proofs.chaos.operators, "SEARCH_S", 0.1)
    temporal = Temporal({"claude-issue-1": "quota", "claude-issue-2": "", "claude-issue-3": ""})
    tally = Tally()
    await Operators(_cluster(temporal), tally).meddle(Meddle("terminate", moment, 3, 0.0))
    assert temporal.done == ([(name, "terminate")] if name else [])
    assert [(end.workflow_id, end.kind) for end in tally.ends] == ([(name, "terminated")] if name else [])
    assert (tally.acts if name else tally.refused_acts) == {f"terminate {moment}": 1}


async def test_temporal_that_is_down_refuses_the_operator() -> None:
    """That fails no run."""

    async def down() -> None:
        raise RuntimeError("no connection")

    tally = Tally()
    await Operators(cast("Cluster", SimpleNamespace(temporal=down)), tally).meddle(Meddle("cancel", "at rest", 1, 0.0))
    assert tally.refused_acts == {"cancel at rest": 1}


async def test_stray_is_started_for_a_while_and_mended(tmp_path: Path) -> None:
    """Its labels are corrected, and what it left blocked is tried again. Others' labels stay as they are."""
    temporal = Temporal({"claude-issue-1": "wrong_name", "claude-issue-2": "foreign", "claude-issue-3": "quota"})
    admin = Admin({"issuebox-instance": STRANGE_INSTANCE, "a": "b"}, {"issuebox-instance": "another"}, {})
    http, tally = Http(), Tally()
    async with AsyncExitStack() as exits:
        # `part_of` starts it already; a second start would be another process.
        part: Part = await exits.enter_async_context(part_of(tmp_path, ENDS_IN_ORDER))
        stray = SimpleNamespace(start=lambda: None, ready=part.ready, stop=part.stop)
        began = time.monotonic()
        cluster = _cluster(temporal, admin, http, stray=lambda _: stray)
        await Operators(cluster, tally).stray(Stray("worker-prefix", 0.3))
        assert time.monotonic() - began >= 0.3
        assert part.pid is None
    await asyncio.sleep(0)
    assert http.put_labels == [("s0", {"issuebox-instance": INSTANCE, "a": "b"})]
    assert temporal.done == [("claude-issue-1", "retry"), ("claude-issue-2", "retry")]
    assert [(each.lane, each.kind) for each in tally.disturbances] == [("worker-prefix", "wrong settings")]
