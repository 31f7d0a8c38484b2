"""The messages of the gate: `issuebox.domain.run_gate`. One object per message; add fields only with defaults."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from issuebox.domain.run_gate import RunGate, Said

RUN_GATE_TYPE = "RunGateWorkflow"
RUN_GATE_SUMMARY = "slots for the agent's runs"
SIGNAL_SAID = "slot_said"
"""To the gate, from the workflow of an issue."""
SIGNAL_RUN_SLOT = "run_slot"
"""To the workflow of an issue, from the gate."""
QUERY_RUN_GATE = "run_gate"


@dataclass(frozen=True, slots=True)
class RunGateInput:
    """The input of a workflow run. Only continue-as-new sets ``gate``.

    ``is_restart``: there was a gate before, whose memory is lost. ``runs_max`` is the limit, 0 for none.
    """

    gate: RunGate | None = None
    is_restart: bool = False
    runs_max: int = 0


@dataclass(frozen=True, slots=True)
class SaidToGate:
    """What the workflow of an issue says, and the limit that the worker knows which brings it."""

    said: Said
    runs_max: int


@dataclass(frozen=True, slots=True)
class SlotView:
    """An issue with a slot, or one that waits for one. ``name`` is that of its sandbox and workflow."""

    name: str
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class RunGateView:
    """The answer to the query ``run_gate``: who works, and who waits, in order. ``opens_at`` as in `RunGate`."""

    runs_max: int
    working: tuple[SlotView, ...] = ()
    waiting: tuple[SlotView, ...] = ()
    opens_at: datetime | None = None
