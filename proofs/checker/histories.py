"""Reads Temporal's records: from the raw events of every workflow run, the deliveries and the blocks.

It relies on three facts about the service: a delivery is the first argument of a signal (or of an update); that
argument's field `delivery` has its ID; and the memo's field `status` says by what the issue is `blocked`. All three are
the public wire form; nothing of the service is imported.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from proofs.checker.ends import bad_cancels, ends_of, is_reset
from proofs.checker.evidence import Block, End, RunStep, Signal

AT_ONCE = 16
"""How many histories are read at the same time."""

STEPS = frozenset(f"{step}_run" for step in ("prepare", "begin", "probe", "follow", "interrupt", "fence", "collect"))
"""Activities that carry out a step of a run."""

MEMO = "status"
"""The memo's field that lists read."""


@dataclass(frozen=True, slots=True)
class Histories:
    """The records of several workflows: in the order of the workflows, and by time within each."""

    signals: list[Signal]
    blocks: list[Block]
    failed_tasks: Counter[str]
    """How often workflow tasks failed, by the code in the SDK's message, such as `TMPRL1101` for one that hung."""
    ends: list[End] = field(default_factory=list)
    bad_cancels: list[str] = field(default_factory=list)
    """The cancels that did not settle the command in flight and then end the run, one sentence for each."""
    run_steps: list[RunStep] = field(default_factory=list)


async def read_histories(client: Client, workflow_ids: Iterable[str]) -> Histories:
    """Every delivery and every block in the histories of these workflows, all runs of each.

    For an ID without a workflow there are none. Raises the SDK's RPCError when Temporal does not answer.
    """
    gate = asyncio.Semaphore(AT_ONCE)

    async def read(workflow_id: str) -> Histories:
        async with gate:
            return await _of_workflow(client, workflow_id)

    found = await asyncio.gather(*(read(workflow_id) for workflow_id in workflow_ids))
    return _joined(found)


async def read_signals(client: Client, workflow_ids: Iterable[str]) -> list[Signal]:
    """The deliveries alone, as `read_histories`."""
    return (await read_histories(client, workflow_ids)).signals


async def _of_workflow(client: Client, workflow_id: str) -> Histories:
    """Follow each chain of workflow runs to its start: from the newest run, and from each that visibility knows."""
    pending = await _newest_run(client, workflow_id)
    query = f'WorkflowId = "{workflow_id}"'
    pending += [execution.run_id async for execution in client.list_workflows(query)]
    runs: dict[str, Sequence[HistoryEvent]] = {}
    while pending:
        run_id = pending.pop()
        if run_id in runs:
            continue
        events = await _events(client, workflow_id, run_id)
        if not events:
            continue
        runs[run_id] = events
        before = events[0].workflow_execution_started_event_attributes.continued_execution_run_id
        if before:
            pending.append(before)
    joined = _joined(
        Histories(
            list(signals_of(workflow_id, run_id, events)),
            list(blocks_of(workflow_id, run_id, events)),
            failed_tasks_of(events),
            run_steps=list(run_steps_of(workflow_id, events)),
        )
        for run_id, events in runs.items()
    )
    return Histories(
        sorted(joined.signals, key=lambda signal: signal.at),
        sorted(joined.blocks, key=lambda block: block.at),
        joined.failed_tasks,
        ends_of(workflow_id, runs),
        bad_cancels(workflow_id, runs),
        joined.run_steps,
    )


async def _newest_run(client: Client, workflow_id: str) -> list[str]:
    """The ID of the newest run, which visibility may not know yet; none without a workflow.

    Its events do not tell: those of a reset run have the ID of the run that was reset.
    """
    try:
        description = await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return []
        raise
    return [description.run_id]


def _joined(several: Iterable[Histories]) -> Histories:
    joined = Histories([], [], Counter())
    for one in several:
        joined.signals.extend(one.signals)
        joined.blocks.extend(one.blocks)
        joined.failed_tasks.update(one.failed_tasks)
        joined.ends.extend(one.ends)
        joined.bad_cancels.extend(one.bad_cancels)
        joined.run_steps.extend(one.run_steps)
    return joined


async def _events(client: Client, workflow_id: str, run_id: str) -> Sequence[HistoryEvent]:
    """The events of a workflow run; none when it does not exist, or no longer."""
    try:
        history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return []
        raise
    return history.events


