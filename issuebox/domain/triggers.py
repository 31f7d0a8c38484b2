"""From a delivery to an intention: two tables, read from top to bottom, with a reason for every answer.

`TABLE` maps each GitHub event and action to what it asks for, and on which condition; `ADMISSION` holds who may
ask for a sandbox. A delivery is ignored, with a reason, when it matches no row or its sender may not ask.
Nothing here knows GitHub's JSON: `api.payload` reduces it to `Facts`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase

from issuebox.domain.events import Intention
from issuebox.domain.run import RequestKind
from issuebox.domain.run_comment import BEGINNING


class Association(StrEnum):
    """GitHub's ``author_association``: what an author is to the repository. In the order of trust, least first.

    The order is ours; GitHub defines none. A mannequin stands for a user of another platform and cannot act.
    FIRST_TIMER and FIRST_TIME_CONTRIBUTOR prove less than one merged commit (CONTRIBUTOR). A collaborator was
    invited to this repository, a member belongs to the organization that owns it, and the owner owns it.
    """

    NONE = "NONE"
    MANNEQUIN = "MANNEQUIN"
    FIRST_TIMER = "FIRST_TIMER"
    FIRST_TIME_CONTRIBUTOR = "FIRST_TIME_CONTRIBUTOR"
    CONTRIBUTOR = "CONTRIBUTOR"
    COLLABORATOR = "COLLABORATOR"
    MEMBER = "MEMBER"
    OWNER = "OWNER"

    def is_below(self, other: Association) -> bool:
        """Whether the other is trusted more."""
        ranks = list(Association)
        return ranks.index(self) < ranks.index(other)


@dataclass(frozen=True, slots=True)
class Criteria:
    """What people do to ask for a sandbox ('' switches a way off), and who may ask.

    ``allowed_repositories`` are globs over ``owner/name``, or ``*`` for all; ``min_association`` is the least
    association that may ask; ``required_label`` is a label that the issue must carry, '' for none. ``run_on`` are the
    `OCCASIONS` on which the agent is asked to work, none for never, and ``run_min_association`` says who may do that.
    """

    label: str = "claude"
    phrase: str = "@claude"
    login: str = ""
    allowed_repositories: tuple[str, ...] = ("*",)
    min_association: Association = Association.NONE
    required_label: str = ""
    run_on: tuple[str, ...] = ()
    run_min_association: Association = Association.COLLABORATOR


OCCASIONS: tuple[str, ...] = ("label", "comment", "opened", "reopened", "assigned")
"""What may ask for a run, by the names of ``ISSUEBOX_RUN_ON``."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What trigger detection reads of a delivery.

    ``label`` was just put on the issue; ``labels`` are all that it carries. ``sender`` caused the delivery,
    ``author`` wrote the issue. The associations are those of the issue's author and of the comment's author in
    GitHub's words, '' when GitHub gives none.
    """

    event: str
    action: str = ""
    label: str = ""
    assignee: str = ""
    comment: str = ""
    is_pull_request: bool = False
    is_bot: bool = False
    repository: str = ""
    sender: str = ""
    author: str = ""
    issue_association: str = ""
    comment_association: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Detection:
    """What the delivery asks for, and the reason in words. ``is_explicit``: a person's own request.

    ``start_objection`` is why the delivery must not start a workflow, '' when it may. A delivery that asks for nothing,
    or that ends an issue whose opening would be refused, goes only to a workflow that already runs. ``run`` is what the
    agent is asked by it, None for nothing, and ``run_objection`` says why, where somebody may have expected otherwise.
    ``is_trusted``: whoever asks for the sandbox may ask for runs as well.
    """

    intention: Intention
    reason: str
    is_explicit: bool = False
    start_objection: str = ""
    run: RequestKind | None = None
    run_objection: str = ""
    is_trusted: bool = False


Objection = Callable[[Facts, Criteria], str]
"""Why the row does not apply; '' when it does."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. Rows that ask for a sandbox apply only where `ADMISSION` has no objection."""

    event: str
    action: str
    intention: Intention
    reason: str
    objection: Objection
    is_explicit: bool = False
    occasion: str = ""
    """On which the agent is asked to work too, if ``run_on`` has it."""


