"""Which sandbox a person gave up, for a new one or for good. Pure apart from the memory.

Nobody's word is about a sandbox that came later: so the one that was meant is remembered by its ID. Nor is it about
another's sandbox.
"""

from __future__ import annotations

from issuebox.domain.memory import Memory
from issuebox.domain.phase import Goal
from issuebox.domain.sandbox import Ownership, Sandbox, ownership


def doom(memory: Memory, sandbox: Sandbox | None) -> None:
    """Tie a person's order to the sandbox of now, and end it with that sandbox."""
    if _is_anothers(memory, sandbox):
        # Nobody here can give it up. Should it become ours, what is in it is given up by a new word alone.
        memory.is_replace_asked = memory.is_order_forced = False
        memory.doomed_id = memory.forced_id = ""
        return
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
    return Goal.RUNNING if memory.is_legacy else memory.goal


def _is_anothers(memory: Memory, sandbox: Sandbox | None) -> bool:
    """Whether it is labelled as another's. Where the instance is not known, as in what 0.4 recorded, nobody asked."""
    instance = memory.patience.instance
    if sandbox is None or not instance:
        return False
    return ownership(sandbox.labels, memory.issue_id, instance) is Ownership.FOREIGN
