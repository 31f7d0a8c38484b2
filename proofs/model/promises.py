"""The promise, judged by what the model knows and the workflow does not.

(a), (b) and (d) are judged where a command is accepted: `proofs.model.daytona`. Here is what a handover owes, and
when a state is at rest and right: (e).
"""

from __future__ import annotations

from issuebox.domain.audit import Installation, judge_record
from issuebox.domain.issue import DEFAULT_NAME_PREFIX
from issuebox.domain.phase import ASLEEP, Action, Cause, Goal, Phase
from proofs.model.daytona import Row, Trouble, World
from proofs.model.minds import POLICY, Mind, Served
from proofs.model.outside import Allowance, is_awake
from proofs.model.runtime import EPOCH

OURS = Installation("default", DEFAULT_NAME_PREFIX)
"""The only installation of the model: no sandbox in it is labelled as another's."""
DOWN = ASLEEP | {Phase.RECOVERABLE, Phase.BROKEN}
"""Where a sandbox does not run."""
BAD = frozenset({Phase.RECOVERABLE, Phase.BROKEN})
"""Where nobody can look into it."""


def of_service(served: Served) -> str:
    """What a handover breaks, '' for nothing."""
    if served.action is Action.USE and not served.is_usable:
        return f"a sandbox was handed over that is {served.state}"
    if served.action is Action.USE and not served.is_set_up:
        return "a sandbox was handed over that is not set up"
    return ""


def is_audit_due(mind: Mind, world: World) -> bool:
    """Whether the real rule of the audit finds the workflow at odds with Daytona, and asks it to look."""
    if not mind.is_idle or mind.is_woken:
        return False
    row = world.row(mind.record.sandbox_id) if mind.record.sandbox_id else None
    return judge_record(mind.record, row.view().at(EPOCH) if row is not None else None, OURS) is not None


def is_right(mind: Mind, world: World, allowance: Allowance) -> bool:
    """Whether the system is at rest and all is as the newest event asks, or blocked for a reason that holds."""
    if mind.is_over:
        return world.named is None or _is_made_since(world.named)
    if not mind.is_idle or mind.is_woken or is_audit_due(mind, world):
        return False
    if mind.goal not in allowance.goals:
        return False
    if mind.blocked is not None:
        return _is_rightly_blocked(mind.blocked, world)
    return _is_as_wanted(mind, world, allowance)


def _is_as_wanted(mind: Mind, world: World, allowance: Allowance) -> bool:
    row, is_undisturbed = world.named, world.trouble is Trouble.NONE
    if row is not None and _is_made_since(row) and not mind.is_asked:
        return True
    match mind.goal:
        case Goal.RUNNING:
            if mind.is_asked:
                return False
            return is_awake(row) or not allowance.is_wanted or not is_undisturbed
        case Goal.STOPPED:
            return row is None or row.phase in DOWN
        case Goal.ARCHIVED:
            is_down = row is None or row.phase in {Phase.ARCHIVED, Phase.RECOVERABLE}
            return is_down or (not is_undisturbed and row is not None and row.phase in DOWN)
        case Goal.DELETED:
            return row is None or (not is_undisturbed and row.phase in DOWN)


def _is_made_since(row: Row) -> bool:
    """Whether it was made by hand after the last look: nobody has asked issuebox about it."""
    return not row.is_labelled and not row.is_seen


def _is_rightly_blocked(cause: Cause, world: World) -> bool:
    """Whether only a person can help, as things are. All other causes pass, and what follows is judged."""
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
