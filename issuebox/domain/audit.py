"""What the audit concludes from its reads. Pure, and the same for the walk and for every reread.

A walk only raises suspicions, because the lists of Daytona and Temporal both lag. A suspicion becomes a
finding when reads by ID confirm it every time, over a longer time than any cache lives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

from issuebox.domain.issue import issue_id_of, sandbox_name
from issuebox.domain.phase import Goal, Phase
from issuebox.domain.records import IssueRecord
from issuebox.domain.sandbox import (
    LABEL_INSTANCE,
    LABEL_ISSUE_ID,
    LABEL_MANAGED_BY,
    MANAGED_BY,
    NAME_BYTES_MAX,
    Sandbox,
)
from issuebox.domain.text import Clean, clean, prose, word
from issuebox.domain.workflow_ends import IS_ADOPTED, advice_for

SUSPECTS_MAX = 200
"""Per walk. Heartbeats and histories carry them, and Temporal limits those to 2 MB: the findings of both walks, each at
its limits, have half of that. The next audit sees the rest."""

_SUSPECT_TEXTS: Mapping[str, Clean] = {
    "sandbox_id": partial(word, bytes_max=128),
    "name": partial(word, bytes_max=NAME_BYTES_MAX),
}
_FINDING_TEXTS: Mapping[str, Clean] = {
    **_SUSPECT_TEXTS,
    "seen": partial(prose, bytes_max=400),
    "advice": partial(prose, bytes_max=400),
}

ISSUE_ID_DIGITS_MAX = 18
"""Longer numbers are not issue IDs: GitHub's fit in 64 bits. Labels and names may contain anything."""


class Kind(StrEnum):
    """What is wrong. Completes "the sandbox is …"."""

    DUPLICATE = "duplicate"
    STRAY = "stray"
    CONFLICT = "conflict"
    ORPHAN = "orphan"
    UNSEEN = "unseen"
    LEAK = "leak"
    LOST = "lost"
    STUCK = "stuck"
    UNSERVED = "unserved"
    UNDESTROYED = "undestroyed"


class Mend(StrEnum):
    """What the audit may do by itself. None of it stops or deletes a sandbox."""

    NOTHING = "nothing"
    START_WORKFLOW = "start_workflow"
    LOOKUP = "look"


MENDS: Mapping[Kind, Mend] = {
    Kind.DUPLICATE: Mend.NOTHING,
    Kind.STRAY: Mend.NOTHING,
    Kind.CONFLICT: Mend.NOTHING,
    Kind.ORPHAN: Mend.START_WORKFLOW,
    Kind.UNSEEN: Mend.LOOKUP,
    Kind.LEAK: Mend.LOOKUP,
    Kind.LOST: Mend.LOOKUP,
    Kind.STUCK: Mend.NOTHING,
    Kind.UNSERVED: Mend.NOTHING,
    Kind.UNDESTROYED: Mend.NOTHING,
}
"""What the audit does about each kind. An orphan whose workflow a person cancelled is left alone: `IS_ADOPTED`."""

ADVICE: Mapping[Kind, str] = {
    Kind.DUPLICATE: "Save what is in it, then delete it at Daytona or remove its issuebox labels.",
    Kind.STRAY: "It is no issue's sandbox: save what is in it, then delete it or remove its issuebox labels.",
    Kind.CONFLICT: "Name and label belong to two issues: find out whose it is, then correct the label `issue-id`.",
    Kind.ORPHAN: "Start its workflow with `issuebox audit`; the next resync brings the issue's state.",
    Kind.UNSEEN: "Its workflow knows only that the issue ended: send the signal `look`, as `issuebox audit` does.",
    Kind.LEAK: "It costs money: query `why` of its workflow, or send the signal `stop`.",
    Kind.LOST: "Somebody deleted it at Daytona; the next request creates a new one.",
    Kind.STUCK: "Restart all workers with the version that ran it last; docs/operations.md says what else helps.",
    Kind.UNSERVED: "Set ISSUEBOX_TASK_QUEUE back, or move its workflow: docs/operations.md.",
    Kind.UNDESTROYED: "Ask Daytona's operators to remove its container by the ID: no API of ours reaches it.",
}
"""What a person can do about each kind."""

