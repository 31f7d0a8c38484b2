"""How long the verdict of an inspection counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from issuebox.domain.phase import Goal, Phase
from issuebox.domain.sandbox import Sandbox
from issuebox.domain.unsaved_work import SLACK, Inspection, LastInspection, WorkState, standing_verdict

T0 = datetime(2026, 1, 1, tzinfo=UTC)
CLEAN, UNSAVED, UNCHECKED = (Inspection(state) for state in WorkState)


def sandbox(phase: Phase, active_at: datetime | None = T0) -> Sandbox:
    return Sandbox("s1", "claude-issue-7", phase, str(phase), last_activity_at=active_at)


def asleep(inspection: Inspection, *, is_quiet: bool = True) -> LastInspection:
    return LastInspection(inspection, "s1", is_quiet=is_quiet, stopped_at=T0)


def test_nothing_is_known_without_an_inspection() -> None:
    """No inspection, no sandbox, or an inspection of another one: a new inspection is needed."""
    seen = sandbox(Phase.STOPPED)
    assert standing_verdict(None, seen, Goal.DELETED, is_fresh=True) is None
    assert standing_verdict(asleep(CLEAN), None, Goal.DELETED, is_fresh=True) is None
    other = replace(asleep(UNSAVED), sandbox_id="s2")
    assert standing_verdict(other, seen, Goal.DELETED, is_fresh=True) is None


@pytest.mark.parametrize("goal", [Goal.STOPPED, Goal.ARCHIVED, Goal.DELETED])
@pytest.mark.parametrize("inspection", [CLEAN, UNSAVED, UNCHECKED])
@pytest.mark.parametrize(("is_fresh", "has_stopped"), [(True, False), (False, False), (True, True)])
def test_inspection_of_a_running_sandbox_counts_until_the_stop_that_follows(
    inspection: Inspection, goal: Goal, *, is_fresh: bool, has_stopped: bool
) -> None:
    """A sandbox that still or again runs after a reconciliation is inspected again."""
    last_inspection = LastInspection(inspection, "s1", stopped_at=T0 if has_stopped else None)
    verdict = standing_verdict(last_inspection, sandbox(Phase.USABLE), goal, is_fresh=is_fresh)
    assert verdict is (inspection.state if is_fresh and not has_stopped else None)


@pytest.mark.parametrize(
    ("is_fresh", "is_quiet", "verdict"),
    [(True, True, WorkState.CLEAN), (True, False, None), (False, True, None), (False, False, None)],
)
def test_clean_counts_for_a_delete_only_when_fresh_and_quiet(
    verdict: WorkState | None, *, is_fresh: bool, is_quiet: bool
) -> None:
    """An agent at work when its issue is closed writes after the inspection: only a quiet inspection counts."""
    last_inspection = asleep(CLEAN, is_quiet=is_quiet)
    assert standing_verdict(last_inspection, sandbox(Phase.STOPPED), Goal.DELETED, is_fresh=is_fresh) is verdict


@pytest.mark.parametrize("inspection", [UNSAVED, UNCHECKED])
@pytest.mark.parametrize("phase", [Phase.STOPPED, Phase.ARCHIVED, Phase.BROKEN])
def test_unsaved_work_stays_unsaved_until_the_sandbox_was_used(inspection: Inspection, phase: Phase) -> None:
    """A held sandbox is not started again and again to find the same work."""
    last_inspection = asleep(inspection, is_quiet=False)
    for active_at in (None, T0, T0 + SLACK):
        held = sandbox(phase, active_at)
        assert standing_verdict(last_inspection, held, Goal.DELETED, is_fresh=False) is inspection.state
    used = sandbox(phase, T0 + SLACK + timedelta(seconds=1))
    assert standing_verdict(last_inspection, used, Goal.DELETED, is_fresh=False) is None


def test_inspection_whose_stop_was_not_seen_does_not_count_asleep() -> None:
    """Between the inspection and an unseen stop, anything may have been written."""
    last_inspection = LastInspection(UNSAVED, "s1", is_quiet=True)
    assert standing_verdict(last_inspection, sandbox(Phase.STOPPED), Goal.DELETED, is_fresh=True) is None


@pytest.mark.parametrize("is_fresh", [True, False])
def test_failed_inspection_counts_until_the_next_reconciliation(*, is_fresh: bool) -> None:
    """A sandbox that could not be inspected is kept, and inspected again: the reason may have passed."""
    last_inspection = asleep(replace(UNCHECKED, is_failed=True))
    verdict = standing_verdict(last_inspection, sandbox(Phase.STOPPED), Goal.DELETED, is_fresh=is_fresh)
    assert verdict is (WorkState.UNCHECKED if is_fresh else None)
