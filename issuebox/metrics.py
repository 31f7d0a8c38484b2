"""What issuebox counts for Prometheus: one table, and the functions by which the code counts.

A process counts from `turn_on` on, which it calls when it has an admin address; before that, and without one, each
function here returns at once. Nothing here reads or asks anything, so every layer may count.

No label is an issue, a sandbox, a delivery or a person: a series once made lives as long as its process. So each
label takes values from a set that is closed here or, as said in `LABELS`, by the code that counts; what is not in the
set of a closed one counts as `other`. The docs page docs/reference/metrics.md is generated from these tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from issuebox.domain.audit import Kind as FindingKind
from issuebox.domain.events import Intention
from issuebox.domain.phase import Action, Cause, Outcome, Phase
from issuebox.domain.run import RunOutcome
from issuebox.domain.triggers import EVENTS

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

OTHER: Final = "other"
"""What a value counts as that is in no closed set, such as a GitHub event without a row."""

NONE: Final = "none"
"""A label that has no value: nothing was looked up yet, or no reply came."""

DELIVERED_WITHIN_S: Final = 2.0
"""Within this time a delivery should be stored: the objective of deploy/prometheus/alerts.yaml, and a bucket."""

USABLE_WITHIN_S: Final = 60.0
"""Within this time a sandbox should be handed over to who asked for it: ditto."""


class Kind(StrEnum):
    """What a metric is to Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Process(StrEnum):
    """Which process shows a metric."""

    API = "API"
    WORKER = "worker"
    EXPORTER = "exporter"


EVERY: Final = frozenset(Process)
_API: Final = frozenset({Process.API})
_WORKER: Final = frozenset({Process.WORKER})
_EXPORTER: Final = frozenset({Process.EXPORTER})

_CODES: Final = frozenset({*(str(code) for code in range(100, 600)), NONE})

LABELS: Final[Mapping[str, frozenset[str] | None]] = {
    "event": frozenset({*EVENTS, NONE}),
    "intention": frozenset({*map(str, Intention), NONE}),
    "code": _CODES,
    "outcome": None,  # Of handovers, commands and runs: each counts members of an enumeration, or names of errors.
    "action": frozenset(map(str, Action)),
    "cause": frozenset(map(str, Cause)),
    "phase": frozenset({*map(str, Phase), NONE}),
    "limiter": None,  # Daytona's three.
    "operation": None,  # Names of methods of Daytona's client.
    "route": None,  # Paths of the API with their placeholders.
    "call": None,  # Names of methods of Temporal's client.
    "kind": None,  # Kinds of findings, or of work that a worker polls for.
    "state": None,  # States of runs.
    "read": None,  # Rows of the exporter's table.
    "sweep": None,  # Rows of the table of schedules.
    "repository": None,  # Those that are configured for resync, by name.
    "version": None,
}
"""The values that each label may have; None where the code that counts has the closed set."""

_FAST: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, DELIVERED_WITHIN_S, 5.0, 10.0)
"""Seconds: from a call that is as quick as it can be, to the 10 s after which GitHub gives up."""
_SLOW: Final = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, USABLE_WITHIN_S, 120.0, 300.0, 900.0, 3600.0)
"""Seconds: from the start of a sandbox to a thaw, and to a quota that frees up after an hour."""
_LONG: Final = (10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 21600.0, 86400.0)
"""Seconds: from an agent's answer to a day of work."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `name` is the whole name without Prometheus' own `_bucket`, `_sum` and `_count`."""

    name: str
    kind: Kind
    processes: frozenset[Process]
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    begins_with: frozenset[str] = frozenset()
    """Values of its only label that are shown as 0 from the start: Prometheus sees no increase in a first 1."""

    @property
    def series(self) -> frozenset[str]:
        """The names under which Prometheus stores it."""
        ends = ("_bucket", "_sum", "_count") if self.kind is Kind.HISTOGRAM else ("",)
        return frozenset(self.name + end for end in ends)


