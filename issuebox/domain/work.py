"""What may be lost with a sandbox: the verdict of a look into its repositories."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from issuebox.domain.phase import Goal, Phase
from issuebox.domain.sandbox import Sandbox

LABEL_WORK = "issuebox-work"
"""The label that carries the last verdict, readable in Daytona's dashboard."""

LABEL_SET_UP = "issuebox-set-up"
"""The marker of a finished set-up. A sandbox without it is set up again, never taken as ready."""
SET_UP_DONE = "done"


class WorkState(StrEnum):
    """Whether a sandbox holds work that is nowhere else."""

    CLEAN = "clean"
    UNSAVED = "unsaved"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class Inspection:
    """The verdict and what it rests on, one short line each. What could not be checked counts as unsaved.

    ``is_failed``: nothing was looked at, for a reason that may have passed by the next time.
    """

    state: WorkState
    findings: tuple[str, ...] = ()
    is_failed: bool = False

    @property
    def is_clean(self) -> bool:
        """Whether nothing would be lost, as far as git can tell."""
        return self.state is WorkState.CLEAN


SLACK = timedelta(seconds=60)
"""Activity up to so long after our own stop is taken for its echo: Daytona writes it down seconds late."""

_RUNNING = frozenset({Phase.USABLE, Phase.UNPREPARED})


@dataclass(frozen=True, slots=True)
class Evidence:
    """An inspection, and what it is worth later.

    ``is_quiet``: the sandbox had been started for the look alone, so that nobody worked in it between the
    look and the stop. ``stopped_at``: when it was seen stopped again; None until then.
    """

    inspection: Inspection
    sandbox_id: str
    is_quiet: bool = False
    stopped_at: datetime | None = None


def standing_verdict(
    evidence: Evidence | None, sandbox: Sandbox | None, goal: Goal, *, is_fresh: bool
) -> WorkState | None:
    """What is known about unsaved work in the sandbox as it is now; None when somebody has to look.

    `is_fresh` says that the look belongs to the pursuit under way. What was found unsaved stays so until the
    sandbox was used again. That nothing would be lost counts for a delete only when the look was fresh and
    quiet: an agent that is still at work when its issue is closed writes after the look.
    """
    if evidence is None or sandbox is None or evidence.sandbox_id != sandbox.id:
        return None
    if sandbox.phase in _RUNNING:
        return evidence.inspection.state if is_fresh and evidence.stopped_at is None else None
    if evidence.stopped_at is None or _is_used_since(sandbox, evidence.stopped_at):
        return None
    if evidence.inspection.is_failed and not is_fresh:
        return None
    if evidence.inspection.is_clean and goal is Goal.DELETED and not (is_fresh and evidence.is_quiet):
        return None
    return evidence.inspection.state


def _is_used_since(sandbox: Sandbox, moment: datetime) -> bool:
    return sandbox.last_activity_at is not None and sandbox.last_activity_at > moment + SLACK
