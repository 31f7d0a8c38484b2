"""The slot of an issue's run: what its workflow says to the gate, by the rules of `issuebox.domain.run_gate`."""

from __future__ import annotations

from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.run_gate import RunGateActivities
from issuebox.domain.memory import Memory, Note
from issuebox.domain.phase import Goal
from issuebox.domain.run_gate import Need, Said
from workflows import options
from workflows.failures import read_failure

KEEP_MARGIN = timedelta(minutes=10)
"""Beyond the time limit of an attempt and the margin in which the workflow ends it: for what stops it, and a prepare
before it."""


class RunSlots:
    """The workflow's side of the gate. All that counts is in the memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    @property
    def has_slot(self) -> bool:
        """Whether another attempt may begin, or a sandbox be woken up for one."""
        slot = self._memory.runs.slot
        return self._memory.policy.runs.runs_max == 0 or (slot.is_held and not slot.is_spent)

    @property
    def is_due(self) -> bool:
        """Whether there is something to say to the gate."""
        return self._memory.runs.slot.next_word(self._need(), workflow.now()) is not None

    def due_at(self) -> datetime | None:
        """When time alone makes something due; None for never."""
        return self._memory.runs.slot.due_at(self._need())

    async def settle(self) -> None:
        """Say to the gate what there is to say. What does not reach it is said again later, or asked by the gate."""
        memory = self._memory
        terms = memory.policy.runs
        keep_s = terms.time_limit_s + terms.closing_margin_s + KEEP_MARGIN.total_seconds()
        while (spoken := memory.runs.slot.say(self._need(), workflow.now())) is not None:
            word, about = spoken
            said = Said(workflow.info().workflow_id, word, about, keep_s)
            try:
                await workflow.execute_activity_method(
                    RunGateActivities.say_to_gate, said, **options.run_gate(), summary=f"{word} a slot"
                )
            except ActivityError as error:
                memory.note(Note(workflow.now(), "the gate of the runs was not reached", read_failure(error).reason))

    def _need(self) -> Need:
        memory, runs = self._memory, self._memory.runs
        if memory.policy.runs.runs_max == 0:
            return Need.NONE
        run, is_blocked = runs.active, memory.progress.blocked is not None
        if run is not None:
            return run.slot_need(workflow.now(), is_held=runs.slot.is_held, is_blocked=is_blocked)
        is_wanted = bool(runs.queue) and runs.pause is None and memory.progress.goal is Goal.RUNNING and not is_blocked
        # A sandbox that somebody asked for comes up by itself. Whoever stands in the queue stays there meanwhile.
        is_wanted = is_wanted and (runs.slot.asked_at is not None or not memory.requests.is_waiting)
        return Need.WANTED if is_wanted else Need.NONE
