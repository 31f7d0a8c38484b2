"""Judges the promise by what the model knows and the workflow does not.

`proofs.model.daytona` judges (a), (b) and (d), where a command is accepted. This module judges handovers, and (e):
whether a state is at rest and right.
"""

from __future__ import annotations

from issuebox.domain.audit import Installation, judge_record
from issuebox.domain.issue import DEFAULT_NAME_PREFIX
from issuebox.domain.phase import ASLEEP, Action, Cause, Goal, Phase
from proofs.model.daytona import Row, Trouble, World
from proofs.model.outside import Allowance, is_awake
from proofs.model.runtime import EPOCH
from proofs.model.workflow_states import POLICY, Served, WorkflowState

OURS = Installation("default", DEFAULT_NAME_PREFIX)
"""The model's only installation: it has no sandbox with another's labels."""
DOWN = ASLEEP | {Phase.RECOVERABLE, Phase.BROKEN}
"""Phases in which a sandbox does not run."""
BAD = frozenset({Phase.RECOVERABLE, Phase.BROKEN})
"""Phases in which a sandbox cannot be inspected."""


def of_service(served: Served) -> str:
    """The promise that a handover breaks, '' for none."""
    if served.action is Action.USE and not served.is_usable:
        return f"a sandbox was handed over that is {served.state}"
    if served.action is Action.USE and not served.is_set_up:
        return "a sandbox was handed over that is not set up"
    return ""


def is_audit_due(workflow: WorkflowState, world: World) -> bool:
    """Whether the audit's real rule finds a difference to Daytona, and so signals the workflow."""
    if not workflow.is_idle or workflow.is_condition_met:
        return False
    row = world.row(workflow.record.sandbox_id) if workflow.record.sandbox_id else None
    return judge_record(workflow.record, row.view().at(EPOCH) if row is not None else None, OURS) is not None


def is_right(workflow: WorkflowState, world: World, allowance: Allowance) -> bool:
    """Whether the system is at rest, and either as the newest event asks or rightly blocked."""
    if workflow.is_over:
        return world.named is None or _is_made_since(world.named)
    if not workflow.is_idle or workflow.is_condition_met or is_audit_due(workflow, world):
        return False
    if workflow.goal not in allowance.goals:
        return False
    if workflow.blocked is not None:
        return _is_rightly_blocked(workflow.blocked, world)
    return _is_as_wanted(workflow, world, allowance)


def _is_as_wanted(workflow: WorkflowState, world: World, allowance: Allowance) -> bool:
    row, is_undisturbed = world.named, world.trouble is Trouble.NONE
    if row is not None and _is_made_since(row) and not workflow.is_asked:
        return True
    match workflow.goal:
        case Goal.RUNNING:
            if workflow.is_asked:
                return False
            return is_awake(row) or not allowance.is_wanted or not is_undisturbed
        case Goal.STOPPED:
            return row is None or row.phase in DOWN
        case Goal.ARCHIVED:
            is_down = row is None or row.phase in {Phase.ARCHIVING, Phase.ARCHIVED, Phase.RECOVERABLE}
            return is_down or (not is_undisturbed and row is not None and row.phase in DOWN)
        case Goal.DELETED:
            return row is None or (not is_undisturbed and row.phase in DOWN)


def _is_made_since(row: Row) -> bool:
    """Whether a person created it after the last lookup: nobody has asked issuebox about it."""
    return not row.is_labelled and not row.is_seen


def _is_rightly_blocked(cause: Cause, world: World) -> bool:
    """Whether only a person can end the block. All other causes pass, and the states that follow are judged."""
    row = world.named
    match cause:
        case Cause.UNSAVED:
            return row is not None and (row.may_hold_work or row.is_unchecked or row.phase in BAD)
        case Cause.BROKEN:
            return row is not None and row.phase is Phase.BROKEN
        case Cause.UNBUILT:
            return world.unbuilt >= POLICY.limits.builds_max
        case _:
            return False
