"""Judges the promise by what the model knows and the workflow does not.

`proofs.model.daytona` judges (a), (b) and (d), where a command is accepted. This module judges handovers, how requests
end, what updates are told, and (e): whether a state is at rest and right.
"""

from __future__ import annotations

from collections.abc import Sequence

from issuebox.domain.audit import Installation, judge_record
from issuebox.domain.issue import DEFAULT_NAME_PREFIX
from issuebox.domain.phase import ASLEEP, READY, Action, Cause, Goal, Phase
from issuebox.domain.run import RunGoal, RunPhase
from proofs.model.daytona import Row, Trouble, World
from proofs.model.outside import Allowance, is_awake
from proofs.model.policies import POLICY
from proofs.model.runtime import EPOCH
from proofs.model.workflow_states import Answered, Served, WorkflowState

OURS = Installation("default", DEFAULT_NAME_PREFIX)
"""The installation of the model's workflow."""
DOWN = ASLEEP | {Phase.RECOVERABLE, Phase.BROKEN}
"""Phases in which a sandbox does not run."""
BAD = frozenset({Phase.RECOVERABLE, Phase.BROKEN})
"""Phases in which a sandbox cannot be inspected."""


def of_service(served: Served) -> str:
    """The promise that a handover breaks, '' for none."""
    if served.action is Action.USE and served.is_foreign:
        return "a sandbox was handed over that is another installation's"
    if served.action is Action.USE and not served.is_usable:
        return f"a sandbox was handed over that is {served.state}"
    if served.action is Action.USE and not served.is_set_up:
        return "a sandbox was handed over that is not set up"
    if served.action is Action.USE and not served.is_kept:
        return "a sandbox was handed over, and a timer ends that at once"
    return ""


def of_requests(before: WorkflowState, after: WorkflowState, served: Sequence[Served]) -> str:
    """The promise that is broken when requests end in a step in which nothing came from outside, '' for none.

    A handover serves them. The times of a closed issue may end those of a blocked issue.
    """
    is_handed_over = any(each.action is Action.USE for each in served)
    if before.is_asked and not after.is_asked and before.blocked is None and not is_handed_over:
        return "a request ended without a handover, and nobody called it off"
    return ""


def of_answer(answered: Answered) -> str:
    """The promise that the answer to an update breaks, '' for none."""
    if answered.outcome is None:
        return "an update got no answer: the workflow continued as new"
    if answered.outcome in READY and not answered.is_usable:
        return f"an update was answered {answered.outcome}, and no read since it came showed a sandbox that can be used"
    if not answered.is_as_given:
        return f"an update was answered {answered.outcome}, and its answer was {answered.given}"
    return ""


def of_run_requests(workflow: WorkflowState) -> str:
    """The promise that is broken when a request for work stands twice, '' for none."""
    keys = workflow.runs.keys
    doubled = next((key for key in keys if keys.count(key) > 1), "")
    return f"(H) the request {doubled} stands twice" if doubled else ""


def of_pause(workflow: WorkflowState, allowance: Allowance) -> str:
    """The promise that is broken when a run is to work although a person has paused it, '' for none."""
    is_to_work = allowance.is_paused and workflow.runs.goal == RunGoal.WORK
    return "a run is to work, and a person has paused it" if is_to_work else ""


def of_jobs(world: World, workflow: WorkflowState) -> str:
    """The promise that is broken when something of a run is alive that is over, '' for none.

    What is alive in a sandbox that is being deleted ends with it.
    """
    over = workflow.runs.over
    rows = [row for row in world.rows if not row.is_dying] if over else []
    alive = [job.run for row in rows for job in row.jobs if job.is_alive and job.run in over]
    return f"(J) run {alive[0]} is over, and something of it is alive" if alive else ""


def is_audit_due(workflow: WorkflowState, world: World) -> bool:
    """Whether the audit's real rule finds a difference to Daytona, and so signals the workflow.

    An audit comes once in a while, and not before the end of each short pause between two tries of a run's step.
    """
    if not workflow.is_idle or workflow.is_condition_met or workflow.is_pause:
        return False
    row = world.row(workflow.record.sandbox_id) if workflow.record.sandbox_id else None
    return judge_record(workflow.record, row.view().at(EPOCH) if row is not None else None, OURS) is not None


def is_right(workflow: WorkflowState, world: World, allowance: Allowance) -> bool:
    """Whether the system is at rest, and either as the newest event asks or rightly blocked."""
    if workflow.is_over:
        return world.named is None or _is_made_since(world.named)
    if not workflow.is_idle or workflow.is_condition_met or is_audit_due(workflow, world):
        return False
    if workflow.has_updates:
        return False  # Whoever waits gets an answer.
    if workflow.goal not in allowance.goals or not _are_runs_right(workflow, allowance):
        return False
    if workflow.blocked is not None:
        return _is_rightly_blocked(workflow.blocked, world)
    return _is_as_wanted(workflow, world, allowance)


def _are_runs_right(workflow: WorkflowState, allowance: Allowance) -> bool:
    """Whether each request for work is where it belongs, and no run is open that could go on."""
    runs = workflow.runs
    if not allowance.requested <= set(runs.keys):
        return False
    rests = runs.goal not in {RunGoal.WORK, RunGoal.CANCEL} and runs.phase in {"", RunPhase.ABSENT, RunPhase.ASLEEP}
    is_paused = (allowance.standing == "stop" or allowance.is_paused) and rests
    return not runs.is_open or is_paused or workflow.blocked is not None


def _is_as_wanted(workflow: WorkflowState, world: World, allowance: Allowance) -> bool:
    row, is_undisturbed = world.named, world.trouble in {Trouble.NONE, Trouble.ASKED}
    is_unseen = world.trouble is Trouble.SINCE_READ
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
            return is_down or (is_unseen and row is not None and row.phase in DOWN)
        case Goal.DELETED:
            return row is None or (is_unseen and row.phase in DOWN)


def _is_made_since(row: Row) -> bool:
    """Whether a person created it after the last lookup: nobody has asked issuebox about it."""
    return not row.is_labelled and not row.is_seen  # A sandbox of another installation is not labelled as ours.


def _is_rightly_blocked(cause: Cause, world: World) -> bool:
    """Whether only a person can end the block. All other causes pass, and the states that follow are judged."""
    row = world.named
    match cause:
        case Cause.UNSAVED:
            return row is not None and (row.may_hold_work or row.is_unchecked or row.phase in BAD)
        case Cause.BROKEN:
            return row is not None and row.phase is Phase.BROKEN
        case Cause.FOREIGN:
            # The next request or `retry` finds out that its owner took it away.
            return (row is not None and row.is_foreign) or world.trouble is Trouble.SINCE_READ
        case Cause.UNBUILT:
            return world.unbuilt >= POLICY.limits.builds_max
        case _:
            return False
