"""The Grafana dashboard, as one table: deploy/grafana/dashboard.json is generated from it by `scripts.observability`.

Its panels stand in the order in which somebody looks who was just woken up: do we keep our promises, who waits, and
for what.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from scripts.alerts import OBJECTIVES, recorded

COLUMNS: Final = 24
"""Of Grafana's grid."""
PANEL_WIDTH: Final = 8
PANEL_HEIGHT: Final = 8

RATE: Final = "[$__rate_interval]"


@dataclass(frozen=True, slots=True)
class Line:
    """One expression of a panel, and what its series are called."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart. ``unit`` is Grafana's word."""

    title: str
    unit: str
    lines: tuple[Line, ...]


def _quantiles(metric: str, by: str = "", where: str = "") -> tuple[Line, ...]:
    """The median and the slowest hundredth of a histogram, for each value of a label."""
    labels, name = ("le, " + by, f"{{{{{by}}}}} ") if by else ("le", "")
    return tuple(
        Line(f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{where}{RATE})))", f"{name}{word}")
        for share, word in ((0.5, "p50"), (0.99, "p99"))
    )


def _rates(metric: str, by: str, where: str = "") -> tuple[Line, ...]:
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    return (Line(f"sum by ({by}) (rate({metric}{where}{RATE}))", legend),)


def _newest(metric: str, by: str) -> tuple[Line, ...]:
    """What the exporter shows; of two exporters, either."""
    return (Line(f"max by ({by}) ({metric}) > 0", f"{{{{{by}}}}}"),)


ROWS: Final[dict[str, tuple[Panel, ...]]] = {
    "Objectives": (
        *(
            Panel(
                f"Bad: {objective.title}",
                "percentunit",
                tuple(Line(recorded(objective, window), window) for window in ("5m", "1h", "6h", "3d")),
            )
            for objective in OBJECTIVES
        ),
        Panel(
            "Stuck, and found by the audit",
            "short",
            (
                Line("max(issuebox_workflows_stuck)", "stuck workflows"),
                Line("max by (kind) (issuebox_audit_findings)", "{{kind}}"),
            ),
        ),
    ),
    "Issues": (
        Panel("Issues by phase", "short", _newest("issuebox_issues", "phase")),
        Panel("Blocked by cause", "short", _newest("issuebox_issues_blocked", "cause")),
        Panel("Runs by state", "short", _newest("issuebox_runs", "state")),
    ),
    "Deliveries": (
        Panel("Deliveries by answer", "reqps", _rates("issuebox_webhook_deliveries_total", "code")),
        Panel("Deliveries by what they ask for", "reqps", _rates("issuebox_webhook_deliveries_total", "intention")),
        Panel("Time to the answer", "s", _quantiles("issuebox_webhook_duration_seconds")),
        Panel("Calls to Temporal", "s", _quantiles("issuebox_temporal_call_duration_seconds", "call")),
        Panel("Requests by route", "reqps", _rates("issuebox_http_requests_total", "route, code")),
    ),
    "Sandboxes": (
        Panel("Handovers by outcome", "reqps", _rates("issuebox_handover_duration_seconds_count", "outcome")),
        Panel("Time to the handover", "s", _quantiles("issuebox_handover_duration_seconds", "outcome")),
        Panel("Commands by outcome", "reqps", _rates("issuebox_commands_total", "action, outcome")),
        Panel("Time of a command", "s", _quantiles("issuebox_command_duration_seconds", "action")),
        Panel("Blocks by cause", "reqps", _rates("issuebox_blocked_total", "cause")),
        Panel("Stale reads", "reqps", (Line(f"sum(rate(issuebox_stale_reads_total{RATE}))", "repeated reads"),)),
    ),
    "Daytona": (
        Panel("Requests by answer", "reqps", _rates("issuebox_daytona_requests_total", "operation, code")),
        Panel("Time of a request", "s", _quantiles("issuebox_daytona_request_duration_seconds", "operation")),
        Panel(
            "Left of the limits",
            "percentunit",
            (
                Line("min by (limiter) (issuebox_daytona_limit_remaining / issuebox_daytona_limit)", "{{limiter}}"),
                Line("sum by (limiter) (issuebox_daytona_paused)", "workers that pause: {{limiter}}"),
            ),
        ),
    ),
    "Runs": (
        Panel("Runs that ended, by outcome", "reqps", _rates("issuebox_runs_total", "outcome")),
        Panel("Time of a run", "s", _quantiles("issuebox_run_duration_seconds", "outcome")),
    ),
    "Workers": (
        Panel(
            "Workers, and what waits for them",
            "short",
            (
                Line("max by (kind) (issuebox_pollers)", "pollers: {{kind}}"),
                Line("max by (kind) (issuebox_backlog)", "tasks that wait: {{kind}}"),
            ),
        ),
        Panel(
            "Time until a worker takes a task",
            "s",
            (
                *_quantiles("temporal_workflow_task_schedule_to_start_latency_seconds"),
                *_quantiles("temporal_activity_schedule_to_start_latency_seconds", "task_queue"),
            ),
        ),
        Panel(
            "Free slots",
            "short",
            (
                Line(
                    "sum by (task_queue, worker_type) (temporal_worker_task_slots_available)",
                    "{{task_queue}} {{worker_type}}",
                ),
            ),
        ),
        Panel(
            "Memory",
            "bytes",
            (Line('process_resident_memory_bytes{job=~"issuebox.*"}', "{{job}} {{instance}}"),),
        ),
        Panel(
            "Processor",
            "percentunit",
            (Line(f'rate(process_cpu_seconds_total{{job=~"issuebox.*"}}{RATE})', "{{job}} {{instance}}"),),
        ),
        Panel(
            "Failed workflow tasks",
            "reqps",
            _rates("temporal_workflow_task_execution_failed", "failure_reason"),
        ),
    ),
    "Sweeps": (
        Panel(
            "Age of the last audit and resync",
            "s",
            (
                Line("time() - max(issuebox_audit_last_success_timestamp_seconds)", "audit"),
                Line(
                    "time() - max by (repository) (issuebox_resync_last_success_timestamp_seconds)",
                    "resync of {{repository}}",
                ),
            ),
        ),
        Panel(
            "Age of what the exporter shows",
            "s",
            (Line("time() - max by (read) (issuebox_exporter_last_success_timestamp_seconds)", "{{read}}"),),
        ),
        Panel("Failed reads of the exporter", "reqps", _rates("issuebox_exporter_errors_total", "read")),
    ),
}


def dashboard() -> dict[str, object]:
    """The file for Grafana, which asks for the data source when somebody imports it."""
    return {
        "uid": "issuebox",
        "title": "issuebox",
        "tags": ["issuebox"],
        "timezone": "utc",
        "schemaVersion": 39,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [{"id": number, **panel} for number, panel in enumerate(_panels(), 1)],
    }


def _panels() -> Iterator[dict[str, object]]:
    y = 0
    for title, panels in ROWS.items():
        yield {"type": "row", "title": title, "collapsed": False, "gridPos": _place(0, y, COLUMNS, 1), "panels": []}
        y += 1
        for number, panel in enumerate(panels):
            x = number * PANEL_WIDTH % COLUMNS
            y += PANEL_HEIGHT if number and not x else 0
            yield _panel(panel, _place(x, y, PANEL_WIDTH, PANEL_HEIGHT))
        y += PANEL_HEIGHT


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, object]:
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": source,
                "expr": line.expression,
                "legendFormat": line.legend,
            }
            for number, line in enumerate(panel.lines)
        ],
    }


def _place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}
