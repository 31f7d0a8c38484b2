"""The fingerprint of a workflow's state: of its memory, and of the code that waits.

Two states with the same fingerprint behave alike, whatever comes. State that counts lives in value objects, which are
printed completely; `PRINTS` says, by type, of which only a part counts. Of the waiting code, the print has its position
and every local variable that it can still read. The bytecode says which these are, so this module names none of them.

Of times, only their order counts. The model's clock advances by whole waits, so the print says what is due and leaves
out the seconds until the rest.
"""

from __future__ import annotations

import dis
import types
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from typing import Any, cast

from issuebox.domain.decision import Decision, Refusal
from issuebox.domain.goal import course
from issuebox.domain.issue import Issue
from issuebox.domain.memory import (
    PAST_SHOWN_MAX,
    Blocked,
    Deliveries,
    Memory,
    Note,
    Notices,
    Orders,
    Progress,
    Requests,
    Seen,
    Told,
)
from issuebox.domain.phase import READY, TRANSITIONAL
from issuebox.domain.policy import Policy
from issuebox.domain.retirement import retires_at
from issuebox.domain.run import Refused, RequestKind, Run, RunPhase, RunRequest, Runs
from issuebox.domain.sandbox import Sandbox
from issuebox.domain.unsaved_work import SLACK, LastInspection
from proofs.model import runtime
from workflows.issue_sandbox import IssueSandboxWorkflow
from workflows.messages import StartInput
from workflows.reconcile import Reconciliation, Tries
from workflows.runs import RunSteps
from workflows.slots import Slots

Print = tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class Moment:
    """The workflow's memory and the model's clock, which say what is due."""

    memory: Memory
    now: datetime


def of_memory(memory: Memory, now: datetime) -> Hashable:
    """The print of the whole memory."""
    return tuple(_prints([getattr(memory, each.name) for each in fields(memory)], Moment(memory, now)))


def of_wait(coroutine: Coroutine[Any, Any, Any], memory: Memory, now: datetime) -> Print:
    """The print of the code's position: every function of the workflow on the stack, and the variables it reads."""
    at = Moment(memory, now)
    return tuple(
        (getattr(code, "co_qualname", code.co_name), place, *_variables(frame, at))
        for code, place, frame in _frames(coroutine)
        if code.co_filename != runtime.__file__
    )


def of_reconciliation(reconciliation: Reconciliation | None, memory: Memory, now: datetime) -> Print:
    """The print of the value objects of the reconciliation under way."""
    values = () if reconciliation is None else vars(reconciliation).values()
    return tuple(_prints([value for value in values if is_dataclass(value)], Moment(memory, now)))


def reconciliation_of(coroutine: Coroutine[Any, Any, Any]) -> Reconciliation | None:
    """The reconciliation under way; None for none."""
    owners = (frame.f_locals.get("self") for _, _, frame in _frames(coroutine))
    return next((owner for owner in owners if isinstance(owner, Reconciliation)), None)


def functions_of(coroutine: Coroutine[Any, Any, Any]) -> list[str]:
    """The names of the functions on the stack of the wait."""
    return [code.co_name for code, _, _ in _frames(coroutine)]


def _told(told: Told, at: Moment) -> Hashable:
    """Of the time from which a closed issue's timers count, the print says how many timers are due."""
    due = _timers_due(told.ended_at, at)
    # An update asks at the model's time, which is later than all of GitHub's; how much later never counts.
    requested_at = None if told.requested_at is None else min(told.requested_at, runtime.EPOCH)
    retires = retires_at(at.memory)
    is_over = retires is not None and retires <= at.now
    return _print(told.issue, at), told.closed_at, requested_at, due, is_over, told.is_contradicted


def _timers_due(began: datetime | None, at: Moment) -> int | None:
    """How many timers of a closed issue are due that began at this moment."""
    closing = at.memory.policy.closing
    moments = [after_s for _, after_s in closing.ladder]
    return None if began is None else sum(began + timedelta(seconds=after_s) <= at.now for after_s in moments)


def _requests(requests: Requests, at: Moment) -> Hashable:
    """Whether requests wait, whether the read under way serves any of them, and whether it leaves any.

    Before the first lookup, also whether there ever was one.
    The answers are left out: a handler takes its answer out of the memory in the task in which it is given.
    """
    asked, observed, served = requests.asked, requests.observed, requests.served
    is_touched = at.memory.seen.at is None and asked > 0
    return asked > served, observed > served, asked > observed, is_touched


def _tries(tries: Tries, at: Moment) -> Hashable:
    """Of the last ticket that a refused command answers, how it compares with those that are known."""
    refused, requests = tries.refused_ticket, at.memory.requests
    answers = None if refused is None else (refused >= requests.observed, refused > requests.served)
    known = tries.trouble, tries.raised, tries.unattended, tries.reads_at_once
    return _print(tries.counts, at), _print(tries.refusal, at), answers, *known


