"""From a delivery to an intention: one table, read from top to bottom, with a reason for every answer.

A row says for which GitHub event and action it stands, what it asks for, and on which condition. A
delivery that meets no row is ignored, and the reason says why. Nothing here knows GitHub's JSON:
`api.payload` reduces it to `Facts`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from issuebox.domain.events import Intention


@dataclass(frozen=True, slots=True)
class Rules:
    """What people do to ask for a sandbox; '' switches a way off."""

    label: str = "claude"
    phrase: str = "@claude"
    login: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a delivery says, as far as a trigger cares."""

    event: str
    action: str = ""
    label: str = ""
    assignee: str = ""
    comment: str = ""
    is_pull_request: bool = False
    is_bot: bool = False


@dataclass(frozen=True, slots=True)
class Detection:
    """What the delivery asks for, and the reason in words. ``is_explicit``: a person's own request."""

    intention: Intention
    reason: str
    is_explicit: bool = False


Objection = Callable[[Facts, Rules], str]
"""Why the row does not apply; '' when it does."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. Rows that ask for a sandbox never apply to bots."""

    event: str
    action: str
    intention: Intention
    reason: str
    objection: Objection
    is_explicit: bool = False


def _none(_facts: Facts, _rules: Rules) -> str:
    return ""


def _label(facts: Facts, rules: Rules) -> str:
    if not rules.label:
        return "no trigger label is configured"
    return "" if facts.label == rules.label else f"the label is not {rules.label!r}"


def _assignee(facts: Facts, rules: Rules) -> str:
    if not rules.login:
        return "no trigger login is configured"
    return "" if facts.assignee.lower() == rules.login.lower() else f"the assignee is not {rules.login!r}"


def _phrase(facts: Facts, rules: Rules) -> str:
    if facts.is_pull_request:
        return "the comment is on a pull request"
    if not rules.phrase:
        return "no trigger phrase is configured"
    return "" if says(facts.comment, rules.phrase) else f"the comment does not say {rules.phrase!r}"


TABLE: tuple[Row, ...] = (
    Row("ping", "", Intention.PONG, "GitHub checks the hook", _none),
    Row("issues", "opened", Intention.ENSURE, "the issue was opened", _none),
    Row("issues", "reopened", Intention.ENSURE, "the issue was reopened", _none),
    Row("issues", "labeled", Intention.ENSURE, "the trigger label was put on the issue", _label, is_explicit=True),
    Row("issues", "assigned", Intention.ENSURE, "the issue was assigned to the trigger login", _assignee),
    Row("issue_comment", "created", Intention.ENSURE, "a comment asks for it", _phrase, is_explicit=True),
    Row("issues", "closed", Intention.STOP, "the issue was closed", _none),
    Row("issues", "transferred", Intention.STOP, "the issue left this repository", _none),
    Row("issues", "deleted", Intention.DELETE, "the issue was deleted", _none),
)

EVENTS = frozenset(row.event for row in TABLE)
"""The GitHub events that any row is about."""


def detect(facts: Facts, rules: Rules) -> Detection:
    """What the delivery asks for. Total: whatever is not in the table is ignored with a reason."""
    if facts.event not in EVENTS:
        return _ignored(f"the event {facts.event!r} is not used")
    objections = []
    for row in TABLE:
        if row.event != facts.event or row.action not in {"", facts.action}:
            continue
        if row.intention is Intention.ENSURE and facts.is_bot:
            return _ignored("bots cannot ask for a sandbox")
        objection = row.objection(facts, rules)
        if not objection:
            return Detection(row.intention, row.reason, row.is_explicit)
        objections.append(objection)
    return _ignored("; ".join(objections) or f"the action {facts.action!r} of {facts.event!r} is not used")


def says(text: str, phrase: str) -> bool:
    """Whether somebody says the phrase: as a whole word in any case, neither quoted nor in code.

    ``@claude-bot``, ``@claude/team`` and ``me@claude.com`` are others.
    """
    pattern = rf"(?<![\w@/-]){re.escape(phrase)}(?![\w/-])"
    return re.search(pattern, _spoken(text), flags=re.IGNORECASE) is not None


# As in CommonMark 0.31, 4.5 and 6.1: an opening fence of backticks has none behind it, a fence is closed by
# one at least as long, and a code span by a run of backticks of the same length.
_FENCE = re.compile(r"\s*(`{3,}(?=[^`]*$)|~{3,})")
_CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)")


def _spoken(text: str) -> str:
    """The text without quoted lines, fenced code and code spans."""
    spoken, fence = [], ""
    for line in text.splitlines():
        if fence:
            mark = line.strip()
            is_closing = len(mark) >= len(fence) and set(mark) == set(fence)
            fence = "" if is_closing else fence
        elif opening := _FENCE.match(line):
            fence = opening[1]
        elif not line.lstrip().startswith(">"):
            spoken.append(_CODE_SPAN.sub(" ", line))
    return "\n".join(spoken)


def _ignored(reason: str) -> Detection:
    return Detection(Intention.IGNORE, reason)
