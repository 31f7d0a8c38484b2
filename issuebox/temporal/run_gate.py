"""The client side of the gate: `RunGates` for the activities, and who works and waits, for people."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy

from issuebox.domain.errors import TransientError
from issuebox.domain.issue import run_gate_name
from issuebox.domain.run_gate import Said
from issuebox.temporal.fairness import Urgency, priority_of
from issuebox.temporal.issues import Issues, UnavailableError, found
from workflows.messages import TASK_QUEUE
from workflows.run_gate_messages import RUN_GATE_SUMMARY, RUN_GATE_TYPE, SIGNAL_SAID, RunGateInput, SaidToGate

CALL_TIMEOUT_S = 15.0
DESCRIBED_AT_ONCE = 16


class GateClient:
    """`RunGates` over Temporal."""

    def __init__(self, client: Client, *, name_prefix: str, task_queue: str) -> None:
        self._name_prefix = name_prefix
        self._issues = Issues.over(client, name_prefix=name_prefix, task_queue=task_queue, timeout_s=CALL_TIMEOUT_S)
        self._client = client
        self.id = run_gate_name(name_prefix, "" if task_queue == TASK_QUEUE else task_queue)

    async def say(self, said: Said, runs_max: int) -> None:
        if not said.holder.startswith(self._name_prefix):
            # It would speak to a gate of its own name. The next try may meet a worker that is right.
            raise TransientError(f"{said.holder} is not of this worker, which calls issues {self._name_prefix}…")
        word = SaidToGate(said, runs_max)
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

    async def list_ended(self, holders: Iterable[str]) -> frozenset[str]:
        slots = asyncio.Semaphore(DESCRIBED_AT_ONCE)

        async def has_ended(holder: str) -> bool:
            async with slots, self._issues.within():
                description = await found(self._client.get_workflow_handle(holder).describe())
            return description is None or description.status is not WorkflowExecutionStatus.RUNNING

        names = list(holders)
        try:
            ended = await asyncio.gather(*map(has_ended, names))
        except UnavailableError as error:
            raise TransientError(str(error)) from None
        return frozenset(name for name, is_over in zip(names, ended, strict=True) if is_over)

    async def _start(self, word: SaidToGate, *, is_restart: bool) -> None:
        """Several issues may start it at once: one of them does, and all are heard."""
        await self._client.start_workflow(
            RUN_GATE_TYPE,
            RunGateInput(is_restart=is_restart, runs_max=word.runs_max),
            id=self.id,
            task_queue=self._issues.task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=RUN_GATE_SUMMARY,
            priority=priority_of(Urgency.PERSON),
            start_signal=SIGNAL_SAID,
            start_signal_args=[word],
        )