SEEN: Mapping[Kind, str] = {
    Kind.DUPLICATE: "{state}, and labelled for issue {issue_id}, which already has {canonical}",
    Kind.STRAY: "{state}, and labelled for issue {issue_id}, whose sandbox would be {canonical}",
    Kind.CONFLICT: "{state}, named for issue {issue_id}, and labelled for issue {label!r}",
    Kind.ORPHAN: "{state}, and no workflow runs for it{ended}",
    Kind.UNSEEN: "{state}, and its workflow, which should have it {goal}, has never looked it up",
    Kind.LEAK: "{state}, although it should be {goal}{blocked}",
    Kind.LOST: "{phase} according to its workflow, but Daytona does not find its ID{blocked}",
    Kind.STUCK: "{phase} according to its workflow, which {stuck}",
    Kind.UNSERVED: "{state}, and its workflow runs on the task queue {elsewhere!r}, which is not this installation's",
    Kind.UNDESTROYED: "deleted, but Daytona could not destroy it ({state}{error}): its container may run and cost",
}
"""What was seen of each kind; completes "the sandbox is …"."""

IRREPARABLE = frozenset({Kind.DUPLICATE, Kind.STRAY, Kind.CONFLICT, Kind.STUCK, Kind.UNSERVED, Kind.UNDESTROYED})
"""Kinds that only a person can settle: which sandbox to keep, or what became of the workers."""


HARMLESS = frozenset({Kind.UNDESTROYED})
"""Kinds that do not break the promise: to every other read of Daytona such a sandbox is gone, and nobody here can
remove it."""

CANCELLED_ADVICE = "A person cancelled its workflow: `issuebox start` or the next request adopts it. Else delete it."
"""What a person can do about an orphan that the audit leaves alone."""

OF_RECORDS = frozenset({Kind.LEAK, Kind.LOST, Kind.STUCK})
"""Kinds found by comparing a workflow's record with its sandbox; the others are found by reading a sandbox."""


class Naming(StrEnum):
    """How a managed sandbox's name relates to its label `issue-id`."""

    CANONICAL = "canonical"
    CONTRADICTING = "contradicting"
    OTHER = "other"


class Service(StrEnum):
    """Who serves the workflow of an issue."""

    NOBODY = "nobody"
    ELSEWHERE = "elsewhere"
    UNAWARE = "unaware"
    HERE = "here"


CANONICAL: Mapping[Service, Kind | None] = {
    Service.NOBODY: Kind.ORPHAN,
    Service.ELSEWHERE: Kind.UNSERVED,
    # It was started by the end of its issue alone, and asks Daytona nothing by itself.
    Service.UNAWARE: Kind.UNSEEN,
    Service.HERE: None,
}
"""A sandbox with the canonical name needs a workflow that our workers serve."""

SANDBOXES: Mapping[Naming, Mapping[bool, Kind]] = {
    # By whether there is a sandbox with the canonical name, which makes this one a duplicate.
    Naming.OTHER: {True: Kind.DUPLICATE, False: Kind.STRAY},
    Naming.CONTRADICTING: {True: Kind.CONFLICT, False: Kind.CONFLICT},
}

GOING = frozenset({Phase.LEAVING, Phase.MISSING})
"""A sandbox on its way out is no duplicate, whatever name it is listed under."""

_BELIEVED_GONE = frozenset({"", *GOING})
_AT_REST = frozenset({Goal.STOPPED, Goal.ARCHIVED, Goal.DELETED})


@dataclass(frozen=True, slots=True)
class Installation:
    """Which sandboxes are ours to judge, among several installations in one Daytona organization."""

    instance: str
    name_prefix: str

    @property
    def labels(self) -> dict[str, str]:
        """What every sandbox of this installation is labelled with."""
        return {LABEL_MANAGED_BY: MANAGED_BY, LABEL_INSTANCE: self.instance}


@dataclass(frozen=True, slots=True)
class Claim:
    """The issue that a managed sandbox names; ``issue_id`` is 0 when it names none."""

    naming: Naming
    issue_id: int


@dataclass(frozen=True, slots=True)
class Suspect:
    """Something to be read again. A reread may change the kind, but only to one that the same walk finds."""

    kind: Kind
    issue_id: int
    sandbox_id: str
    name: str

    def __post_init__(self) -> None:
        """A workflow's ID may have 1,000 bytes, and a label may say anything."""
        clean(self, _SUSPECT_TEXTS)


@dataclass(frozen=True, slots=True)
class Reread:
    """Fresh reads about a suspect: its sandbox by ID, its issue's record, the sandbox of the canonical name."""

    sandbox: Sandbox | None
    record: IssueRecord | None
    canonical: Sandbox | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What every reread confirmed. ``mend`` is what the audit may do; ``mended``: it did, and the finding ended."""

    kind: Kind
    issue_id: int
    sandbox_id: str
    name: str
    seen: str
    advice: str
    mended: bool = False
    mend: Mend = Mend.NOTHING

    def __post_init__(self) -> None:
        """As short as a suspect's texts: a report has hundreds."""
        clean(self, _FINDING_TEXTS)

    @property
    def suspect(self) -> Suspect:
        """The same, as a suspect to be read once more."""
        return Suspect(self.kind, self.issue_id, self.sandbox_id, self.name)


