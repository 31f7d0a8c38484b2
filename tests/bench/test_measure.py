"""The arithmetic of the benchmarks, and that docs/benchmarks.md matches the stored results. Measures nothing."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import BaseModel
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from bench.measure import charts, page, results
from bench.measure.__main__ import main, render
from bench.measure.actions import VERSION_ATTRIBUTE, billable
from bench.measure.catalogue import MEASUREMENTS
from bench.measure.cost import (
    HOURS_OF_A_MONTH,
    DaytonaPrices,
    Life,
    Month,
    TemporalPrices,
    Usage,
    action_cost,
    month,
)
from bench.measure.frame import Measurement, Record, Sense, Target
from bench.measure.latency import ALIKE, BARE, FLOOR, REST_WAY, UPDATE_WAY
from bench.measure.latency import summarize as summarize_latency
from bench.measure.quantiles import quantile, spread
from bench.measure.requests import split


@pytest.mark.parametrize(
    ("samples", "share", "expected"),
    [
        ([5.0], 0.99, 5.0),
        ([3.0, 1.0, 2.0], 0.0, 1.0),
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        ([1.0, 2.0, 3.0, 4.0], 0.5, 2.5),
        ([1.0, 2.0, 3.0, 4.0], 1.0, 4.0),
        ([float(number) for number in range(101)], 0.99, 99.0),
        ([0.0, 10.0], 0.9, 9.0),
    ],
)
def test_quantile_is_interpolated_between_neighbours(samples: list[float], share: float, expected: float) -> None:
    """The definition is NumPy's default, whatever the order of the samples."""
    assert math.isclose(quantile(samples, share), expected)


def test_quantile_of_nothing_is_refused() -> None:
    """Without samples there is no figure."""
    with pytest.raises(ValueError, match="of 0 samples"):
        quantile([], 0.5)


def test_spread_has_every_quantile_of_its_samples() -> None:
    """One object holds all values of a table's row."""
    found = spread([4.0, 1.0, 3.0, 2.0])
    assert (found.count, found.least, found.most, found.p50, found.mean) == (4, 1.0, 4.0, 2.5, 2.5)
    assert math.isclose(found.p90, 3.7)
    assert math.isclose(found.p99, 3.97)


@pytest.mark.parametrize(
    ("value", "sense", "is_met"),
    [
        (1.25, Sense.AT_MOST, True),
        (1.26, Sense.AT_MOST, False),
        (1.25, Sense.AT_LEAST, True),
        (1.24, Sense.AT_LEAST, False),
    ],
)
def test_target_is_met_on_the_right_side_of_its_limit(value: float, sense: Sense, is_met: bool) -> None:
    """A value equal to the limit meets it."""
    assert Target(name="x", value=value, limit=1.25, sense=sense).is_met is is_met


def test_actions_are_priced_tier_by_tier() -> None:
    """The example on Temporal's pricing page: 11.25 million beyond the plan cost 250 + 225 + 50 dollars."""
    prices = TemporalPrices()
    assert math.isclose(action_cost(11.25e6 + prices.included_actions, prices), 525.0)
    assert action_cost(prices.included_actions, prices) == 0.0
    # All tiers: 5 * 50 + 5 * 45 + 10 * 40 + 30 * 35 + 50 * 30 + 100 * 25 = 5925, and 100 more at the last price.
    assert math.isclose(action_cost(300e6 + prices.included_actions, prices), 5925.0 + 2500.0)


def test_month_is_the_sum_of_its_parts() -> None:
    """Calculated by hand: 1,000 issues, each created, reused twice, started once and closed."""
    life = Life(
        created=Usage(actions=5, history_bytes=6_000),
        reused=Usage(actions=2, history_bytes=3_000),
        started=Usage(actions=4, history_bytes=5_000),
        closed=Usage(actions=18, history_bytes=20_000),
    )
    inputs = Month(
        issues=1_000, reuses=2, starts=1, running_h=2, stopped_h=10, archived_h=0, workflow_h=100, reads_of_status=1
    )
    free = TemporalPrices(included_actions=0, included_active_gbh=0, included_retained_gbh=0)
    bill = month(life, inputs, free, DaytonaPrices(included_disk_gib=0))
    # 5 + 2 * 2 + 4 + 18 + 1 = 32 actions each.
    assert math.isclose(bill.actions, 0.032)
    assert math.isclose(bill.action_cost, 32_000 / 1e6 * 50)
    # 6 + 2 * 3 + 5 + 20 = 37 kB each, for 100 hours: 3.7 GBh.
    assert math.isclose(bill.active_storage, 3.7 * 0.042)
    assert (bill.retained_storage, bill.plan) == (0.0, 500.0)
    # 2 hours of one vCPU and 1 GiB; 12 hours of 3 GiB of disk.
    assert math.isclose(bill.compute, 1_000 * 2 * (0.0504 + 0.0162))
    assert math.isclose(bill.disk, 1_000 * 3 * 12 * 0.000108)
    assert math.isclose(bill.total, bill.temporal + bill.daytona)


