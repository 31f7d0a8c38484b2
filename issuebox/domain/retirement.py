"""When an issue's workflow has nothing left to do: it ends, or it goes on in a run that weighs less. Pure.

A workflow that stays for ever costs storage for ever. Once the sandbox of an issue that ended is gone, nothing is left
that only the workflow knows, except what keeps a late delivery from undoing the end. So it stays for as long as GitHub
redelivers, counted from the last delivery, and ends. Whatever comes later starts another one, by the snapshot that it
brings; the API starts none by a snapshot that is older than that.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from issuebox.domain.memory import Memory
from issuebox.domain.phase import Goal, Phase
from issuebox.domain.policy import REDELIVERED_WITHIN_S

AT_REST = frozenset({Goal.STOPPED, Goal.ARCHIVED, Goal.DELETED})
"""Goals with which a sandbox rests."""

LONG = timedelta(days=1)
"""A rest that is worth a new run before it."""

LIGHT_EVENTS = 40
"""A history that is light enough to rest. Each event is 200 to 900 bytes, and a new run begins with some ten."""


def retires_at(memory: Memory) -> datetime | None:
    """When the workflow may end; None while it may not. It is a moment in the past once it is due."""
    closing, told = memory.policy.closing, memory.told
    if told.ended_at is None or not _is_idle(memory):
        return None
    last_at = max(told.ended_at, memory.deliveries.last_at or told.ended_at)
    none_comes_at = last_at + timedelta(seconds=closing.redelivered_within_s)
    if memory.is_only_told:
        return none_comes_at
    seen, reached = memory.seen, memory.progress.reached
    # One 404 proves nothing: a delete was followed to its end, and anything else that is gone was proven to be.
    is_proven = reached is Goal.DELETED or (reached in AT_REST and seen.gone_id == seen.sandbox_id)
    if not is_proven or seen.phase is not Phase.MISSING or seen.at is None or closing.forget_after_s < 0:
        return None
    return max(none_comes_at, seen.at + timedelta(seconds=closing.forget_after_s))


def start_objection(updated_at: datetime | None, now: datetime) -> str:
    """Why a snapshot must not start a workflow: one that is so old may be of before a retirement. '' when it may."""
    if updated_at is None or now - updated_at <= timedelta(seconds=REDELIVERED_WITHIN_S):
        return ""
    return (
        f"its snapshot is of {updated_at:%Y-%m-%d %H:%M} UTC, and GitHub redelivers no longer; a resync brings another"
    )


def lightens(memory: Memory, events: int, due_at: datetime | None, now: datetime) -> bool:
    """Whether to continue as new before a long rest. `events`: of the run's history; `due_at`: what comes next."""
    is_long = due_at is None or due_at - now > LONG
    is_asleep = memory.told.ended_at is not None and memory.progress.reached in AT_REST
    return is_long and is_asleep and events > LIGHT_EVENTS and _is_idle(memory)


def _is_idle(memory: Memory) -> bool:
    """Whether nothing is under way, waited for, or untold."""
    is_blocked = memory.progress.blocked is not None
    is_unsure = memory.progress.unsure_until is not None
    is_untold = memory.notices.pending is not None
    return not (memory.has_work or is_blocked or is_unsure or is_untold or memory.runs.is_open)
