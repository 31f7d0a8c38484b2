"""What people see of an issue's workflow: sentences for the Web UI, the memo, and the search attributes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from temporalio.common import SearchAttributeUpdate

from issuebox.domain.goal import course
from issuebox.domain.memory import Answer, Memory
from issuebox.domain.phase import Cause, Outcome
from issuebox.domain.text import as_markdown, one_line, prose
from issuebox.domain.unsaved_work import WorkState
from workflows import search_attributes
from workflows.messages import Handover, Published, Status
from workflows.run_messages import RunState, newest_state, state_of, view_of

RUN_WORDS_BYTES_MAX = 150
"""Of a run's progress or reason in a sentence, or a pause's; the answer to `runs` has all of it."""

FINDINGS_SHOWN_BYTES_MAX = 900
"""Of the findings in the current details; the answer to `status` has all of them."""


SAID: Mapping[RunState, str] = {
    RunState.WAITING: "waiting for its turn or its sandbox",
    RunState.ENDING: "being ended in order",
    RunState.TIME_LIMIT: "over, ended by its time limit",
    RunState.STALLED: "over, ended because it was silent for too long",
    RunState.ATTEMPTS: "over, cut off too often",
    RunState.LOST: "lost with its sandbox or its disk",
    RunState.CREDENTIALS: "over, without valid credentials",
    RunState.BUDGET: "over, out of its budget",
    RunState.TURNS: "over, out of turns",
    RunState.POISONED: "over, with a conversation that cannot be continued",
}
"""The state of a run in a sentence, "run r-… is …", where the word alone does not make one."""


def sentence(memory: Memory, quote: Callable[[str], str] = str) -> str:
    """What is known of the sandbox, with the reason and the advice when the issue is blocked.

    `quote` is applied to what others wrote. Where the sentence stands in Markdown, it is `as_markdown`.
    """
    about = f"**{quote(memory.name)}**"
    issue = memory.told.issue
    if issue is not None and issue.repository:
        about += f" for {quote(issue.repository)}#{issue.number}"
    blocked = memory.progress.blocked
    if blocked is not None:
        how = str(Outcome.QUEUED) if blocked.cause is Cause.QUEUED else f"blocked ({blocked.cause})"
        return f"{about} is {how}: {quote(blocked.reason.rstrip('.'))}. {blocked.advice}"
    if memory.seen.sandbox is None:
        return f"{about} was not found at Daytona." if memory.seen.at else f"{about} has not been looked up yet."
    adds_nothing = memory.progress.outcome is None or memory.progress.outcome == memory.seen.sandbox.state
    outcome = "" if adds_nothing else f" and was {memory.progress.outcome}"
    return f"{about} is {memory.seen.sandbox.state}{outcome}."


def outlook(memory: Memory, now: datetime) -> str:
    """What the sandbox should be, and what happens to it next unless somebody acts."""
    goal = f"Goal: {memory.progress.goal}"
    if memory.told.issue is not None:
        goal += f" (the issue is {memory.told.issue.state})"
    due_at = course(memory, now)[1]
    if due_at is not None:
        goal += f"; {following(memory, now)} at {due_at:%Y-%m-%d %H:%M:%S} UTC unless somebody asks for the sandbox"
    return f"{goal}."


def about_run(memory: Memory, quote: Callable[[str], str] = str) -> str:
    """How the agent's newest run is, how many requests wait for the next one, and who has paused them; '' for nothing.

    `quote` is as for `sentence`.
    """
    runs = memory.runs
    parts = []
    if runs.runs:
        run = runs.runs[-1]
        state = state_of(run)
        again = f", attempt {run.attempt}" if run.attempt > 1 else ""
        said = run.progress if state is RunState.WORKING else run.reason or run.trouble
        words = prose(said, RUN_WORDS_BYTES_MAX) if runs.pause is None else ""  # The pause is what counts.
        more = f": {quote(words.rstrip('.'))}" if words else ""
        parts.append(f"Run {quote(run.id)}{again} is {SAID.get(state, state)}{more}.")
    if runs.queue:
        count = len(runs.queue)
        parts.append(f"{count} {'request waits' if count == 1 else 'requests wait'} for the next run.")
    if runs.pause is not None:
        words = quote(prose(runs.pause.words, RUN_WORDS_BYTES_MAX).rstrip("."))
        parts.append(f"The agent's work is paused {words}. To let it go on: issuebox resume {memory.issue_id}.")
    return " ".join(parts)


def following(memory: Memory, now: datetime) -> str:
    """The next goal that time alone brings; '' when there is none."""
    due_at = course(memory, now)[1]
    return str(course(memory, due_at)[0]) if due_at else ""


def details(memory: Memory, doing: str, now: datetime) -> str:
    """The current details of the Web UI, in Markdown: state, reason, next step, links."""
    parts = [sentence(memory, as_markdown), outlook(memory, now), f"Now: {doing}."]
    if run := about_run(memory, as_markdown):
        parts.append(run)
    last_inspection = memory.last_inspection
    if last_inspection is not None and last_inspection.result.state is not WorkState.CLEAN:
        found = one_line("; ".join(last_inspection.result.findings), FINDINGS_SHOWN_BYTES_MAX)
        parts.insert(2, f"Work in the sandbox is {last_inspection.result.state}: `{found}`")
    if memory.told.issue is not None and memory.told.issue.url:
        parts.append(f"[The issue]({memory.told.issue.url})")
    return "\n\n".join(parts)


def published(memory: Memory, now: datetime) -> Published:
    """What lists and sweeps read of the issue."""
    issue = memory.told.issue
    return Published(
        phase=str(memory.seen.phase or ""),
        state=memory.seen.sandbox.state if memory.seen.sandbox else "",
        sandbox_id=memory.seen.sandbox.id if memory.seen.sandbox else "",
        outcome=str(memory.progress.outcome or ""),
        blocked=str(memory.progress.blocked.cause) if memory.progress.blocked else "",
        goal=str(memory.progress.goal),
        goal_due_at=_iso(course(memory, now)[1]),
        timers=memory.policy.closing.timers if memory.told.ended_at is not None and memory.seen.at is not None else "",
        work=str(memory.last_inspection.result.state) if memory.last_inspection else "",
        repository=issue.repository if issue else "",
        number=issue.number if issue else 0,
        title=issue.title if issue else "",
        issue_state=str(issue.state) if issue else "",
        issue_updated_at=_iso(issue.updated_at if issue else None),
        requested_at=_iso(memory.told.requested_at),
        undelivered=memory.notices.undelivered,
        run=str(newest_state(memory.runs) or ""),
    )


def is_news(shown: Published, published: Published, republish_after_s: float) -> bool:
    """Whether to publish `shown` now, which costs a write to Temporal's index.

    When only the time of the last request changed, publish it once it is `republish_after_s` later.
    """
    if shown == published or not shown.requested_at or not published.requested_at:
        return shown != published
    if shown != replace(published, requested_at=shown.requested_at):
        return True
    later = datetime.fromisoformat(shown.requested_at) - datetime.fromisoformat(published.requested_at)
    return later.total_seconds() >= republish_after_s


def searchable(shown: Published) -> list[SearchAttributeUpdate[Any]]:
    """The search attributes; an empty one is unset."""
    texts = {
        search_attributes.REPOSITORY: shown.repository,
        search_attributes.ISSUE_STATE: shown.issue_state,
        search_attributes.PHASE: shown.phase,
        search_attributes.BLOCKED: shown.blocked,
        search_attributes.RUN: shown.run,
    }
    updates: list[SearchAttributeUpdate[Any]] = [
        key.value_set(text) if text else key.value_unset() for key, text in texts.items()
    ]
    number = search_attributes.NUMBER
    return [*updates, number.value_set(shown.number) if shown.number else number.value_unset()]


def status(memory: Memory, doing: str, now: datetime) -> Status:
    """The answer to the query ``status``."""
    return Status(
        issue_id=memory.issue_id,
        name=memory.name,
        goal=memory.progress.goal,
        doing=doing,
        phase=memory.seen.phase,
        outcome=memory.progress.outcome,
        issue=memory.told.issue,
        sandbox=memory.seen.sandbox,
        seen_at=memory.seen.at,
        blocked=memory.progress.blocked,
        requests_waiting=memory.requests.asked - memory.requests.served,
        deliveries_seen=memory.deliveries.seen,
        goal_due_at=course(memory, now)[1],
        inspection=memory.last_inspection.result if memory.last_inspection else None,
        run=view_of(memory.runs.runs[-1], memory.runs.pause) if memory.runs.runs else None,
        run_requests_waiting=len(memory.runs.queue),
        run_pause=memory.runs.pause,
    )


def handover(memory: Memory, answer: Answer | None) -> Handover:
    """The answer to a request. While there is none, the outcome is *pending*."""
    if answer is None:
        seen, blocked = memory.seen.sandbox, memory.progress.blocked
        return Handover(memory.issue_id, memory.name, Outcome.PENDING, seen, blocked)
    return Handover(memory.issue_id, memory.name, answer.outcome, answer.sandbox, answer.blocked)


def _iso(moment: datetime | None) -> str:
    return moment.isoformat() if moment else ""
