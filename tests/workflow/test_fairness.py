"""Priorities and fairness keys as Temporal keeps them: on a workflow, on its activities, and in its next run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.workflow import Info

from issuebox.domain.issue import Issue
from issuebox.temporal.issues import Caller, Issues
from tests.waiting import until
from tests.workflow.conftest import Stack

SCHEDULED = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
STARTED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED


@pytest.fixture
def issues(stack: Stack) -> Issues:
    """The doors of API and command line, on the stack's task queue."""

    async def client() -> object:
        return stack.temporal

    return Issues(client, name_prefix="claude-issue-", task_queue=stack.settings.task_queue, timeout_s=10.0)  # type: ignore[arg-type]


async def priorities(stack: Stack, kind: EventType.ValueType) -> list[tuple[int, str]]:
    events = (await stack.handle.fetch_history()).events
    found = []
    for event in events:
        if event.event_type == kind:
            attributes = getattr(event, event.WhichOneof("attributes"))
            found.append((attributes.priority.priority_key, attributes.priority.fairness_key))
    return found


async def test_event_s_workflow_is_its_repository_s_and_its_activities_too(stack: Stack, issues: Issues) -> None:
    await issues.deliver(stack.event())
    await stack.served()
    assert await priorities(stack, STARTED) == [(3, "octo/repo")]
    activities = await priorities(stack, SCHEDULED)
    assert activities
    # What an activity does not say it inherits.
    assert set(activities) <= {(0, ""), (3, "octo/repo")}


async def test_person_comes_first_and_a_resync_last(stack: Stack, issues: Issues) -> None:
    other = stack.another()
    await issues.ensure(Issue(stack.issue_id, "Octo/Repo", 5), 20.0, Caller("rest", "REST"))
    await issues.deliver(replace(other.event(), is_resync=True))
    assert await priorities(stack, STARTED) == [(1, "octo/repo")]
    assert await priorities(other, STARTED) == [(5, "octo/repo")]


async def test_next_run_keeps_its_place(stack: Stack, issues: Issues, monkeypatch: pytest.MonkeyPatch) -> None:
    await issues.deliver(stack.event())
    await stack.served()
    first = (await stack.handle.describe()).run_id
    monkeypatch.setattr(Info, "is_continue_as_new_suggested", lambda info: info.run_id == first)
    await stack.deliver()

    async def run_id() -> str:
        return str((await stack.handle.describe()).run_id)

    await until(run_id, lambda seen: seen != first, "the next run")
    assert await priorities(stack, STARTED) == [(3, "octo/repo")]
