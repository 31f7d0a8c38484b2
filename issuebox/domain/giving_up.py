"""Which sandbox a person gave up, for a new one or for good. Pure apart from the memory.

Nobody's word is about a sandbox that came later: so the one that was meant is remembered by its ID.
"""

from __future__ import annotations

from issuebox.domain.memory import Memory
from issuebox.domain.phase import Goal
from issuebox.domain.sandbox import Sandbox


def doom(memory: Memory, sandbox: Sandbox | None) -> None:
    """Tie a person's order to the sandbox of now, and end it with that sandbox."""
    known_id = sandbox.id if sandbox else memory.sandbox_id
    if memory.is_replace_asked:
        memory.is_replace_asked, memory.doomed_id = False, known_id
    elif sandbox is not None and sandbox.id != memory.doomed_id:
        memory.doomed_id = ""
    if memory.is_order_forced and not memory.forced_id:
        memory.forced_id = known_id


def is_forced(memory: Memory, sandbox: Sandbox | None) -> bool:
    """Whether a person gave up what is in this very sandbox."""
    is_meant = memory.is_order_forced and sandbox is not None and sandbox.id == memory.forced_id
    return is_meant or (sandbox is not None and sandbox.id == memory.doomed_id)


def goal_for(memory: Memory, sandbox: Sandbox | None) -> Goal:
    """The goal of this sandbox: that of the issue, unless a person gave this one up."""
    if sandbox is not None and sandbox.id == memory.doomed_id:
        return Goal.DELETED
    return memory.goal
