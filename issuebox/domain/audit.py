"""What the audit concludes from what it reads: pure, and the same on the walk and on every look after it.

A walk only raises suspicions, because Daytona's list and Temporal's are both late. A suspicion becomes a
finding when reads by ID, spread over longer than any cache lives, all lead to it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from issuebox.domain.issue import issue_id_of, sandbox_name
from issuebox.domain.phase import Goal, Phase
from issuebox.domain.records import IssueRecord
from issuebox.domain.sandbox import LABEL_INSTANCE, LABEL_ISSUE_ID, LABEL_MANAGED_BY, MANAGED_BY, Sandbox

SUSPECTS_MAX = 500
"""Per walk. They travel in heartbeats and histories, where Temporal admits 2 MB; the next audit sees the rest."""

ISSUE_ID_DIGITS_MAX = 18
"""Longer numbers are no issue IDs: GitHub's fit in 64 bits. Labels and names may be anything."""


class Kind(StrEnum):
    """What is wrong. Completes "the sandbox is …"."""

    DUPLICATE = "duplicate"
    STRAY = "stray"
    CONFLICT = "conflict"
    ORPHAN = "orphan"
    LEAK = "leak"
    LOST = "lost"


class Mend(StrEnum):
    """What the audit may do by itself: nothing that stops or deletes a sandbox."""

    NOTHING = "nothing"
    START_WORKFLOW = "start_workflow"
    LOOKUP = "look"


MENDS: Mapping[Kind, Mend] = {
    Kind.DUPLICATE: Mend.NOTHING,
    Kind.STRAY: Mend.NOTHING,
    Kind.CONFLICT: Mend.NOTHING,
    Kind.ORPHAN: Mend.START_WORKFLOW,
    Kind.LEAK: Mend.LOOKUP,
    Kind.LOST: Mend.LOOKUP,
}
"""What the audit does about each kind."""

ADVICE: Mapping[Kind, str] = {
    Kind.DUPLICATE: "Save what is in it, then delete it at Daytona or take its issuebox labels off.",
    Kind.STRAY: "It is no issue's sandbox: save what is in it, then delete it or take its issuebox labels off.",
    Kind.CONFLICT: "Name and label are of two issues: find out whose it is, then correct the label `issue-id`.",
    Kind.ORPHAN: "Start its workflow: `issuebox audit` does; the next resync tells it the issue's state.",
    Kind.LEAK: "It costs money: see `why` of its workflow, or stop it with the signal `stop`.",
    Kind.LOST: "Somebody deleted it at Daytona: the next request for it makes a new one.",
}
"""What a person can do about each kind."""

SEEN: Mapping[Kind, str] = {
    Kind.DUPLICATE: "{state}, and labelled as issue {issue_id}, which has {canonical} already",
    Kind.STRAY: "{state}, and labelled as issue {issue_id}, whose sandbox would be {canonical}",
    Kind.CONFLICT: "{state}, named as issue {issue_id}'s, and labelled as issue {label!r}",
    Kind.ORPHAN: "{state}, and no workflow runs for it",
    Kind.LEAK: "{state}, although it should be {goal}{blocked}",
    Kind.LOST: "{phase}, says its workflow, and Daytona does not find its ID{blocked}",
}
"""What was seen of each kind; completes "the sandbox is …"."""

IRREPARABLE = frozenset({Kind.DUPLICATE, Kind.STRAY, Kind.CONFLICT})
"""Kinds that break the promise of one sandbox for an issue; only a person can tell which one to keep."""


OF_RECORDS = frozenset({Kind.LEAK, Kind.LOST})
"""Kinds that start from what a workflow says; the others start from a sandbox."""


class Naming(StrEnum):
    """What a managed sandbox's name says, against its label `issue-id`."""

    CANONICAL = "canonical"
    CONTRADICTING = "contradicting"
    OTHER = "other"


SANDBOXES: Mapping[Naming, Mapping[bool, Kind | None]] = {
    # By whether the issue has already what the sandbox would need or would be too many for:
    # a running workflow for a canonical one, a sandbox under the canonical name for another one.
    Naming.CANONICAL: {True: None, False: Kind.ORPHAN},
    Naming.OTHER: {True: Kind.DUPLICATE, False: Kind.STRAY},
    Naming.CONTRADICTING: {True: Kind.CONFLICT, False: Kind.CONFLICT},
}

GOING = frozenset({Phase.LEAVING, Phase.MISSING})
"""A sandbox on its way out is nobody's too many, under whatever name it is listed."""

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
    """Whose a managed sandbox says to be; ``issue_id`` is 0 when it names no issue."""

    naming: Naming
    issue_id: int


