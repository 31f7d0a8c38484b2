"""Keeps a malformed signal from failing the workflow task, which would stop the whole workflow.

The SDK drops a signal whose payload it cannot read, but calls the handler with too few, too many or untyped
arguments. The error would fail the task again and again until somebody resets the workflow. People type signals by
hand in `temporal workflow signal`, so the guard drops these signals too.
"""

from __future__ import annotations

from temporalio import workflow
from temporalio.worker import HandleSignalInput, Interceptor, WorkflowInboundInterceptor, WorkflowInterceptorClassInput

from issuebox.domain.events import IssueEvent
from workflows.messages import (
    SIGNAL_DELETE,
    SIGNAL_EVENT,
    SIGNAL_LOOK,
    SIGNAL_REPLACE,
    SIGNAL_RETRY,
    SIGNAL_STOP,
    DeleteRequest,
)

SHAPES: dict[str, tuple[type, ...]] = {
    SIGNAL_EVENT: (IssueEvent,),
    SIGNAL_RETRY: (),
    SIGNAL_LOOK: (),
    SIGNAL_STOP: (),
    SIGNAL_DELETE: (DeleteRequest,),
    SIGNAL_REPLACE: (),
}
"""The arguments that each signal takes."""

OPTIONAL = frozenset({SIGNAL_DELETE})
"""Signals that may also come without arguments."""


class SignalGuard(Interceptor):
    """The interceptor that drops malformed signals. Every worker needs it."""

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002, ARG002
    ) -> type[WorkflowInboundInterceptor]:
        return _Guarded


class _Guarded(WorkflowInboundInterceptor):
    async def handle_signal(self, input: HandleSignalInput) -> None:  # noqa: A002
        shape = SHAPES.get(input.signal)
        is_bare = not input.args and input.signal in OPTIONAL
        if shape is not None and not is_bare and not _fits(input.args, shape):
            workflow.logger.error(
                "signal_malformed", extra={"signal": input.signal, "takes": [kind.__name__ for kind in shape]}
            )
            return
        await super().handle_signal(input)


def _fits(args: object, shape: tuple[type, ...]) -> bool:
    given = list(args) if isinstance(args, list | tuple) else []
    return len(given) == len(shape) and all(isinstance(arg, kind) for arg, kind in zip(given, shape, strict=True))
