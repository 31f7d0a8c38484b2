"""The steps of a run, beside the reconciliation of its sandbox: one decision-maker, one step at a time.

`issuebox.domain.run.plan` decides; this module carries a step out and takes over what a probe showed. A step that
fails leaves the attempt *unknown*: it is probed before anything else, and the sandbox is looked up. A follower runs in
the background, because it only reads; everything else is short and is awaited.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.run_messages import (
    AttemptSeen,
    BeginInput,
    Collected,
    FollowInput,
    InterruptInput,
    PrepareInput,
    RunInput,
)
from activities.runs import RunActivities
from issuebox.domain.memory import Memory, Note
from issuebox.domain.phase import ASLEEP, AWAKE, Cause, Goal, Phase
from issuebox.domain.probe import Other
from issuebox.domain.run import Report, Run, RunGoal, RunOutcome, RunPhase, Step
from issuebox.domain.run_plan import STOPPED, Circumstances, Plan, finish, observe, pause_for_stops, plan, take_probe
from issuebox.domain.sandbox import Ownership, ownership
from issuebox.domain.slot import Kind
from workflows import measures, options
from workflows.failures import Failure, read_failure
from workflows.run_reports import report_of
from workflows.slots import Slots

DOWN = ASLEEP | {Phase.RECOVERABLE, Phase.BROKEN, Phase.UNBUILT}
"""Phases of a sandbox in which nothing in it is alive. One that was not found counts only once that is proven."""

NOT_EXECUTED = frozenset({"NotInStateError", "GoneError", "RefusedError"})
"""Failures of a begin that reached no shell."""

DOING: dict[Step, str] = {
    Step.PREPARE: "preparing the agent's run",
    Step.BEGIN: "beginning the agent's run",
    Step.INTERRUPT: "ending the agent's run in order",
    Step.FENCE: "making sure that nothing of the agent's run is left",
    Step.COLLECT: "reading how the agent's run ended",
    Step.PROBE: "looking how far the agent's run is",
    Step.WAKE: "asking for the sandbox",
}

Given = TypeVar("Given", PrepareInput, InterruptInput, RunInput)

_NOTHING = Report()

Following = workflow.ActivityHandle[AttemptSeen]


class RunSteps:
    """Carries the issue's runs on. All that counts is in the memory, except the follower at work."""

    def __init__(self, memory: Memory, show: Callable[[str], None], slots: Slots) -> None:
        self._memory = memory
        self._show = show
        self._following: Following | None = None
        self._followed: tuple[str, int] | None = None
        self._slots = slots

    @property
    def doing(self) -> str:
        """What is being followed, or what is waited for; '' for nothing."""
        run = self._memory.runs.active
        is_followed = run is not None and self._following is not None
        return (
            f"the agent works: run {run.id}, attempt {run.attempt}"
            if run and is_followed
            else self._memory.runs.slot.wait(Kind.RUN)
        )

    @property
    def is_due(self) -> bool:
        """Whether something can be done now."""
        memory = self._memory
        if not memory.policy_hash:
            return False
        if self._slots.is_due or not memory.runs.is_open:
            return self._slots.is_due
        run = memory.runs.active
        if run is None:
            return not memory.policy.runs.is_configured or self._may_begin()
        return self._is_due(self._plan(run))

    def due_at(self) -> datetime | None:
        """When time alone makes something due; None for never.

        Not the time limit: its timer would cost two events for each follower, and each follower's end shows it.
        """
        run = self._memory.runs.active
        moments = [self._slots.due_at(), run.next_step_at if run else None]
        later = [moment for moment in moments if moment is not None and moment > workflow.now()]
        return min(later, default=None)

    async def advance(self) -> None:
        """Take the next step, if one is due."""
        memory, runs = self._memory, self._memory.runs
        if not memory.policy_hash:
            return
        await self._slots.settle()
        if not runs.is_open:
            return
        run = runs.active
        if run is None:
            if not memory.policy.runs.is_configured:
                runs.call_off("no agent is set up here: ISSUEBOX_RUN_PRESET is empty", workflow.now())
                return
            if not self._may_begin():
                return
            if memory.seen.phase is not Phase.USABLE:
                memory.ask(workflow.now(), is_trusted=True)
                return
            run = runs.next_run(memory.issue_id, memory.seen.sandbox_id, workflow.now())
        if memory.told.ended_at is not None and memory.progress.blocked is not None:
            runs.want(RunGoal.CANCEL)  # The issue is closed, and nobody knows when its sandbox can be used.
        self._observe(run)
        decided = self._plan(run)
        if self._is_due(decided):
            await self._take(run, decided)

    def let_go(self) -> None:
        """Nobody follows any more: this run of the workflow ends. The job goes on."""
        if self._following is not None:
            self._following.cancel()
            self._following = None

    def _may_begin(self) -> bool:
        memory = self._memory
        is_served = not memory.requests.is_waiting and memory.progress.blocked is None
        is_wanted = bool(memory.runs.queue) and memory.runs.pause is None and memory.progress.goal is Goal.RUNNING
        return is_wanted and is_served and self._slots.has_slot

    def _observe(self, run: Run) -> None:
        seen = self._memory.seen
        sandbox_id = seen.sandbox.id if seen.sandbox else ""
        is_gone = seen.phase is Phase.MISSING and seen.gone_id == run.sandbox_id
        is_down = seen.phase in DOWN or is_gone
        observe(run, sandbox_id, workflow.now(), is_up=seen.phase in AWAKE, is_down=is_down)
        self._pause_for_stops(run)
        if run.phase is not RunPhase.RUNNING:
            self.let_go()

    def _plan(self, run: Run) -> Plan:
        memory = self._memory
        is_blocked, has_slot = memory.progress.blocked is not None, self._slots.has_slot
        at = Circumstances(workflow.now(), memory.policy.runs, is_blocked=is_blocked, has_slot=has_slot)
        return plan(run, at)

    def _is_due(self, decided: Plan) -> bool:
        match decided.step:
            case Step.REST:
                return False
            case Step.FOLLOW:
                return self._following is None or self._following.done()
            case Step.PREPARE | Step.WAKE:
                return not self._memory.requests.is_waiting  # The sandbox is on its way already.
            case _:
                return True

    async def _take(self, run: Run, decided: Plan) -> None:
        memory, now = self._memory, workflow.now()
        step = decided.step
        if step is Step.CLOSE:
            self._close(run, decided.outcome or RunOutcome.CANCELLED, decided.reason)
            return
        if step is Step.WAKE:
            memory.ask(now, is_trusted=True)
            return
        if step is Step.FOLLOW and self._following is None:
            self._following = self._follow(run)
            return
        if step is not Step.FOLLOW:
            self.let_go()
            self._show(DOING[step])
        try:
            await self._carry_out(run, decided)
        except ActivityError as error:
            failure = read_failure(error)
            if step in {Step.PREPARE, Step.BEGIN} and failure.is_refused and failure.cause is not Cause.FOREIGN:
                self._refuse(run, failure)
                return
            run.phase = RunPhase.UNKNOWN
            pause_s = memory.policy.backoff_s(run.failures + 1, workflow.random().random())
            run.fail(failure.reason, max(pause_s, failure.retry_after_s), workflow.now())
            memory.note(Note(workflow.now(), f"{step} of run {run.id} failed", failure.reason))
            memory.orders.is_lookup_asked = True
        else:
            if step is not Step.COLLECT:
                run.succeed()

    def _pause_for_stops(self, run: Run) -> None:
        pause = pause_for_stops(run, self._memory.policy.runs, workflow.now())
        if pause is not None and self._memory.runs.hold(pause):
            self._memory.note(Note(pause.at, f"run {run.id} paused", pause.reason))
            workflow.logger.warning("run_paused", extra=self._fields(run, reason=pause.reason))

    def _refuse(self, run: Run, failure: Failure) -> None:
        """It was refused before anything was sent that could begin it, and another try would be refused as well."""
        if run.is_sent:
            # An earlier request may still begin it: it is fenced first.
            run.phase, run.ending, run.reason = RunPhase.DEAD, str(RunOutcome.REFUSED), failure.reason
            return
        self._close(run, RunOutcome.REFUSED, failure.reason)

    async def _carry_out(self, run: Run, decided: Plan) -> None:
        about, step = self._about(run), decided.step
        if step is Step.FOLLOW and self._following is not None:
            handle, self._following = self._following, None
            self._see(run, await handle)
        elif step is Step.PREPARE:
            prepare = PrepareInput(
                about, self._memory.told.issue, run.requests, is_continued=run.first_begun_at is not None
            )
            seen = await self._step(RunActivities.prepare_run, prepare, f"run {run.id}, attempt {run.attempt}")
            if seen.other is None:
                self._see(run, seen)
            else:
                await self._end_other(run, about, seen.other)
        elif step is Step.BEGIN:
            await self._begin(run, about)
        elif step is Step.INTERRUPT:
            run.ending = run.ending or (decided.reason if run.goal is RunGoal.WORK else str(run.goal))
            run.interruptions += 1
            interrupt = InterruptInput(about, run.ending, is_hard=run.interruptions > 1)
            self._see(run, await self._step(RunActivities.interrupt_run, interrupt, run.ending))
        elif step is Step.FENCE:
            await self._fence(run, about)
        elif step is Step.COLLECT:
            await self._collect(run, about)
        else:
            self._see(run, await self._step(RunActivities.probe_run, about, "what became of it is not known"))

    async def _step(
        self, method: Callable[[RunActivities, Given], Awaitable[AttemptSeen]], given: Given, summary: str
    ) -> AttemptSeen:
        return await workflow.execute_activity_method(method, given, **options.run_step(), summary=summary)

    async def _end_other(self, run: Run, about: RunInput, other: Other) -> None:
        """End another run in the same sandbox. Nobody knows of it: this workflow, or its database, was begun anew.

        Then the attempt is prepared once more: its files may be in place, and there may be yet another one.
        """
        forgotten = replace(about, run=other.run, attempt=other.attempt)
        self._memory.note(
            Note(workflow.now(), f"ending run {other.run}", "it is alive, and this workflow has forgotten it")
        )
        seen = await self._step(
            RunActivities.interrupt_run, InterruptInput(forgotten, "forgotten"), "nobody knows of it"
        )
        if RunPhase(seen.phase) is not RunPhase.ENDED:
            await self._step(RunActivities.fence_run, forgotten, "nobody knows of it")
        workflow.logger.warning("run_forgotten", extra=self._fields(run, other=other.run))

    async def _begin(self, run: Run, about: RunInput) -> None:
        runs = self._memory.runs
        run.session = runs.session_in(self._memory.issue_id, run.sandbox_id)
        is_new = run.session != runs.session
        kind = "resume" if run.first_begun_at is not None else ("start" if is_new else "follow_up")
        begin = BeginInput(about, self._memory.told.issue, kind, run.session, is_new)
        was_sent, run.is_sent = run.is_sent, True
        try:
            seen = await workflow.execute_activity_method(
                RunActivities.begin_run, begin, **options.begin_run(), summary=f"run {run.id}, attempt {run.attempt}"
            )
        except ActivityError as error:
            failure = read_failure(error)
            run.is_sent = was_sent or not (failure.is_unattended or failure.kind in NOT_EXECUTED)
            raise
        self._see(run, seen)
        workflow.logger.info("run_begun", extra=self._fields(run))

    async def _fence(self, run: Run, about: RunInput) -> None:
        had_begun = run.is_begun
        seen = await self._step(RunActivities.fence_run, about, "before another attempt, or the end")
        if RunPhase(seen.phase) is not RunPhase.DEAD:
            self._see(run, seen)
            return
        if run.ending == RunOutcome.REFUSED:
            self._close(run, RunOutcome.REFUSED, run.reason)
            return
        if had_begun and run.goal is RunGoal.WORK:
            killed = "it was out of memory" if seen.oom_kills > run.oom_kills else "it was killed"
            run.cut(STOPPED if run.has_slept else killed)
        if run.ending in {"time_limit", "stalled"}:
            finish(run, run.ending, None, _NOTHING, workflow.now())
            self._closed(run)
            return
        run.move_on()

    async def _collect(self, run: Run, about: RunInput) -> None:
        collected: Collected = await workflow.execute_activity_method(
            RunActivities.collect_run, about, **options.run_step(), summary=f"run {run.id} has ended"
        )
        run.succeed()  # Before what ended says when it wants to be continued.
        if RunPhase(collected.seen.phase) is not RunPhase.ENDED:
            self._see(run, collected.seen)
            return
        finish(run, collected.seen.why, collected.seen.exit_code, collected.report, workflow.now())
        if run.is_over:
            self._closed(run)

    def _close(self, run: Run, outcome: RunOutcome, reason: str) -> None:
        run.close(outcome, reason, workflow.now())
        self._closed(run)

    def _closed(self, run: Run) -> None:
        memory, now = self._memory, workflow.now()
        self.let_go()
        memory.runs.slot.spend()
        if run.outcome in {RunOutcome.LOST, RunOutcome.POISONED}:
            memory.runs.forget_session()
        memory.runs.forget_pause_of(run)
        if memory.told.ended_at is not None and memory.progress.goal is not Goal.DELETED:
            memory.told.ended_at = now  # The timers of a closed issue count from the end of its last run.
        memory.note(Note(now, f"run {run.id} ended: {run.outcome}", run.reason))
        memory.progress.is_woken = True
        measures.run_ended(run)
        workflow.logger.info(
            "run_ended", extra=self._fields(run, outcome=str(run.outcome), reason=run.reason, exit_code=run.exit_code)
        )

    def _see(self, run: Run, seen: AttemptSeen) -> None:
        shown = RunPhase.DEAD if seen.is_orphan else RunPhase(seen.phase)
        if not run.is_begun:
            run.oom_kills = seen.oom_kills  # The kernel counts those of all attempts, and of everything else.
        take_probe(run, shown, workflow.now())
        run.seen_at = workflow.now()
        if run.is_begun and run.session:
            self._memory.runs.session = run.session
        run.out_bytes = max(run.out_bytes, seen.out_bytes)
        run.quiet_since = seen.quiet_since or run.quiet_since
        run.progress = seen.progress or run.progress
        run.is_through = seen.is_through

    def _follow(self, run: Run) -> Following:
        attempt = (run.id, run.attempt)
        request = FollowInput(
            self._about(run),
            run.out_bytes,
            run.quiet_since or workflow.now(),
            self._memory.policy.runs.stall_s,
            report_of(self._memory, run),
            is_further=self._followed == attempt,
        )
        self._followed = attempt
        following = workflow.start_activity_method(
            RunActivities.follow_run, request, **options.follow_run(), summary=f"run {run.id}, attempt {run.attempt}"
        )
        following.add_done_callback(lambda done: done.cancelled() or done.exception())  # Nobody awaits one let go.
        return following

    def _about(self, run: Run) -> RunInput:
        memory, sandbox = self._memory, self._memory.seen.sandbox
        is_ours = sandbox is not None and (
            ownership(sandbox.labels, memory.issue_id, memory.policy.instance) is Ownership.OURS
        )
        is_known = sandbox is not None and sandbox.id == run.sandbox_id
        toolbox_url = sandbox.toolbox_url if sandbox is not None and is_known else ""
        return RunInput(memory.issue_id, memory.name, run.sandbox_id, run.id, run.attempt, is_ours, toolbox_url)

    def _fields(self, run: Run, **more: object) -> dict[str, object]:
        known = {"issue_id": self._memory.issue_id, "sandbox": self._memory.name, "sandbox_id": run.sandbox_id}
        return {**known, "run": run.id, "run_attempt": run.attempt, **more}
