"""What is told of a run on its issue: one comment, whose text is a function of the run's state. Pure.

The comment begins with a hidden marker, by which it is found again. What the agent or a person wrote (progress,
summary, reason) is shown so that it makes no link, no tag, no image, no mention and no reference. The trigger phrase
stands nowhere in it, or a comment could ask for the next run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from issuebox.domain.issue import Issue
from issuebox.domain.run import Run, RunGoal, RunOutcome, RunPhase
from issuebox.domain.run_pause import Pause

TOLD_WITHIN = timedelta(days=3)
"""What happened longer ago is not told any more: as long as a notice is tried."""


EDIT_PACE = timedelta(seconds=30)
"""How often a run's comment is edited at most, but for the last time."""


class State(StrEnum):
    """The state of a run that is not over, as people see it on the issue."""

    WAITING = "waiting"
    WORKING = "working"
    INTERRUPTED = "interrupted"
    PAUSED = "paused"
    ENDING = "ending"


_WORDS: Mapping[str, str] = {
    State.WAITING: "The agent is about to begin.",
    State.WORKING: "The agent is at work.",
    State.INTERRUPTED: "The agent's work was interrupted. It goes on by itself.",
    State.PAUSED: "The agent's work is paused.",
    State.ENDING: "The agent's work is being ended.",
    RunOutcome.DONE: "The agent is done.",
    RunOutcome.FAILED: "The agent failed.",
    RunOutcome.CANCELLED: "The agent's work was called off.",
    RunOutcome.TIME_LIMIT: "The time limit ended the agent's work.",
    RunOutcome.STALLED: "The agent wrote nothing for too long, and its work was ended.",
    RunOutcome.ATTEMPTS: "The agent's work was cut off too often, and was given up.",
    RunOutcome.LOST: "The agent's work was lost with its sandbox.",
    RunOutcome.CREDENTIALS: "The agent's credentials were not accepted.",
    RunOutcome.BUDGET: "The agent's budget is spent.",
    RunOutcome.TURNS: "The agent has used all its turns.",
    RunOutcome.POISONED: "The agent's conversation cannot be continued.",
    RunOutcome.REFUSED: "The agent's work could not be prepared.",
}

assert set(_WORDS) == set(State) | set(RunOutcome), "every state has its words"  # noqa: S101

UNSURE = "unsure"
"""`Run.told` while nobody knows whether a report was written: it was begun, and did not end."""


@dataclass(frozen=True, slots=True)
class Hints:
    """How a run can be called off, besides the command line, and what a comment must never say.

    ``label`` is the trigger label, ``phrase`` the trigger phrase; '' for none.
    """

    label: str = ""
    phrase: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a comment says besides the run. ``advice`` is what helps, for a run that is over.

    ``waiting`` counts the requests that wait for the issue's next run, ``place`` is this run's place among those of the
    installation that wait for a slot; 0 for none. ``pause`` says who has paused the issue's runs, and why.
    """

    issue: Issue
    advice: str = ""
    waiting: int = 0
    place: int = 0
    pause: Pause | None = None


BEGINNING = "<!-- issuebox run "
"""What begins like this we wrote, and so it asks for nothing."""


def marker(run_id: str) -> str:
    """What the comment of this run begins with. GitHub does not show it."""
    return f"{BEGINNING}{run_id} -->"


def state_of(run: Run) -> State | RunOutcome:
    """The run's state in one word."""
    if run.outcome is not None:
        return run.outcome
    if run.goal is RunGoal.PAUSE:
        return State.PAUSED
    if run.goal is RunGoal.CANCEL or run.ending:
        return State.ENDING
    if run.phase in {RunPhase.RUNNING, RunPhase.ENDED}:
        return State.WORKING
    if run.phase is RunPhase.UNKNOWN and run.is_begun and run.failures < 3:  # noqa: PLR2004
        return State.WORKING  # One probe that failed is no news.
    return State.INTERRUPTED if run.first_begun_at is not None else State.WAITING


def has_news(run: Run, now: datetime) -> bool:
    """Whether the workflow has something to tell: the first report, the last one, and what stops the work in between.

    That the agent works, and at what, is told by the run's follower; only that a paused run works again is news here.
    """
    state = state_of(run)
    if run.comment_id < 0 or run.told == state or (run.ended_at is not None and now - run.ended_at > TOLD_WITHIN):
        return False
    return state is not State.WORKING or run.told in {"", UNSURE, State.PAUSED}


def is_needed(run: Run) -> bool:
    """Whether the report is the first or the last one. All others are left out while there are few writes left."""
    return run.comment_id == 0 or run.is_over