def _none(_facts: Facts, _criteria: Criteria) -> str:
    return ""


def _label(facts: Facts, criteria: Criteria) -> str:
    if not criteria.label:
        return "no trigger label is configured"
    return "" if _is_same(facts.label, criteria.label) else f"the label is not {criteria.label!r}"


def _newly_required(facts: Facts, criteria: Criteria) -> str:
    if not criteria.required_label:
        return "no required label is configured"
    return "" if _is_same(facts.label, criteria.required_label) else f"the label is not {criteria.required_label!r}"


def _assignee(facts: Facts, criteria: Criteria) -> str:
    if not criteria.login:
        return "no trigger login is configured"
    return "" if _is_same(facts.assignee, criteria.login) else f"the assignee is not {criteria.login!r}"


def _phrase(facts: Facts, criteria: Criteria) -> str:
    if facts.is_pull_request:
        return "the comment is on a pull request"
    if not criteria.phrase:
        return "no trigger phrase is configured"
    if facts.comment.startswith(BEGINNING):
        return "the comment tells of a run"
    return "" if says(facts.comment, criteria.phrase) else f"the comment does not say {criteria.phrase!r}"


def _stop(facts: Facts, criteria: Criteria) -> str:
    """The phrase and *stop*, and nothing else: a sentence that has both words in it asks for work."""
    if not criteria.run_on or facts.is_pull_request or not criteria.phrase:
        return "no run can be called off by it"
    said = " ".join(facts.comment.split()).casefold().rstrip(".!")
    return "" if said == f"{criteria.phrase} stop".casefold() else "the comment does not call a run off"


def _label_off(facts: Facts, criteria: Criteria) -> str:
    return _label(facts, criteria) if criteria.run_on else "no run can be called off by it"


CANCEL = "cancel"
"""The occasion of the rows that call the agent's work off."""

TABLE: tuple[Row, ...] = (
    Row("ping", "", Intention.PONG, "GitHub checks the hook", _none),
    Row("issues", "opened", Intention.ENSURE, "the issue was opened", _none, occasion="opened"),
    Row("issues", "reopened", Intention.ENSURE, "the issue was reopened", _none, occasion="reopened"),
    Row(
        *("issues", "labeled", Intention.ENSURE, "the trigger label was put on the issue", _label),
        is_explicit=True,
        occasion="label",
    ),
    # An issue that was refused at `opened` because it lacks this label is admitted when somebody adds it.
    Row("issues", "labeled", Intention.ENSURE, "the required label was put on the issue", _newly_required),
    Row(
        *("issues", "assigned", Intention.ENSURE, "the issue was assigned to the trigger login", _assignee),
        occasion="assigned",
    ),
    # Before the row of any other comment: it asks for no sandbox.
    Row("issue_comment", "created", Intention.IGNORE, "a comment calls the agent's work off", _stop, occasion=CANCEL),
    Row("issues", "unlabeled", Intention.IGNORE, "the trigger label was taken off", _label_off, occasion=CANCEL),
    Row(
        *("issue_comment", "created", Intention.ENSURE, "a comment asks for it", _phrase),
        is_explicit=True,
        occasion="comment",
    ),
    Row("issues", "closed", Intention.STOP, "the issue was closed", _none),
    Row("issues", "transferred", Intention.STOP, "the issue left this repository", _none),
    Row("issues", "deleted", Intention.DELETE, "the issue was deleted", _none),
)

BOT = "[bot]"
"""What the login of a GitHub App's user ends with."""

KINDS = {"comment": RequestKind.COMMENT}
"""The kind of request by occasion. All others are of one kind: the issue itself asks."""

EVENTS = frozenset(row.event for row in TABLE)
"""The GitHub events that have a row."""


