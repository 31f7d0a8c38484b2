"""What tells two states of the workflow apart: the fingerprint of a memory, a pursuit and a suspended `run`.

Two states with the same fingerprint go on alike, whatever comes. So everything that a decision can read is in
it, and only what is shown to people, or is not read any more, is left out. What is left out is named here, and
what is named nowhere is an error: a new field has to be put on one side or the other.

Of times only their order counts. The clock of the model moves by whole waits, so it is enough to know what is
due; the exact seconds until something that is not due are left out.
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Hashable, Iterator
from dataclasses import fields
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from issuebox.domain.decision import Decision, Refusal
from issuebox.domain.memory import PAST_SHOWN_MAX, Blocked, Memory
from issuebox.domain.phase import TRANSITIONAL
from issuebox.domain.sandbox import Sandbox
from issuebox.domain.unsaved_work import SLACK, Evidence
from workflows.issue_sandbox import IssueSandboxWorkflow
from workflows.reconcile import Pursuit

Print = tuple[Hashable, ...]

SHOWN_ONLY = frozenset(
    # Of the memory: for people, or constant, or told by another part of the print.
    [
        "issue_id",
        "name",
        "notes",
        "waiting",
        "deliveries_seen",
        "seen_at",
        "outcome",
        "called_off_after",
        "called_off_to",
        "patience",
        "phase_since",
        "digests",
    ]
)
SHOWN_BY_WORKFLOW = frozenset(
    ["_memory", "_doing", "_is_rolling", "_turn", "_blocked_ticket", "_updates_waiting", "_published", "_searchable"]
)
SHOWN_BY_PURSUIT = frozenset(["_memory", "_tell", "_setbacks"])
"""With pauses that do not grow, how many there were says nothing."""

READ_NO_MORE = frozenset(
    [
        "self",
        "memory",
        "start",
        "situation",
        "request",
        "waited_s",
        "budget_s",
        "backoff_s",
        "at_least_s",
        "at_most_s",
        "setback",
        "error",
        "timeout_summary",
        "_options",
        "_method",
        "method",
        "timeout",
        "condition",
        "is_met",
        "look",
        "within_s",
        "answer",
        "now",
        "remedy",
        "wish",
        "sandbox_id",
        "activity",
        "schedule_to_close_timeout",
        "seconds",
        "runtime",
        "real_finish",
        "ticket",
    ]
)
"""Local variables that are not read after the wait in which the code stands; `ticket` is the pursuit's own."""

_REMEMBERED = tuple(field.name for field in fields(Memory) if field.name not in SHOWN_ONLY | {"asked", "served"})


def of_memory(memory: Memory, now: datetime) -> Print:
    """The print of all that is remembered."""
    remembered = (_remembered(memory, name, now) for name in _REMEMBERED)
    is_new = memory.seen_at is not None and now - memory.seen_at < PAST_SHOWN_MAX
    return (*remembered, is_new, _is_overdue(memory, now), memory.asked > memory.served)


def of_workflow(entity: IssueSandboxWorkflow) -> Print:
    """The print of what a run keeps beside its memory."""
    return tuple(_plain(value) for name, value in sorted(vars(entity).items()) if name not in SHOWN_BY_WORKFLOW)


def of_wait(coroutine: Coroutine[Any, Any, Any], memory: Memory) -> Print:
    """The print of where the code stands: every function on the way to its wait, with its variables."""
    return tuple(
        (code.co_qualname if hasattr(code, "co_qualname") else code.co_name, place, *_variables(frame, memory))
        for code, place, frame in _frames(coroutine)
    )


def pursuit_of(coroutine: Coroutine[Any, Any, Any]) -> Pursuit | None:
    """The pursuit under way, if one is."""
    for _, _, frame in _frames(coroutine):
        owner = frame.f_locals.get("self")
        if isinstance(owner, Pursuit):
            return owner
    return None


