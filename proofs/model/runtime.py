"""Replaces Temporal's runtime under the real workflow code: the model answers each wait.

`Runtime` has the few functions of `temporalio.workflow` that the workflow calls. The workflow's code is unchanged: only
the name `workflow` in its modules is bound to the `Runtime` while a model runs.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from temporalio.common import TypedSearchAttributes

import workflows.display
import workflows.issue_sandbox
import workflows.lookups
import workflows.options
import workflows.reconcile
import workflows.runs
import workflows.slots
from activities.messages import CommandInput, CreateInput, LookupInput
from activities.run_messages import BeginInput, FollowInput, InterruptInput, PrepareInput, RunInput
from issuebox.domain.goal import course
from issuebox.domain.phase import Action
from issuebox.domain.policy import Policy
from issuebox.domain.sandbox import Sandbox
from workflows.issue_sandbox import IssueSandboxWorkflow
from workflows.messages import StartInput
from workflows.reconcile import Reconciliation

ON_THE_RUNTIME = (
    workflows.issue_sandbox,
    workflows.reconcile,
    workflows.lookups,
    workflows.options,
    workflows.runs,
    workflows.slots,
)
"""The modules of the workflow that call Temporal."""
NAME = "claude-issue-1"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""The model's clock starts here. All of GitHub's times in the deliveries are earlier."""


@dataclass(frozen=True, slots=True)
class ActivityCall:
    """The workflow scheduled an activity and waits for its end. `within_s`: when Temporal gives it up, in seconds.

    `run` and `attempt`: which attempt a step of a run is about.
    """

    activity: str
    sandbox_id: str
    within_s: float
    only_at_rest: bool = False
    is_ours: bool = False
    run: str = ""
    attempt: int = 0


class Follower:
    """A follower that works beside the loop, as the handle that the workflow gets."""

    def __init__(self, request: FollowInput) -> None:
        self.about = request.about
        self.is_let_go = False
        self.answer: object = None
        self.word = ""

    def done(self) -> bool:
        return self.answer is not None

    def cancel(self) -> None:
        self.is_let_go = True

    def add_done_callback(self, _callback: object) -> None:
        """Does nothing: the workflow's callback only keeps Temporal from complaining."""

    def __await__(self) -> Generator[None, None, object]:
        """Give the answer, or raise it. The workflow awaits only a follower that has returned."""
        if self.answer is None:
            raise RuntimeError("the workflow waits for a follower that is at work")
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer
        yield


class Sent:
    """A command, as the handle that the workflow gets. Its reply is taken where the workflow awaits it.

    That a look finds the sandbox up before the reply is an outcome of the activity: it is cut off.
    """

    def __init__(self, reply: Coroutine[Any, Any, object]) -> None:
        self._reply = reply

    def done(self) -> bool:
        return True

    def __await__(self) -> Generator[Awaited, object, object]:
        return (yield from self._reply.__await__())


Request = LookupInput | CreateInput | CommandInput | RunInput | PrepareInput | BeginInput | InterruptInput
"""What an activity that the workflow awaits is given."""


def call_of(activity: str, request: Request, within_s: float) -> ActivityCall:
    """The call of an activity, as the model needs it."""
    match request:
        case CreateInput():
            return ActivityCall(activity, "", within_s)
        case CommandInput():
            return ActivityCall(activity, request.sandbox_id, within_s, request.only_at_rest, request.is_ours)
        case LookupInput():
            return ActivityCall(activity, request.sandbox_id, within_s)
        case _:
            about = request if isinstance(request, RunInput) else request.about
            return ActivityCall(activity, about.sandbox_id, within_s, run=about.run, attempt=about.attempt)


@dataclass(frozen=True, slots=True)
class Sleep:
    """The workflow sleeps."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Condition:
    """The workflow waits for a condition, for so many seconds at most; None: without a limit."""

    condition: Callable[[], bool]
    seconds: float | None


Awaited = ActivityCall | Sleep | Condition
"""What the workflow's code waits for."""


@types.coroutine
def _suspend(awaited: Awaited) -> Generator[Awaited, object, object]:
    return (yield awaited)


@dataclass(frozen=True, slots=True)
class Finished:
    """A reconciliation reached its goal: its last action, and the sandbox.

    ``is_kept``: no timer that is already due ends the goal.
    """

    action: Action
    sandbox: Sandbox | None
    is_kept: bool


class RolledError(Exception):
    """Ends a workflow run that continues as new. `start`: the input of the next one."""

    def __init__(self, start: StartInput) -> None:
        super().__init__("the workflow continues as new")
        self.start = start


class _Silent:
    """A logger that keeps nothing: no decision depends on logs."""

    def __getattr__(self, _level: str) -> Callable[..., None]:
        return lambda *_args, **_extra: None


class _EvenChance:
    def random(self) -> float:
        """No jitter: the model lets everything happen in each pause, however short."""
        return 0.0


