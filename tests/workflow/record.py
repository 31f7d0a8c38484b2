"""Records histories for the replay tests: ``uv run pytest tests/workflow/record.py``.

Each story is played on the whole path (real Temporal, localdaytona), and its workflow's history is kept under
``histories/``. Until version 1.0.0 a change of the workflow's commands records them anew (decision 16).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory

from issuebox.domain.events import Intention
from issuebox.domain.issue import IssueState
from issuebox.domain.phase import Goal
from tests.waiting import until
from tests.workflow.conftest import Stack, Started
from workflows.messages import SIGNAL_DELETE, SIGNAL_LOOK, SIGNAL_REPLACE, SIGNAL_STOP, DeleteRequest

HISTORIES = Path(__file__).parent / "histories"

Story = Callable[[Stack], Awaitable[object]]


async def _created_and_reused(stack: Stack) -> None:
    await stack.deliver()
    await stack.served()
    await stack.ensure()


async def _stopped_and_started(stack: Stack) -> None:
    first = await stack.ensure()
    assert first.sandbox is not None
    await stack.daytona.admin.act(first.sandbox.id, "stop")
    await stack.ensure()


async def _lost_reply(stack: Stack) -> None:
    await stack.daytona.admin.add_fault("create", {"kind": "drop_after"})
    await stack.ensure()


async def _build_failed(stack: Stack) -> None:
    await stack.daytona.admin.add_fault("create", {"kind": "build_failed"})
    await stack.ensure()


async def _blocked_and_retried(stack: Stack) -> None:
    await stack.daytona.admin.config(cpu_max=0)
    await stack.deliver()
    await stack.blocked()
    await stack.daytona.admin.config(cpu_max=None)
    await stack.retry()
    await stack.served()


async def _adopted(stack: Stack) -> None:
    made = await stack.daytona.admin.create(name=stack.name)
    await stack.provider.settle(made.id, 5.0)
    await stack.daytona.admin.act(made.id, "idle", seconds=3600)
    await stack.ensure()


async def _closed_and_commented(stack: Stack) -> None:
    await stack.deliver()
    await stack.deliver(stack.event(Intention.STOP, action="closed"))
    await stack.deliver(stack.event(is_explicit=True))
    await stack.served()


async def _life(stack: Stack) -> None:
    """Every rung of the ladder, a reopening in between, and a delete that needs an inspection first."""
    await stack.ensure()
    await stack.close()
    await stack.reached(Goal.ARCHIVED)
    await stack.deliver(stack.event(action="reopened"))
    await stack.served()
    await stack.close(IssueState.DELETED)
    await stack.reached(Goal.DELETED)


async def _held_and_forced(stack: Stack) -> None:
    handover = await stack.ensure()
    assert handover.sandbox is not None
    await stack.provider.execute(handover.sandbox.id, "git init -q repo && echo draft > repo/notes.txt", 10.0)
    await stack.order(SIGNAL_DELETE)
    await stack.blocked()
    await stack.order(SIGNAL_DELETE, DeleteRequest(force=True))
    await stack.reached(Goal.DELETED)


async def _stopped_and_replaced(stack: Stack) -> None:
    await stack.ensure()
    await stack.order(SIGNAL_STOP)
    await stack.reached(Goal.STOPPED)
    await stack.order(SIGNAL_REPLACE)
    await stack.served()
    await stack.order(SIGNAL_LOOK)
    await until(stack.status, lambda status: status.doing.startswith("resting"), "at rest")


async def _broken_and_repaired(stack: Stack) -> None:
    handover = await stack.ensure()
    assert handover.sandbox is not None
    await stack.daytona.admin.act(handover.sandbox.id, "break", recoverable=False)
    await stack.deliver()
    await stack.blocked()
    await stack.daytona.admin.act(handover.sandbox.id, "set-state", state="started", desired_state="started")
    await stack.retry()
    await stack.served()


async def _vanished(stack: Stack) -> None:
    await stack.ensure()
    await stack.daytona.admin.act(stack.name, "delete")
    await until(stack.state, lambda state: not state, "deleted by hand")
    await stack.close()
    await stack.reached(Goal.ARCHIVED)


async def _failed_lookups(stack: Stack) -> None:
    """A lookup that fails at once and is repeated, one that is refused, and one that fails for too long."""
    await stack.daytona.admin.add_fault("get", {"kind": "drop"})
    await stack.ensure()
    await stack.daytona.admin.add_fault("get", {"kind": "status", "status": 401})
    await stack.ensure()
    await stack.daytona.admin.add_fault("get", {"kind": "status", "status": 503}, times=None)
    await stack.ensure()
    await stack.daytona.admin.set_faults()
    await stack.retry()
    await stack.served()


async def _past_read(stack: Stack) -> None:
    """The workflow stops the sandbox, then a read shows it as it was when it ran."""
    await stack.ensure()
    then = (await stack.daytona.admin.journal(kind="state"))[-1].at
    await stack.order(SIGNAL_STOP)
    await stack.reached(Goal.STOPPED)
    await stack.daytona.admin.add_fault("get", {"kind": "stale", "at": then})
    await stack.ensure()


STORIES: dict[str, Story] = {
    "created_and_reused": _created_and_reused,
    "stopped_and_started": _stopped_and_started,
    "lost_reply": _lost_reply,
    "build_failed": _build_failed,
    "blocked_and_retried": _blocked_and_retried,
    "adopted": _adopted,
    "closed_and_commented": _closed_and_commented,
    "life": _life,
    "held_and_forced": _held_and_forced,
    "stopped_and_replaced": _stopped_and_replaced,
    "broken_and_repaired": _broken_and_repaired,
    "vanished": _vanished,
    "failed_looks": _failed_lookups,
    "past_read": _past_read,
}


@pytest.mark.parametrize("name", STORIES)
async def test_record(name: str, start: Started) -> None:
    """Play one story and keep its history. Collected only when this file is named."""
    stack = await start(close_stop_after_s=0.2, close_archive_after_s=1.0)
    await STORIES[name](stack)
    history: WorkflowHistory = await stack.handle.fetch_history()
    await asyncio.to_thread(HISTORIES.mkdir, exist_ok=True)
    await asyncio.to_thread((HISTORIES / f"{name}.json").write_text, _portable(history) + "\n")


def _portable(history: WorkflowHistory) -> str:
    """The history without stack traces: those name files of the machine that recorded it."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: bare(item) for key, item in value.items() if key != "stackTrace"}
        return [bare(item) for item in value] if isinstance(value, list) else value

    return json.dumps(bare(history.to_json_dict()), indent=1)