def _bot(facts: Facts, _criteria: Criteria) -> str:
    return "bots cannot ask for a sandbox" if facts.is_bot else ""


def _repository(facts: Facts, criteria: Criteria) -> str:
    if any(_covers(glob, facts.repository) for glob in criteria.allowed_repositories):
        return ""
    return f"{facts.repository or 'the repository'} is not among ISSUEBOX_ALLOWED_REPOSITORIES"


def _association(facts: Facts, criteria: Criteria) -> str:
    association = _whose(facts)
    if association is None or not association.is_below(criteria.min_association):
        return ""
    return f"the author's association is {association}, below ISSUEBOX_MIN_ASSOCIATION {criteria.min_association}"


def _required_label(facts: Facts, criteria: Criteria) -> str:
    # GitHub may leave the list of labels out, but it always names the one that was just put on.
    carried = (*facts.labels, facts.label)
    if not criteria.required_label or any(_is_same(label, criteria.required_label) for label in carried):
        return ""
    return f"the issue lacks the label {criteria.required_label!r} of ISSUEBOX_REQUIRED_LABEL"


ADMISSION: tuple[Objection, ...] = (_bot, _repository, _association, _required_label)
"""Who may ask for a sandbox. Each objection names the setting that an operator would change."""


def detect(facts: Facts, criteria: Criteria) -> Detection:
    """What the delivery asks for. Total: a delivery that is not in the table is ignored with a reason."""
    if facts.event not in EVENTS:
        return _ignored(f"the event {facts.event!r} is not used")
    objections = []
    for row in TABLE:
        if row.event != facts.event or row.action not in {"", facts.action}:
            continue
        if objection := row.objection(facts, criteria):
            if row.occasion != CANCEL:  # Why it calls nothing off explains no answer.
                objections.append(objection)
        elif row.occasion == CANCEL:
            return _cancelling(row, facts, criteria)
        elif row.intention is not Intention.ENSURE:
            return Detection(row.intention, row.reason, start_objection=_against_opening(facts, criteria))
        elif refusal := _refusal(facts, criteria):
            return _ignored(refusal)
        else:
            return _asking(row, facts, criteria)
    reason = "; ".join(dict.fromkeys(objections))
    return _ignored(reason or f"the action {facts.action!r} of {facts.event!r} is not used")


def _asking(row: Row, facts: Facts, criteria: Criteria) -> Detection:
    """It asks for the sandbox; perhaps for a run as well, which fewer people may do."""
    objection = _against_run(facts, criteria)
    asked = Detection(row.intention, row.reason, row.is_explicit, is_trusted=not objection)
    if row.occasion not in criteria.run_on:
        return asked
    if objection:
        return replace(asked, run_objection=objection)
    return replace(asked, run=KINDS.get(row.occasion, RequestKind.START))


def _cancelling(row: Row, facts: Facts, criteria: Criteria) -> Detection:
    """Whoever may ask for runs may call them off. The workflow knows who asked, and lets him as well."""
    called_off = replace(_ignored(row.reason), run=RequestKind.CANCEL)
    if objection := _refusal(facts, criteria) or _against_run(facts, criteria):
        return replace(called_off, run_objection=objection)
    return called_off


def _against_run(facts: Facts, criteria: Criteria) -> str:
    association = _whose(facts)
    if association is None or not association.is_below(criteria.run_min_association):
        return ""
    return (
        f"the author's association is {association}, below ISSUEBOX_RUN_MIN_ASSOCIATION {criteria.run_min_association}"
    )


def asks(facts: Facts, criteria: Criteria) -> bool:
    """Whether the delivery asks for a sandbox, be it admitted or not."""
    return any(
        row.intention is Intention.ENSURE
        and (row.event, row.action) == (facts.event, facts.action)
        and not row.objection(facts, criteria)
        for row in TABLE
    )


def at_best(facts: Facts) -> Facts:
    """The delivery as if somebody had sent it who may ask, if anybody may."""
    return replace(facts, is_bot=False, issue_association=Association.OWNER)