BUILD_INFO = Metric(
    "issuebox_build_info", Kind.GAUGE, EVERY, "1, with the version of the process as its label.", ("version",)
)
WEBHOOK_DELIVERIES = Metric(
    "issuebox_webhook_deliveries_total",
    Kind.COUNTER,
    _API,
    "Webhook deliveries that were answered. One that is not answered with 2xx is lost unless resync finds it.",
    ("event", "intention", "code"),
)
WEBHOOK_DURATION = Metric(
    "issuebox_webhook_duration_seconds",
    Kind.HISTOGRAM,
    _API,
    "Time from the head of a delivery to the answer.",
    ("code",),
    _FAST,
)
HTTP_REQUESTS = Metric(
    "issuebox_http_requests_total",
    Kind.COUNTER,
    _API,
    "Requests to the API, webhooks among them; a path that it does not have is the route `other`.",
    ("route", "code"),
)
TEMPORAL_CALL_DURATION = Metric(
    "issuebox_temporal_call_duration_seconds",
    Kind.HISTOGRAM,
    _API,
    "Time that a call to Temporal took, whatever its outcome.",
    ("call",),
    _FAST,
)
HANDOVER_DURATION = Metric(
    "issuebox_handover_duration_seconds",
    Kind.HISTOGRAM,
    _WORKER,
    "Time from when a worker took up that somebody asked for the sandbox, to its handover, the block or the queue.",
    ("outcome",),
    _SLOW,
)
BLOCKED = Metric(
    "issuebox_blocked_total",
    Kind.COUNTER,
    _WORKER,
    "Times that an issue was blocked or queued, each retry anew.",
    ("cause",),
    begins_with=frozenset(map(str, Cause)),
)
STALE_READS = Metric(
    "issuebox_stale_reads_total",
    Kind.COUNTER,
    _WORKER,
    "Reads of a sandbox that showed an earlier state than one before, and were repeated.",
)
COMMANDS = Metric(
    "issuebox_commands_total",
    Kind.COUNTER,
    _WORKER,
    "Commands about sandboxes: `done`, `cut_off`, or the name of the error.",
    ("action", "outcome"),
)
COMMAND_DURATION = Metric(
    "issuebox_command_duration_seconds",
    Kind.HISTOGRAM,
    _WORKER,
    "Time that a command took with its waits, whatever its outcome.",
    ("action",),
    _SLOW,
)
DAYTONA_REQUESTS = Metric(
    "issuebox_daytona_requests_total",
    Kind.COUNTER,
    _WORKER,
    "Requests to Daytona's API; the code is `none` when no reply came. Those to toolboxes are not among them.",
    ("operation", "code"),
)
DAYTONA_DURATION = Metric(
    "issuebox_daytona_request_duration_seconds",
    Kind.HISTOGRAM,
    _WORKER,
    "Time that such a request took.",
    ("operation",),
    _FAST,
)
DAYTONA_LIMIT = Metric(
    "issuebox_daytona_limit",
    Kind.GAUGE,
    _WORKER,
    "Requests that Daytona allows in a window, as its newest reply said.",
    ("limiter",),
)
DAYTONA_REMAINING = Metric(
    "issuebox_daytona_limit_remaining", Kind.GAUGE, _WORKER, "Of them, those that were left.", ("limiter",)
)
DAYTONA_PAUSED = Metric(
    "issuebox_daytona_paused",
    Kind.GAUGE,
    _WORKER,
    "1 while this worker sends nothing under the limiter, because it is used up.",
    ("limiter",),
)
RUNS_ENDED = Metric(
    "issuebox_runs_total",
    Kind.COUNTER,
    _WORKER,
    "Runs of an agent that ended.",
    ("outcome",),
    begins_with=frozenset(map(str, RunOutcome)),
)
RUN_DURATION = Metric(
    "issuebox_run_duration_seconds",
    Kind.HISTOGRAM,
    _WORKER,
    "Time from the begin of a run's first attempt to its end. A run that never began is not among them.",
    ("outcome",),
    _LONG,
)
ISSUES = Metric(
    "issuebox_issues",
    Kind.GAUGE,
    _EXPORTER,
    "Issues whose workflow runs, by the phase of their sandbox; `none` before the first lookup.",
    ("phase",),
)
ISSUES_BLOCKED = Metric(
    "issuebox_issues_blocked", Kind.GAUGE, _EXPORTER, "Issues that are blocked or queued now.", ("cause",)
)
WORKFLOWS_STUCK = Metric(
    "issuebox_workflows_stuck",
    Kind.GAUGE,
    _EXPORTER,
    "Issues whose workflow task fails again and again. A Temporal before 1.30 shows them among the newest 500 only.",
)
RUNS = Metric("issuebox_runs", Kind.GAUGE, _EXPORTER, "Issues by the state of their newest run.", ("state",))
AUDIT_AT = Metric(
    "issuebox_audit_last_success_timestamp_seconds", Kind.GAUGE, _EXPORTER, "When the newest audit was complete."
)
AUDIT_FINDINGS = Metric(
    "issuebox_audit_findings", Kind.GAUGE, _EXPORTER, "Findings of the newest audit that it did not mend.", ("kind",)
)
RESYNC_AT = Metric(
    "issuebox_resync_last_success_timestamp_seconds",
    Kind.GAUGE,
    _EXPORTER,
    "When the newest resync by schedule that could read the repository was over.",
    ("repository",),
)
SWEEP_INTERVAL = Metric(
    "issuebox_sweep_interval_seconds",
    Kind.GAUGE,
    _EXPORTER,
    "How often Temporal's schedule starts resync or the audit; nothing while it is paused or does not exist.",
    ("sweep",),
)
POLLERS = Metric(
    "issuebox_pollers", Kind.GAUGE, _EXPORTER, "Workers that poll for this kind of work, as Temporal knows.", ("kind",)
)
BACKLOG = Metric(
    "issuebox_backlog", Kind.GAUGE, _EXPORTER, "Tasks of this kind that wait for a worker, about.", ("kind",)
)
EXPORTER_AT = Metric(
    "issuebox_exporter_last_success_timestamp_seconds",
    Kind.GAUGE,
    _EXPORTER,
    "When the exporter last read this. What a failed read would have changed keeps its value.",
    ("read",),
)
EXPORTER_ERRORS = Metric(
    "issuebox_exporter_errors_total", Kind.COUNTER, _EXPORTER, "Reads of the exporter that failed.", ("read",)
)

