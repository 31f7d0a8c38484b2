"""Stands in for Temporal's runtime under the real workflow code: each wait becomes a question to the model.

`Runtime` has the few functions of `temporalio.workflow` that the workflow calls. Nothing of the workflow is
changed: only the name `workflow` in its modules is bound to this while a model runs.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import workflows.display
import workflows.issue_sandbox
import workflows.lookups
import workflows.reconcile
from activities.messages import CommandInput, CreateInput, LookupInput
from issuebox.domain.phase import Action
from issuebox.domain.policy import Policy
from issuebox.domain.sandbox import Sandbox
from workflows.reconcile import Reconciliation

ON_THE_RUNTIME = (workflows.issue_sandbox, workflows.reconcile, workflows.lookups)
"""The modules of the workflow that call Temporal."""
NAME = "claude-issue-1"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""The model's clock begins here. GitHub's times of the deliveries are all before."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The workflow scheduled an activity and waits for what comes of it. Seconds until Temporal gives it up."""

    activity: str
    sandbox_id: str
    within_s: float
    only_at_rest: bool = False


@dataclass(frozen=True, slots=True)
class Paused:
    """The workflow sleeps."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """The workflow waits for a condition, or until the seconds are over; None waits for the condition alone."""

    condition: Callable[[], bool]
    seconds: float | None


Wish = Asked | Paused | Waiting


@types.coroutine
def _ask(wish: Wish) -> Generator[Wish, object, object]:
    return (yield wish)


@dataclass(frozen=True, slots=True)
class Finished:
    """A reconciliation reached what it was after: what was done in the end, and with which sandbox."""

    action: Action
    sandbox: Sandbox | None


class _Silent:
    """A logger that keeps nothing: logs decide nothing."""

    def __getattr__(self, _level: str) -> Callable[..., None]:
        return lambda *_args, **_extra: None


class _EvenChance:
    def random(self) -> float:
        """No jitter: which pause is longer decides nothing here, for everything may happen in each."""
        return 0.0


@dataclass(frozen=True, slots=True)
class _Info:
    workflow_id: str = NAME

    def is_continue_as_new_suggested(self) -> bool:
        return False


@dataclass
class Runtime:
    """What the workflow asks its runtime for. `clock` is the model's; `finished` is what reconciliations came to."""

    policy: Policy
    clock: datetime = EPOCH
    finished: list[Finished] = field(default_factory=list)
    logger: _Silent = field(default_factory=_Silent)

    def now(self) -> datetime:
        return self.clock

    def random(self) -> _EvenChance:
        return _EvenChance()

    def info(self) -> _Info:
        return _Info()

    def all_handlers_finished(self) -> bool:
        return True

    def set_current_details(self, _text: str) -> None:
        """Decides nothing."""

    def upsert_memo(self, _memo: Mapping[str, object]) -> None:
        """Decides nothing: what the audit reads is taken from the memory itself."""

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
        is_met = await _ask(Waiting(condition, None if timeout is None else timeout.total_seconds()))
        if not is_met:
            raise TimeoutError

    async def execute_activity_method(
        self,
        method: Callable[..., Awaitable[object]],
        request: LookupInput | CreateInput | CommandInput,
        *,
        schedule_to_close_timeout: timedelta | None = None,
        **_options: object,
    ) -> object:
        """Raises the ActivityError that the model answers with."""
        within_s = schedule_to_close_timeout.total_seconds() if schedule_to_close_timeout else 0.0
        sandbox_id = "" if isinstance(request, CreateInput) else request.sandbox_id
        only_at_rest = isinstance(request, CommandInput) and request.only_at_rest
        answer = await _ask(Asked(method.__name__, sandbox_id, within_s, only_at_rest))
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def execute_local_activity_method(
        self,
        method: Callable[..., Awaitable[object]],
        request: LookupInput | None = None,
        *,
        schedule_to_close_timeout: timedelta | None = None,
        **_options: object,
    ) -> object:
        """A look, or the worker's settings, which it knows by itself."""
        if request is None:
            return self.policy
        return await self.execute_activity_method(method, request, schedule_to_close_timeout=schedule_to_close_timeout)

    async def sleep(self, seconds: float) -> None:
        """Stands in for `asyncio.sleep`."""
        await _ask(Paused(seconds))


@contextmanager
def installed(runtime: Runtime) -> Iterator[None]:
    """Bind the workflow's modules to the runtime for as long as the block runs. Not for two at a time."""
    real_finish = Reconciliation._finish  # noqa: SLF001 -- the one place that a reconciliation ends well

    async def finish(self: Reconciliation, action: Action, sandbox: Sandbox | None) -> None:
        await real_finish(self, action, sandbox)
        runtime.finished.append(Finished(action, sandbox))

    stand_ins: list[tuple[Any, str, object]] = [
        *((module, "workflow", runtime) for module in ON_THE_RUNTIME),
        (workflows.reconcile, "asyncio", runtime),
        (workflows.display, "details", lambda _memory, _doing, _now: ""),  # A text for people, and costly.
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
