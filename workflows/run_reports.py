"""Telling the issue of its runs, beside the loop: nothing waits for it, and a report that fails fails nothing else.

`issuebox.domain.run_comment` says what is news. Only the newest state of a run is told: another one takes the place of
a report that is not through yet. What is not told stands in the memory, so the next run of the workflow tells it.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.run_messages import HeardInput, Reported, ReportInput
from activities.run_reports import RunReportActivities
from issuebox.domain.issue import Issue
from issuebox.domain.memory import Memory, Note
from issuebox.domain.run import Run, RunGoal, RunPhase
from issuebox.domain.run_comment import UNSURE, State, Surroundings, has_news, is_needed, state_of
from workflows import options
from workflows.run_messages import NEXT


class RunReports:
    """Tells of the runs of one issue. All that counts is in the memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def tell(self) -> None:
        """Show under each comment that asks that it was heard, and tell of each run. It never ends."""
        while True:
            await workflow.wait_condition(lambda: self._news() is not None or self._is_heard())
            if self._is_heard():
                await self._show_heard()
            elif (run := self._news()) is not None:
                await self._pause(run)
                await self._report(run)

    def _is_heard(self) -> bool:
        return bool(self._memory.runs.unseen) and bool(self._memory.policy_hash) and self._memory.told.issue is not None

    def _news(self) -> Run | None:
        """The first run of which there is something to tell."""
        memory = self._memory
        if not is_told(memory):
            return None
        now = workflow.now()
        return next((run for run in memory.runs.runs if has_news(run, now)), None)

    async def _show_heard(self) -> None:
        """Best effort. Where nothing is told, nothing is shown either."""
        memory, issue = self._memory, self._memory.told.issue
        heard = tuple(memory.runs.unseen)
        if issue is not None and is_told(memory):
            request = HeardInput(memory.issue_id, memory.name, issue, heard)
            try:
                await workflow.execute_activity_method(
                    RunReportActivities.show_heard, request, **options.heard(), summary="the request was heard"
                )
            except ActivityError as error:
                memory.note(Note(workflow.now(), "nothing shows that a request was heard", str(error.cause)))
        memory.runs.unseen = [comment for comment in memory.runs.unseen if comment not in heard]

    async def _pause(self, run: Run) -> None:
        """Keep the pace. The first report and the last one do not wait.

        A resumed run is told as soon as its next attempt is at work, or after the pace: what it is in between, such as
        interrupted, would stand in the comment for as long as the pace is.
        """
        if is_needed(run) or run.told_at is None:
            return
        is_resumed = run.told == State.PAUSED and run.goal is RunGoal.WORK
        since = workflow.now() if is_resumed else run.told_at
        left = since + options.REPORT_PACE - workflow.now()
        if left <= timedelta(0):
            return
        try:
            await workflow.wait_condition(
                lambda: run.is_over or (is_resumed and (run.goal is not RunGoal.WORK or _is_at_work(run))),
                timeout=left,
                timeout_summary="a run's comment is not edited more often",
            )
        except TimeoutError:
            return

    async def _report(self, run: Run) -> None:
        """Tell the run's state of now, unless another one takes its place meanwhile."""
        memory, state, now = self._memory, state_of(run), workflow.now()
        request = report_of(memory, run)
        if request is None or not has_news(run, now):
            return
        run.told, run.told_at = UNSURE, now
        reporting = workflow.start_activity_method(
            RunReportActivities.report_run,
            request,
            **options.report(now - (run.ended_at or run.asked_at)),
            summary=f"run {run.id} is {state}",
        )
        no_news = {state, State.WORKING}  # That it works is told by its follower.
        await workflow.wait_condition(lambda: reporting.done() or state_of(run) not in no_news)
        is_outdated = not reporting.done()
        reporting.cancel()
        try:
            reported: Reported = await reporting
        except ActivityError as error:
            if is_outdated:
                return
            memory.note(Note(workflow.now(), f"run {run.id} could not be told", str(error.cause)))
        else:
            run.comment_id = reported.comment_id
        run.told, run.told_at = str(state), workflow.now()


def _is_at_work(run: Run) -> bool:
    """Whether an attempt is known to work, or to have worked, and nobody is ending it."""
    return run.phase in {RunPhase.RUNNING, RunPhase.ENDED} and not run.ending


def is_told(memory: Memory) -> bool:
    """Whether the issue is told of its runs, and known well enough for that."""
    issue = memory.told.issue
    is_known = issue is not None and bool(issue.repository) and issue.number > 0
    return bool(memory.policy_hash) and memory.policy.runs.is_told and is_known and not memory.told.is_deleted


def report_of(memory: Memory, run: Run) -> ReportInput | None:
    """What is to be told of the run; None when nothing is."""
    issue = memory.told.issue
    if issue is None or not is_told(memory) or run.comment_id < 0:
        return None
    runs, issue = memory.runs, Issue(issue.id, issue.repository, issue.number, url=issue.url)
    if run.outcome is not None:
        around = Surroundings(issue, NEXT[run.outcome])
    else:
        place = runs.slot.place if runs.slot.is_waiting else 0
        around = Surroundings(issue, waiting=len(runs.queue), place=place, pause=runs.pause)
    return ReportInput(memory.issue_id, memory.name, run, around, is_unsure=run.told == UNSURE)