def body_of(run: Run, around: Surroundings, hints: Hints) -> str:
    """The comment's text, in Markdown. The same state makes the same text, so one that differs is to be written."""
    state = state_of(run)
    parts = [
        f"**{_WORDS[state]}**{_times(run)}",
        _quoted(run.summary if run.is_over else run.progress),
        _reason(run, state),
        _paused(state, around),
        _results(run, around.issue),
        _queue(around) if not run.is_over else "",
        f"To let it go on: run {_code(f'issuebox resume {around.issue.id}')}." if state is State.PAUSED else "",
        around.advice if run.is_over else _stopping(run, around.issue, hints),
        f"<sub>run {_code(run.id)}, attempt {run.attempt}</sub>",
    ]
    text = "\n\n".join(part for part in parts if part)
    return f"{marker(run.id)}\n{_without(text, hints.phrase)}\n"


def _times(run: Run) -> str:
    if run.first_begun_at is None:
        return ""
    if run.ended_at is None:
        return f" It began at {_stamp(run.first_begun_at)}."
    return f" It took {_duration(run.ended_at - run.first_begun_at)}."


def _reason(run: Run, state: State | RunOutcome) -> str:
    if run.is_over:
        says_all = state in {RunOutcome.DONE, RunOutcome.CANCELLED} and not run.reason
        return "" if says_all or not run.reason else f"Reason: {inert(run.reason)}"
    if not run.trouble:
        return ""
    after = f" It is tried again at {_stamp(run.next_step_at)}." if run.next_step_at else ""
    return f"The last step failed: {inert(run.trouble)}.{after}"


def _paused(state: State | RunOutcome, around: Surroundings) -> str:
    """By whom, since when and why. A pause that came with a stop of the sandbox has none of it."""
    is_said = state is State.PAUSED and around.pause is not None
    return f"It was paused {inert(around.pause.words)}." if is_said and around.pause else ""


def _results(run: Run, issue: Issue) -> str:
    found = []
    if run.branch:
        found.append(f"Branch: {_code(run.branch)}")
    if run.pull_request:
        found.append(f"Pull request: {_pull_request(run.pull_request, issue)}")
    if run.is_over and run.cost_usd > 0:
        found.append(f"Cost, as the agent says: {run.cost_usd:.2f} USD")
    return " · ".join(found)


def _pull_request(given: str, issue: Issue) -> str:
    """Its address, if it is a number or an address in the issue's own repository. Anything else makes no link."""
    home, is_issue, _ = issue.url.rpartition(f"/issues/{issue.number}")
    number = re.fullmatch(f"(?:{re.escape(home)}/pull/)?([1-9][0-9]{{0,9}})", given)
    return f"{home}/pull/{number[1]}" if is_issue and number else _code(given)


def _queue(around: Surroundings) -> str:
    lines = []
    if around.place:
        lines.append(f"When this was written, it had place {around.place} among the runs that wait for their turn.")
    if around.waiting:
        requests = "1 further request waits" if around.waiting == 1 else f"{around.waiting} further requests wait"
        lines.append(f"{requests} for the next run, which takes all of them.")
    return " ".join(lines)


def _stopping(run: Run, issue: Issue, hints: Hints) -> str:
    ways = []
    if hints.label:
        ways.append(f"take the label {_code(hints.label)} off")
    if hints.phrase:
        ways.append("comment with nothing but the trigger phrase and the word *stop*")
    ways.append(f"run {_code(f'issuebox cancel {issue.id} {run.id}')}")
    return f"To stop it: {', or '.join(ways)}."


def _stamp(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _duration(length: timedelta) -> str:
    minutes, seconds = divmod(max(0, round(length.total_seconds())), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


_JOINER = "\N{ZERO WIDTH JOINER}"
"""It is not seen, and takes a mention, a reference or an address apart."""

_ESCAPES = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_{}[]()<>#+!|~$&^="})
"""Any of these may begin something in GitHub's Markdown. An entity such as ``&#64;`` would become an at sign after the
text was read, and so a mention."""

_APART = re.compile(r"@|#|:(?=//)|www(?=\.)|gh-(?=[0-9])", re.IGNORECASE)
"""What GitHub makes a mention, a reference to an issue, or a link of, wherever it stands in what is shown."""


def inert(text: str) -> str:
    """One line of somebody else's words, as it may stand inside of a paragraph: it reads as it is, and does nothing."""
    return _APART.sub(lambda found: found[0] + _JOINER, text.translate(_ESCAPES))


def _quoted(text: str) -> str:
    # Behind a character that is not seen: at a line's beginning a number or a dash would begin a list.
    return f"> {_JOINER}{inert(text)}" if text.strip() else ""


def _code(text: str) -> str:
    """A name as code, in which nothing is a mention or a link."""
    return f"`{text.replace('`', chr(39))}`"


def _without(text: str, phrase: str) -> str:
    """The text, in which the phrase is taken apart wherever it stands."""
    if not phrase:
        return text
    joiner = "\N{WORD JOINER}" if _JOINER in phrase else _JOINER
    if len(phrase) == 1:
        return re.sub(re.escape(phrase), joiner, text, flags=re.IGNORECASE)
    return re.sub(f"(?={re.escape(phrase)})(.)", rf"\1{joiner}", text, flags=re.IGNORECASE | re.DOTALL)
