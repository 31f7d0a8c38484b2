"""Keeps malformed signals from failing the workflow task, which would stop the whole workflow.

People type signals by hand in `temporal workflow signal`, and programs send what they like. The SDK would call the
handler with too few, too many or untyped arguments, and the error would fail the task again and again until somebody
resets the workflow. For arguments that it cannot read, it would log a traceback from within the task: with some
hundred of them a task takes longer than Temporal's deadlock detector allows, in each attempt anew. So the data
converter reads them as `Unreadable`, without an error, and the guard drops all malformed signals.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from temporalio import workflow
from temporalio.worker import HandleSignalInput, Interceptor, WorkflowInboundInterceptor, WorkflowInterceptorClassInput

from workflows.messages import SIGNAL_DELETE, SIGNAL_REPLACE, SIGNAL_RETRY, SIGNAL_STOP, SIGNALS
from workflows.run_messages import SIGNAL_CANCEL_RUN, SIGNAL_PAUSE, SIGNAL_RESUME

OPTIONAL: Final = frozenset(
    {SIGNAL_STOP, SIGNAL_DELETE, SIGNAL_REPLACE, SIGNAL_RETRY, SIGNAL_CANCEL_RUN, SIGNAL_PAUSE, SIGNAL_RESUME}
)
"""Signals that may also come without arguments."""


class SignalGuard(Interceptor):
    """The interceptor that drops malformed signals. Every worker needs it."""

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002, ARG002
    ) -> type[WorkflowInboundInterceptor]:
        return _Guarded


class _Guarded(WorkflowInboundInterceptor):
    """The guard of one workflow."""

    def __init__(self, following: WorkflowInboundInterceptor) -> None:
        super().__init__(following)
        self._dropped: Counter[str] = Counter()

    async def handle_signal(self, input: HandleSignalInput) -> None:  # noqa: A002
        if is_malformed(input.signal, input.args):
            self._drop(input.signal)
            return
        await super().handle_signal(input)

    def _drop(self, signal: str) -> None:
        """Count it. The workflow task reports once, at its end, because its other signals are queued already."""
        if not self._dropped:
            asyncio.get_running_loop().call_soon(self._report)
        self._dropped[signal] += 1

    def _report(self) -> None:
        for signal, count in self._dropped.items():
            takes = [kind.__name__ for kind in SIGNALS[signal]]
            workflow.logger.error("signal_malformed", extra={"signal": signal, "count": count, "takes": takes})
        self._dropped.clear()


def is_malformed(signal: str, args: object) -> bool:
    """Whether these are not the arguments of the signal. Of an unknown signal nothing is known."""
    shape = SIGNALS.get(signal)
    if shape is None:
        return False
    given = list(args) if isinstance(args, list | tuple) else []
    if not given and signal in OPTIONAL:
        return False
    return len(given) != len(shape) or not all(isinstance(arg, kind) for arg, kind in zip(given, shape, strict=True))
