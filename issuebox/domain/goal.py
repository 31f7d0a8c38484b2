"""What the issue's sandbox should be, when time alone changes that, and which sandbox a person gave up.

An open issue's sandbox runs on request; Daytona stops it when nobody uses it. The sandbox of a closed issue goes down
a ladder, and never climbs it. All three times count, by Temporal's clock, from the same moment: when the close was
learned, or when the sandbox was handed over to somebody who asked for it later.

    close ── stop_after_s ──> stopped ── archive_after_s ──> archived ── delete_after_s ──> deleted

No timer ends what was requested since the close before it is handed over. When such a request is blocked, the times
count from the block. Nor does one end a run that works: the times count from the run's end. A paused run holds nothing
up; the delete of the sandbox cancels it.

A deleted issue and a person's order take effect at once. Only `steer` sets the goal. A person's order never applies
to a sandbox that came later: the memory holds the ID of the one that was meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from issuebox.domain.memory import Answer, Memory, Order
from issuebox.domain.phase import Goal, Outcome
from issuebox.domain.policy import Closing
from issuebox.domain.run import RunGoal
from issuebox.domain.sandbox import Ownership, Sandbox, ownership

CALLED_OFF: Mapping[Goal, Outcome] = {
    # A closed issue keeps its running sandbox for a while, but hands it to nobody who asked before the close.
    Goal.RUNNING: Outcome.STOPPED,
    Goal.STOPPED: Outcome.STOPPED,
    Goal.ARCHIVED: Outcome.ARCHIVED,
    Goal.DELETED: Outcome.DELETED,
}
"""The outcome for a request that a close or an order calls off, by goal."""


def steer(memory: Memory, now: datetime) -> None:
    """Set the goal as of `now`. A new goal ends a block; any goal but *running* calls off the waiting requests."""
    goal, _ = course(memory, now)
    is_new = goal is not memory.progress.goal
    if goal is not Goal.RUNNING and (is_new or memory.requests.is_waiting):
        call_off(memory, now)
    if is_new:
        memory.progress.turn_to(goal)
    if is_new and goal is Goal.DELETED:
        # A run that works holds the ladder of a closed issue. What is paused, or waits meanwhile, does not.
        memory.runs.call_off("the sandbox is deleted", now)


def call_off(memory: Memory, now: datetime) -> None:
    """Call off the waiting requests, because something newer wants no running sandbox."""
    memory.requests.served = memory.requests.asked  # Nobody waits any more, and the goal is what it is without them.
    answer = Answer(CALLED_OFF[course(memory, now)[0]], memory.seen.sandbox)
    memory.orders.keep_the_sandbox()
    memory.requests.serve(memory.requests.asked, answer)


def give(
    memory: Memory, order: Order, now: datetime, *, ordered_at: datetime | None = None, is_forced: bool = False
) -> None:
    """Take a person's order. It calls off the waiting requests. Without its own time it counts as given now.

    A forced one is about the sandbox that is known, or else about the one that the next lookup shows.
    """
    memory.orders.stand(order, min(ordered_at or now, now), is_forced=is_forced)
    memory.orders.forced_id = memory.seen.sandbox.id if is_forced and memory.seen.sandbox else ""
    memory.progress.reached = None
    if order is Order.STOP:
        memory.runs.want(RunGoal.PAUSE)
    else:
        memory.runs.call_off("the sandbox was to be deleted", now)
    call_off(memory, now)
    steer(memory, now)


def give_up(memory: Memory, now: datetime) -> None:
    """Take a person's order to exchange the sandbox: the one that is known, or else the one of the next lookup."""
    memory.ask(now, is_person=True)
    memory.runs.want(RunGoal.CANCEL)
    memory.runs.forget_session()
    memory.orders.is_replace_asked = memory.seen.sandbox is None
    memory.orders.abandoned_id = memory.seen.sandbox.id if memory.seen.sandbox else ""
    steer(memory, now)


def course(memory: Memory, now: datetime) -> tuple[Goal, datetime | None]:
    """The goal as of `now`, and when time alone will change it; None for never."""
    if memory.is_only_told and not memory.told.is_deleted:
        return Goal.STOPPED, None
    if memory.told.is_deleted or memory.orders.standing is Order.DELETE:
        return Goal.DELETED, None
    goal, due_at = _rung(_counts_from(memory), memory.policy.closing, now)
    if memory.orders.standing is Order.STOP and goal is Goal.RUNNING:
        return Goal.STOPPED, due_at
    return goal, due_at


def _counts_from(memory: Memory) -> datetime | None:
    """When the timers of a closed issue began. None for an open issue, and while a request is on its way."""
    ended_at = memory.told.ended_at
    if _works_on(memory):
        return None
    if ended_at is None or not memory.requests.is_waiting:
        return ended_at
    blocked = memory.progress.blocked
    return None if blocked is None else max(ended_at, blocked.since)


def _works_on(memory: Memory) -> bool:
    """Whether a run is to be finished: it keeps the sandbox of a closed issue up."""
    run = memory.runs.active
    return run is not None and run.goal is RunGoal.WORK


def _rung(began_at: datetime | None, closing: Closing, now: datetime) -> tuple[Goal, datetime | None]:
    """The rung that a closed issue has reached, and when the next one is due."""
    goal = Goal.RUNNING
    if began_at is None:
        return goal, None
    for rung, after_s in closing.ladder:
        due_at = began_at + timedelta(seconds=after_s)
        if due_at > now:
            return goal, due_at
        goal = rung
    return goal, None


def abandon(memory: Memory, sandbox: Sandbox | None) -> None:
    """Tie a person's order to the current sandbox, and end the order with that sandbox."""
    if _is_anothers(memory, sandbox):
        # Nobody here may give it up. Should it become ours, only a new order gives up what is in it.
        memory.orders.is_replace_asked = memory.orders.is_forced = False
        memory.orders.abandoned_id = memory.orders.forced_id = ""
        return
    known_id = sandbox.id if sandbox else memory.seen.sandbox_id
    if memory.orders.is_replace_asked:
        memory.orders.is_replace_asked, memory.orders.abandoned_id = False, known_id
    elif sandbox is not None and sandbox.id != memory.orders.abandoned_id:
        memory.orders.abandoned_id = ""
    if memory.orders.is_forced and not memory.orders.forced_id:
        memory.orders.forced_id = known_id


def is_forced(memory: Memory, sandbox: Sandbox | None) -> bool:
    """Whether a person gave up the work in this very sandbox."""
    return sandbox is not None and memory.orders.gives_up(sandbox.id)


def goal_for(memory: Memory, sandbox: Sandbox | None) -> Goal:
    """The goal of this sandbox: that of the issue, unless a person gave this one up."""
    if sandbox is not None and sandbox.id == memory.orders.abandoned_id:
        return Goal.DELETED
    return memory.progress.goal


def _is_anothers(memory: Memory, sandbox: Sandbox | None) -> bool:
    """Whether the sandbox's labels name another owner."""
    if sandbox is None:
        return False
    return ownership(sandbox.labels, memory.issue_id, memory.policy.instance) is Ownership.FOREIGN
