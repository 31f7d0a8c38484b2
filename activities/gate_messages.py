"""The inputs and outputs of the activities that reach the gate: one object each. Histories hold these shapes."""

from __future__ import annotations

from dataclasses import dataclass

from issuebox.domain.gate import Caps, Running
from issuebox.domain.slot import Kind


@dataclass(frozen=True, slots=True)
class CheckInput:
    """IDs of the workflows that hold a slot or wait for one.

    Of those in ``sandboxes`` that have ended, the sandbox is looked up. ``is_listed``: list what runs, besides.
    """

    holders: tuple[str, ...]
    sandboxes: tuple[str, ...] = ()
    is_listed: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """Those whose workflow does not run, what runs, and the caps that this worker knows.

    ``up`` are those of ``ended`` whose sandbox may run all the same. ``running`` is None where it was not asked.
    """

    ended: tuple[str, ...]
    caps: dict[Kind, Caps]
    up: tuple[str, ...] = ()
    running: tuple[Running, ...] | None = None


@dataclass(frozen=True, slots=True)
class WatchInput:
    """The sandboxes that run."""

    sandboxes: tuple[Running, ...]


@dataclass(frozen=True, slots=True)
class Stopped:
    """The names of those that have stopped, by Daytona's event stream."""

    holders: tuple[str, ...] = ()
