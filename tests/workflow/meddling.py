"""What happens around the activities of a worker: something changes before one, or its worker loses it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

GoOn = Callable[[], Awaitable[Any]]
"""Executes the activity; may be called several times, or not at all."""


class Around(Interceptor):
    """Calls `around` in place of every activity."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _Inbound(next, self)

    async def around(self, info: activity.Info, go_on: GoOn) -> Any:
        """The activity's result."""
        del info
        return await go_on()


class _Inbound(ActivityInboundInterceptor):
    def __init__(self, inner: ActivityInboundInterceptor, outer: Around) -> None:
        super().__init__(inner)
        self._inner = inner
        self._outer = outer

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        return await self._outer.around(activity.info(), lambda: self._inner.execute_activity(input))


class Meddler(Around):
    """Runs a function just before the first activity of a type is executed for a workflow."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.changes: dict[str, Callable[[], Awaitable[object]]] = {}

    async def around(self, info: activity.Info, go_on: GoOn) -> Any:
        if info.activity_type == self.command:
            change = self.changes.pop(info.workflow_id or "", None)
            if change is not None:
                await change()
        return await go_on()
