"""The table of metrics: what each process shows, and what may become a label."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from issuebox import metrics
from issuebox.domain.phase import Cause
from issuebox.metrics import ALL, Kind, Process
from issuebox.providers.rate_limits import RateLimiter


@pytest.fixture(autouse=True)
def _off() -> Iterator[None]:
    """Each test begins and ends without metrics, as a process does that has no admin address."""
    metrics.turn_off()
    yield
    metrics.turn_off()


def shown() -> list[Sample]:
    """What Prometheus reads, without what it knows of the process."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    return [sample for family in families for sample in family.samples if sample.name.startswith("issuebox_")]


def touch(metric: metrics.Metric, **given: str) -> None:
    """Count once, with some value of each label that is not given."""
    labels = {name: min(metrics.LABELS[name] or {"any"}) for name in metric.labels} | given
    if metric.kind is Kind.COUNTER:
        metrics.count(metric, **labels)
    elif metric.kind is Kind.GAUGE:
        metrics.put(metric, 1, **labels)
    else:
        metrics.observe(metric, 1, **labels)


def test_nothing_is_counted_before_metrics_are_on() -> None:
    """A process without an admin address pays one look-up in an empty dict, and shows nothing."""
    for metric in ALL:
        touch(metric)
    metrics.follow(metrics.DAYTONA_PAUSED, lambda: 1.0, limiter="x")
    metrics.keep_only(metrics.RESYNC_AT, "repository", [])
    assert (metrics.is_on(), metrics.exposition()) == (False, b"")


@pytest.mark.parametrize("process", Process)
def test_process_shows_its_own_metrics_under_the_names_of_the_table(process: Process) -> None:
    """Names, kinds and labels are those of the table, and another process's metrics are not counted."""
    metrics.turn_on(process)
    for metric in ALL:
        touch(metric)
    own = [metric for metric in ALL if process in metric.processes]
    assert {sample.name for sample in shown()} == {name for metric in own for name in metric.series}
    for metric in own:
        of_it = [sample for sample in shown() if sample.name in metric.series]
        assert {frozenset(sample.labels) - {"le"} for sample in of_it} == {frozenset(metric.labels)}
    kinds = {family.name: family.type for family in text_string_to_metric_families(metrics.exposition().decode())}
    assert {metric.name: kinds[metric.name.removesuffix("_total")] for metric in own} == {
        metric.name: str(metric.kind) for metric in own
    }


def test_every_metric_is_named_as_prometheus_has_it() -> None:
    """Counters end with `_total`, times with `_seconds`; nothing else does."""
    assert len({metric.name for metric in ALL}) == len(ALL)
    for metric in ALL:
        assert metric.name.startswith("issuebox_")
        assert metric.name.endswith("_total") is (metric.kind is Kind.COUNTER)
        assert bool(metric.buckets) is (metric.kind is Kind.HISTOGRAM)
        assert metric.name.endswith("_seconds") or metric.kind is not Kind.HISTOGRAM
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert metric.meaning.endswith(".")


@pytest.mark.parametrize("label", [name for name, values in metrics.LABELS.items() if values is not None])
def test_value_from_outside_becomes_no_series(label: str) -> None:
    """GitHub sends events that we have no row for; whatever it is, it is one series."""
    [metric, *_] = [metric for metric in ALL if label in metric.labels]
    [process, *_] = metric.processes
    metrics.turn_on(process)
    for number in range(100):
        touch(metric, **{label: f"made-up-{number}"})
    found = {sample.labels[label] for sample in shown() if sample.name in metric.series}
    assert found - metric.begins_with == {metrics.OTHER}


def test_what_was_not_read_yet_is_no_number() -> None:
    """With 0 as the time of the last audit, the alert on its age would fire at each start."""
    metrics.turn_on(Process.EXPORTER)
    [at] = [sample.value for sample in shown() if sample.name == metrics.AUDIT_AT.name]
    assert math.isnan(at)


def test_repository_that_is_no_longer_configured_goes() -> None:
    """Its last resync would grow older for ever, and somebody be woken for it."""
    metrics.turn_on(Process.EXPORTER)
    for repository in ("octo/repo", "octo/old", "octo/other"):
        metrics.put(metrics.RESYNC_AT, 1, repository=repository)
    metrics.keep_only(metrics.RESYNC_AT, "repository", {"octo/repo", "octo/other"})
    left = {sample.labels["repository"] for sample in shown() if sample.name == metrics.RESYNC_AT.name}
    assert left == {"octo/repo", "octo/other"}


def test_turning_on_again_forgets_what_was_counted() -> None:
    """A counter belongs to one process: Prometheus takes a smaller value for a restart."""
    metrics.turn_on(Process.WORKER)
    metrics.count(metrics.BLOCKED, cause=Cause.QUOTA)
    metrics.turn_on(Process.WORKER)
    assert {sample.value for sample in shown() if sample.name == metrics.BLOCKED.name} == {0}


@pytest.mark.parametrize("metric", [metric for metric in ALL if metric.begins_with])
def test_rare_thing_is_shown_as_0_before_it_happens(metric: metrics.Metric) -> None:
    """Else the first one would be no increase: Prometheus compares with what it read before."""
    [process] = metric.processes
    metrics.turn_on(process)
    [label] = metric.labels
    rows = {sample.labels[label]: sample.value for sample in shown() if sample.name == metric.name}
    assert rows == dict.fromkeys(metric.begins_with, 0)


async def test_limits_of_daytona_are_shown_as_a_reply_told_them() -> None:
    """What is left, and whether this worker holds back: it does when nothing is left, before any 429."""
    metrics.turn_on(Process.WORKER)
    limiter = RateLimiter()
    [create, *_] = [each for each in limiter._windows if each == "sandbox-create"]

    async def told(remaining: int) -> dict[str, float]:
        async with limiter.entered(create) as ticket:
            headers = {"Limit": "300", "Remaining": str(remaining), "Reset": "60"}
            limiter.heard(ticket, {f"X-RateLimit-{name}-{create}": value for name, value in headers.items()})
        return {sample.name: sample.value for sample in shown() if sample.labels.get("limiter") == create}

    names = (metrics.DAYTONA_LIMIT.name, metrics.DAYTONA_REMAINING.name, metrics.DAYTONA_PAUSED.name)
    assert await told(7) == dict(zip(names, (300, 7, 0), strict=True))
    assert await told(0) == dict(zip(names, (300, 0, 1), strict=True))
