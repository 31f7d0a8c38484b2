"""`RunGateWorkflow`: one for each installation. It hands out the slots for runs, so that no more work at once.

It is started by the first word of an issue's workflow, and runs on. All that counts is in `RunGate`.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from activities.run_gate import RunGateActivities
from activities.run_gate_messages import HoldersInput
from issuebox.domain.run_gate import REOPENS_AFTER, Letter, RunGate
from workflows import options
from workflows.failures import read_failure
from workflows.run_gate_messages import (
    QUERY_RUN_GATE,
    RUN_GATE_TYPE,
    SIGNAL_RUN_SLOT,
    SIGNAL_SAID,
    RunGateInput,
    RunGateView,
    SaidToGate,
    SlotView,
)

WAITING_CHECKED_MAX = 20
"""Those next in the queue. A slot that goes to an issue whose workflow has ended comes back at once."""


@workflow.defn(name=RUN_GATE_TYPE)
class RunGateWorkflow:
    """Who works at once, in the whole installation."""

    @workflow.init
    def __init__(self, start: RunGateInput) -> None:
        self._gate = start.gate or RunGate(
            start.runs_max, opens_at=workflow.now() + REOPENS_AFTER if start.is_restart else None
        )
        self._is_woken = True

    @workflow.run
    async def run(self, start: RunGateInput) -> None:  # noqa: ARG002 -- taken by __init__
        """Answer what is said, until the history is long; then go on in a new run with the same memory."""
        while True:
            await self._next_work()
            self._is_woken = False
            if self._gate.is_check_due(workflow.now()):
                await self._check()
            await self._send(self._gate.step(workflow.now()))
            self._show()
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(RunGateInput(self._gate))

    async def _next_work(self) -> None:
        due_at = self._gate.due_at()
        timeout = max(timedelta(0), due_at - workflow.now()) if due_at is not None else None
        try:
            await workflow.wait_condition(
                lambda: self._is_woken, timeout=timeout, timeout_summary="who is silent, or has ended"
            )
        except TimeoutError:
            return

    async def _check(self) -> None:
        """Find out which holders have ended, and the limit as the workers know it now."""
        gate = self._gate
        gate.checked_at = workflow.now()
        known = [(lease.holder, lease.asked_at) for lease in gate.leases]
        known += [(each.holder, each.asked_at) for each in gate.waiting[:WAITING_CHECKED_MAX]]
        try:
            checked = await workflow.execute_activity_method(
                RunGateActivities.check_holders,
                HoldersInput(tuple(holder for holder, _ in known)),
                **options.run_gate(),
                summary="which of the holders have ended",
            )
        except ActivityError as error:
            workflow.logger.warning("run_gate_check_failed", extra={"reason": read_failure(error).reason})
            return
        gate.runs_max = checked.runs_max
        gone = [(holder, asked_at) for holder, asked_at in known if holder in checked.ended]
        self._reclaim(gone)

    async def _send(self, letters: list[Letter]) -> None:
        sent = await asyncio.gather(*(self._tell(letter) for letter in letters))
        self._reclaim([gone for gone in sent if gone is not None])

    async def _tell(self, letter: Letter) -> tuple[str, datetime] | None:
        """Tell the holder. Returns it, and the lease, when its workflow does not run."""
        try:
            await workflow.get_external_workflow_handle(letter.holder).signal(SIGNAL_RUN_SLOT, letter.answer)
        except ApplicationError:
            return letter.holder, letter.answer.asked_at
        return None

    def _reclaim(self, gone: list[tuple[str, datetime]]) -> None:
        if not gone:
            return
        workflow.logger.info("slots_reclaimed", extra={"sandboxes": [holder for holder, _ in gone]})
        self._gate.reclaim(gone)
        self._is_woken = True

    def _show(self) -> None:
        gate = self._gate
        limit = f"of {gate.runs_max}" if gate.runs_max else "without a limit"
        opens = f" Nothing is granted before {gate.opens_at:%H:%M:%S} UTC." if gate.opens_at else ""
        workflow.set_current_details(f"{len(gate.leases)} {limit} work, {len(gate.waiting)} wait.{opens}")

    @workflow.signal(name=SIGNAL_SAID)
    def slot_said(self, word: SaidToGate) -> None:
        """A word of an issue's workflow. Malformed ones never get here: `workflows.signal_guard`."""
        self._gate.runs_max = max(0, word.runs_max)
        self._gate.hear(word.said, workflow.now())
        self._is_woken = True

    @workflow.query(name=QUERY_RUN_GATE)
    def view(self) -> RunGateView:
        """Who works, and who waits."""
        gate = self._gate
        return RunGateView(
            gate.runs_max,
            tuple(SlotView(each.holder, each.asked_at) for each in gate.leases),
            tuple(SlotView(each.holder, each.asked_at) for each in gate.waiting),
            gate.opens_at,
        )
