"""`GateWorkflow`: one for each installation. It hands out the slots for running sandboxes and for runs.

It is started by the first word of an issue's workflow, and runs on. All that counts is in `Gate`, one for each kind.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from activities.gate import GateActivities
from activities.gate_messages import Checked, CheckInput, Stopped, WatchInput
from issuebox.domain.gate import REOPENS_AFTER, Caps, Gate, Letter, Running
from issuebox.domain.slot import Asker, Kind
from workflows import options
from workflows.failures import read_failure
from workflows.gate_messages import (
    GATE_TYPE,
    QUERY_GATE,
    SIGNAL_SAID,
    SIGNAL_SLOT,
    GateInput,
    GateView,
    SaidToGate,
    SlotView,
)

WAITING_CHECKED_MAX = 20
"""Those next in the queue. A slot that goes to an issue whose workflow has ended comes back at once."""

UNITS: dict[Kind, str] = {Kind.SANDBOX: "sandboxes run", Kind.RUN: "runs work"}


@workflow.defn(name=GATE_TYPE)
class GateWorkflow:
    """Who has a slot, in the whole installation."""

    @workflow.init
    def __init__(self, start: GateInput) -> None:
        self._gates = start.gates or {kind: Gate(kind=kind) for kind in Kind}
        if start.gates is None:
            self._take_caps(start.caps)
        if start.is_restart:
            self._gates[Kind.RUN].opens_at = workflow.now() + REOPENS_AFTER
        self._stepped_at = workflow.now()
        self._running: tuple[Running, ...] = ()
        self._watched: frozenset[Running] = frozenset()
        self._checking: workflow.ActivityHandle[Checked] | None = None
        self._checked: dict[Kind, list[tuple[str, datetime]]] = {}
        self._watching: workflow.ActivityHandle[Stopped] | None = None
        self._is_woken = True

    @workflow.run
    async def run(self, start: GateInput) -> None:  # noqa: ARG002 -- taken by __init__
        """Answer what is said, until the history is long; then go on in a new run with the same memory."""
        while True:
            await self._next_work()
            self._is_woken = False
            now = workflow.now()
            is_check_due = any(gate.is_check_due(now) for gate in self._gates.values())
            if self._checking is None and (is_check_due or self._gates[Kind.SANDBOX].is_list_due(now)):
                self._check(is_full=is_check_due)
            self._take_checked()
            self._take_stopped()
            self._stepped_at = workflow.now()
            await self._send([letter for gate in self._gates.values() for letter in gate.step(self._stepped_at)])
            self._watch()
            self._show()
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(GateInput(self._gates))

    async def _next_work(self) -> None:
        moments = [gate.due_at(self._stepped_at) for gate in self._gates.values()]
        due_at = min((moment for moment in moments if moment is not None), default=None)
        timeout = max(timedelta(0), due_at - workflow.now()) if due_at is not None else None
        try:
            await workflow.wait_condition(
                lambda: self._is_woken or self._is_anything_done(),
                timeout=timeout,
                timeout_summary="who is silent, or has ended",
            )
        except TimeoutError:
            return

    def _is_anything_done(self) -> bool:
        return any(each is not None and each.done() for each in (self._watching, self._checking))

    def _check(self, *, is_full: bool) -> None:
        """Find out what runs, and the caps as the workers know them now. `is_full`: and of whom nothing is left.

        Nobody waits for it: what is free is granted meanwhile.
        """
        known = {kind: self._known(gate) if is_full else [] for kind, gate in self._gates.items()}
        sandboxes = self._gates[Kind.SANDBOX]
        is_listed = sandboxes.caps.is_set and bool(sandboxes.waiting)
        for gate in self._gates.values():
            gate.checked_at = workflow.now() if is_full else gate.checked_at
        sandboxes.listed_at = workflow.now()
        names = {holder for pairs in known.values() for holder, _ in pairs}
        leased = tuple(lease.holder for lease in sandboxes.leases) if is_full else ()
        self._checked = known
        self._checking = workflow.start_activity_method(
            GateActivities.check_holders,
            CheckInput(tuple(sorted(names)), leased, is_listed=is_listed),
            **options.gate(),
            summary="who has ended, and what runs",
        )

    def _take_checked(self) -> None:
        if self._checking is None or not self._checking.done():
            return
        checking, self._checking = self._checking, None
        error = checking.exception()
        if error is not None:
            reason = read_failure(error).reason if isinstance(error, ActivityError) else str(error)
            workflow.logger.warning("gate_check_failed", extra={"reason": reason})
            return
        checked, known, sandboxes = checking.result(), self._checked, self._gates[Kind.SANDBOX]
        self._take_caps(checked.caps)
        ended, up = frozenset(checked.ended), frozenset(checked.up)
        for kind, pairs in known.items():
            gone = ended if kind is Kind.RUN else ended - up
            self._reclaim(kind, [(holder, asked_at) for holder, asked_at in pairs if holder in gone])
        if checked.running is not None:
            self._running = checked.running
            busy = frozenset(lease.holder for lease in self._gates[Kind.RUN].leases)
            listed = [(each.holder, Asker(each.repository)) for each in checked.running]
            sandboxes.see(listed, busy, workflow.now())
            sandboxes.opens_at = None

    def _known(self, gate: Gate) -> list[tuple[str, datetime]]:
        waiting = [(each.holder, each.asked_at) for each in gate.queue()[:WAITING_CHECKED_MAX]]
        return [*((lease.holder, lease.asked_at) for lease in gate.leases), *waiting]

    def _take_caps(self, caps: dict[Kind, Caps]) -> None:
        """The sandboxes that run before there is a cap are known only once they are listed: until then none follows."""
        for kind, gate in self._gates.items():
            before, gate.caps = gate.caps, caps.get(kind, gate.caps)
            if kind is Kind.SANDBOX and gate.caps.is_set and not before.is_set:
                gate.opens_at, gate.listed_at = workflow.now() + REOPENS_AFTER, None

    def _watch(self) -> None:
        """While somebody waits for a sandbox's slot, one worker listens for those that stop."""
        gate = self._gates[Kind.SANDBOX]
        held = {lease.holder for lease in gate.leases}
        watched = tuple(each for each in self._running if each.holder in held)
        if self._watching is not None and not self._watched.issuperset(watched):
            self._watching.cancel()
            self._watching = None
        if self._watching is None and gate.waiting and gate.caps.is_set and watched:
            self._watched = frozenset(watched)
            self._watching = workflow.start_activity_method(
                GateActivities.watch_sandboxes, WatchInput(watched), **options.watch(), summary="which sandbox stops"
            )

    def _take_stopped(self) -> None:
        if self._watching is None or not self._watching.done():
            return
        watching, self._watching = self._watching, None
        error = watching.exception()
        if error is None:
            stopped = frozenset(watching.result().holders)
            self._gates[Kind.SANDBOX].doubt(stopped)
            self._running = tuple(each for each in self._running if each.holder not in stopped)
        else:
            workflow.logger.info("gate_watch_failed", extra={"reason": str(error.__cause__ or error)})

    async def _send(self, letters: list[Letter]) -> None:
        gone = [lease for lease in await asyncio.gather(*map(self._tell, letters)) if lease is not None]
        self._reclaim(Kind.RUN, gone)

    async def _tell(self, letter: Letter) -> tuple[str, datetime] | None:
        """Tell the holder. Returns it, and the lease on a run, when its workflow does not run.

        A sandbox may run without a workflow: the next check looks it up.
        """
        try:
            await workflow.get_external_workflow_handle(letter.holder).signal(SIGNAL_SLOT, letter.answer)
        except ApplicationError:
            return (letter.holder, letter.answer.asked_at) if letter.answer.kind is Kind.RUN else None
        return None

    def _reclaim(self, kind: Kind, gone: list[tuple[str, datetime]]) -> None:
        if not gone:
            return
        workflow.logger.info("slots_reclaimed", extra={"kind": str(kind), "sandboxes": [holder for holder, _ in gone]})
        self._gates[kind].reclaim(gone)
        self._is_woken = True

    def _show(self) -> None:
        parts = []
        for kind, gate in self._gates.items():
            limit = f" of {gate.caps.total}" if gate.caps.total else ""
            parts.append(f"{len(gate.leases)}{limit} {UNITS[kind]}, {len(gate.waiting)} wait.")
            if gate.opens_at:
                parts.append(f"None is granted before {gate.opens_at:%H:%M:%S} UTC, or before it is known what runs.")
            if gate.hold:
                parts.append(f"Daytona's quota is used up: the next try is at {gate.hold.until:%H:%M:%S} UTC.")
        workflow.set_current_details(" ".join(parts))

    @workflow.signal(name=SIGNAL_SAID)
    def slot_said(self, word: SaidToGate) -> None:
        """A word of an issue's workflow. Malformed ones never get here: `workflows.signal_guard`."""
        self._take_caps(word.caps)
        self._gates[word.said.kind].hear(word.said, workflow.now())
        self._is_woken = True

    @workflow.query(name=QUERY_GATE)
    def view(self) -> dict[Kind, GateView]:
        """Who has a slot, and who waits, in order."""
        return {kind: _view(gate, workflow.now()) for kind, gate in self._gates.items()}


def _view(gate: Gate, now: datetime) -> GateView:
    return GateView(
        gate.caps,
        tuple(SlotView(each.holder, each.heard_at, each.asker.repository) for each in gate.leases),
        tuple(SlotView(each.holder, each.since, each.asker.repository, limit) for each, limit in gate.outlook(now)),
        gate.opens_at,
        gate.hold.until if gate.hold else None,
    )
