"""What metrics cost: the interval of a median, ratios round by round, and the targets."""

from __future__ import annotations

import itertools
import math

import pytest

from bench.measure import metrics_page
from bench.measure.intervals import median_interval
from bench.measure.metrics_overhead import API, CALLS, CREATED, OFF, ON, ONE, WORKER, Overhead, Taken, summarize


@pytest.mark.parametrize(("count", "cut"), [(6, 0), (8, 0), (9, 1), (12, 2), (16, 3), (20, 5)])
def test_interval_leaves_out_as_many_samples_as_its_coverage_allows(count: int, cut: int) -> None:
    """The cuts are those of the tables of the sign test at 5 %."""
    samples = [float(number) for number in range(count)]
    found = median_interval(samples[::-1])
    assert (found.low, found.high, found.count) == (cut, count - 1 - cut, count)
    assert found.median == (count - 1) / 2
    assert found.coverage >= 0.95


def test_coverage_is_that_of_every_outcome_counted() -> None:
    """Each of nine samples lies above or below the median, as a coin falls; the interval misses it at the ends."""
    outcomes = list(itertools.product((False, True), repeat=9))
    held = sum(2 <= sum(above) <= 7 for above in outcomes) / len(outcomes)
    assert math.isclose(median_interval([float(number) for number in range(9)]).coverage, held)


def test_too_few_samples_have_no_interval() -> None:
    """Even the whole range of five misses the median once in sixteen times."""
    with pytest.raises(ValueError, match="5 samples"):
        median_interval([1.0, 2.0, 3.0, 4.0, 5.0])


def _arm(rounds: list[list[float]]) -> Taken:
    return Taken(
        times_ms=dict.fromkeys(CALLS, rounds),
        processor_s={API: 0.5, WORKER: 1.0},
        calls={API: 500, WORKER: 100},
        memory_mib={API: 100.0, WORKER: 160.0},
    )


def _figures(factor: float) -> Overhead:
    """Each round is slower than the one before, for both; with metrics calls take `factor` as long, and one an age."""
    rounds = [[number, 2.0 * number, 9.0 * number] for number in range(1, 9)]
    counted = [[factor * number, factor * 2.0 * number, 500.0] for number in range(1, 9)]
    return summarize({OFF: _arm(rounds), ON: _arm(counted)}, scrapes=3, loads=[0.5, 1.5])


def test_ratio_is_taken_round_by_round_of_the_medians() -> None:
    """A machine that slows down changes no ratio, nor does a call that took very long."""
    found = _figures(1.1)
    assert all(row.ratios == pytest.approx([1.1] * 8) for row in found.rows)
    assert [row.times_ms[OFF].count for row in found.rows] == [24] * len(CALLS)
    assert found.processor_ms[ON] == {API: 1.0, WORKER: 10.0}


@pytest.mark.parametrize(("factor", "met"), [(1.0, [True, True]), (1.1, [False, True]), (0.9, [True, False])])
def test_target_is_an_interval_that_includes_one(factor: float, met: list[bool]) -> None:
    """Slower by a tenth in every round is an effect; so would be faster."""
    assert [target.is_met for target in metrics_page.targets(_figures(factor))] == met * len(CALLS)


def test_page_shows_each_ratio_with_its_interval_and_both_times() -> None:
    """Whoever reads it sees how sure it is."""
    shown = metrics_page.render(_figures(1.25))
    assert f"| {ONE} | 8 | 1.250 | 1.250 to 1.250 | 99.2 % |" in shown
    assert f"| {CREATED} | {ON} | 24 | 11.2 ms |" in shown
    assert "| API, processor time of an acknowledgement | 1 ms | 1 ms |" in shown
    assert set(metrics_page.draw(_figures(1.0))) == set(metrics_page.METRICS.chart_captions)
