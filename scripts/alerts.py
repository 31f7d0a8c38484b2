"""The alerts and objectives, as one table. `scripts.observability` generates deploy/prometheus/alerts.yaml from it.

An objective is a share of good events over 30 days. Its alerts are those of Google's workbook, *Alerting on SLOs*: how
many times faster than allowed the budget burns, over a long window and a short one. The short one ends the alert soon
after the cause.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from issuebox.metrics import DELIVERED_WITHIN_S, USABLE_WITHIN_S

RUNBOOK: Final = "docs/operations.md#metrics-alerts-dashboard"

PAGE, TICKET = "page", "ticket"
"""Severities: somebody gets up, or somebody looks on the next working day."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert: it fires when the expression has had a value for so long."""

    name: str
    expression: str
    lasts: str
    severity: str
    summary: str
    advice: str


@dataclass(frozen=True, slots=True)
class Objective:
    """A share of good events. ``bad`` is the share of bad ones over a window, which stands as ``[W]``."""

    name: str
    record: str
    title: str
    target: float
    bad: str
    advice: str


@dataclass(frozen=True, slots=True)
class Burn:
    """How fast the budget burns, over two windows, and who has to know."""

    times: float
    long: str
    short: str
    lasts: str
    severity: str


BURNS: Final = (
    Burn(14.4, "1h", "5m", "2m", PAGE),
    Burn(6, "6h", "30m", "15m", PAGE),
    Burn(1, "3d", "6h", "1h", TICKET),
)
"""2 % of a month's budget within an hour, 5 % within six hours, 10 % within three days."""

OBJECTIVES: Final = (
    Objective(
        "IssueboxDeliveriesLost",
        "issuebox:deliveries_bad:ratio",
        f"99.9 % of deliveries are stored within {DELIVERED_WITHIN_S:g} s",
        0.999,
        # A delivery that we refuse for what is in it is not ours to store; one that came too slowly may be.
        '1 - (sum(rate(issuebox_webhook_duration_seconds_bucket{code=~"2..",'
        f'le="{DELIVERED_WITHIN_S}"}}[W])) or vector(0))'
        ' / sum(rate(issuebox_webhook_duration_seconds_count{code=~"2..|408|5.."}[W]))',
        "GitHub does not send a refused delivery again. Look at Temporal (`GET /readyz` of the API says what is wrong) "
        "and at the APIs; afterwards run `issuebox resync`.",
    ),
    Objective(
        "IssueboxHandoversLate",
        "issuebox:handovers_bad:ratio",
        f"99 % of the sandboxes that are asked for, and wait for no slot, are usable within {USABLE_WITHIN_S:g} s",
        0.99,
        # Who waits for a slot waits for the caps that an operator has set.
        '1 - (sum(rate(issuebox_handover_duration_seconds_bucket{outcome!~"blocked|queued",'
        f'le="{USABLE_WITHIN_S}"}}[W])) or vector(0))'
        ' / sum(rate(issuebox_handover_duration_seconds_count{outcome!="queued"}[W]))',
        "The dashboard shows whether commands are slow at Daytona, are refused, or wait for workers. "
        "`issuebox list` has the issues that are blocked, with the reasons.",
    ),
)

WAITING_S: Final = 5.0

