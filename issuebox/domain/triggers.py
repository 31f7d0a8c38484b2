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
    """Whether somebody says the phrase: as a whole word in any case, neither quoted nor in code."""
    spoken = re.sub(r"```.*?(```|\Z)", " ", text, flags=re.DOTALL)
    spoken = re.sub(r"`[^`\n]*`", " ", spoken)
    spoken = "\n".join(line for line in spoken.splitlines() if not line.lstrip().startswith(">"))
    return re.search(rf"(?<![\w@]){re.escape(phrase)}(?![\w-])", spoken, flags=re.IGNORECASE) is not None


def _ignored(reason: str) -> Detection:
    return Detection(Intention.IGNORE, reason)
