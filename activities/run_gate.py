"""The activities by which an issue's workflow and the gate reach each other: `issuebox.domain.run_gate`.

They bring the worker's limit along, so that a changed one takes effect without a new workflow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio import activity

from activities.failures import typed_failures
from activities.run_gate_messages import HoldersChecked, HoldersInput
from issuebox.domain.run_gate import RunGates, Said


class RunGateActivities:
    """Speaking with the gate, and finding out who has ended."""

    def __init__(self, gates: RunGates, runs_max: int) -> None:
        self._gates = gates
        self._runs_max = runs_max

    def all(self) -> list[Callable[..., Any]]:
        """Every activity, for the worker."""
        return [self.say_to_gate, self.check_holders]

    @activity.defn
    async def say_to_gate(self, said: Said) -> None:
        """Tell the gate, and start it if it does not run. Safe to repeat."""
        async with typed_failures():
            await self._gates.say(said, self._runs_max)

    @activity.defn
    async def check_holders(self, request: HoldersInput) -> HoldersChecked:
        """Which of these workflows do not run."""
        async with typed_failures():
            ended = await self._gates.list_ended(request.holders)
        return HoldersChecked(tuple(sorted(ended)), self._runs_max)