ALERTS: Final = (
    Alert(
        "IssueboxProcessDown",
        'up{job=~"issuebox.*"} == 0',
        "5m",
        PAGE,
        "{{ $labels.job }} at {{ $labels.instance }} does not answer.",
        "Read its log. A process that hangs ends by its watchdog, and its supervisor has to start it again.",
    ),
    Alert(
        "IssueboxDeliveriesRefused",
        'sum(rate(issuebox_webhook_deliveries_total{code=~"408|5.."}[5m]))'
        " / sum(rate(issuebox_webhook_deliveries_total[5m])) > 0.001",
        "5m",
        PAGE,
        "{{ $value | humanizePercentage }} of the deliveries are refused, and GitHub does not send them again.",
        "Look at Temporal (`GET /readyz` of the API). When it is back, run `issuebox resync`.",
    ),
    Alert(
        "IssueboxDeliveriesSlow",
        "histogram_quantile(0.99, sum by (le) (rate(issuebox_webhook_duration_seconds_bucket[5m]))) > 5",
        "5m",
        PAGE,
        "The slowest deliveries take {{ $value | humanizeDuration }}; GitHub gives up after 10 s.",
        "Compare with the time of the calls to Temporal. If those are quick, the API needs processor time.",
    ),
    Alert(
        "IssueboxHandoversSlow",
        "histogram_quantile(0.99, sum by (le) "
        '(rate(issuebox_handover_duration_seconds_bucket{outcome="reused"}[15m]))) > 30',
        "15m",
        TICKET,
        "A running sandbox is handed over after {{ $value | humanizeDuration }}, although no command is needed.",
        "What takes the time is ours, or reads of Daytona: look at both, and at how long tasks wait for a worker.",
    ),
    Alert(
        "IssueboxWorkflowsStuck",
        "max(issuebox_workflows_stuck) > 0",
        "5m",
        PAGE,
        "{{ $value }} issues are stuck: their workflow task fails again and again, and nothing is done about them.",
        "`issuebox doctor` names them, each with the command that helps; docs/operations.md: *A stuck workflow*.",
    ),
    Alert(
        "IssueboxNondeterminism",
        'sum(increase(temporal_workflow_task_execution_failed{failure_reason="NonDeterminismError"}[10m])) > 0',
        "0m",
        PAGE,
        "Workers cannot replay the history of a workflow.",
        "Restart all workers with one version, the one that ran last; docs/operations.md: *A stuck workflow*.",
    ),
    Alert(
        "IssueboxNoWorkers",
        "min by (kind) (issuebox_pollers) == 0",
        "3m",
        PAGE,
        "Nobody polls for {{ $labels.kind }}.",
        "Start workers with the installation's ISSUEBOX_TASK_QUEUE; `issuebox doctor` shows who polls.",
    ),
    Alert(
        "IssueboxNoTaskSlots",
        "max by (task_queue, worker_type) (temporal_worker_task_slots_available) == 0",
        "5m",
        TICKET,
        "All {{ $labels.worker_type }} slots of {{ $labels.task_queue }} have been taken for 5 minutes.",
        "Add workers, unless Daytona is slow and they only wait for it.",
    ),
    Alert(
        "IssueboxTasksWait",
        "histogram_quantile(0.99, sum by (le) "
        f"(rate(temporal_workflow_task_schedule_to_start_latency_seconds_bucket[5m]))) > {WAITING_S:g}",
        "5m",
        TICKET,
        "Workflow tasks wait {{ $value | humanizeDuration }} for a worker.",
        "Add workers, or raise ISSUEBOX_CACHED_WORKFLOWS if they have processor time left.",
    ),
    Alert(
        "IssueboxManyBlocked",
        'sum(issuebox_issues_blocked{cause!~"queued|unsaved"}) / sum(issuebox_issues) > 0.05',
        "30m",
        TICKET,
        "{{ $value | humanizePercentage }} of the issues are blocked.",
        "The dashboard shows by what; docs/reference/states.md says what helps.",
    ),
    Alert(
        "IssueboxBlockedByUs",
        'max by (cause) (issuebox_issues_blocked{cause=~"credentials|forbidden|invalid|wrong_name|internal"}) > 0',
        "10m",
        PAGE,
        "{{ $value }} issues are blocked: {{ $labels.cause }}. No retry helps.",
        "Our key, our settings, or a bug: docs/reference/states.md says what helps.",
    ),
    Alert(
        "IssueboxPromiseBroken",
        'sum by (kind) (issuebox_audit_findings{kind=~"duplicate|stray|conflict"}) > 0',
        "0m",
        PAGE,
        "The audit found {{ $value }} sandboxes: {{ $labels.kind }}.",
        "`issuebox audit` lists them, each with what helps; docs/audit.md.",
    ),
    Alert(
        "IssueboxAuditFindings",
        'sum by (kind) (issuebox_audit_findings{kind!~"duplicate|stray|conflict"}) > 0',
        "3h",
        TICKET,
        "The audit found {{ $value }} sandboxes that it did not mend: {{ $labels.kind }}.",
        "`issuebox audit` lists them, each with what helps; docs/audit.md.",
    ),
    Alert(
        "IssueboxAuditOverdue",
        "time() - issuebox_audit_last_success_timestamp_seconds"
        ' > on (job, instance) 3 * issuebox_sweep_interval_seconds{sweep="audit"}',
        "5m",
        TICKET,
        "The last complete audit was {{ $value | humanizeDuration }} ago.",
        "`issuebox audit` says why it cannot be complete. With many sandboxes, raise ISSUEBOX_AUDIT_INTERVAL_S.",
    ),
    Alert(
        "IssueboxAuditNeverDone",
        # The exporter has not seen one since it was started, although there was time for three.
        "(time() - process_start_time_seconds"
        ' > on (job, instance) 3 * issuebox_sweep_interval_seconds{sweep="audit"})'
        " unless on (job, instance) issuebox_audit_last_success_timestamp_seconds > 0",
        "5m",
        TICKET,
        "No audit has been complete yet.",
        "`issuebox audit` says why.",
    ),
    Alert(
        "IssueboxResyncOverdue",
        "time() - issuebox_resync_last_success_timestamp_seconds"
        ' > on (job, instance) group_left () 3 * issuebox_sweep_interval_seconds{sweep="resync"}',
        "5m",
        TICKET,
        "{{ $labels.repository }} was last compared with GitHub {{ $value | humanizeDuration }} ago.",
        "`issuebox resync` says why it cannot be read. Until then, what GitHub did not deliver is missing.",
    ),
    Alert(
        "IssueboxDaytonaLimit",
        "min by (limiter) (issuebox_daytona_limit_remaining / issuebox_daytona_limit) < 0.1"
        " or max by (limiter) (issuebox_daytona_paused) == 1",
        "5m",
        TICKET,
        "Daytona's limit {{ $labels.limiter }} has been nearly used up for 5 minutes.",
        "Somebody waits for it. Ask Daytona for a higher limit, or find out who else uses it.",
    ),
    Alert(
        "IssueboxDaytonaFails",
        'sum(rate(issuebox_daytona_requests_total{code=~"none|5.."}[10m]))'
        " / sum(rate(issuebox_daytona_requests_total[10m])) > 0.2",
        "10m",
        PAGE,
        "{{ $value | humanizePercentage }} of the requests to Daytona fail.",
        "Nothing is lost: the workflows try again. Look at Daytona's status.",
    ),
    Alert(
        "IssueboxRunsRefused",
        'sum by (outcome) (increase(issuebox_runs_total{outcome=~"credentials|refused"}[30m])) > 0',
        "0m",
        TICKET,
        "Runs end as {{ $labels.outcome }}: the agent cannot work at all.",
        "docs/runs.md and `issuebox runs` say what is missing, such as a valid key in ISSUEBOX_RUN_ENV.",
    ),
    Alert(
        "IssueboxExporterBlind",
        "time() - issuebox_exporter_last_success_timestamp_seconds > 600",
        "0m",
        TICKET,
        "The exporter has not read {{ $labels.read }} for {{ $value | humanizeDuration }}.",
        "Its log has the reason (`exporter_read_failed`). What it shows is old, and so is each alert on it.",
    ),
    Alert(
        "IssueboxExporterMissing",
        "absent(issuebox_exporter_last_success_timestamp_seconds)",
        "10m",
        TICKET,
        "There is no exporter: nobody would notice stuck workflows, missing workers or an overdue audit.",
        "Run one `issuebox exporter` for the installation.",
    ),
)