ALL: Final = (
    BUILD_INFO,
    *(WEBHOOK_DELIVERIES, WEBHOOK_DURATION, HTTP_REQUESTS, TEMPORAL_CALL_DURATION),
    *(HANDOVER_DURATION, BLOCKED, STALE_READS, COMMANDS, COMMAND_DURATION),
    *(DAYTONA_REQUESTS, DAYTONA_DURATION, DAYTONA_LIMIT, DAYTONA_REMAINING, DAYTONA_PAUSED),
    *(RUNS_ENDED, RUN_DURATION),
    *(ISSUES, ISSUES_BLOCKED, WORKFLOWS_STUCK, RUNS, POLLERS, BACKLOG),
    *(AUDIT_AT, AUDIT_FINDINGS, RESYNC_AT, SWEEP_INTERVAL, EXPORTER_AT, EXPORTER_ERRORS),
)
"""Every metric of ours. Those of Temporal's SDK begin with `temporal_`, those of the process with `process_`."""

assert {value for metric in ALL for value in metric.labels} == set(LABELS), "every label is described"  # noqa: S101
assert {*map(str, Outcome)}.isdisjoint({OTHER, NONE})  # noqa: S101 -- else a label would have two meanings
assert {*map(str, RunOutcome), *map(str, FindingKind)}.isdisjoint({OTHER, NONE})  # noqa: S101


