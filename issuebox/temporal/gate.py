"""The client side of the gate: `Gates` for the activities. `issuebox.temporal.queue` reads it for people."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy

from issuebox.domain.errors import TransientError
from issuebox.domain.gate import Caps
from issuebox.domain.issue import gate_name
from issuebox.domain.slot import Kind, Said
from issuebox.temporal.fairness import Urgency, priority_of
from issuebox.temporal.issues import Issues, UnavailableError, found
from workflows.gate_messages import GATE_SUMMARY, GATE_TYPE, SIGNAL_SAID, GateInput, SaidToGate
from workflows.messages import TASK_QUEUE

CALL_TIMEOUT_S = 15.0
DESCRIBED_AT_ONCE = 16


def gate_id(name_prefix: str, task_queue: str) -> str:
    """The ID of the gate of the installation with this prefix and task queue."""
    return gate_name(name_prefix, "" if task_queue == TASK_QUEUE else task_queue)


class GateClient:
    """`Gates` over Temporal."""

    def __init__(self, client: Client, *, name_prefix: str, task_queue: str) -> None:
        self._name_prefix = name_prefix
        self._issues = Issues.over(client, name_prefix=name_prefix, task_queue=task_queue, timeout_s=CALL_TIMEOUT_S)
        self._client = client
        self.id = gate_id(name_prefix, task_queue)

    async def say(self, said: Said, caps: dict[Kind, Caps]) -> None:
        if not said.holder.startswith(self._name_prefix):
            # It would speak to a gate of its own name. The next try may meet a worker that is right.
            raise TransientError(f"{said.holder} is not of this worker, which calls issues {self._name_prefix}…")
        word = SaidToGate(said, caps)
        handle = self._client.get_workflow_handle(self.id)
        try:
            async with self._issues.within():
                description = await found(handle.describe())
                if description is not None and description.status is WorkflowExecutionStatus.RUNNING:
                    await handle.signal(SIGNAL_SAID, word)
                else:
                    await self._start(word, is_restart=description is not None)
        except UnavailableError as error:
            raise TransientError(str(error)) from None

    async def list_ended(self, holders: Iterable[str]) -> dict[str, datetime | None]:
        slots = asyncio.Semaphore(DESCRIBED_AT_ONCE)

        async def end_of(holder: str) -> tuple[bool, datetime | None]:
            async with slots, self._issues.within():
                description = await found(self._client.get_workflow_handle(holder).describe())
            is_over = description is None or description.status is not WorkflowExecutionStatus.RUNNING
            return is_over, description.close_time if description is not None else None

        names = list(holders)
        try:
            ends = await asyncio.gather(*map(end_of, names))
        except UnavailableError as error:
            raise TransientError(str(error)) from None
        return {name: ended_at for name, (is_over, ended_at) in zip(names, ends, strict=True) if is_over}

    async def _start(self, word: SaidToGate, *, is_restart: bool) -> None:
        """Several issues may start it at once: one of them does, and all are heard."""
        await self._client.start_workflow(
            GATE_TYPE,
            GateInput(is_restart=is_restart, caps=word.caps),
            id=self.id,
            task_queue=self._issues.task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=GATE_SUMMARY,
            priority=priority_of(Urgency.PERSON),
            start_signal=SIGNAL_SAID,
            start_signal_args=[word],
        )
