"""What a state of the workflow says about its runs, for the rest of the model."""

from __future__ import annotations

from dataclasses import dataclass

from issuebox.domain.run import Runs
from proofs.model.runtime import Follower


@dataclass(frozen=True, slots=True)
class RunState:
    """What the rest of the model needs to know of the issue's runs.

    ``follows``: the attempt that a follower is at work on, as sandbox, run and number. ``keys``: the keys of all
    requests that are known, where they stand, so that one that stands twice is there twice. ``over``: the runs that are
    over. ``waiting``: how many requests wait.
    """

    follows: tuple[str, str, int] | None = None
    keys: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    waiting: int = 0
    phase: str = ""
    goal: str = ""
    attempt: int = 0

    @property
    def is_open(self) -> bool:
        """Whether a request waits, or a run is not over."""
        return bool(self.waiting or self.goal)


NO_RUNS = RunState()


def run_state_of(runs: Runs, follower: Follower | None) -> RunState:
    """The state of the runs. `follower`: the one at work, None for none."""
    active = runs.active
    is_at_work = follower is not None and not follower.done()
    given = [key for run in runs.runs for key in run.keys]
    return RunState(
        (follower.about.sandbox_id, follower.about.run, follower.about.attempt) if follower and is_at_work else None,
        tuple(sorted([*given, *(request.key for request in runs.queue), *(refused.key for refused in runs.refused)])),
        tuple(run.id for run in runs.runs if run.is_over),
        len(runs.queue),
        str(active.phase) if active else "",
        str(active.goal) if active else "",
        active.attempt if active else 0,
    )
