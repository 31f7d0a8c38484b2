"""What the activities of the reconciliation are given, from the memory and the sandbox as it was last seen."""

from __future__ import annotations

from dataclasses import replace

from activities.messages import CommandInput, CreateInput, LookupInput
from issuebox.domain.memory import Memory
from issuebox.domain.sandbox import LABEL_WORK, Ownership, Sandbox, ownership


def lookup_input(memory: Memory, *, is_doubted: bool) -> LookupInput:
    return LookupInput(
        memory.issue_id,
        memory.name,
        memory.seen.sandbox_id,
        memory.progress.goal,
        memory.requests.delivery,
        is_doubted,
        memory.policy_hash,
    )


def create_input(memory: Memory) -> CreateInput:
    return CreateInput(memory.issue_id, memory.name, memory.told.issue, memory.requests.delivery)


def command_input(
    memory: Memory, sandbox: Sandbox, *, names_issue: bool = False, only_at_rest: bool = False
) -> CommandInput:
    issue = memory.told.issue if names_issue else None
    is_ours = ownership(sandbox.labels, memory.issue_id, memory.policy.instance) is Ownership.OURS
    return CommandInput(
        memory.issue_id, memory.name, sandbox.id, issue, memory.requests.delivery, only_at_rest, is_ours
    )


def inspect_input(memory: Memory, sandbox: Sandbox, *, is_quiet: bool) -> CommandInput:
    """With what the last read showed, so that the inspection needs none."""
    work = sandbox.labels.get(LABEL_WORK, "")
    return replace(command_input(memory, sandbox), toolbox_url=sandbox.toolbox_url, work=work, is_quiet=is_quiet)