def test_plan_takes_its_share_when_that_is_more_than_its_least() -> None:
    """The plan costs 10 % of the consumption, and what it includes is free."""
    none = Usage(actions=0, history_bytes=0)
    life = Life(created=Usage(actions=102.5, history_bytes=0), reused=none, started=none, closed=none)
    bill = month(life, Month(issues=1e6, reads_of_status=0), TemporalPrices(), DaytonaPrices())
    assert math.isclose(bill.action_cost, 250 + 225 + 400 + 1050 + 1500)
    assert math.isclose(bill.plan, 500.0)
    dear = month(life, Month(issues=2.5e6, reads_of_status=0), TemporalPrices(), DaytonaPrices())
    assert math.isclose(dear.plan, dear.action_cost / 10)
    assert HOURS_OF_A_MONTH == 744


def _event(kind: str, number: int = 0) -> HistoryEvent:
    return HistoryEvent(event_id=number, event_type=EventType.Value(f"EVENT_TYPE_{kind}"))  # type: ignore[arg-type]


def _names(*kinds: str) -> list[HistoryEvent]:
    return [_event(kind, number) for number, kind in enumerate(kinds, 1)]


def test_signal_with_start_is_one_action() -> None:
    """Whether or not the workflow starts, as Temporal's page says."""
    assert billable(_names("WORKFLOW_EXECUTION_STARTED", "WORKFLOW_EXECUTION_SIGNALED")) == 1
    assert billable(_names("WORKFLOW_EXECUTION_SIGNALED")) == 1
    assert billable(_names("WORKFLOW_EXECUTION_STARTED", "WORKFLOW_EXECUTION_UPDATE_ACCEPTED")) == 2


def test_steps_of_tasks_are_no_actions() -> None:
    """An activity with all its events is one action; workflow tasks and the memo are none."""
    quiet = ("WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED", "WORKFLOW_TASK_COMPLETED")
    activity = ("ACTIVITY_TASK_SCHEDULED", "ACTIVITY_TASK_STARTED", "ACTIVITY_TASK_COMPLETED")
    assert billable(_names(*quiet, "WORKFLOW_PROPERTIES_MODIFIED", "TIMER_FIRED")) == 0
    assert billable(_names(*activity, "TIMER_STARTED")) == 2


def test_retries_of_an_activity_are_actions() -> None:
    """The history shows only the last attempt, with its number."""
    started = _event("ACTIVITY_TASK_STARTED")
    started.activity_task_started_event_attributes.attempt = 4
    assert billable([_event("ACTIVITY_TASK_SCHEDULED"), started]) == 4


def test_markers_of_one_workflow_task_are_one_action() -> None:
    """The number of local activities and versions that it recorded does not matter."""
    markers = _names("MARKER_RECORDED", "MARKER_RECORDED", "MARKER_RECORDED")
    for marker, task in zip(markers, (7, 7, 12), strict=True):
        marker.marker_recorded_event_attributes.workflow_task_completed_event_id = task
    assert billable(markers) == 2


def test_attribute_of_versions_is_free() -> None:
    """The SDK writes it; our own attributes are billed."""
    free, ours = _names("UPSERT_WORKFLOW_SEARCH_ATTRIBUTES", "UPSERT_WORKFLOW_SEARCH_ATTRIBUTES")
    for event, name in ((free, VERSION_ATTRIBUTE), (ours, "IssuePhase")):
        fields = event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
        fields[name].data = b"1"
    assert billable([free, ours]) == 1


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        (["get"], (1, 0, 0, 0)),
        (["get", "last_activity"], (1, 0, 0, 1)),
        (["get", "create", "get"], (1, 1, 1, 0)),
        (["get", "start"], (1, 1, 0, 0)),
        (["get", "labels", "stop", "get", "get"], (1, 1, 2, 1)),
        ([], (0, 0, 0, 0)),
    ],
)
def test_requests_are_split_at_the_first_command(operations: list[str], expected: tuple[int, ...]) -> None:
    """Lookups come before it and reads after it; what the outcome does not need counts separately."""
    assert split(operations) == expected


