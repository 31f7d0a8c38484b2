"""What the issue's sandbox should be, and when that changes by itself.

An open issue's sandbox runs for who asks; Daytona stops it when nobody uses it. A closed one goes down a
ladder, each rung so long after the close, or after a person's request on the closed issue:

    close ── stop_after_s ──> stopped ── archive_after_s ──> archived ── delete_after_s ──> deleted

A deleted issue, or a person's order, needs no ladder. `steer` is the one place where the goal is set.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from issuebox.domain.memory import Memory, Order
from issuebox.domain.patience import Closing
from issuebox.domain.phase import Goal


def steer(memory: Memory, now: datetime) -> None:
    """Set the goal as of `now`. A new goal ends a block, and one that is not *running* calls requests off."""
    goal, memory.goal_due_at = course(memory, now)
    is_new = goal is not memory.goal
    if goal is not Goal.RUNNING and (is_new or memory.is_asked):
        memory.call_off()
    if is_new:
        memory.goal, memory.reached, memory.is_nudged, memory.blocked = goal, None, True, None


def course(memory: Memory, now: datetime) -> tuple[Goal, datetime | None]:
    """The goal as of `now`, and when time alone will change it; None for never."""
    if memory.is_issue_deleted or memory.order is Order.DELETE:
        return Goal.DELETED, None
    goal, due_at = _rung(memory.ended_at, memory.patience.closing, now)
    if memory.order is Order.STOP and goal is Goal.RUNNING:
        return Goal.STOPPED, due_at
    return goal, due_at


def _rung(ended_at: datetime | None, closing: Closing, now: datetime) -> tuple[Goal, datetime | None]:
    """The rung of the ladder that a closed issue stands on, and when it steps further down."""
    goal = Goal.RUNNING
    if ended_at is None:
        return goal, None
    for rung, after_s in closing.ladder:
        if after_s < 0:
            continue
        due_at = ended_at + timedelta(seconds=after_s)
        if due_at > now:
            return goal, due_at
        goal = rung
    return goal, None
