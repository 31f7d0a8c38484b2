"""What to do next about a run: one table, from what a probe showed and the run's goal, and the rules beside it. Pure.

What is true of an attempt stands on the sandbox's own disk; a *probe* reads it. One table says, for what the probe
showed and for the run's goal, what to do next:

1. The table is total; a missing row fails at import.
2. ``Step.BEGIN`` stands in exactly one cell. What is unknown or lost never begins.
3. The next attempt follows only a FENCE that saw nothing of this one alive, or the end that the supervisor wrote. The
   fence also claims an attempt that has not begun: a BEGIN whose reply was lost cannot begin it later.
4. A rule may replace the table's step only by a wait, an interruption, or the run's end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from issuebox.domain.run import (
    BEGUN,
    SUMMARY_BYTES_MAX,
    Report,
    Run,
    RunGoal,
    RunOutcome,
    RunPhase,
    RunTerms,
    Step,
)
from issuebox.domain.run_pause import Pause
from issuebox.domain.text import prose

TABLE: Mapping[RunPhase, Mapping[RunGoal, Step]] = {
    phase: dict(zip(RunGoal, steps, strict=True))
    for phase, steps in {
        # phase:            work,         pause,          cancel
        RunPhase.ABSENT: (Step.PREPARE, Step.REST, Step.CLOSE),
        RunPhase.PREPARED: (Step.BEGIN, Step.FENCE, Step.FENCE),
        RunPhase.RUNNING: (Step.FOLLOW, Step.INTERRUPT, Step.INTERRUPT),
        RunPhase.ENDED: (Step.COLLECT, Step.COLLECT, Step.COLLECT),
        RunPhase.DEAD: (Step.FENCE, Step.FENCE, Step.FENCE),
        RunPhase.LOST: (Step.CLOSE, Step.CLOSE, Step.CLOSE),
        RunPhase.UNKNOWN: (Step.PROBE, Step.PROBE, Step.PROBE),
        RunPhase.ASLEEP: (Step.WAKE, Step.REST, Step.CLOSE),
    }.items()
}

assert set(TABLE) == set(RunPhase), "every phase has its row"  # noqa: S101


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a step depends on beside the run.

    ``is_blocked``: the sandbox cannot be brought up now. ``has_slot``: the installation's limit lets another run begin.
    """

    now: datetime
    terms: RunTerms
    is_blocked: bool = False
    has_slot: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """The next step and why. ``outcome`` is set exactly when the step is CLOSE."""

    step: Step
    reason: str
    outcome: RunOutcome | None = None


THROUGH = "through"
"""Why an attempt is ended whose agent has said how it ended."""

Rule = Callable[[Run, Step, Circumstances], Plan | None]

BRINGS_TO_LIFE = frozenset({Step.PREPARE, Step.WAKE, Step.BEGIN})


def plan(run: Run, at: Circumstances) -> Plan:
    """What to do next about the run. Pure and total."""
    step = TABLE[run.phase][run.goal]
    for rule in RULES:
        replaced = rule(run, step, at)
        if replaced is not None:
            return replaced
    if step is Step.CLOSE:
        return _closing(run)
    return Plan(step, f"{run.phase} with goal {run.goal}")


def _closing(run: Run) -> Plan:
    if run.phase is RunPhase.LOST:
        return Plan(Step.CLOSE, "the disk on which it had begun is gone", RunOutcome.LOST)
    return Plan(Step.CLOSE, "it was cancelled", RunOutcome.CANCELLED)


def _attempts(run: Run, step: Step, at: Circumstances) -> Plan | None:
    """Attempts that were cut off are counted; a pause that somebody asked for is not."""
    if step not in BRINGS_TO_LIFE or run.cut_off < at.terms.attempts_max:
        return None
    reason = f"{run.cut_off} attempts were cut off; {run.reason or 'no reason is known'}"
    return Plan(Step.CLOSE, reason, RunOutcome.ATTEMPTS)


def _waits(run: Run, step: Step, at: Circumstances) -> Plan | None:
    if run.next_step_at is not None and run.next_step_at > at.now:
        return Plan(Step.REST, run.trouble or "it is tried again later")
    if step is Step.WAKE and at.is_blocked:
        return Plan(Step.REST, "the sandbox is blocked")
    return None


def _no_slot(_run: Run, step: Step, at: Circumstances) -> Plan | None:
    """What begins an attempt, or wakes a sandbox for one, takes a slot of the installation."""
    if step not in BRINGS_TO_LIFE or at.has_slot:
        return None
    return Plan(Step.REST, "other issues' runs use all slots")


