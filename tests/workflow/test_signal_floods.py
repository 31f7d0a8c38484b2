"""Floods of signals to one issue: as many as Temporal takes in one workflow run, read in one workflow task."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.common import RawValue
from temporalio.worker._workflow import _WorkflowWorker
from temporalio.worker._workflow_instance import _WorkflowInstanceImpl

from issuebox.domain.phase import Outcome
from issuebox.worker import build_worker
from tests.workflow.conftest import Stack, Started
from workflows.messages import SIGNAL_DELETE, SIGNAL_EVENT, SIGNAL_REPLACE

FLOOD = 9_000
"""Temporal takes 10,000 signals in one workflow run. With a traceback for each, 300 took too long on a busy machine."""

AT_ONCE = 100

DETECTED_S = 2.0
"""From so many seconds in one workflow task on, the SDK takes the workflow for deadlocked, and the task fails."""

BAD: dict[str, Callable[[Stack], tuple[str, Sequence[Any]]]] = {
    "fields are missing": lambda _: (SIGNAL_EVENT, [{"nonsense": True}]),
    "a field has the wrong type": lambda _: (SIGNAL_DELETE, [{"force": ["yes"]}]),
    "no arguments": lambda _: (SIGNAL_EVENT, []),
    "too many arguments": lambda stack: (SIGNAL_EVENT, [stack.event(), 1]),
    "an argument where none belongs": lambda _: (SIGNAL_REPLACE, [{"force": True}]),
    "a broken argument where none belongs": lambda _: (SIGNAL_REPLACE, [_raw(b"{", "json/plain")]),
    "two arguments where none belongs": lambda _: (SIGNAL_REPLACE, [1, 2]),
    "no JSON": lambda _: (SIGNAL_EVENT, [_raw(b"{", "json/plain")]),
    "no JSON, and too many": lambda _: (SIGNAL_EVENT, [_raw(b"{", "json/plain"), 1]),
    "an unknown encoding": lambda _: (SIGNAL_EVENT, [_raw(b"x", "json/strange")]),
}


def _raw(data: bytes, encoding: str) -> RawValue:
    return RawValue(Payload(metadata={"encoding": encoding.encode()}, data=data))


@pytest.fixture
def tasks_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of processor time that each workflow task took.

    The SDK's detector counts seconds of the clock, of which a busy machine spends many elsewhere. It is off here.
    """
    spent: list[float] = []
    begin, activate = _WorkflowWorker.__init__, _WorkflowInstanceImpl.activate

    def patient(worker: _WorkflowWorker, **given: Any) -> None:
        begin(worker, **given)
        assert worker._deadlock_timeout_seconds == DETECTED_S
        worker._deadlock_timeout_seconds = None

    def timed(instance: _WorkflowInstanceImpl, activation: Any) -> Any:
        before = time.thread_time()
        try:
            return activate(instance, activation)
        finally:
            spent.append(time.thread_time() - before)

    monkeypatch.setattr(_WorkflowWorker, "__init__", patient)
    monkeypatch.setattr(_WorkflowInstanceImpl, "activate", timed)
    return spent


@pytest.mark.parametrize(
    ("name", "count"), [("fields are missing", FLOOD), *((name, 20) for name in BAD)], ids=["a flood", *BAD]
)
async def test_malformed_signals_are_dropped_and_counted_in_one_line(
    start: Started, name: str, count: int, caplog: pytest.LogCaptureFixture, tasks_s: list[float]
) -> None:
    """However many they are, the workflow task that reads them does not fail, and the issue is served."""
    stack = await start(has_worker=False)
    await stack.deliver()
    signal, arguments = BAD[name](stack)
    await flood(stack, count, signal, arguments)
    async with build_worker(stack.temporal, stack.provider, stack.worker):
        assert (await stack.served()).outcome is Outcome.CREATED
    assert await failed_tasks(stack) == 0
    assert 0 < max(tasks_s) < DETECTED_S
    told = [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]
    assert [(record.getMessage(), getattr(record, "signal", ""), getattr(record, "count", 0)) for record in told] == [
        ("signal_malformed", signal, count)
    ]
    assert not any(record.exc_info for record in told)


async def test_flood_of_events_is_taken(start: Started, tasks_s: list[float]) -> None:
    """The same for events that are well formed."""
    stack = await start(has_worker=False)
    await stack.deliver()
    await flood(stack, FLOOD, SIGNAL_EVENT, [stack.event()])
    async with build_worker(stack.temporal, stack.provider, stack.worker):
        assert (await stack.served()).outcome is Outcome.CREATED
    assert await failed_tasks(stack) == 0
    assert 0 < max(tasks_s) < DETECTED_S


async def flood(stack: Stack, count: int, signal: str, arguments: Sequence[Any]) -> None:
    """Send it so often, while no worker reads it."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with free:
            await stack.handle.signal(signal, args=list(arguments))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            tasks.create_task(one())


async def failed_tasks(stack: Stack) -> int:
    """How often a workflow task of the issue failed."""
    history = await stack.handle.fetch_history()
    return sum(event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED for event in history.events)
