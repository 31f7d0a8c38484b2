"""What happens in the world in the moment before an activity acts on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor


class Meddler(Interceptor):
    """Lets something happen just before the first activity of a kind is executed for a workflow."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.changes: dict[str, Callable[[], Awaitable[object]]] = {}

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _Meddling(next, self)


class _Meddling(ActivityInboundInterceptor):
    def __init__(self, inner: ActivityInboundInterceptor, meddler: Meddler) -> None:
        super().__init__(inner)
        self._meddler = meddler

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        info = activity.info()
        if info.activity_type == self._meddler.command:
            change = self._meddler.changes.pop(info.workflow_id or "", None)
            if change is not None:
                await change()
        return await super().execute_activity(input)