def _against_opening(facts: Facts, criteria: Criteria) -> str:
    """Why the opening of this issue by its author would be refused; '' when it would be taken."""
    opening = replace(facts, event="issues", action="opened", sender=facts.author, is_bot=facts.author.endswith(BOT))
    return _refusal(opening, criteria)


def _refusal(facts: Facts, criteria: Criteria) -> str:
    """The first objection to who asks; '' for none."""
    return next(filter(None, (objects(facts, criteria) for objects in ADMISSION)), "")


def _whose(facts: Facts) -> Association | None:
    """The association of the person who asks; None when the action itself requires triage rights.

    A comment has its own author. Anyone but the issue's author needs triage rights to label, assign or reopen it.
    The author may have none, because a template adds its labels in the author's name. An unknown author may be
    the sender.
    """
    if facts.event == "issue_comment":
        return _known(facts.comment_association)
    if facts.action == "opened" or not facts.author or _is_same(facts.sender, facts.author):
        return _known(facts.issue_association)
    return None


def _known(word: str) -> Association:
    """GitHub's association; NONE when it is missing or unknown to this version."""
    # In any case: GitHub Enterprise Server was seen to write `None` and `Contributor`.
    return Association.__members__.get(word.upper(), Association.NONE)


def _covers(glob: str, repository: str) -> bool:
    """Whether the glob matches this repository, ignoring case. A ``*`` does not match across the slash."""
    if glob == "*":
        return True
    wanted_owner, _, wanted_name = glob.lower().partition("/")
    owner, _, name = repository.lower().partition("/")
    return fnmatchcase(owner, wanted_owner) and fnmatchcase(name, wanted_name)


def _is_same(one: str, other: str) -> bool:
    """Whether GitHub treats both as the same label or login: it ignores case."""
    return one.casefold() == other.casefold()


def _ignored(reason: str) -> Detection:
    return Detection(Intention.IGNORE, reason, start_objection="it asks for nothing")


def says(text: str, phrase: str) -> bool:
    """Whether a person says the phrase in the Markdown text, as a word of its own, ignoring case.

    Quotes, code and HTML comments do not count, nor do ``@claude-bot``, ``@claude/team``, ``me@claude.com``.
    """
    if not _has(text, phrase):
        return False
    from issuebox.domain.markup import TooIntricateError, spoken  # noqa: PLC0415 -- 50 ms that few processes need

    try:
        return _has(spoken(text), phrase)
    except TooIntricateError:
        return False


_LEADING, _TRAILING = frozenset("@/-"), frozenset("/-")
_WORD_CATEGORIES = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "Mn", "Mc"})
# How the Unicode names of their letters begin. Korean has spaces, but its particles follow a name at once. A variation
# selector is part of the emoji before it.
_WITHOUT_SPACES = re.compile(
    "CJK|IDEOGRAPHIC|BOPOMOFO|HIRAGANA|KATAKANA|HALFWIDTH|HANGUL|YI |THAI|LAO |KHMER|MYANMAR|TIBETAN|VARIATION"
)


def _has(text: str, phrase: str) -> bool:
    """Whether the phrase stands in the text and is no part of a longer word, address or path."""
    for match in re.finditer(re.escape(phrase), text, flags=re.IGNORECASE):
        before = text[max(0, match.start() - 1) : match.start()]
        after, then = text[match.end() : match.end() + 1], text[match.end() + 1 : match.end() + 2]
        is_host = after == "." and _is_letter(then)
        if not (before in _LEADING or _is_letter(before) or after in _TRAILING or _is_letter(after) or is_host):
            return True
    return False


def _is_letter(character: str) -> bool:
    """Whether a word goes on with it: a letter, digit or accent of a script that separates words by spaces."""
    if character == "_":
        return True
    if not character or unicodedata.category(character) not in _WORD_CATEGORIES:
        return False
    return _WITHOUT_SPACES.match(unicodedata.name(character, "")) is None
