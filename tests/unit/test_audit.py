"""What the audit concludes: every combination of what it can read, against the sentences that it follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

import pytest

from issuebox.domain.audit import (
    ADVICE,
    CANCELLED_ADVICE,
    IRREPARABLE,
    MENDS,
    SEEN,
    SUSPECTS_MAX,
    Finding,
    Installation,
    Kind,
    Mend,
    Naming,
    Reread,
    Suspect,
    Walked,
    claim_of,
    confirm,
    is_anothers,
    joined,
    judge_record,
    judge_sandbox,
    promise_holds,
)
from issuebox.domain.phase import Goal, Phase
from issuebox.domain.records import IssueRecord
from issuebox.domain.sandbox import Sandbox
from issuebox.domain.workflow_ends import SAID, End, Ended, Stuck, advice_for

OURS = Installation("default", "claude-issue-")
LABELS = OURS.labels | {"issue-id": "7"}
NAME = "claude-issue-7"
PHASES = tuple(Phase)
GOING = {Phase.LEAVING, Phase.MISSING}
STUCK = Stuck(4, "why")


def sandbox(
    name: str = NAME, phase: Phase = Phase.USABLE, labels: dict[str, str] | None = None, own_id: str = "a"
) -> Sandbox:
    return Sandbox(own_id, name, phase, "started", labels=LABELS if labels is None else labels)


CLAIMS = [
    # name, label issue-id (None: no such label), naming, issue
    (NAME, "7", Naming.CANONICAL, 7),
    (NAME, None, Naming.CANONICAL, 7),
    (NAME, "", Naming.CANONICAL, 7),
    (NAME, "8", Naming.CONTRADICTING, 7),
    (NAME, "07", Naming.CONTRADICTING, 7),
    (NAME, "seven", Naming.CONTRADICTING, 7),
    ("claude-issue-07", "7", Naming.OTHER, 7),
    ("claude-issue-7-copy", "7", Naming.OTHER, 7),
    ("DESTROYED_claude-issue-7_1795451551426", "7", Naming.OTHER, 7),
    ("box", "seven", Naming.OTHER, 0),
    ("box", None, Naming.OTHER, 0),
    ("box", "9" * 5000, Naming.OTHER, 0),
    (f"claude-issue-{'9' * 5000}", "7", Naming.OTHER, 7),
]


@pytest.mark.parametrize(
    ("name", "label", "naming", "issue_id"), CLAIMS, ids=[f"{row[0][:40]}-{str(row[1])[:8]}" for row in CLAIMS]
)
def test_claim_is_read_from_name_and_label(name: str, label: str | None, naming: Naming, issue_id: int) -> None:
    """A canonical name counts first, the label second. Anything else names no issue and raises no error."""
    claim = claim_of(sandbox(name, labels={} if label is None else {"issue-id": label}), OURS.name_prefix)
    assert (claim.naming, claim.issue_id) == (naming, issue_id)


NAMINGS = {"canonical": (NAME, "7"), "contradicting": (NAME, "8"), "other": ("box", "7")}


def test_sandbox_is_judged_by_its_naming_and_what_its_issue_has() -> None:
    """A sandbox on its way out is never wrong; the rest follows from four sentences, in this order."""
    for factors in product(NAMINGS, PHASES, (True, False), (None, *PHASES)):
        naming, phase, has_workflow, canonical = factors
        name, label = NAMINGS[naming]
        judged = judge_sandbox(
            sandbox(name, phase, OURS.labels | {"issue-id": label}),
            IssueRecord(NAME) if has_workflow else None,
            None if canonical is None else sandbox(phase=canonical, own_id="b"),
            OURS,
        )
        if phase in GOING:
            expected = None
        elif naming == "contradicting":
            expected = Kind.CONFLICT
        elif naming == "canonical":
            expected = None if has_workflow else Kind.ORPHAN
        else:
            expected = Kind.STRAY if canonical is None or canonical in GOING else Kind.DUPLICATE
        assert judged is expected, factors


def test_sandbox_whose_workflow_our_workers_do_not_serve_is_found() -> None:
    """A workflow on another task queue exists, and does nothing; one that ended is no workflow."""
    assert judge_sandbox(sandbox(), IssueRecord(NAME, elsewhere="old"), None, OURS) is Kind.UNSERVED
    assert judge_sandbox(sandbox(), IssueRecord(NAME, ended=Ended(End.TERMINATED)), None, OURS) is Kind.ORPHAN


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (IssueRecord(NAME, goal="stopped"), Kind.UNSEEN),
        (IssueRecord(NAME, goal="deleted"), Kind.UNSEEN),
        # It is about to look the sandbox up: somebody asked for it.
        (IssueRecord(NAME, goal="running"), None),
        (IssueRecord(NAME), None),
        (IssueRecord(NAME, phase="missing", goal="stopped"), None),
    ],
)
def test_sandbox_that_its_workflow_never_looked_up_is_found(record: IssueRecord, kind: Kind | None) -> None:
    """A workflow that the end of its issue started asks Daytona nothing; a sandbox that is there all the same costs."""
    assert judge_sandbox(sandbox(), record, None, OURS) is kind
    found = confirm(Suspect(Kind.UNSEEN, 7, "a", NAME), Reread(sandbox(), record), OURS)
    assert (found.kind if found else None) is kind


def test_stuck_workflow_is_found_whatever_its_sandbox_is() -> None:
    """It can do nothing about its sandbox, so that is not judged."""
    for knows, goal, seen in product((True, False), ("", *Goal), (None, *PHASES)):
        record = IssueRecord(NAME, "a" if knows else "", "usable", goal, stuck=STUCK)
        assert judge_record(record, None if seen is None else sandbox(phase=seen), OURS) is Kind.STUCK


@pytest.mark.parametrize("end", End)
def test_orphan_is_adopted_unless_a_person_cancelled_its_workflow(end: End) -> None:
    """The finding says how the last workflow ended, and what the audit does or a person can do."""
    record = IssueRecord(NAME, "a", ended=Ended(end, datetime(2026, 1, 31, 12, tzinfo=UTC)))
    finding = confirm(Suspect(Kind.ORPHAN, 7, "a", NAME), Reread(sandbox(), record), OURS)
    assert finding is not None
    assert finding.seen == f"started, and no workflow runs for it; its last one {SAID[end]} at 2026-01-31 12:00:00 UTC"
    is_left = end is End.CANCELLED
    assert (finding.mend, finding.advice) == (
        (Mend.NOTHING, CANCELLED_ADVICE) if is_left else (Mend.START_WORKFLOW, ADVICE[Kind.ORPHAN])
    )


def test_finding_of_a_stuck_workflow_has_the_reason_and_the_commands() -> None:
    """A workflow that never ran cannot be reset, and one with an order to delete must not be."""
    for reset_to, repeats_orders in product((None, 5), (True, False)):
        stuck = replace(STUCK, reset_to=reset_to, repeats_orders=repeats_orders)
        record = IssueRecord(NAME, "a", "usable", stuck=stuck)
        finding = confirm(Suspect(Kind.STUCK, 7, "a", NAME), Reread(None, record), OURS)
        assert finding is not None
        assert finding.seen == (
            "usable according to its workflow, which is stuck: "
            "its workflow task has failed at least 4 times in a row: why"
        )
        assert finding.advice == advice_for(stuck, NAME)
        assert f"workflow terminate --workflow-id {NAME}" in finding.advice
        assert ("--event-id 5" in finding.advice) is (reset_to is not None and not repeats_orders)


def test_sandbox_is_never_its_own_duplicate() -> None:
    """A workflow may know a sandbox under another name as its own."""
    box = sandbox("box")
    assert judge_sandbox(box, None, box, OURS) is Kind.STRAY


@pytest.mark.parametrize("labels", [{}, {"managed-by": "issuebox"}, OURS.labels | {"issuebox-instance": "other"}])
def test_sandbox_without_our_labels_is_not_ours_to_judge(labels: dict[str, str]) -> None:
    """A suspicion ends when our labels are removed or replaced by those of another installation."""
    assert judge_sandbox(sandbox("box", labels=labels), None, None, OURS) is None


def test_record_is_judged_by_what_it_says_and_what_is_there() -> None:
    """Gone although its workflow knows it: lost. Running although it should and could rest: a leak. Else nothing."""
    for factors in product((True, False), ("", *PHASES), ("", *Goal), ("", "unsaved"), (None, *PHASES)):
        knows, believed, goal, blocked, seen = factors
        record = IssueRecord(NAME, "a" if knows else "", believed, goal, blocked)
        expected = None
        if knows and seen is None and believed not in {"", "missing", "leaving"}:
            expected = Kind.LOST
        if knows and seen is Phase.USABLE and goal in {"stopped", "archived", "deleted"} and not blocked:
            expected = Kind.LEAK
        assert judge_record(record, None if seen is None else sandbox(phase=seen), OURS) is expected, factors


ANOTHERS = [OURS.labels | {"issuebox-instance": "other"}, {"issuebox-instance": "other"}, {"managed-by": "terraform"}]


@pytest.mark.parametrize("labels", ANOTHERS)
def test_sandbox_of_another_is_no_finding_of_ours(labels: dict[str, str]) -> None:
    """Whatever the record and the goal are: the audit of its own installation judges it."""
    for phase, believed, goal, blocked, despite in product(PHASES, PHASES, Goal, ("", "foreign"), (True, False)):
        record, theirs = IssueRecord(NAME, "a", believed, goal, blocked), sandbox(phase=phase, labels=labels)
        assert is_anothers(theirs, OURS)
        assert judge_record(record, theirs, OURS, despite_block=despite) is None
        assert judge_sandbox(theirs, record, None, OURS) is None


@pytest.mark.parametrize("labels", [{}, {"team": "red"}, OURS.labels, {"managed-by": "issuebox"}])
def test_absent_label_names_nobody_else(labels: dict[str, str]) -> None:
    """A sandbox that was made by hand with our name is ours to judge."""
    assert not is_anothers(sandbox(labels=labels), OURS)


def test_sandbox_of_another_makes_ours_no_duplicate() -> None:
    """Another installation has the name, so ours with another name is a stray: it is our only one."""
    theirs = sandbox(own_id="b", labels=ANOTHERS[0])
    assert judge_sandbox(sandbox("box"), KEPT, theirs, OURS) is Kind.STRAY


KEPT = IssueRecord(NAME, "a", "usable", "running")
OVER = IssueRecord(NAME, "a", "usable", "stopped", ended=Ended(End.TERMINATED))
CONFIRMED = [
    # suspect, reread, the finding's kind or None
    (Kind.ORPHAN, Reread(sandbox(), None), Kind.ORPHAN),
    (Kind.ORPHAN, Reread(sandbox(), KEPT), None),
    (Kind.ORPHAN, Reread(None, None), None),
    (Kind.ORPHAN, Reread(sandbox(phase=Phase.LEAVING), None), None),
    (Kind.ORPHAN, Reread(sandbox(labels={}), None), None),
    (Kind.STRAY, Reread(sandbox("box"), KEPT, sandbox(own_id="b")), Kind.DUPLICATE),
    (Kind.STRAY, Reread(sandbox("box"), KEPT, None), Kind.STRAY),
    (Kind.DUPLICATE, Reread(sandbox("box"), KEPT, None), Kind.STRAY),
    (Kind.DUPLICATE, Reread(sandbox("box", labels=OURS.labels | {"issue-id": "8"}), KEPT, sandbox(own_id="b")), None),
    (Kind.CONFLICT, Reread(sandbox(labels=OURS.labels | {"issue-id": "8"}), KEPT), Kind.CONFLICT),
    (Kind.CONFLICT, Reread(sandbox(), KEPT), None),
    (Kind.LOST, Reread(None, KEPT), Kind.LOST),
    (Kind.LOST, Reread(sandbox(), KEPT), None),
    (Kind.LOST, Reread(None, None), None),
    (Kind.LOST, Reread(sandbox(), None), Kind.ORPHAN),
    (Kind.LEAK, Reread(sandbox(), None), Kind.ORPHAN),
    (Kind.LOST, Reread(None, IssueRecord(NAME, "new", "usable")), None),
    (Kind.LEAK, Reread(sandbox(), OVER), Kind.ORPHAN),
    (Kind.LOST, Reread(None, OVER), None),
    (Kind.STUCK, Reread(sandbox(), OVER), Kind.ORPHAN),
    (Kind.UNDESTROYED, Reread(sandbox(phase=Phase.BROKEN), None), Kind.UNDESTROYED),
    (Kind.UNDESTROYED, Reread(None, None), None),
    (Kind.STUCK, Reread(sandbox(), KEPT), None),
    (Kind.ORPHAN, Reread(sandbox(), IssueRecord(NAME, elsewhere="old")), Kind.UNSERVED),
    (Kind.LEAK, Reread(sandbox(), IssueRecord(NAME, "a", "usable", "stopped")), Kind.LEAK),
    (Kind.LEAK, Reread(sandbox(), IssueRecord(NAME, "a", "usable", "running")), None),
    (Kind.LEAK, Reread(sandbox(phase=Phase.STOPPED), IssueRecord(NAME, "a", "usable", "stopped")), None),
    (Kind.LEAK, Reread(None, IssueRecord(NAME, "a", "usable", "stopped")), Kind.LOST),
    (Kind.LEAK, Reread(sandbox(labels=ANOTHERS[0]), IssueRecord(NAME, "a", "usable", "stopped")), None),
    (Kind.LOST, Reread(sandbox(labels=ANOTHERS[0]), KEPT), None),
    (Kind.ORPHAN, Reread(sandbox(labels=ANOTHERS[0]), None), None),
    (Kind.LOST, Reread(None, IssueRecord(NAME, "a", "usable", "running", "foreign")), Kind.LOST),
]


def test_leak_that_became_blocked_is_mended_by_nobody() -> None:
    """The sandbox still runs: the mending failed, even though the workflow knows why."""
    reread = Reread(sandbox(), IssueRecord(NAME, "a", "usable", "deleted", "unsaved"))
    suspect = Suspect(Kind.LEAK, 7, "a", NAME)
    assert confirm(suspect, reread, OURS) is None
    finding = confirm(suspect, reread, OURS, despite_block=True)
    assert finding is not None
    assert finding.seen == "started, although it should be deleted; its workflow is blocked: unsaved"


@pytest.mark.parametrize(("suspected", "reread", "expected"), CONFIRMED)
def test_suspicion_is_confirmed_by_fresh_reads_only(suspected: Kind, reread: Reread, expected: Kind | None) -> None:
    """A suspect that is refuted, gone, or about another sandbox or issue by now is no finding."""
    finding = confirm(Suspect(suspected, 7, "a", NAME), reread, OURS)
    assert (finding.kind if finding else None) is expected
    if finding:
        assert finding.seen
        assert finding.advice == ADVICE[finding.kind]


def test_finding_says_what_was_seen() -> None:
    """The sentence completes "the sandbox is …" and names the issue and the other sandbox."""
    finding = confirm(Suspect(Kind.STRAY, 7, "a", "box"), Reread(sandbox("box"), KEPT, sandbox(own_id="b")), OURS)
    assert finding is not None
    assert finding.seen == "started, and labelled for issue 7, which already has claude-issue-7"


def test_sandbox_for_no_issue_is_reported_as_such() -> None:
    """A sandbox with our labels but without an issue has no canonical name."""
    finding = confirm(Suspect(Kind.STRAY, 0, "a", "box"), Reread(sandbox("box", labels=OURS.labels), None), OURS)
    assert finding is not None
    assert finding.seen == "started, and labelled as ours, but not for any issue"


def test_tables_are_total_and_mend_nothing_that_a_person_must_settle() -> None:
    """Every kind has its row, and what breaks the one-sandbox promise is only reported."""
    assert set(MENDS) == set(ADVICE) == set(SEEN) == set(Kind)
    assert {kind for kind, mend in MENDS.items() if mend is Mend.NOTHING} == IRREPARABLE


@pytest.mark.parametrize(("kind", "mended", "is_complete"), list(product(Kind, (True, False), (True, False))))
def test_promise_holds_with_everything_mended_and_nothing_irreparable(
    kind: Kind, mended: bool, is_complete: bool
) -> None:
    """With one finding left, or suspects left out of the walk, the audit does not report that the promise holds."""
    finding = Finding(kind, 7, "a", NAME, "", "", mended)
    expected = is_complete and (
        kind is Kind.UNDESTROYED or (mended and kind in {Kind.ORPHAN, Kind.UNSEEN, Kind.LEAK, Kind.LOST})
    )
    assert promise_holds([finding], is_complete=is_complete) is expected


def test_promise_holds_without_findings() -> None:
    """An audit without findings reports that the promise holds."""
    assert promise_holds([], is_complete=True)
    assert not promise_holds([], is_complete=False)


def test_page_is_counted_and_a_row_shown_twice_is_one_suspect() -> None:
    """A list that changes while it is walked may show a row on two pages."""
    suspect = Suspect(Kind.ORPHAN, 7, "a", NAME)
    walked = Walked().turn(2, 1, [None, suspect], "next", foreign=1).turn(1, 0, [suspect], None, foreign=2)
    assert walked == Walked(None, True, pages=2, rows=3, passed=1, suspects=(suspect,), foreign=3)


def test_suspects_are_capped_and_the_walk_says_so() -> None:
    """Memory is bounded: the rest waits for the next audit, and this one does not call itself complete."""
    many = [
        Suspect(Kind.ORPHAN, number, str(number), f"claude-issue-{number}") for number in range(1, SUSPECTS_MAX + 2)
    ]
    walked = Walked().turn(len(many), 0, many, "next")
    assert (len(walked.suspects), walked.is_truncated) == (SUSPECTS_MAX, True)
    assert walked.turn(0, 0, [], None).is_truncated
    assert not Walked().turn(SUSPECTS_MAX, 0, many[:-1], None).is_truncated


def test_parts_of_a_walk_are_added_up() -> None:
    """What several activities walked is one walk; a suspect of two parts is one, and the cap is that of the whole."""
    suspect = Suspect(Kind.ORPHAN, 7, "a", NAME)
    one = Walked().turn(3, 1, [suspect], None, foreign=1, outdated=2, undelivered=3)
    two = Walked().turn(2, 2, [suspect], "1", unsettled=1).turn(1, 0, [], None)
    assert joined([one, two]) == Walked(
        None, True, pages=3, rows=6, passed=3, suspects=(suspect,), foreign=1, outdated=2, undelivered=3, unsettled=1
    )
    most = [Suspect(Kind.ORPHAN, number, str(number), NAME) for number in range(SUSPECTS_MAX)]
    full = joined([one, Walked().turn(0, 0, most, None)])
    assert (len(full.suspects), full.is_truncated) == (SUSPECTS_MAX, True)


@pytest.mark.parametrize(("truncated", "unsettled"), list(product((True, False), (0, 1))))
def test_walk_is_complete_when_nothing_was_left_out(truncated: bool, unsettled: int) -> None:
    """Neither a suspect nor a range whose rows and counts disagree."""
    walked = Walked(is_truncated=truncated, unsettled=unsettled)
    assert walked.is_complete is joined([walked, Walked()]).is_complete is (not truncated and not unsettled)
