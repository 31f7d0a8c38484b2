"""Notices: what the program that uses the sandbox is told of its state. Pure.

Each new state makes a notice. Only the newest one is of use, so it takes the place of one that is not delivered yet.
A state on the way to another one (queued, starting, stopping, being looked up) makes none.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from issuebox.domain.memory import Memory, Notice
from issuebox.domain.phase import READY, Cause, Goal


class Kind(StrEnum):
    """The type of a notice, as the receiver reads it."""

    READY = "sandbox.ready"
    """The sandbox runs and was handed over: once for all requests that were served together."""
    STOPPED = "sandbox.stopped"
    """issuebox stopped or archived it. A stop by Daytona's idle timer is unseen until the next lookup."""
    BLOCKED = "sandbox.blocked"
    DELETED = "sandbox.deleted"


def take_notice(memory: Memory, now: datetime) -> None:
    """Make a notice of the present state, if somebody is to be told and it is a new one."""
    kind = _kind(memory)
    if kind is None or not memory.policy.has_receiver:
        return
    occasion = f"{kind} {_occasion(memory, kind)}"
    notices, sandbox = memory.notices, memory.seen.sandbox
    if occasion == notices.occasion:
        return
    notices.made += 1
    notices.occasion = occasion
    notices.pending = Notice(
        # A full stop would end the ID in what is signed.
        id=f"{memory.name.replace('.', '_')}-{now:%Y%m%d%H%M%S}-{notices.made}",
        kind=str(kind),
        at=now,
        sandbox_id=sandbox.id if sandbox else "",
        state=sandbox.state if sandbox else "",
        outcome=str(memory.progress.outcome or ""),
        blocked=memory.progress.blocked,
    )


def _kind(memory: Memory) -> Kind | None:
    progress = memory.progress
    if progress.blocked is not None:
        return Kind.BLOCKED if progress.blocked.cause is not Cause.QUEUED else None
    if progress.goal is Goal.RUNNING:
        is_handed_over = progress.outcome in READY and not memory.requests.is_waiting
        return Kind.READY if is_handed_over else None
    if progress.reached is not progress.goal:
        return None
    return Kind.DELETED if progress.goal is Goal.DELETED else Kind.STOPPED


def _occasion(memory: Memory, kind: Kind) -> str:
    """What makes two states of one kind different."""
    if kind is Kind.READY:
        return f"{memory.seen.sandbox_id} {memory.notices.handovers}"
    if kind is Kind.BLOCKED and memory.progress.blocked is not None:
        return f"{memory.progress.blocked.cause} {memory.progress.blocked.since.isoformat()}"
    return memory.seen.sandbox_id
