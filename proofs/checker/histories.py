"""Reads what Temporal recorded: raw events of every run, and of them only which delivery came when.

Knows two things of the service: that a delivery is the first argument of a signal (or of an update), and that its
ID is in that argument's field `delivery`. Both are the public wire form; nothing of the service is imported.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from proofs.checker.evidence import Signal

AT_ONCE = 16
"""Histories that are read at the same time."""


async def read_signals(client: Client, workflow_ids: Iterable[str]) -> list[Signal]:
    """Every delivery in the histories of these workflows, all runs of each, in the order of the workflows.

    An ID that no workflow ever had has none. Raises the SDK's RPCError when Temporal does not answer.
    """
    gate = asyncio.Semaphore(AT_ONCE)

    async def read(workflow_id: str) -> list[Signal]:
        async with gate:
            return await _of_workflow(client, workflow_id)

    found = await asyncio.gather(*(read(workflow_id) for workflow_id in workflow_ids))
    return [signal for signals in found for signal in signals]


async def _of_workflow(client: Client, workflow_id: str) -> list[Signal]:
    """Walk from the newest run, and from each that visibility knows, back to where its chain began."""
    pending: list[str | None] = [None]
    query = f'WorkflowId = "{workflow_id}"'
    pending += [execution.run_id async for execution in client.list_workflows(query)]
    read: dict[str, list[Signal]] = {}
    while pending:
        run_id = pending.pop()
        if run_id in read:
            continue
        events = await _events(client, workflow_id, run_id)
        if not events:
            continue
        started = events[0].workflow_execution_started_event_attributes
        this = run_id or started.original_execution_run_id
        read[this] = list(signals_of(workflow_id, this, events))
        if started.continued_execution_run_id:
            pending.append(started.continued_execution_run_id)
    return sorted((signal for signals in read.values() for signal in signals), key=lambda signal: signal.at)


async def _events(client: Client, workflow_id: str, run_id: str | None) -> Sequence[HistoryEvent]:
    """A run's events; none when there is no such run (any more)."""
    try:
        history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return []
        raise
    return history.events


def signals_of(workflow_id: str, run_id: str, events: Sequence[HistoryEvent]) -> Iterator[Signal]:
    """The deliveries among a run's events; handled are those before its last completed workflow task."""
    completed = [e.event_id for e in events if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]
    last_completed = max(completed, default=0)
    for event in events:
        name, payloads = _message(event)
        delivery = _delivery(payloads)
        if delivery:
            yield Signal(
                workflow_id=workflow_id,
                run_id=run_id,
                event_id=event.event_id,
                at=event.event_time.ToNanoseconds() / 1e9,
                name=name,
                delivery=delivery,
                is_handled=event.event_id < last_completed,
            )


def _message(event: HistoryEvent) -> tuple[str, Sequence[Payload]]:
    """The name and the arguments of the signal or update that the event records; of any other, nothing."""
    match event.event_type:
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
            signal = event.workflow_execution_signaled_event_attributes
            return signal.signal_name, signal.input.payloads
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
            update = event.workflow_execution_update_accepted_event_attributes.accepted_request.input
            return update.name, update.args.payloads
        case _:
            return "", ()


def _delivery(payloads: Sequence[Payload]) -> str:
    """The delivery ID in the first argument; '' when there is none, or when it is not JSON."""
    if not payloads or not payloads[0].metadata.get("encoding", b"").startswith(b"json/"):
        return ""
    argument = json.loads(payloads[0].data)
    delivery = argument.get("delivery") if isinstance(argument, dict) else None
    return delivery if isinstance(delivery, str) else ""