def signals_of(workflow_id: str, run_id: str, events: Sequence[HistoryEvent]) -> Iterator[Signal]:
    """The deliveries in a workflow run's events. Those before its last completed workflow task are handled."""
    completed = [event for event in events if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]
    for event in events:
        name, payloads = _message(event)
        delivery = _text_in(payloads, "delivery")
        if delivery:
            task = next((task for task in completed if task.event_id > event.event_id), None)
            yield Signal(
                workflow_id=workflow_id,
                run_id=run_id,
                event_id=event.event_id,
                at=_time(event),
                name=name,
                delivery=delivery,
                is_handled=task is not None,
                handled_at=None if task is None else _time(task),
            )


def blocks_of(workflow_id: str, run_id: str, events: Sequence[HistoryEvent]) -> Iterator[Block]:
    """The blocks in a workflow run's events: one for each change of the memo to another cause."""
    before = ""
    for event in events:
        if event.event_type != EventType.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED:
            continue
        fields = event.workflow_properties_modified_event_attributes.upserted_memo.fields
        cause = _text_in([fields[MEMO]] if MEMO in fields else [], "blocked")
        if cause and cause != before:
            at = _time(event)
            yield Block(workflow_id=workflow_id, run_id=run_id, event_id=event.event_id, at=at, cause=cause)
        before = cause


def run_steps_of(workflow_id: str, events: Sequence[HistoryEvent]) -> Iterator[RunStep]:
    """The steps of runs that a workflow run scheduled, each with what its result says."""
    ends = {
        done.scheduled_event_id: (_time(event), _object_in(done.result.payloads))
        for event in events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
        for done in [event.activity_task_completed_event_attributes]
    }
    for event in events:
        scheduled = event.activity_task_scheduled_event_attributes
        if (
            event.event_type != EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
            or scheduled.activity_type.name not in STEPS
        ):
            continue
        given = _object_in(scheduled.input.payloads)
        about = given.get("about", given)
        ended_at, result = ends.get(event.event_id, (None, {}))
        seen = result.get("seen", result)
        yield RunStep(
            workflow_id=workflow_id,
            step=scheduled.activity_type.name,
            run=str(about.get("run", "")),
            attempt=int(about.get("attempt", 0)),
            sandbox_id=str(about.get("sandbox_id", "")),
            at=_time(event),
            ended_at=ended_at,
            phase=str(seen.get("phase", "")),
            keys=tuple(str(request.get("key", "")) for request in given.get("requests", ())),
        )


def failed_tasks_of(events: Sequence[HistoryEvent]) -> Counter[str]:
    """How often workflow tasks failed, by code; without a code, by Temporal's word for the cause. A reset is none."""
    found: Counter[str] = Counter()
    for event in events:
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED and not is_reset(event):
            failed = event.workflow_task_failed_event_attributes
            code = re.match(r"\[(\w+)\]", failed.failure.message)
            found[code[1] if code else WorkflowTaskFailedCause.Name(failed.cause)] += 1
    return found


def _time(event: HistoryEvent) -> float:
    """When it was written, in epoch seconds."""
    return event.event_time.ToNanoseconds() / 1e9


def _message(event: HistoryEvent) -> tuple[str, Sequence[Payload]]:
    """The name and the arguments of the signal or update in the event; of any other event, nothing."""
    match event.event_type:
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
            signal = event.workflow_execution_signaled_event_attributes
            return signal.signal_name, signal.input.payloads
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
            update = event.workflow_execution_update_accepted_event_attributes.accepted_request.input
            return update.name, update.args.payloads
        case _:
            return "", ()


def _text_in(payloads: Sequence[Payload], field: str) -> str:
    """A field of the first argument; '' when it is missing, is no text, or the argument is no JSON."""
    text = _object_in(payloads).get(field)
    return text if isinstance(text, str) else ""


def _object_in(payloads: Sequence[Payload]) -> dict[str, Any]:
    """The first argument or result; empty when there is none, or it is no JSON object."""
    if not payloads or not payloads[0].metadata.get("encoding", b"").startswith(b"json/"):
        return {}
    try:
        found = json.loads(payloads[0].data)
    except (ValueError, RecursionError):  # Anybody may send a signal, with any bytes.
        return {}
    return found if isinstance(found, dict) else {}