def _overdue(run: Run, step: Step, at: Circumstances) -> Plan | None:
    if step is not Step.FOLLOW or run.begun_at is None:
        return None
    limit_s = at.terms.time_limit_s + at.terms.closing_margin_s
    if at.now < run.begun_at + timedelta(seconds=limit_s):
        return None
    return Plan(Step.INTERRUPT, "time_limit")


def _stalled(run: Run, step: Step, at: Circumstances) -> Plan | None:
    if step is not Step.FOLLOW or run.quiet_since is None or run.seen_at is None or at.terms.stall_s <= 0:
        return None
    if run.seen_at < run.quiet_since + timedelta(seconds=at.terms.stall_s):
        return None
    return Plan(Step.INTERRUPT, "stalled")


def _hangs(run: Run, step: Step, _at: Circumstances) -> Plan | None:
    """The agent has said how it ended, and lives on: its word counts."""
    return Plan(Step.INTERRUPT, THROUGH) if step is Step.FOLLOW and run.is_through else None


RULES: tuple[Rule, ...] = (_waits, _attempts, _no_slot, _hangs, _overdue, _stalled)


STOPPED = "the sandbox was stopped under it"


def observe(run: Run, sandbox_id: str, now: datetime, *, is_up: bool, is_down: bool) -> None:
    """Take what the last lookup showed of the sandbox: what `sandbox_id` is, '' for none, and whether it runs.

    Neither up nor down: it changes, and the attempt stays as it was known.
    """
    if sandbox_id and sandbox_id != run.sandbox_id:
        if run.is_begun or run.is_sent or run.first_begun_at is not None:
            run.phase = RunPhase.LOST
            return
        run.sandbox_id, run.phase = sandbox_id, RunPhase.ABSENT
    if is_down and run.phase is not RunPhase.ABSENT:
        worked = run.is_begun and run.phase in {RunPhase.RUNNING, RunPhase.UNKNOWN} and not run.has_slept
        if worked and run.goal is RunGoal.WORK:
            run.stops = (*run.stops, now)[-2:]
        run.phase, run.has_slept = RunPhase.ASLEEP, run.is_sent
    elif is_up and run.phase is RunPhase.ASLEEP:
        run.phase = RunPhase.UNKNOWN


def take_probe(run: Run, shown: RunPhase, now: datetime) -> None:
    """Take what a probe showed of the attempt. What had begun cannot be less: then this is another disk."""
    if run.is_begun and shown not in BEGUN:
        run.phase = RunPhase.LOST
        return
    # It may have begun before the sandbox slept, and this disk be an older one: then the next attempt follows.
    run.phase = RunPhase.DEAD if run.has_slept and shown not in BEGUN else shown
    if shown in BEGUN and not run.is_begun:
        run.begun_at = run.quiet_since = now
        run.first_begun_at = run.first_begun_at or now


def finish(run: Run, why: str, exit_code: int | None, report: Report, now: datetime) -> None:
    """The attempt has ended, and the supervisor wrote how. Close the run, or turn to the next attempt.

    ``why`` is the supervisor's word: *finished*, *time_limit*, *stopped* (with the sandbox), or *interrupted*.
    """
    run.exit_code, run.summary = exit_code, prose(report.summary, SUMMARY_BYTES_MAX)
    run.cost_usd += report.cost_usd
    run.branch, run.pull_request = report.branch or run.branch, report.pull_request or run.pull_request
    if why == "time_limit" or run.ending == "time_limit":
        run.close(RunOutcome.TIME_LIMIT, "the time limit ended it", now)
    elif run.ending == "stalled":
        run.close(RunOutcome.STALLED, "it wrote nothing for too long", now)
    elif report.outcome is not None and (why == "finished" or run.ending == THROUGH):
        run.close(report.outcome, report.reason, now)
    elif run.goal is RunGoal.CANCEL:
        run.close(RunOutcome.CANCELLED, "it was cancelled", now)
    elif why == "finished":
        run.move_on()
        run.fail(report.reason or "it asks to be continued later", report.wait_s, now)
    else:
        # A pause, or the sandbox was stopped under it.
        if why == "stopped" and run.goal is RunGoal.WORK:
            run.cut(STOPPED)
        run.move_on()


def pause_for_stops(run: Run, terms: RunTerms, now: datetime) -> Pause | None:
    """The pause for a run whose sandbox somebody has stopped again; None for any other one.

    It would only be started to be stopped once more. Where this stop uses the last attempt up, the run ends instead.
    """
    is_asleep = run.phase is RunPhase.ASLEEP and run.goal is RunGoal.WORK
    if not (is_asleep and run.is_stopped_again) or run.cut_off + 1 >= terms.attempts_max:
        return None
    return Pause(now, reason="its sandbox was stopped under it twice within 10 minutes")