@dataclass(frozen=True, slots=True)
class _Info:
    workflow_id: str = NAME
    task_queue: str = "issuebox"
    typed_search_attributes: TypedSearchAttributes = TypedSearchAttributes.empty
    is_long: bool = False

    def is_continue_as_new_suggested(self) -> bool:
        return self.is_long

    def get_current_history_length(self) -> int:
        """Light. A run that goes on in a lighter one takes the same way as one that is long."""
        return 0


@dataclass
class Runtime:
    """The functions that the workflow calls.

    ``clock``: the model's. ``finished``: the reconciliations that succeeded. ``is_handling``: whether the handler of an
    update is at work. ``is_long``: the history is, and Temporal suggests to continue as new.
    """

    policy: Policy
    clock: datetime = EPOCH
    finished: list[Finished] = field(default_factory=list)
    logger: _Silent = field(default_factory=_Silent)
    is_handling: Callable[[], bool] = lambda: False
    is_long: bool = False

    def now(self) -> datetime:
        return self.clock

    def random(self) -> _EvenChance:
        return _EvenChance()

    def info(self) -> _Info:
        return _Info(is_long=self.is_long)

    def all_handlers_finished(self) -> bool:
        return not self.is_handling()

    def continue_as_new(self, start: StartInput, **_options: object) -> NoReturn:
        """Raises RolledError."""
        raise RolledError(start)

    def memo(self) -> Mapping[str, object]:
        return {}

    def set_current_details(self, _text: str) -> None:
        """Does nothing: the text is for people."""

    async def wait_condition(
        self,
        condition: Callable[[], bool],
        *,
        timeout: timedelta | None = None,  # noqa: ASYNC109 -- Temporal's own signature
        timeout_summary: str = "",
    ) -> None:
        """Raises TimeoutError, as Temporal's does."""
        del timeout_summary
        if condition():
            return
        is_met = await _suspend(Condition(condition, None if timeout is None else timeout.total_seconds()))
        if not is_met:
            raise TimeoutError

    async def execute_activity_method(
        self,
        method: Callable[..., Awaitable[object]],
        request: Request,
        *,
        schedule_to_close_timeout: timedelta | None = None,
        **_options: object,
    ) -> object:
        """Returns the model's answer. Raises it when it is an ActivityError."""
        within_s = schedule_to_close_timeout.total_seconds() if schedule_to_close_timeout else 0.0
        answer = await _suspend(call_of(method.__name__, request, within_s))
        if isinstance(answer, BaseException):
            try:
                raise answer
            finally:
                del answer  # The error refers to this frame: only the collector would find the two.
        return answer

    async def execute_local_activity_method(
        self,
        method: Callable[..., Awaitable[object]],
        request: LookupInput | None = None,
        *,
        schedule_to_close_timeout: timedelta | None = None,
        **_options: object,
    ) -> object:
        """A lookup, or the worker's settings, which the runtime itself knows."""
        if request is None:
            return self.policy
        return await self.execute_activity_method(method, request, schedule_to_close_timeout=schedule_to_close_timeout)

    def start_activity_method(
        self, method: Callable[..., Awaitable[object]], request: FollowInput | Request, **options: Any
    ) -> Follower | Sent:
        """The follower of a run, which works beside the loop, or a command."""
        if isinstance(request, FollowInput):
            return Follower(request)
        return Sent(self.execute_activity_method(method, request, **options))

    async def sleep(self, seconds: float) -> None:
        """Replaces `asyncio.sleep`."""
        await _suspend(Sleep(seconds))


@contextmanager
def installed(runtime: Runtime) -> Iterator[None]:
    """Bind the workflow's modules to the runtime for the duration of the block. Only one block at a time."""
    real_finish = Reconciliation._finish  # noqa: SLF001 -- the one place where a reconciliation succeeds

    async def finish(self: Reconciliation, action: Action, sandbox: Sandbox | None) -> None:
        await real_finish(self, action, sandbox)
        memory = self._memory
        is_kept = course(memory, runtime.clock)[0] is memory.progress.goal
        runtime.finished.append(Finished(action, sandbox, is_kept))

    stand_ins: list[tuple[Any, str, object]] = [
        *((module, "workflow", runtime) for module in ON_THE_RUNTIME),
        (workflows.reconcile, "asyncio", runtime),
        # Texts for people, and slow. What the audit reads, the model takes from the memory.
        (workflows.display, "details", lambda _memory, _doing, _now: ""),
        (IssueSandboxWorkflow, "_publish", lambda _workflow: None),
        (Reconciliation, "_finish", finish),
    ]
    kept = [getattr(owner, name) for owner, name, _ in stand_ins]
    for owner, name, stand_in in stand_ins:
        setattr(owner, name, stand_in)
    try:
        yield
    finally:
        for (owner, name, _), real in zip(stand_ins, kept, strict=True):
            setattr(owner, name, real)
