"""The report of an inspection for unsaved work, read."""

from __future__ import annotations

import pytest

from issuebox.domain.provider import OUTPUT_BYTES_MAX, Execution
from issuebox.domain.unsaved_work import (
    FINDINGS_MAX,
    REASON_BYTES_MAX,
    UNCHECKED,
    UNSAVED,
    WorkState,
    read_report,
    unchecked,
)


def report(*records: str, end: bool = True) -> str:
    lines = ["issuebox\t" + record for record in (*records, *(["end\t0\t\t"] if end else []))]
    return "".join(f"{line}\n" for line in lines)


REPOSITORY = "repository\t1\trepo\t"


@pytest.mark.parametrize("kind", UNSAVED)
def test_each_kind_of_work_is_unsaved(kind: str) -> None:
    """No kind of work is overlooked, whatever else the report contains."""
    inspection = read_report(report(REPOSITORY, f"{kind}\t3\trepo\tmain", "unchecked\t1\tother\tno"), 0, "~")
    assert inspection.state is WorkState.UNSAVED
    assert len(inspection.findings) == 2
    assert inspection.findings[0].startswith("repo: ")


def test_repositories_without_work_are_clean() -> None:
    """Clean needs a whole report in which every repository was inspected and has no work."""
    inspection = read_report("motd\n" + report(REPOSITORY), 0, "~")
    assert (inspection.state, inspection.findings, inspection.is_clean) == (WorkState.CLEAN, (), True)


@pytest.mark.parametrize(
    ("output", "exit_code"),
    [
        (report(REPOSITORY), None),
        (report(REPOSITORY), 1),
        (report(REPOSITORY), -1),
        (report(REPOSITORY, end=False), 0),
        (report(REPOSITORY) + report(REPOSITORY, end=False), 0),
        ("", 0),
        ("end\t0\t\t\n", 0),
        (report("repository\t1\trepo"), 0),
        (report("repository\tmany\trepo\t"), 0),
        (report("novelty\t1\trepo\t"), 0),
        (report("unchecked\t1\trepo\tno"), 0),
    ],
)
def test_report_that_is_not_whole_or_not_understood_is_unchecked(output: str, exit_code: int | None) -> None:
    """A report with a missing, cut-off or unknown line never counts as clean."""
    inspection = read_report(output, exit_code, "~")
    assert inspection.state is WorkState.UNCHECKED
    assert inspection.findings


def test_work_found_before_the_time_was_up_is_unsaved() -> None:
    """Findings count, and the verdict adds that there may be more."""
    inspection = read_report(report("stashed\t1\trepo\t", end=False), None, "~")
    assert inspection.state is WorkState.UNSAVED
    assert inspection.findings == ("repo: 1 stash", "the inspection of the sandbox did not end in time")


def test_counts_have_their_grammar() -> None:
    """A count of one is in the singular."""
    found = read_report(report("uncommitted\t1\ta\t", "uncommitted\t2\ta\t", "uncommitted\t2\ta\t"), 0, "~").findings
    assert found == ("a: 1 uncommitted file", "a: 2 uncommitted files")


def test_findings_and_names_are_bounded() -> None:
    """A sandbox full of work gives a short verdict."""
    records = [f"uncommitted\t1\t{'n' * 5000}{number}x\t" for number in range(3)]
    records += [f"uncommitted\t1\tr{number}\t" for number in range(100)]
    findings = read_report(report(*records), 0, "~").findings
    assert len(findings) == FINDINGS_MAX
    assert findings[-1].startswith("and ")
    assert max(len(finding.encode()) for finding in findings) < 160
    assert len(unchecked("x" * 5000).findings[0].encode()) == REASON_BYTES_MAX


def test_output_that_is_too_long_is_cut_and_so_not_believed() -> None:
    """A sandbox that prints for ever is unchecked, and costs no more memory than a report may have."""
    output = Execution(0, report(REPOSITORY, *["uncommitted\t1\tr\t"] * 120_000)).output
    assert len(output.encode()) <= OUTPUT_BYTES_MAX
    assert (
        read_report(Execution(0, report(REPOSITORY, *[REPOSITORY] * 120_000)).output, 0, "~").state
        is WorkState.UNCHECKED
    )


def test_every_kind_has_a_sentence_for_one_and_for_several() -> None:
    """Templates use only the fields of a record."""
    for one, several in {**UNSAVED, **UNCHECKED}.values():
        for template in (one, several):
            assert "p" in template.format(place="p", count=2, detail="d")
