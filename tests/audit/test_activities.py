"""Each activity of the audit failed before its effect, failed after it, and repeated: the report is the same."""

from __future__ import annotations

import pytest

from activities.audit import AuditActivities
from activities.audit_messages import AuditTerms
from issuebox.domain.audit import Installation, Kind
from issuebox.domain.policy import Closing
from issuebox.providers.daytona import DaytonaProvider
from issuebox.temporal.sweeps import SweptIssues
from tests.workflow.test_activities import Accident, Mishap

from .conftest import Started

NAMES = [
    "read_audit_terms", "walk_sandboxes", "divide_records", "walk_records", "walk_undestroyed", "reread_suspects",
    "mend_findings",
]  # fmt: skip


def test_all_activities_are_tried() -> None:
    """A new activity must be added here."""
    provider, records = DaytonaProvider.__new__(DaytonaProvider), SweptIssues.__new__(SweptIssues)
    audits = AuditActivities(provider, records, ours=Installation("", ""), terms=AuditTerms(), closing=Closing())
    assert [method.__name__ for method in audits.all()] == NAMES


@pytest.mark.parametrize("mishap", Mishap)
@pytest.mark.parametrize("name", NAMES)
async def test_mishap_changes_nothing_in_the_report(start: Started, name: str, mishap: Mishap) -> None:
    """Whatever is lost or done twice, the audit walks, finds and mends the same."""
    accident = Accident(name, mishap)
    world = await start(interceptors=[accident])
    orphan, twin = world.issue(1), world.issue(2)
    await world.made(orphan.name, issue_id=str(orphan.issue_id))
    await world.ensured(twin)
    await world.made("a-copy", issue_id=str(twin.issue_id))
    report = await world.audit()
    assert accident.has_happened
    assert (report.sandboxes, report.issues, report.suspects) == (3, 1, 2)
    assert {found.kind: found.mended for found in report.findings} == {Kind.ORPHAN: True, Kind.DUPLICATE: False}
