"""What may be lost with a sandbox: the verdict of a look into its repositories."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

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
    """The verdict and what it rests on, one short line each. What could not be checked counts as unsaved."""

    state: WorkState
    findings: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether nothing would be lost, as far as git can tell."""
        return self.state is WorkState.CLEAN