def functions_of(coroutine: Coroutine[Any, Any, Any]) -> list[str]:
    """The names of the functions on the way to the wait."""
    return [code.co_name for code, _, _ in _frames(coroutine)]


def of_pursuit(pursuit: Pursuit | None, memory: Memory) -> Print:
    """The print of what the pursuit keeps."""
    if pursuit is None:
        return ()
    kept = ((name, value) for name, value in sorted(vars(pursuit).items()) if name not in SHOWN_BY_PURSUIT)
    return tuple(_counts(value, memory) if name == "ticket" else _plain(value) for name, value in kept)


def _counts(ticket: int, memory: Memory) -> Print:
    """Whether this ticket would serve somebody, and leave somebody."""
    return ticket > memory.served, memory.asked > ticket


def _remembered(memory: Memory, name: str, now: datetime) -> Hashable:  # noqa: PLR0911 -- a table in words
    value = getattr(memory, name)
    match name:
        case "sandbox":
            return _sandbox(value, memory)
        case "goal_due_at":
            return None if value is None else value <= now
        case "ended_at":
            return None if value is None else _rungs(memory, value, now)
        case "issue":
            return None if value is None else (value.state, value.updated_at)
        case "deliveries":
            return frozenset(value)
        case "blocked":
            return _blocked(value, now)
        case _:
            return _plain(value)


def _rungs(memory: Memory, ended_at: datetime, now: datetime) -> int:
    """How many of the moments that count from the close have passed."""
    closing = memory.patience.closing
    moments = [after_s for _, after_s in closing.ladder] + [closing.forget_after_s]
    return sum(ended_at + timedelta(seconds=after_s) <= now for after_s in moments)


def _is_overdue(memory: Memory, now: datetime) -> bool:
    if memory.phase not in TRANSITIONAL or memory.phase_since is None:
        return False
    return (now - memory.phase_since).total_seconds() > memory.patience.limits.budget_s.get(memory.phase, 0.0)


def _blocked(blocked: Blocked | None, now: datetime) -> Hashable:
    if blocked is None:
        return None
    due_at = blocked.next_try_at
    return blocked.cause, None if due_at is None else due_at <= now


def _sandbox(sandbox: Sandbox | None, memory: Memory) -> Hashable:
    if sandbox is None:
        return None
    stopped_at = memory.evidence.stopped_at if memory.evidence else None
    active_at = sandbox.last_activity_at
    is_used = stopped_at is not None and active_at is not None and active_at > stopped_at + SLACK
    labels = frozenset(sandbox.labels.items())
    seen = sandbox.id, sandbox.phase, sandbox.state, sandbox.desired_state, sandbox.never_ran, sandbox.updated_at
    return *seen, labels, is_used


def _variables(frame: types.FrameType, memory: Memory) -> Iterator[Hashable]:
    for name, value in frame.f_locals.items():
        if name in READ_NO_MORE:
            continue
        if isinstance(value, Sandbox):
            yield name, _sandbox(value, memory)
        elif not isinstance(value, Pursuit):
            yield name, _plain(value)


def _plain(value: object) -> Hashable:
    """The print of a value of a kind that is known here."""
    kind = type(value)
    if kind in _AS_IT_IS or isinstance(value, Enum):
        return value
    match value:
        case Evidence():
            return value.inspection.state, value.sandbox_id, value.is_quiet, value.stopped_at is not None
        case Refusal():
            return value.action, value.cause
        case Decision():
            return value.action, value.phase, value.cause
        case dict():
            return frozenset(value.items())
        case types.FunctionType():
            return value.__qualname__
        case _:
            raise TypeError(f"nobody has said how states differ by a {kind.__name__}")


_AS_IT_IS = frozenset({type(None), bool, int, str, datetime})
"""A `datetime` is one of GitHub's: a constant of the deliveries."""


def _frames(coroutine: object) -> Iterator[tuple[types.CodeType, int, types.FrameType]]:
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            yield frame.f_code, frame.f_lasti, frame
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