@dataclass(frozen=True, slots=True)
class Walked:
    """How far a walk has come. ``passed`` counts the rows that need no judgement.

    ``foreign`` counts the issues whose sandbox belongs to another installation. They are no suspects: the audit of
    that installation reports what is wrong with such a sandbox. ``outdated`` counts the closed issues that go by timers
    of earlier settings, ``undelivered`` those whose last notice did not reach its receiver. ``unsettled`` counts the
    ranges whose rows and counts disagreed, however often they were read.
    """

    cursor: str | None = None
    is_over: bool = False
    pages: int = 0
    rows: int = 0
    passed: int = 0
    suspects: tuple[Suspect, ...] = ()
    is_truncated: bool = False
    foreign: int = 0
    outdated: int = 0
    undelivered: int = 0
    unsettled: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether everything was read, and every suspect kept."""
        return not self.is_truncated and not self.unsettled

    def turn(
        self,
        rows: int,
        passed: int,
        suspects: Iterable[Suspect | None],
        next_cursor: str | None,
        *,
        foreign: int = 0,
        outdated: int = 0,
        undelivered: int = 0,
        unsettled: int = 0,
    ) -> Walked:
        """The walk after one more page. A row that the list shows twice is one suspect."""
        known = dict.fromkeys((*self.suspects, *(suspect for suspect in suspects if suspect is not None)))
        return replace(
            self,
            cursor=next_cursor,
            is_over=next_cursor is None,
            pages=self.pages + 1,
            rows=self.rows + rows,
            passed=self.passed + passed,
            suspects=tuple(known)[:SUSPECTS_MAX],
            is_truncated=self.is_truncated or len(known) > SUSPECTS_MAX,
            foreign=self.foreign + foreign,
            outdated=self.outdated + outdated,
            undelivered=self.undelivered + undelivered,
            unsettled=self.unsettled + unsettled,
        )


def joined(walks: Iterable[Walked]) -> Walked:
    """The walks over the parts of one whole as one walk, which ended."""
    whole = Walked(is_over=True)
    for walk in walks:
        suspects = tuple(dict.fromkeys((*whole.suspects, *walk.suspects)))
        counts = {name: getattr(whole, name) + getattr(walk, name) for name in _COUNTS}
        is_truncated = whole.is_truncated or walk.is_truncated or len(suspects) > SUSPECTS_MAX
        whole = replace(whole, **counts, suspects=suspects[:SUSPECTS_MAX], is_truncated=is_truncated)
    return whole


_COUNTS = ("pages", "rows", "passed", "foreign", "outdated", "undelivered", "unsettled")


def is_anothers(sandbox: Sandbox, ours: Installation) -> bool:
    """Whether its labels name another installation or another manager. An absent label names nobody."""
    return any(sandbox.labels.get(label, own) != own for label, own in ours.labels.items())


def claim_of(sandbox: Sandbox, prefix: str) -> Claim:
    """The issue that the sandbox names. The label counts only when the name is not one of ours."""
    named, label = _issue_id(sandbox.name, prefix), sandbox.labels.get(LABEL_ISSUE_ID, "")
    labelled = _issue_id(label)
    if named is None:
        return Claim(Naming.OTHER, labelled or 0)
    agrees = not label or labelled == named
    return Claim(Naming.CANONICAL if agrees else Naming.CONTRADICTING, named)


def judge_sandbox(
    sandbox: Sandbox | None, record: IssueRecord | None, canonical: Sandbox | None, ours: Installation
) -> Kind | None:
    """What is wrong with a sandbox that carries our labels; None for nothing. `record` is that of its issue."""
    if sandbox is None or sandbox.phase in GOING or not ours.labels.items() <= sandbox.labels.items():
        return None
    naming = claim_of(sandbox, ours.name_prefix).naming
    if naming is Naming.CANONICAL:
        return CANONICAL[_service(record)]
    has_other = (
        canonical is not None
        and canonical.id != sandbox.id
        and canonical.phase not in GOING
        and not is_anothers(canonical, ours)
    )
    return SANDBOXES[naming][has_other]


def _service(record: IssueRecord | None) -> Service:
    if record is None or not record.is_running:
        return Service.NOBODY
    if record.elsewhere:
        return Service.ELSEWHERE
    return Service.UNAWARE if not record.phase and record.goal in _AT_REST else Service.HERE


def judge_record(
    record: IssueRecord, sandbox: Sandbox | None, ours: Installation, *, despite_block: bool = False
) -> Kind | None:
    """What is wrong with a workflow's record of its sandbox, given a read of that sandbox by ID; None for nothing.

    A sandbox that belongs to another installation is never wrong here. The sandbox of a blocked issue may run against
    the goal: the block already reports that. With `despite_block` it counts as a leak all the same. A stuck workflow
    can do nothing about its sandbox, so nothing else is judged.
    """
    if record.stuck is not None:
        return Kind.STUCK
    if not record.sandbox_id:
        return None
    if sandbox is None:
        return None if record.phase in _BELIEVED_GONE else Kind.LOST
    if is_anothers(sandbox, ours):
        return None
    if sandbox.phase is Phase.USABLE and record.goal in _AT_REST and (despite_block or not record.blocked):
        return Kind.LEAK
    return None


def is_outdated(record: IssueRecord, timers: str) -> bool:
    """Whether a closed issue goes by other timers than the workers' settings say: it rests since before the change."""
    return record.timers not in {"", timers} and record.goal != Goal.DELETED


