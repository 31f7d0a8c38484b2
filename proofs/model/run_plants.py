"""Known mistakes in runs, planted one by one, as in `proofs.model.plants`. The model must find each of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any, cast

from activities.run_messages import RunInput
from issuebox.domain import run_plan
from issuebox.domain.memory import Memory
from issuebox.domain.run import BEGUN, Run, RunGoal, RunPhase, Runs, Step
from proofs.model.activity_outcomes import Mistakes
from proofs.model.bounds import with_runs
from proofs.model.deliveries import ASKED, OPENED
from proofs.model.plants import Plant, set_to
from proofs.model.policies import CANCELLING, WORKING
from workflows import runs as steps
from workflows.reconcile import Reconciliation
from workflows.runs import RunSteps


@contextmanager
def _cell(phase: RunPhase, goal: RunGoal, step: Step) -> Iterator[None]:
    """Change a cell of the runs' table."""
    row = cast("dict[RunGoal, Step]", run_plan.TABLE[phase])
    kept = row[goal]
    row[goal] = step
    try:
        yield
    finally:
        row[goal] = kept


def _begin_the_unknown() -> AbstractContextManager[None]:
    return _cell(RunPhase.UNKNOWN, RunGoal.WORK, Step.BEGIN)


def _fence_nothing() -> AbstractContextManager[None]:
    async def fence(_self: RunSteps, run: Run, _about: RunInput) -> None:
        run.move_on()

    return set_to(RunSteps, "_fence", fence)


def _ignore_the_exit() -> AbstractContextManager[None]:
    """What a stop of the sandbox ended has to be begun anew, whatever stands on its disk."""
    observe = run_plan.observe

    def observed(run: Run, sandbox_id: str, now: datetime, *, is_up: bool, is_down: bool) -> None:
        observe(run, sandbox_id, now, is_up=is_up, is_down=is_down)
        if is_down and run.is_begun:
            run.move_on()
            run.phase = RunPhase.ASLEEP

    return set_to(steps, "observe", observed)


def _trust_any_disk() -> AbstractContextManager[None]:
    """An older disk shows less than was seen, and what it shows counts."""

    def take_probe(run: Run, shown: RunPhase, now: datetime) -> None:
        run.phase = shown
        if shown in BEGUN and not run.is_begun:
            run.begun_at = run.quiet_since = now
            run.first_begun_at = run.first_begun_at or now

    return set_to(steps, "take_probe", take_probe)


def _forget_what_was_sent() -> AbstractContextManager[None]:
    return set_to(Run, "is_sent", property(lambda _self: False, lambda _self, _value: None))


def _trust_the_first_404() -> AbstractContextManager[None]:
    return set_to(Reconciliation, "_is_doubtful", lambda _self, _sandbox: False)


def _hold_nothing() -> AbstractContextManager[None]:
    return set_to(Memory, "is_held", property(lambda _self: False))


def _close_what_is_prepared() -> AbstractContextManager[None]:
    """What has not begun needs no fence before it is given up."""
    return _cell(RunPhase.PREPARED, RunGoal.CANCEL, Step.CLOSE)


def _drop_the_queue() -> AbstractContextManager[None]:
    """A newer request drops the ones that wait."""
    take = Runs.take

    def taken(self: Runs, request: Any, now: datetime) -> str:
        self.queue = []
        return take(self, request, now)

    return set_to(Runs, "take", taken)


def _lift_any_pause() -> AbstractContextManager[None]:
    """Whoever asks for the sandbox ends every pause, as it ends one that came with a stop."""
    want = Runs.want

    def wanted(self: Runs, goal: RunGoal) -> bool:
        kept, self.pause = self.pause, None
        is_new = want(self, goal)
        self.pause = kept
        return is_new

    return set_to(Runs, "want", wanted)


def _rest_when_prepared() -> AbstractContextManager[None]:
    """What has not begun needs no fence before it rests."""
    return _cell(RunPhase.PREPARED, RunGoal.PAUSE, Step.REST)


PLANTS_OF_RUNS: dict[str, Plant] = {
    "begin-unknown": Plant(
        "an attempt is begun although nobody knows whether it has begun",
        with_runs(OPENED, strikes=2),
        "(G)",
        _begin_the_unknown,
        policy=WORKING,
    ),
    "unclaimed-at-resume": Plant(
        "the claim of an attempt is removed when the next one is prepared",
        with_runs(OPENED, strikes=1, faults=1),
        "(G)",
        mistakes=Mistakes(unclaims_earlier=True),
        policy=WORKING,
    ),
    "no-fence": Plant(
        "the next attempt follows one that seems dead, without a fence",
        with_runs(OPENED, strikes=1),
        "(G)",
        _fence_nothing,
        policy=WORKING,
    ),
    "exit-ignored": Plant(
        "another attempt follows a stop of the sandbox, although the one before had ended",
        with_runs(OPENED, strikes=1),
        "(I)",
        _ignore_the_exit,
        policy=WORKING,
    ),
    "unclaimed-fence": Plant(
        "a fence claims nothing: what has not begun may still begin",
        with_runs(OPENED, cancels=1, faults=1),
        "(J)",
        mistakes=Mistakes(unclaimed_fence=True),
        policy=WORKING,
    ),
    "closed-when-prepared": Plant(
        "a run that is cancelled before it has begun is closed without a fence",
        with_runs(OPENED, cancels=1, faults=1),
        "(J)",
        _close_what_is_prepared,
        policy=WORKING,
    ),
    "any-disk": Plant(
        "an older disk that shows less than was seen counts",
        with_runs(OPENED, strikes=2),
        "(G)",
        _trust_any_disk,
        policy=WORKING,
    ),
    "sent-and-forgotten": Plant(
        "a begin whose reply was lost counts as not sent, although the sandbox was exchanged since",
        with_runs(OPENED, strikes=1, faults=1),
        "(G)",
        _forget_what_was_sent,
        policy=WORKING,
    ),
    "first-404-ends-it": Plant(
        "one 404 counts as proof that nothing of a run is alive",
        with_runs(OPENED, cancels=1, faults=2),
        "(J)",
        _trust_the_first_404,
        policy=WORKING,
    ),
    "not-held": Plant(
        "a stop does not wait for the end of the run",
        with_runs(OPENED, orders=1),
        "(K)",
        _hold_nothing,
        policy=WORKING,
    ),
    "pause-lifted": Plant(
        "a request for the sandbox lets a run go on that a person has paused",
        with_runs(OPENED, ASKED, pauses=1),
        "a person has paused it",
        _lift_any_pause,
        policy=WORKING,
    ),
    "rests-when-prepared": Plant(
        "an attempt that may still begin rests without a fence",
        with_runs(OPENED, pauses=1, faults=1),
        "(e)",
        _rest_when_prepared,
        policy=WORKING,
    ),
    "queue-dropped": Plant(
        "a newer request drops the one that waits",
        with_runs(OPENED, ASKED),
        "(e)",
        _drop_the_queue,
        policy=CANCELLING,
    ),
}