@dataclass(slots=True)
class _Shown:
    """The collectors of this process, by the name of the metric. There are none until it is turned on."""

    registry: CollectorRegistry | None = None
    counters: dict[str, Counter] = field(default_factory=dict)
    gauges: dict[str, Gauge] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)

    def clear(self) -> None:
        self.registry = None
        for collectors in (self.counters, self.gauges, self.histograms):
            collectors.clear()


_shown = _Shown()


def is_on() -> bool:
    """Whether this process counts."""
    return _shown.registry is not None


def turn_on(process: Process) -> None:
    """Count from now on what this process shows. What was counted before is forgotten."""
    # Imported here: 75 ms for a process that shows nothing.
    from prometheus_client import (  # noqa: PLC0415
        CollectorRegistry,
        Counter,
        Gauge,
        Histogram,
        ProcessCollector,
        disable_created_metrics,
    )

    disable_created_metrics()  # type: ignore[no-untyped-call]  # Half as many series again.
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    for metric in ALL:
        if process not in metric.processes:
            continue
        if metric.kind is Kind.COUNTER:
            _shown.counters[metric.name] = counter = Counter(
                metric.name, metric.meaning, metric.labels, registry=registry
            )
            for value in sorted(metric.begins_with):
                counter.labels(value)
        elif metric.kind is Kind.GAUGE:
            _shown.gauges[metric.name] = gauge = Gauge(metric.name, metric.meaning, metric.labels, registry=registry)
            if not metric.labels:
                gauge.set(math.nan)  # Not read yet, which is not 0.
        else:
            _shown.histograms[metric.name] = Histogram(
                metric.name, metric.meaning, metric.labels, registry=registry, buckets=metric.buckets
            )
    _shown.registry = registry
    put(BUILD_INFO, 1, version=version("issuebox"))


def turn_off() -> None:
    """Count nothing any more."""
    _shown.clear()


def count(metric: Metric, **labels: object) -> None:
    """Add one to a counter. What this process does not show is not counted."""
    if (found := _shown.counters.get(metric.name)) is not None:
        (found.labels(**_values(labels)) if labels else found).inc()


def observe(metric: Metric, value: float, **labels: object) -> None:
    """Take a value into a histogram."""
    if (found := _shown.histograms.get(metric.name)) is not None:
        (found.labels(**_values(labels)) if labels else found).observe(value)


def put(metric: Metric, value: float, **labels: object) -> None:
    """Set a gauge."""
    if (found := _shown.gauges.get(metric.name)) is not None:
        (found.labels(**_values(labels)) if labels else found).set(value)


def follow(metric: Metric, value: Callable[[], float], **labels: object) -> None:
    """Have a gauge ask for its value whenever it is read."""
    if (found := _shown.gauges.get(metric.name)) is not None:
        (found.labels(**_values(labels)) if labels else found).set_function(value)


def keep_only(metric: Metric, label: str, values: Collection[str]) -> None:
    """Drop the series of a gauge with one label whose value is not among these."""
    if (found := _shown.gauges.get(metric.name)) is None:
        return
    for family in found.collect():
        for gone in {sample.labels[label] for sample in family.samples} - set(values):
            found.remove(gone)


def exposition() -> bytes:
    """All that this process shows, as Prometheus reads it: text format 0.0.4."""
    from prometheus_client import generate_latest  # noqa: PLC0415

    return generate_latest(_shown.registry) if _shown.registry is not None else b""


def _values(labels: Mapping[str, object]) -> dict[str, str]:
    return {label: _value(label, str(value)) for label, value in labels.items()}


def _value(label: str, value: str) -> str:
    known = LABELS[label]
    return value if known is None or value in known else OTHER
