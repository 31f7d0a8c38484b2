"""What the activities are told: their inputs, made from what the workflow remembers. Pure.

Each is kept in a history, so it holds what its activity needs and no more.
"""

from __future__ import annotations

from activities.messages import CommandInput, CreateInput, LookupInput
from issuebox.domain.memory import Memory
from issuebox.domain.sandbox import Ownership, Sandbox, ownership


def lookup_input(memory: Memory, *, is_doubted: bool) -> LookupInput:
    return LookupInput(
        memory.issue_id,
        memory.name,
        memory.sandbox_id,
        memory.goal,
        memory.waiting_deliveries,
        is_doubted,
        memory.edition,
    )


def create_input(memory: Memory) -> CreateInput:
    return CreateInput(memory.issue_id, memory.name, memory.issue, memory.waiting_deliveries)


def command_input(
    memory: Memory, sandbox: Sandbox, *, names_issue: bool = False, only_at_rest: bool = False
) -> CommandInput:
    issue = memory.issue if names_issue else None
    instance = memory.patience.instance
    # Not known to be ours as long as the workflow does not know what the installation is called.
    is_ours = bool(instance) and ownership(sandbox.labels, memory.issue_id, instance) is Ownership.OURS
    return CommandInput(
        memory.issue_id, memory.name, sandbox.id, issue, memory.waiting_deliveries, only_at_rest, is_ours
    )