@dataclass(frozen=True, slots=True)
class Suspect:
    """Something to be read again. The kind may change with better knowledge, within the same walk's kinds."""

    kind: Kind
    issue_id: int
    sandbox_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Reread:
    """Fresh reads about a suspect: its sandbox by ID, its issue's record, the sandbox of the canonical name."""

    sandbox: Sandbox | None
    record: IssueRecord | None
    canonical: Sandbox | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What held on every look. ``mended`` is True when it did not hold any more after mending."""

    kind: Kind
    issue_id: int
    sandbox_id: str
    name: str
    seen: str
    advice: str
    mended: bool = False

    @property
    def suspect(self) -> Suspect:
        """The same as something to be read once more."""
        return Suspect(self.kind, self.issue_id, self.sandbox_id, self.name)


@dataclass(frozen=True, slots=True)
class Walked:
    """How far a walk has come. ``passed`` counts the rows that could not be judged and need not be.

    ``foreign`` counts the issues whose sandbox is another's. They are no suspects: whatever is wrong with such a
    sandbox, the audit of its own installation tells.
    """

    cursor: str | None = None
    is_over: bool = False
    pages: int = 0
    rows: int = 0
    passed: int = 0
    suspects: tuple[Suspect, ...] = ()
    is_truncated: bool = False
    foreign: int = 0

    def turn(
        self, rows: int, passed: int, suspects: Iterable[Suspect | None], next_cursor: str | None, *, foreign: int = 0
    ) -> Walked:
        """The walk with one page more. A row that a list shows twice is one suspect."""
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
        )


def is_anothers(sandbox: Sandbox, ours: Installation) -> bool:
    """Whether its labels name another installation or another manager. An absent label names nobody."""
    return any(sandbox.labels.get(label, own) != own for label, own in ours.labels.items())


def claim_of(sandbox: Sandbox, prefix: str) -> Claim:
    """Whose the sandbox says to be. The label counts where the name is not one of ours."""
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
        return SANDBOXES[naming][record is not None]
    has_other = (
        canonical is not None
        and canonical.id != sandbox.id
        and canonical.phase not in GOING
        and not is_anothers(canonical, ours)
    )
    return SANDBOXES[naming][has_other]


def judge_record(
    record: IssueRecord, sandbox: Sandbox | None, ours: Installation, *, despite_block: bool = False
) -> Kind | None:
    """What is wrong with what a workflow says of its sandbox, given a read of that sandbox by ID.

    Nothing is wrong with one that is another's, whatever the goal here. A blocked issue's sandbox may run against the
    goal: that is known, and somebody is told, unless `despite_block`.
    """
    if not record.sandbox_id:
        return None
    if sandbox is None:
        return None if record.phase in _BELIEVED_GONE else Kind.LOST
    if is_anothers(sandbox, ours):
        return None
    if sandbox.phase is Phase.USABLE and record.goal in _AT_REST and (despite_block or not record.blocked):
        return Kind.LEAK
    return None


def confirm(suspect: Suspect, reread: Reread, ours: Installation, *, despite_block: bool = False) -> Finding | None:
    """The finding when the fresh reads lead to the suspicion again, else None.

    With `despite_block` a leak that became blocked is one still: so it is asked after mending, where being
    blocked means that asking did not help.
    """
    kind = _judge_again(suspect, reread, ours, despite_block=despite_block)
    if kind is None:
        return None
    seen = _seen(kind, suspect, reread, ours.name_prefix)
    return Finding(kind, suspect.issue_id, suspect.sandbox_id, suspect.name, seen, ADVICE[kind])


def _judge_again(suspect: Suspect, reread: Reread, ours: Installation, *, despite_block: bool) -> Kind | None:
    """The kind by the fresh reads. What is about another sandbox or issue by now is left to the next audit."""
    record, sandbox = reread.record, reread.sandbox
    if suspect.kind in OF_RECORDS and record is not None:
        is_same = record.sandbox_id == suspect.sandbox_id
        return judge_record(record, sandbox, ours, despite_block=despite_block) if is_same else None
    # A workflow that ended meanwhile says nothing any more; its sandbox may be an orphan by now.
    if sandbox is None or claim_of(sandbox, ours.name_prefix).issue_id != suspect.issue_id:
        return None
    return judge_sandbox(sandbox, record, reread.canonical, ours)


def promise_holds(findings: Iterable[Finding], *, is_complete: bool) -> bool:
    """Whether every issue has its one sandbox and each sandbox its issue, as far as an audit can know.

    False also when it did not get to see everything: `is_complete` says that no suspect was left out.
    """
    return is_complete and all(finding.mended and finding.kind not in IRREPARABLE for finding in findings)


def _seen(kind: Kind, suspect: Suspect, reread: Reread, prefix: str) -> str:
    """What was seen; completes "the sandbox is …"."""
    sandbox, record, issue_id = reread.sandbox, reread.record, suspect.issue_id
    if kind is Kind.STRAY and not issue_id:
        return f"{sandbox.state if sandbox else 'gone'}, and labelled as ours, but for no issue"
    return SEEN[kind].format(
        state=sandbox.state if sandbox else "gone",
        label=sandbox.labels.get(LABEL_ISSUE_ID, "") if sandbox else "",
        issue_id=issue_id,
        canonical=sandbox_name(issue_id, prefix) if issue_id else "",
        phase=record.phase if record else "",
        goal=record.goal if record else "",
        blocked=f"; its workflow is blocked: {record.blocked}" if record and record.blocked else "",
    )


def _issue_id(text: str, prefix: str = "") -> int | None:
    """The issue that a name or a label means. Either may hold anything, and numbers of any length."""
    return issue_id_of(text, prefix) if len(text) <= len(prefix) + ISSUE_ID_DIGITS_MAX else None