def test_what_is_added_is_the_difference_within_a_round() -> None:
    """A slow round slows both sides, and its slowness is not added to ours."""
    row = summarize_latency(
        "started",
        {
            UPDATE_WAY: [130.0, 1130.0, 140.0],
            REST_WAY: [135.0, 1135.0, 145.0],
            BARE: [100.0, 1100.0, 100.0],
            FLOOR: [20.0, 30.0, 24.0],
            ALIKE: [22.0, 33.0, 26.0],
        },
    )
    assert (row.added_ms.p50, row.added_rest_ms.p50) == (30.0, 35.0)
    assert math.isclose(row.ratio, 1.25)
    assert math.isclose(row.ratio_alike, 30.0 / 26.0)


class Sum(BaseModel):
    """The figures of a measurement for this test."""

    values: list[float]


async def _unused(_: object) -> Sum:
    raise AssertionError("a render measures nothing")


def _targets(figures: Sum) -> Sequence[Target]:
    return [Target(name="sum", value=sum(figures.values), limit=5, unit="s")]


FIXTURE = Measurement(
    name="fixture",
    title="A fixture",
    sentence="Adds two numbers.",
    figures=Sum,
    run=_unused,
    targets=_targets,
    render=lambda figures: page.table(("value", "s"), [("first | second", value) for value in figures.values]),
)


def _record(**changes: object) -> Record:
    figures = Sum(values=[2.0, 4.0])
    given: dict[str, object] = {
        "name": "fixture",
        "measured_at": "2026-11-24T12:00:00+00:00",
        "command": 'make bench ARGS="fixture"',
        "seed": 7,
        "is_quick": False,
        "took_s": 1.5,
        "machine": {"cores": "2"},
        "targets": list(_targets(figures)),
        "figures": figures.model_dump(),
    }
    return Record.model_validate(given | changes)


def test_section_shows_targets_figures_and_how_to_repeat_them(tmp_path: Path) -> None:
    """A section marks missed targets, and names the command that repeats the measurement."""
    results.write(_record(), tmp_path)
    text = page.section(FIXTURE, results.read("fixture", tmp_path))
    assert "| sum | 6 s | at most 5 s | **no** |" in text
    assert r"| first \| second | 2.0 |" in text
    assert 'Measured 2026-11-24 in 1.5 s, seed 7; repeat with `make bench ARGS="fixture"`' in text
    assert "--quick" in page.section(FIXTURE, _record(is_quick=True))
    assert "Not measured yet" in page.section(FIXTURE, None)


def test_same_figures_give_the_same_chart() -> None:
    """Otherwise every render would change the files."""

    def drawn() -> str:
        figure, axes = charts.axes("title", "seconds", "count")
        axes.plot([0, 1], [1, 2], color=charts.COLOURS[0], label="line")
        axes.legend()
        return charts.svg(figure)

    first = drawn()
    assert first == drawn()
    assert "<dc:date>" not in first
    assert ET.fromstring(first).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 -- made one line above


def test_page_and_charts_match_the_stored_results() -> None:
    """docs/benchmarks.md is generated: `make bench ARGS=--render` after a change of its text."""
    assert render(is_check=True) == []


def test_stored_targets_are_those_of_the_stored_figures() -> None:
    """After a change of a limit, the results must be judged again."""
    for measurement in MEASUREMENTS:
        record = results.read(measurement.name)
        if record is not None:
            assert record.targets == list(measurement.targets(measurement.figures_of(record))), measurement.name


def test_every_measurement_has_a_name_of_its_own() -> None:
    """Names are used as file names, commands and headings."""
    names = [measurement.name for measurement in MEASUREMENTS]
    assert len(set(names)) == len(names)
    with pytest.raises(SystemExit):
        main(["no-such-measurement"])