def windows() -> list[str]:
    """Every window of the burn rates, once, the shortest first."""
    return list(dict.fromkeys(window for burn in BURNS for window in (burn.short, burn.long)))


def recorded(objective: Objective, window: str) -> str:
    """The name under which the share of bad events of a window is recorded."""
    return f"{objective.record}_rate{window}"


def burn_alerts() -> Iterator[Alert]:
    """The alerts of the objectives: one for each speed."""
    for objective in OBJECTIVES:
        for burn in BURNS:
            limit = f"{burn.times:g} * {1 - objective.target:g}"
            long, short = recorded(objective, burn.long), recorded(objective, burn.short)
            yield Alert(
                f"{objective.name}{burn.long.capitalize()}",
                f"{long} > {limit} and {short} > {limit}",
                burn.lasts,
                burn.severity,
                f"{objective.title}: the budget burns {burn.times:g} times faster than it may. "
                f"Of the last {burn.long}, {{{{ $value | humanizePercentage }}}} were bad.",
                objective.advice,
            )


def every_alert() -> Sequence[Alert]:
    """All of them."""
    return (*burn_alerts(), *ALERTS)


def rules() -> dict[str, object]:
    """The file for Prometheus."""
    records = [
        {"record": recorded(objective, window), "expr": objective.bad.replace("[W]", f"[{window}]")}
        for objective in OBJECTIVES
        for window in windows()
    ]
    alerts = [
        {
            "alert": alert.name,
            "expr": alert.expression,
            "for": alert.lasts,
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.summary, "description": alert.advice, "runbook": RUNBOOK},
        }
        for alert in every_alert()
    ]
    return {"groups": [{"name": "issuebox-objectives", "rules": records}, {"name": "issuebox", "rules": alerts}]}