def _seen(seen: Seen, at: Moment) -> Hashable:
    """Whether a read may still show an earlier state, and whether the budget of the phase is spent."""
    is_new = seen.at is not None and at.now - seen.at < PAST_SHOWN_MAX
    budget_s = at.memory.policy.limits.budget_s.get(seen.phase, 0.0) if seen.phase else 0.0
    is_overdue = seen.phase in TRANSITIONAL and seen.waited_s(at.now) > budget_s
    gone_id = seen.gone_id if at.memory.policy.runs.is_configured else ""
    return _print(seen.sandbox, at), seen.sandbox_id, seen.phase, seen.set_up_id, gone_id, is_new, is_overdue


def _progress(progress: Progress, at: Moment) -> Hashable:
    """Of the outcome, whether the sandbox was handed over: that decides what a command means that is executed late."""
    blocked = _print(progress.blocked, at)
    unsure, seen_at = progress.unsure_until, at.memory.seen.at
    late: Hashable = None
    if unsure is not None:
        is_new = seen_at is not None and unsure - seen_at < PAST_SHOWN_MAX
        late = unsure <= at.now, is_new, _earlier_timers(unsure, at)
    is_given = progress.outcome in READY
    return progress.goal, progress.reached, is_given, blocked, progress.may_unblock, progress.is_woken, late


def _earlier_timers(moment: datetime, at: Moment) -> tuple[bool, ...]:
    """Which of the other timers fire before this moment: with two of them running, their order counts."""
    blocked = at.memory.progress.blocked
    others = (blocked.next_try_at if blocked else None, course(at.memory, at.now)[1])
    return tuple(other is not None and other <= moment for other in others)


def _orders(orders: Orders, _at: Moment) -> Hashable:
    """Everything but the time of the order, which the model chooses anew with each delivery."""
    return (
        orders.standing,
        orders.is_forced,
        orders.forced_id,
        orders.is_replace_asked,
        orders.abandoned_id,
        orders.is_lookup_asked,
    )


def _blocked(blocked: Blocked, at: Moment) -> Hashable:
    due_at = blocked.next_try_at
    return blocked.cause, None if due_at is None else due_at <= at.now, _timers_due(blocked.since, at)


def _sandbox(sandbox: Sandbox, at: Moment) -> Hashable:
    """Of the activity in the sandbox: whether it is later than the stop that followed an inspection."""
    stopped_at = at.memory.last_inspection.stopped_at if at.memory.last_inspection else None
    active_at = sandbox.last_activity_at
    is_used = stopped_at is not None and active_at is not None and active_at > stopped_at + SLACK
    labels = frozenset(sandbox.labels.items())
    known = sandbox.id, sandbox.phase, sandbox.state, sandbox.desired_state, sandbox.never_ran, sandbox.updated_at
    return *known, labels, is_used


def _last_inspection(last_inspection: LastInspection, _at: Moment) -> Hashable:
    found = last_inspection.result
    return (
        found.state,
        found.is_failed,
        last_inspection.sandbox_id,
        last_inspection.is_quiet,
        last_inspection.stopped_at is not None,
    )


def _runs(runs: Runs, at: Moment) -> Hashable:
    """The requests that wait, the run that is not over, and of the rest which requests and runs they were.

    Which conversation it is decides nothing, nor does how many there were.
    """
    asked = (each for requests in (runs.queue, *(run.requests for run in runs.runs)) for each in requests)
    started = [each.at for each in asked if each.kind is RequestKind.START and each.at is not None]
    return (
        _print(runs.queue, at),
        _print(runs.active, at),
        frozenset((run.id, run.keys) for run in runs.runs if run.is_over),
        frozenset(runs.keys),
        tuple(sorted(each.key for each in runs.refused)),
        runs.starts,
        None if runs.pause is None else bool(runs.pause.by),
        runs.called_off_at,
        max(started, default=None),
    )


def _run(run: Run, at: Moment) -> Hashable:
    """Everything but texts, figures and times. Of those: what is due, and which timers come before the time limit.

    The times of stops count only where more than two attempts may be cut off, which the model's policies forbid.
    """
    terms = at.memory.policy.runs
    limit: Hashable = None
    if run.phase is RunPhase.RUNNING and run.begun_at is not None:
        due_at = run.begun_at + timedelta(seconds=terms.time_limit_s + terms.closing_margin_s)
        unsure = at.memory.progress.unsure_until
        limit = due_at <= at.now, unsure is not None and unsure <= due_at, _earlier_timers(due_at, at)
    waits = run.next_step_at is not None and run.next_step_at > at.now
    # How many pauses after failed steps there still are before a blocked issue is tried again.
    retry_at = at.memory.progress.blocked.next_try_at if at.memory.progress.blocked else None
    retry_in = None if retry_at is None else max(0.0, (retry_at - at.now).total_seconds())
    known = run.id, run.keys, run.goal, run.phase, run.attempt, run.is_begun, run.sandbox_id, run.outcome
    return (
        *known,
        run.is_sent,
        run.has_slept,
        run.first_begun_at is not None,
        run.ending,
        min(run.interruptions, 2),
        run.cut_off,
        waits,
        retry_in,
        limit,
    )


