"""The slots of an issue: what its workflow says to the gate, by the rules of `issuebox.domain.slot`.

One is for its running sandbox, where the installation caps those, or Daytona's quota is used up. The other one is for
its run, where the installation caps those. Without a cap nothing is said.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.gate import GateActivities
from issuebox.domain.memory import Memory, Note
from issuebox.domain.phase import GATED, UP, Cause, Goal, Phase
from issuebox.domain.run import RequestKind
from issuebox.domain.slot import Answer, Asker, Kind, Need, Said, Word
from workflows import options
from workflows.failures import BlockedError, read_failure

KEEP_MARGIN = timedelta(minutes=10)
"""Beyond the time limit of an attempt and the margin in which the workflow ends it: for what stops it, and a prepare
before it."""

ANSWER_MAX = timedelta(seconds=10)
"""How long a start waits for the gate's answer before the issue counts as queued."""


class Slots:
    """The workflow's side of the gate. All that counts is in the memory, except what the reconciliation is about to do.

    ``is_raising``: it is about to bring the sandbox up.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._slots = {Kind.SANDBOX: memory.slot, Kind.RUN: memory.runs.slot}
        self.is_raising = False

    @property
    def has_slot(self) -> bool:
        """Whether another attempt may begin, or a sandbox be woken up for one."""
        return self._memory.policy.runs.runs_max == 0 or self._memory.runs.slot.is_usable

    @property
    def may_raise(self) -> bool:
        """Whether the sandbox may be brought up now."""
        return self._need(Kind.SANDBOX) is Need.NONE or self._memory.slot.is_usable

    @property
    def is_due(self) -> bool:
        """Whether there is something to say to the gate."""
        return any(slot.next_word(*self._circumstances(kind)) is not None for kind, slot in self._slots.items())

    def due_at(self) -> datetime | None:
        """When time alone makes something due; None for never."""
        moments = [slot.due_at(self._need(kind)) for kind, slot in self._slots.items()]
        return min((moment for moment in moments if moment is not None), default=None)

    def hear(self, answer: Answer) -> None:
        """Take an answer of the gate. Before anything is said about a sandbox's slot, the sandbox is looked up."""
        memory, slot = self._memory, self._slots[answer.kind]
        if answer.kind is Kind.SANDBOX and slot.is_forgotten(answer):
            slot.start_over(answer, workflow.now() + options.LATE_MAX)
            memory.orders.is_lookup_asked = True
        else:
            slot.hear(answer)
        memory.progress.is_woken = True
        if answer.kind is Kind.RUN:
            return
        if slot.is_questioned or slot.strange:
            memory.orders.is_lookup_asked = True
        blocked = memory.progress.blocked
        if blocked is not None and blocked.cause in GATED:
            memory.progress.may_unblock = memory.progress.may_unblock or slot.is_usable
            if blocked.cause is Cause.QUEUED and slot.is_waiting:
                memory.progress.blocked = replace(blocked, reason=slot.wait(Kind.SANDBOX))

    async def settle(self) -> None:
        """Say to the gate what there is to say. What does not reach it is said again later, or asked by the gate."""
        self._end_keeping()
        for kind, slot in self._slots.items():
            while (spoken := slot.say(*self._circumstances(kind))) is not None:
                await self._say(kind, *spoken)

    async def queue_up(self) -> None:
        """Wait a moment for the slot of the sandbox, which was asked for. Raises BlockedError when it takes longer."""
        slot = self._memory.slot
        with suppress(TimeoutError):  # That is what the reason says then.
            await workflow.wait_condition(
                lambda: slot.is_usable or slot.is_told, timeout=ANSWER_MAX, timeout_summary="the gate's answer"
            )
        if slot.is_usable:
            return
        blocked = self._memory.progress.blocked
        if blocked is not None and blocked.cause is Cause.QUOTA:
            raise BlockedError(Cause.QUOTA, blocked.reason)
        raise BlockedError(Cause.QUEUED, slot.wait(Kind.SANDBOX))

    async def _say(self, kind: Kind, word: Word, about: datetime) -> None:
        memory, terms = self._memory, self._memory.policy.runs
        keep_s = terms.time_limit_s + terms.closing_margin_s + KEEP_MARGIN.total_seconds() if kind is Kind.RUN else 0.0
        said = Said(workflow.info().workflow_id, word, about, keep_s, kind, self._slots[kind].since, self._asker(kind))
        try:
            await workflow.execute_activity_method(
                GateActivities.say_to_gate, said, **options.say(), summary=f"{word} a slot for the {kind}"
            )
        except ActivityError as error:
            self._slots[kind].miss(workflow.now())
            memory.note(Note(workflow.now(), "the gate was not reached", read_failure(error).reason))

    def _end_keeping(self) -> None:
        """What was sent has been carried out by now, or never will be: the next lookup tells."""
        slot = self._memory.slot
        if slot.kept_until is not None and slot.kept_until <= workflow.now():
            slot.kept_until = None
            if slot.is_held and self._memory.seen.phase not in UP:
                self._memory.orders.is_lookup_asked = True

    def _circumstances(self, kind: Kind) -> tuple[Need, datetime, Asker | None]:
        """What a slot's next word depends on. For whom it is counts only while it is wanted."""
        need = self._need(kind)
        return need, workflow.now(), self._asker(kind) if need is Need.WANTED else None

    def _need(self, kind: Kind) -> Need:
        return self._sandbox_need() if kind is Kind.SANDBOX else self._run_need()

    def _sandbox_need(self) -> Need:
        memory, slot = self._memory, self._memory.slot
        blocked, is_capped = memory.progress.blocked, memory.policy.caps.is_set
        is_gated = blocked is not None and blocked.cause in GATED and memory.has_work
        if is_gated or (self.is_raising and (is_capped or slot.asked_at is not None)):
            return Need.WANTED
        if not is_capped:
            return Need.NONE
        if memory.seen.phase in UP:
            return Need.OCCUPIED
        is_gone = memory.seen.gone_id == memory.seen.sandbox_id and not memory.builds.is_create_open
        is_doubtful = memory.seen.phase in {None, Phase.UNKNOWN} or (memory.seen.phase is Phase.MISSING and not is_gone)
        may_be_up = slot.is_held and (is_doubtful or memory.orders.is_lookup_asked)
        return Need.OCCUPIED if may_be_up or slot.kept_until is not None else Need.NONE

    def _run_need(self) -> Need:
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

    def _asker(self, kind: Kind) -> Asker:
        issue, requests, runs = self._memory.told.issue, self._memory.requests, self._memory.runs
        repository, author = (issue.repository, issue.author) if issue is not None else ("", "")
        if kind is Kind.SANDBOX:
            return Asker(repository, author, requests.is_person, requests.is_trusted)
        asked = runs.active.requests if runs.active is not None else runs.queue
        return Asker(repository, author, any(each.kind is RequestKind.CALL for each in asked), is_trusted=True)
