"""Figures of the audit: how its runs become targets and a table."""

from __future__ import annotations

import pytest

from bench.measure.audit import Audited, Audits, render, targets


def _audited(
    issues: int, took_s: float, *, seen: int | None = None, is_complete: bool = True, limit: int = 0
) -> Audited:
    return Audited(
        what=f"{issues} issues",
        issues=issues,
        took_s=took_s,
        reads=issues,
        requests=issues + 9,
        found_issues=issues if seen is None else seen,
        is_complete=is_complete,
        promise_holds=True,
        ranges=5,
        limit_a_minute=limit,
    )


def _audits(many_s: float = 40.0, limited_s: float = 45.0, busy: Audited | None = None) -> Audits:
    return Audits(
        sizes=[_audited(1000, 8.0), _audited(5000, many_s)],
        limited=_audited(5000, limited_s, limit=20_000),
        busy=busy or _audited(5000, 50.0),
    )


SLOW, LIMITED, MISSED = _audits(46.0), _audits(limited_s=30.0), _audits(busy=_audited(5000, 50.0, seen=4999))
UNSETTLED = _audits(busy=_audited(5000, 50.0, is_complete=False))


@pytest.mark.parametrize(
    ("figures", "met"),
    [
        (_audits(), [True, True, True, True]),
        (SLOW, [False, True, True, True]),
        (_audits(53.0), [False, False, True, True]),
        (LIMITED, [True, True, False, True]),
        (MISSED, [True, True, True, False]),
        (UNSETTLED, [True, True, True, False]),
    ],
)
def test_audit_is_judged_by_its_rate_its_growth_its_share_and_what_it_saw(figures: Audits, met: list[bool]) -> None:
    """109 reads a second are too few, 1.33 times the time for an issue too long, half of the limit too much."""
    assert [target.is_met for target in targets(figures)] == met


def test_audit_table_has_a_row_for_each_audit() -> None:
    """An audit that is not complete says so."""
    table = render(UNSETTLED)
    assert "| 1000 issues | 8.0 s | 1,000 | 125 | 1,009 | 1,000 | yes |" in table
    assert table.count("| no |") == 1