PRINTS: Mapping[type, Callable[[Any, Moment], Hashable]] = {
    Told: _told,
    Requests: _requests,
    Tries: _tries,
    Orders: _orders,
    Seen: _seen,
    Progress: _progress,
    Blocked: _blocked,
    Sandbox: _sandbox,
    LastInspection: _last_inspection,
    Runs: _runs,
    Run: _run,
    RunRequest: lambda request, _at: (request.kind, request.key, request.author, request.comment_id),
    Refused: lambda refused, _at: refused.key,
    Issue: lambda issue, _at: (issue.state, issue.updated_at),
    Deliveries: lambda deliveries, _at: frozenset(deliveries.ids),
    Refusal: lambda refusal, _at: (refusal.action, refusal.cause),
    Decision: lambda decision, _at: (decision.action, decision.phase, decision.cause),
}
"""Value objects of which only a part counts: without texts for people, and with what is due in place of times."""

NEVER_COUNT = (
    Note,
    Notices,
    Policy,
    Memory,
    Reconciliation,
    RunSteps,
    Slots,
    IssueSandboxWorkflow,
    StartInput,
    timedelta,
    types.FunctionType,
)
"""Types that never count: they are for people or programs, the same in all states, or printed elsewhere."""

_AS_IT_IS = frozenset({type(None), bool, int, str, datetime})
"""A `datetime` here is GitHub's: a constant of the deliveries."""

Printer = Callable[[Any, Moment], Hashable]
_PRINTERS: dict[type, Printer | None] = {}
"""How each type that was met is printed; None: it never counts."""


def _print(value: object, at: Moment) -> Hashable:
    """The print of a value. Raises TypeError for a type that this module does not know."""
    (shown,) = _prints((value,), at)
    return shown


def _prints(values: Iterable[object], at: Moment) -> list[Hashable]:
    """The prints of those values that count."""
    shown: list[Hashable] = []
    for value in values:
        kind = type(value)
        if kind in _AS_IT_IS:
            shown.append(value)
            continue
        if kind not in _PRINTERS:
            _PRINTERS[kind] = _printer(kind)
        printer = _PRINTERS[kind]
        if printer is not None:
            shown.append(printer(value, at))
    return shown


def _printer(kind: type) -> Printer | None:
    """How values of this type are printed; None: they never count."""
    if issubclass(kind, NEVER_COUNT):
        return None
    if issubclass(kind, Enum):
        return lambda value, _at: value
    if kind in PRINTS:
        return PRINTS[kind]
    if kind in {dict, Counter}:
        return lambda items, at: frozenset((name, _print(item, at)) for name, item in items.items())
    if kind in {list, tuple}:
        return lambda items, at: tuple(_prints(items, at))
    if is_dataclass(kind):
        name, names = kind.__name__, [field.name for field in fields(kind)]
        return lambda value, at: (name, *_prints([getattr(value, each) for each in names], at))
    raise TypeError(f"the fingerprint does not know the type {kind.__name__}")


def _variables(frame: types.FrameType, at: Moment) -> Iterator[Hashable]:
    variables = frame.f_locals
    for name in _live(frame.f_code, frame.f_lasti):
        if name in variables:
            yield name, *_prints((variables[name],), at)


@cache
def _live(code: types.CodeType, place: int) -> tuple[str, ...]:
    """The local variables that the code can still read from this position, on any path, in order.

    A variable that an inner function reads is always among them.
    """
    bytecode = dis.Bytecode(code)
    handlers = cast("Any", bytecode).exception_entries
    instructions = {each.offset: each for each in bytecode}
    following = dict(zip(instructions, [*instructions, None][1:], strict=True))
    live: set[str] = set(code.co_cellvars)
    met: set[tuple[int, frozenset[str]]] = set()
    ways: list[tuple[int, frozenset[str]]] = [(place, frozenset())]
    while ways:
        offset, written = ways.pop()
        if (offset, written) in met:
            continue
        met.add((offset, written))
        each = instructions[offset]
        names = set(each.argval if isinstance(each.argval, tuple) else (each.argval,))
        ways += [(entry.target, written) for entry in handlers if entry.start <= offset < entry.end]
        if each.opname.startswith("LOAD_FAST"):
            live |= names - written
        elif each.opname.startswith(("STORE_FAST", "DELETE_FAST")):
            written |= names
        if each.opcode in dis.hasjrel or each.opcode in dis.hasjabs:
            ways.append((each.argval, written))
        after = following[offset]
        if after is not None and each.opname not in _ENDS:
            ways.append((after, written))
    return tuple(sorted(live))


_ENDS = frozenset(
    {
        *("RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE"),
        *("JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"),
    }
)
"""Instructions after which execution does not continue with the next one."""


def _frames(coroutine: object) -> Iterator[tuple[types.CodeType, int, types.FrameType]]:
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            yield frame.f_code, frame.f_lasti, frame
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
