"""The messages of the gate: `issuebox.domain.gate`. One object per message; add fields only with defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from issuebox.domain.gate import Caps, Gate
from issuebox.domain.slot import Kind, Limit, Said

GATE_TYPE = "GateWorkflow"
GATE_SUMMARY = "slots for running sandboxes and for runs"
SIGNAL_SAID = "slot_said"
"""To the gate, from the workflow of an issue."""
SIGNAL_SLOT = "slot"
"""To the workflow of an issue, from the gate."""
QUERY_GATE = "gate"


@dataclass(frozen=True, slots=True)
class GateInput:
    """The input of a workflow run. Only continue-as-new sets ``gates``.

    ``is_restart``: there was a gate before, whose memory is lost. ``caps`` are those that the first worker knows.
    """

    gates: dict[Kind, Gate] | None = None
    is_restart: bool = False
    caps: dict[Kind, Caps] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SaidToGate:
    """What the workflow of an issue says, and the caps that the worker knows which brings it."""

    said: Said
    caps: dict[Kind, Caps]


@dataclass(frozen=True, slots=True)
class SlotView:
    """An issue with a slot, or one that waits for one. ``name`` is that of its sandbox and workflow.

    ``since`` is its place in the queue, or when something was last heard of it. ``limit`` is what keeps it waiting.
    """

    name: str
    since: datetime
    repository: str = ""
    limit: Limit | None = None


@dataclass(frozen=True, slots=True)
class GateView:
    """Who has a slot of one kind, and who waits, in order.

    ``opens_at`` as in `Gate`. ``held_until``: Daytona's quota is used up, and before that nobody tries.
    """

    caps: Caps
    working: tuple[SlotView, ...] = ()
    waiting: tuple[SlotView, ...] = ()
    opens_at: datetime | None = None
    held_until: datetime | None = None
