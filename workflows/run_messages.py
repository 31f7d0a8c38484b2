"""The messages about runs, and what people see of them: one object per message, and pure functions that make them.

As in `workflows.messages`, add fields only with defaults; never rename one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial

from issuebox.domain.issue import Issue, in_utc
from issuebox.domain.run import (
    KEY_BYTES_MAX,
    RECEIPT_TEXTS,
    RUN_TEXTS,
    TEXT_BYTES_MAX,
    Run,
    RunGoal,
    RunOutcome,
    RunPhase,
    Runs,
)
from issuebox.domain.run_pause import Pause
from issuebox.domain.slot import Kind
from issuebox.domain.text import Clean, clean, passage, prose, word

UPDATE_RUN = "run"
SIGNAL_CANCEL_RUN = "cancel_run"
SIGNAL_PAUSE = "pause"
SIGNAL_RESUME = "resume"
QUERY_RUNS = "runs"

ERROR_NO_RUNS = "NoRunsError"
ERROR_REQUEST_REFUSED = "RunRequestRefusedError"

_ORDER_TEXTS: Mapping[str, Clean] = {
    "prompt": partial(passage, bytes_max=TEXT_BYTES_MAX),
    "requested_by": partial(prose, bytes_max=128),
    "key": partial(word, bytes_max=KEY_BYTES_MAX),
}


@dataclass(frozen=True, slots=True)
class RunOrder:
    """A person's or a program's request for work, by REST or the command line. The same ``key`` is the same request."""

    issue: Issue
    prompt: str
    key: str
    requested_by: str = ""

    def __post_init__(self) -> None:
        clean(self, _ORDER_TEXTS)


@dataclass(frozen=True, slots=True)
class CancelRun:
    """The argument of the signal ``cancel_run``: which run; '' for the one that is not over, and all that waits."""

    run: str = ""

    def __post_init__(self) -> None:
        clean(self, {"run": partial(word, bytes_max=64)})


@dataclass(frozen=True, slots=True)
class PauseOrder:
    """The argument of the signals ``pause`` and ``resume``, which may be left out.

    ``ordered_by`` is who gives the order, and ``ordered_at`` when; None: when a worker took it.
    """

    ordered_by: str = ""
    ordered_at: datetime | None = None

    def __post_init__(self) -> None:
        clean(self, {"ordered_by": partial(prose, bytes_max=64)})
        object.__setattr__(self, "ordered_at", in_utc(self.ordered_at))


class RunState(StrEnum):
    """The state of a run in one word, for people, lists and searches. A run that is over has its outcome."""

    WAITING = "waiting"
    """For its turn, for its sandbox, or for the time at which it is tried again."""
    WORKING = "working"
    PAUSED = "paused"
    ENDING = "ending"
    """It is being ended, in order."""
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIME_LIMIT = "time_limit"
    STALLED = "stalled"
    ATTEMPTS = "attempts"
    LOST = "lost"
    CREDENTIALS = "credentials"
    BUDGET = "budget"
    TURNS = "turns"
    POISONED = "poisoned"
    REFUSED = "refused"


UNDER_WAY = frozenset({RunState.WAITING, RunState.WORKING, RunState.PAUSED, RunState.ENDING})

assert {*map(str, RunState)} == {*map(str, UNDER_WAY), *map(str, RunOutcome)}, "every outcome is a state"  # noqa: S101


@dataclass(frozen=True, slots=True)
class RunReceipt:
    """What became of a request. ``place`` is its place among those that wait, from 1; 0 for one that does not.

    ``state`` is *waiting*, *given* to a run, *over* with its run, or *refused*. ``next_step`` says what happens next,
    or what helps.
    """

    key: str
    state: str
    author: str = ""
    at: datetime | None = None
    run: str = ""
    place: int = 0
    reason: str = ""
    next_step: str = ""

    def __post_init__(self) -> None:
        clean(self, RECEIPT_TEXTS)


_VIEW_TEXTS: Mapping[str, Clean] = {
    name: RUN_TEXTS[name] for name in ("summary", "reason", "trouble", "progress", "session", "branch", "pull_request")
}


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as people see it. ``phase`` is what is known of its attempt.

    ``cut_off`` counts its attempts that something else ended, and ``next_step`` says what happens next, or what helps.
    Costs are the agent's word.
    """

    id: str
    state: RunState
    phase: RunPhase
    goal: RunGoal
    attempt: int
    keys: tuple[str, ...]
    asked_at: datetime
    first_begun_at: datetime | None
    ended_at: datetime | None
    outcome: RunOutcome | None
    reason: str
    exit_code: int | None
    summary: str
    progress: str
    trouble: str
    sandbox_id: str
    session: str
    out_bytes: int
    cut_off: int
    cost_usd: float
    branch: str
    pull_request: str
    next_step: str = ""

    def __post_init__(self) -> None:
        """What `Run` has cleaned stays as it is."""
        clean(self, _VIEW_TEXTS)


@dataclass(frozen=True, slots=True)
class RunsView:
    """The answer to the query ``runs``: the last runs and the receipts of the last requests, oldest first.

    ``pause`` says who has paused the runs, since when and why; None: nobody. ``called_off_at`` is when somebody called
    the work off on the issue last.
    """

    runs: tuple[RunView, ...] = ()
    receipts: tuple[RunReceipt, ...] = ()
    pause: Pause | None = None
    called_off_at: datetime | None = None


