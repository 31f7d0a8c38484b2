"""The inputs and outputs of the activities that reach the gate: one object each. Histories hold these shapes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HoldersInput:
    """IDs of the workflows that hold a slot or wait for one."""

    holders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HoldersChecked:
    """Those of them whose workflow does not run, and the limit that this worker knows."""

    ended: tuple[str, ...]
    runs_max: int