def confirm(suspect: Suspect, reread: Reread, ours: Installation, *, despite_block: bool = False) -> Finding | None:
    """The finding when the fresh reads confirm the suspicion, else None.

    With `despite_block` a leak whose issue is blocked still counts. It is set after mending, where the block
    shows that the mending did not help.
    """
    kind = _judge_again(suspect, reread, ours, despite_block=despite_block)
    if kind is None:
        return None
    seen, (mend, advice) = _seen(kind, suspect, reread, ours.name_prefix), _help(kind, suspect, reread.record)
    return Finding(kind, suspect.issue_id, suspect.sandbox_id, suspect.name, seen, advice, mend=mend)


def _help(kind: Kind, suspect: Suspect, record: IssueRecord | None) -> tuple[Mend, str]:
    """What the audit may do about it, and what a person can."""
    if kind is Kind.STUCK and record is not None and record.stuck is not None:
        return MENDS[kind], advice_for(record.stuck, suspect.name)
    ended = record.ended.end if record is not None and record.ended is not None else None
    if kind is Kind.ORPHAN and not IS_ADOPTED[ended]:
        return Mend.NOTHING, CANCELLED_ADVICE
    return MENDS[kind], ADVICE[kind]


def _judge_again(suspect: Suspect, reread: Reread, ours: Installation, *, despite_block: bool) -> Kind | None:
    """The kind by the fresh reads. A suspect that is about another sandbox or issue by now waits for the next audit."""
    record, sandbox = reread.record, reread.sandbox
    if suspect.kind is Kind.UNDESTROYED:
        return Kind.UNDESTROYED if sandbox is not None else None
    if suspect.kind in OF_RECORDS and record is not None and record.is_running:
        is_same = record.sandbox_id == suspect.sandbox_id
        return judge_record(record, sandbox, ours, despite_block=despite_block) if is_same else None
    # A workflow that ended meanwhile has no record any more; its sandbox may be an orphan by now.
    if sandbox is None or claim_of(sandbox, ours.name_prefix).issue_id != suspect.issue_id:
        return None
    return judge_sandbox(sandbox, record, reread.canonical, ours)


def promise_holds(findings: Iterable[Finding], *, is_complete: bool) -> bool:
    """Whether every issue has its one sandbox and each sandbox its issue, as far as an audit can know.

    False also when the audit did not see everything. `is_complete`: no suspect was left out.
    """
    breaking = (finding for finding in findings if finding.kind not in HARMLESS)
    return is_complete and all(finding.mended and finding.kind not in IRREPARABLE for finding in breaking)


def _seen(kind: Kind, suspect: Suspect, reread: Reread, prefix: str) -> str:
    """What was seen; completes "the sandbox is …"."""
    sandbox, record, issue_id = reread.sandbox, reread.record, suspect.issue_id
    if kind is Kind.STRAY and not issue_id:
        return f"{sandbox.state if sandbox else 'gone'}, and labelled as ours, but not for any issue"
    return SEEN[kind].format(
        state=sandbox.state if sandbox else "gone",
        error=f": {sandbox.error_reason}" if sandbox and sandbox.error_reason else "",
        label=sandbox.labels.get(LABEL_ISSUE_ID, "") if sandbox else "",
        issue_id=issue_id,
        canonical=sandbox_name(issue_id, prefix) if issue_id else "",
        phase=(record.phase if record else "") or "not looked up",
        goal=record.goal if record else "",
        ended=f"; its last one {record.ended}" if record and record.ended else "",
        stuck=record.stuck if record else "",
        elsewhere=record.elsewhere if record else "",
        blocked=f"; its workflow is blocked: {record.blocked}" if record and record.blocked else "",
    )


def _issue_id(text: str, prefix: str = "") -> int | None:
    """The issue that a name or a label refers to. Either may contain anything, and numbers of any length."""
    return issue_id_of(text, prefix) if len(text) <= len(prefix) + ISSUE_ID_DIGITS_MAX else None