NEXT: Mapping[RunOutcome, str] = {
    RunOutcome.DONE: "Nothing to do. A further comment continues the conversation.",
    RunOutcome.FAILED: "Read its log, and ask again.",
    RunOutcome.CANCELLED: "Ask again to have it done after all.",
    RunOutcome.TIME_LIMIT: "Raise ISSUEBOX_RUN_TIMEOUT_S, or ask for less at once.",
    RunOutcome.STALLED: "Read its log. Raise ISSUEBOX_RUN_STALL_S if it is silent for that long by nature.",
    RunOutcome.ATTEMPTS: "See why its sandbox was stopped or its processes were killed, and ask again.",
    RunOutcome.LOST: "Ask again: its sandbox or its disk is gone, and what was not pushed with it.",
    RunOutcome.CREDENTIALS: "Set valid credentials for the agent (ISSUEBOX_RUN_ENV), and ask again.",
    RunOutcome.BUDGET: "Raise the agent's budget, and ask again.",
    RunOutcome.TURNS: "Raise the agent's limit of turns, and ask again.",
    RunOutcome.POISONED: "Ask again: the next run begins a new conversation.",
    RunOutcome.REFUSED: "Correct what the reason names, and ask again.",
}
"""What helps, by how a run ended."""

assert set(NEXT) == set(RunOutcome), "every outcome has its advice"  # noqa: S101


def state_of(run: Run) -> RunState:
    """The state of the run."""
    if run.outcome is not None:
        return RunState(run.outcome)
    if run.goal is RunGoal.CANCEL or (run.goal is RunGoal.PAUSE and run.may_live()) or run.ending:
        return RunState.ENDING
    if run.goal is RunGoal.PAUSE:
        return RunState.PAUSED
    return RunState.WORKING if run.phase is RunPhase.RUNNING else RunState.WAITING


def newest_state(runs: Runs) -> RunState | None:
    """The state of the newest run; *waiting* or *paused* while only requests wait; None for an issue without runs."""
    if runs.active is None and runs.queue:
        return RunState.WAITING if runs.pause is None else RunState.PAUSED
    return state_of(runs.runs[-1]) if runs.runs else None


def view_of(run: Run, pause: Pause | None = None) -> RunView:
    """The run as people see it. `pause` is that of the issue's runs."""
    return RunView(
        id=run.id, state=state_of(run), phase=run.phase, goal=run.goal, attempt=run.attempt, keys=run.keys,
        asked_at=run.asked_at, first_begun_at=run.first_begun_at, ended_at=run.ended_at, outcome=run.outcome,
        reason=_paused(pause) if run.goal is RunGoal.PAUSE and pause and not run.is_over else run.reason,
        exit_code=run.exit_code, summary=run.summary, progress=run.progress, trouble=run.trouble,
        sandbox_id=run.sandbox_id, session=run.session, out_bytes=run.out_bytes, cut_off=run.cut_off,
        cost_usd=run.cost_usd, branch=run.branch, pull_request=run.pull_request,
        next_step=NEXT[run.outcome] if run.outcome else _doing(run, pause),
    )  # fmt: skip


GIVEN_MAX = 100
"""Receipts of requests that a run serves or has served, the last ones."""


def receipts_of(runs: Runs) -> tuple[RunReceipt, ...]:
    """What became of the last requests: those of the runs, those that wait, those that were refused."""
    paused = _paused(runs.pause) if runs.pause else ""
    given = [
        RunReceipt(
            request.key, "over" if run.is_over else "given", request.author, request.at, run.id,
            reason=run.reason if run.is_over else paused or run.trouble or runs.slot.wait(Kind.RUN),
            next_step=NEXT[run.outcome] if run.outcome else _doing(run, runs.pause),
        )
        for run in runs.runs
        for request in run.requests
    ]  # fmt: skip
    waiting = [
        RunReceipt(
            request.key, "waiting", request.author, request.at, place=place,
            reason=paused or ("" if runs.active else runs.slot.wait(Kind.RUN)),
            next_step=f"{RESUME} Then the next run takes all that wait, in this order." if paused else TAKEN_NEXT,
        )
        for place, request in enumerate(runs.queue, 1)
    ]  # fmt: skip
    refused = [
        RunReceipt(each.key, "refused", each.author, each.at, reason=each.reason, next_step="Ask again.")
        for each in runs.refused
    ]
    return (*refused, *given[-GIVEN_MAX:], *waiting)


def receipt_of(runs: Runs, key: str) -> RunReceipt | None:
    """The receipt of one request; None when it is not known, or was forgotten."""
    return next((receipt for receipt in reversed(receipts_of(runs)) if receipt.key == key), None)


RESUME = "Resume it: issuebox resume ISSUE."
TAKEN_NEXT = "The next run takes all that wait, in this order."


def _paused(pause: Pause) -> str:
    return f"paused {pause.words}"


def _doing(run: Run, pause: Pause | None) -> str:
    """What happens next about a run that is not over."""
    words = {
        RunGoal.PAUSE: RESUME if pause else "It is paused. A further request continues it.",
        RunGoal.CANCEL: "It is being ended.",
    }
    return words.get(run.goal) or _working(run)


def _working(run: Run) -> str:
    if run.phase is RunPhase.RUNNING:
        return "The agent works."
    if run.next_step_at is not None:
        return f"It is tried again at {run.next_step_at:%H:%M:%S} UTC."
    return "It begins as soon as its sandbox can be used."
