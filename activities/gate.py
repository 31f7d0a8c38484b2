"""The activities by which an issue's workflow and the gate reach each other, and the gate Daytona.

They bring the worker's caps along, so that changed ones take effect without a new workflow.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from temporalio import activity

from activities.failures import typed_failures
from activities.gate_messages import Checked, CheckInput, Stopped, WatchInput
from activities.reporting import heartbeats
from issuebox.domain.audit import Installation
from issuebox.domain.gate import LISTED_MAX, Caps, Gates, Running
from issuebox.domain.issue import issue_id_of
from issuebox.domain.phase import UP
from issuebox.domain.provider import SandboxProvider
from issuebox.domain.sandbox import LABEL_REPOSITORY
from issuebox.domain.slot import Kind, Said

WATCH_S: Final = 50.0
"""How long one watch lasts: until the gate checks again."""

SETTLED_AFTER: Final = timedelta(minutes=2)
"""After the end of a workflow: by then Daytona has carried out what its worker had sent."""

LOOKED_UP_AT_ONCE: Final = 8


class GateActivities:
    """Speaking with the gate, and finding out who has ended and what runs."""

    def __init__(self, gates: Gates, provider: SandboxProvider, *, caps: dict[Kind, Caps], ours: Installation) -> None:
        self._gates = gates
        self._provider = provider
        self._caps = caps
        self._ours = ours

    def all(self) -> list[Callable[..., Any]]:
        """Every activity, for the worker."""
        return [self.say_to_gate, self.check_holders, self.watch_sandboxes]

    @activity.defn
    async def say_to_gate(self, said: Said) -> None:
        """Tell the gate, and start it if it does not run. Safe to repeat."""
        async with typed_failures():
            await self._gates.say(said, self._caps)

    @activity.defn
    async def check_holders(self, request: CheckInput) -> Checked:
        """Which of these workflows do not run, and what runs at Daytona. Only reads."""
        async with typed_failures():
            ended = await self._gates.list_ended(request.holders)
            up = await self._up({name: ended[name] for name in request.sandboxes if name in ended})
            running = tuple([each async for each in self._list_running()]) if request.is_listed else None
        return Checked(tuple(sorted(ended)), self._caps, up, running[:LISTED_MAX] if running is not None else None)

    @activity.defn
    async def watch_sandboxes(self, request: WatchInput) -> Stopped:
        """Listen on the event stream until one of these sandboxes stops, for as long as a check lasts."""
        async with typed_failures(), heartbeats():
            stopped = await self._provider.await_stop([each.sandbox_id for each in request.sandboxes], WATCH_S)
        return Stopped(tuple(each.holder for each in request.sandboxes if each.sandbox_id in stopped))

    async def _up(self, ended: dict[str, datetime | None]) -> tuple[str, ...]:
        """Those whose sandbox runs, or may be brought up yet by what was sent before their workflow ended."""
        slots = asyncio.Semaphore(LOOKED_UP_AT_ONCE)

        async def is_up(name: str, ended_at: datetime | None) -> bool:
            if ended_at is not None and datetime.now(UTC) - ended_at < SETTLED_AFTER:
                return True
            async with slots:
                sandbox = await self._provider.lookup(name)
            return sandbox is not None and sandbox.phase in UP

        found = await asyncio.gather(*(is_up(name, ended_at) for name, ended_at in ended.items()))
        return tuple(sorted(name for name, is_found in zip(ended, found, strict=True) if is_found))

    async def _list_running(self) -> AsyncIterator[Running]:
        async for sandbox in self._provider.list_managed(self._ours.labels):
            if sandbox.phase in UP and issue_id_of(sandbox.name, self._ours.name_prefix) is not None:
                yield Running(sandbox.name, sandbox.id, sandbox.labels.get(LABEL_REPOSITORY, ""))
