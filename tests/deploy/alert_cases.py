"""For each alert: what Prometheus reads when it has to fire, and what is nearly that and must not wake anybody.

A series is written as promtool reads it: `0+3x60` begins with 0 and grows by 3 in each of 60 steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Series = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Case:
    """Series with a value for each step, and how many alerts of this name fire at the end."""

    alert: str
    fires: int
    series: Series
    steps: int
    step: str = "1m"
    what: str = ""


JOB = 'job="issuebox-worker",instance="a:1"'
SHORT, HOUR, LONG = 20, 75, 50


def grows(series: str, per_step: float, steps: int = SHORT) -> dict[str, str]:
    """A counter, or a part of a histogram."""
    return {series: f"0+{per_step:g}x{steps}"}


def stays(series: str, value: float | str, steps: int = SHORT) -> dict[str, str]:
    return {series: " ".join([str(value)] * (steps + 1))}


def deliveries(good: float, refused: float, steps: int, slow: float = 0.0) -> Series:
    """Deliveries in each step: stored in time, refused with 503, and stored after the time."""
    name = "issuebox_webhook_duration_seconds"
    return {
        **grows(f'{name}_bucket{{code="202",le="2.0"}}', good, steps),
        **grows(f'{name}_count{{code="202"}}', good + slow, steps),
        **grows(f'{name}_count{{code="503"}}', refused, steps),
        **grows(f'{name}_count{{code="401"}}', 1_000, steps),  # Strangers: they are no part of the objective.
    }


def handovers(in_time: float, late: float, blocked: float, steps: int, queued: float = 0) -> Series:
    """Handovers in each step: within the minute, after it, and none because the issue is blocked, or queued."""
    name = "issuebox_handover_duration_seconds"
    return {
        **grows(f'{name}_bucket{{outcome="created",le="60.0"}}', in_time, steps),
        **grows(f'{name}_count{{outcome="created"}}', in_time + late, steps),
        **grows(f'{name}_bucket{{outcome="blocked",le="60.0"}}', blocked, steps),
        **grows(f'{name}_count{{outcome="blocked"}}', blocked, steps),
        **grows(f'{name}_bucket{{outcome="queued",le="60.0"}}', queued, steps),
        **grows(f'{name}_count{{outcome="queued"}}', queued, steps),
    }


def quantile(name: str, labels: str, le: tuple[str, str], slow: float, steps: int = SHORT) -> Series:
    """A histogram of 100 values a step, of which so many are above the first bound."""
    parts = {le[0]: 100 - slow, le[1]: 100, "+Inf": 100}
    return {f'{name}_bucket{{{labels}le="{bound}"}}': f"0+{value:g}x{steps}" for bound, value in parts.items()}


_LATE_RECOVERY = {
    # An hour of refusals, and ten minutes without any: the short window is over.
    'issuebox_webhook_duration_seconds_bucket{code="202",le="2.0"}': "0+90x75 6850+100x10",
    'issuebox_webhook_duration_seconds_count{code="202"}': "0+90x75 6850+100x10",
    'issuebox_webhook_duration_seconds_count{code="503"}': "0+10x75 750+0x10",
}


def at_age(metric: str, labels: str, age_s: float, steps: int = LONG, step_s: int = 300) -> dict[str, str]:
    """A time that was so long ago at the end, which is so many steps after 1970."""
    return stays(f"{metric}{{{labels}}}", steps * step_s - age_s, steps)


AUDIT_EACH_HOUR = stays(f'issuebox_sweep_interval_seconds{{sweep="audit",{JOB}}}', 3600, LONG)
RESYNC_EACH_HOUR = stays(f'issuebox_sweep_interval_seconds{{sweep="resync",{JOB}}}', 3600, LONG)

CASES: tuple[Case, ...] = (
    Case("IssueboxDeliveriesLost1h", 1, deliveries(98, 2, HOUR), HOUR, what="2 % are refused"),
    Case("IssueboxDeliveriesLost1h", 1, deliveries(98, 0, HOUR, slow=2), HOUR, what="2 % are slow"),
    Case("IssueboxDeliveriesLost1h", 1, grows('issuebox_webhook_duration_seconds_count{code="503"}', 5, HOUR), HOUR,
         what="all are refused, and none was ever stored"),
    Case("IssueboxDeliveriesLost1h", 0, deliveries(99, 1, HOUR), HOUR, what="1 % is less than 14.4 times the budget"),
    Case("IssueboxDeliveriesLost1h", 0, deliveries(0, 0, HOUR), HOUR, what="nothing arrives"),
    Case("IssueboxDeliveriesLost1h", 0, _LATE_RECOVERY, 85, what="it is over for ten minutes"),
    Case("IssueboxDeliveriesLost6h", 1, deliveries(992, 8, 78), 78, "5m", what="0.8 %"),
    Case("IssueboxDeliveriesLost6h", 0, deliveries(995, 5, 78), 78, "5m", what="0.5 %"),
    Case("IssueboxDeliveriesLost3d", 1, deliveries(998, 2, 154), 154, "30m", what="0.2 %"),
    Case("IssueboxDeliveriesLost3d", 0, deliveries(9992, 8, 154), 154, "30m", what="0.08 %"),
    Case("IssueboxHandoversLate1h", 1, handovers(80, 20, 0, HOUR), HOUR, what="20 % are late"),
    Case("IssueboxHandoversLate1h", 1, handovers(80, 0, 20, HOUR), HOUR, what="20 % are blocked at once"),
    Case("IssueboxHandoversLate1h", 0, handovers(90, 5, 5, HOUR), HOUR, what="10 %"),
    Case("IssueboxHandoversLate1h", 0, handovers(90, 5, 0, HOUR, queued=500), HOUR, what="most wait for their turn"),
    Case("IssueboxHandoversLate1h", 1, handovers(80, 20, 0, HOUR, queued=500), HOUR,
         what="most wait for their turn, and 20 % of the others are late"),
    Case("IssueboxHandoversLate6h", 1, handovers(92, 8, 0, 78), 78, "5m", what="8 %"),
    Case("IssueboxHandoversLate6h", 0, handovers(95, 5, 0, 78), 78, "5m", what="5 %"),
    Case("IssueboxHandoversLate3d", 1, handovers(98, 2, 0, 154), 154, "30m", what="2 %"),
    Case("IssueboxHandoversLate3d", 0, handovers(995, 5, 0, 154), 154, "30m", what="0.5 %"),
    Case("IssueboxProcessDown", 1, stays(f"up{{{JOB}}}", 0) | stays('up{job="temporal",instance="t:1"}', 0), SHORT),
    Case("IssueboxProcessDown", 0, stays(f"up{{{JOB}}}", 1), SHORT),
    Case("IssueboxDeliveriesRefused", 1, grows('issuebox_webhook_deliveries_total{code="503"}', 1)
         | grows('issuebox_webhook_deliveries_total{code="202"}', 900), SHORT),
    Case("IssueboxDeliveriesRefused", 0, grows('issuebox_webhook_deliveries_total{code="401"}', 500)
         | grows('issuebox_webhook_deliveries_total{code="503"}', 0)
         | grows('issuebox_webhook_deliveries_total{code="202"}', 500), SHORT, what="strangers are refused"),
    Case("IssueboxDeliveriesSlow", 1,
         quantile("issuebox_webhook_duration_seconds", "", ("5.0", "10.0"), 3), SHORT),
    Case("IssueboxDeliveriesSlow", 0,
         quantile("issuebox_webhook_duration_seconds", "", ("5.0", "10.0"), 0.5), SHORT),
    Case("IssueboxHandoversSlow", 1,
         quantile("issuebox_handover_duration_seconds", 'outcome="reused",', ("30.0", "60.0"), 5, 40), 40),
    Case("IssueboxHandoversSlow", 0,
         quantile("issuebox_handover_duration_seconds", 'outcome="created",', ("30.0", "60.0"), 5, 40), 40,
         what="Daytona is slow to create"),
    Case("IssueboxWorkflowsStuck", 1, stays("issuebox_workflows_stuck", 2), SHORT),
    Case("IssueboxWorkflowsStuck", 0, stays("issuebox_workflows_stuck", 0), SHORT),
    Case("IssueboxNondeterminism", 1,
         grows('temporal_workflow_task_execution_failed{failure_reason="NonDeterminismError"}', 1), SHORT),
    Case("IssueboxNondeterminism", 0,
         grows('temporal_workflow_task_execution_failed{failure_reason="NonDeterminismError"}', 0)
         | grows('temporal_workflow_task_execution_failed{failure_reason="WorkflowError"}', 1), SHORT),
    Case("IssueboxNoWorkers", 1,
         stays('issuebox_pollers{kind="workflows"}', 3) | stays('issuebox_pollers{kind="inside"}', 0), SHORT),
    Case("IssueboxNoWorkers", 0, stays('issuebox_pollers{kind="workflows"}', 1), SHORT),
    Case("IssueboxNoTaskSlots", 1,
         stays('temporal_worker_task_slots_available{task_queue="q",worker_type="ActivityWorker",instance="a"}', 0)
         | stays('temporal_worker_task_slots_available{task_queue="q",worker_type="ActivityWorker",instance="b"}', 0),
         SHORT),
    Case("IssueboxNoTaskSlots", 0,
         stays('temporal_worker_task_slots_available{task_queue="q",worker_type="ActivityWorker",instance="a"}', 0)
         | stays('temporal_worker_task_slots_available{task_queue="q",worker_type="ActivityWorker",instance="b"}', 9),
         SHORT, what="another worker has some"),
    Case("IssueboxTasksWait", 1,
         quantile("temporal_workflow_task_schedule_to_start_latency_seconds", "", ("5", "10"), 3), SHORT),
    Case("IssueboxTasksWait", 0,
         quantile("temporal_workflow_task_schedule_to_start_latency_seconds", "", ("5", "10"), 0.5), SHORT),
    Case("IssueboxManyBlocked", 1, stays('issuebox_issues{phase="usable"}', 50, 60)
         | stays('issuebox_issues{phase="missing"}', 40, 60)
         | stays('issuebox_issues_blocked{cause="quota"}', 6, 60), 60),
    Case("IssueboxManyBlocked", 0, stays('issuebox_issues{phase="usable"}', 100, 60)
         | stays('issuebox_issues_blocked{cause="quota"}', 4, 60)
         | stays('issuebox_issues_blocked{cause="unsaved"}', 40, 60), 60, what="people have not pushed"),
    Case("IssueboxManyBlocked", 0, stays('issuebox_issues{phase="missing"}', 100, 60)
         | stays('issuebox_issues_blocked{cause="queued"}', 90, 60), 60, what="they wait for their turn"),
    Case("IssueboxBlockedByUs", 1, stays('issuebox_issues_blocked{cause="credentials"}', 1), SHORT),
    Case("IssueboxBlockedByUs", 0, stays('issuebox_issues_blocked{cause="quota"}', 9)
         | stays('issuebox_issues_blocked{cause="internal"}', 0), SHORT),
    Case("IssueboxPromiseBroken", 1, stays('issuebox_audit_findings{kind="duplicate"}', 1), SHORT),
    Case("IssueboxPromiseBroken", 0, stays('issuebox_audit_findings{kind="duplicate"}', 0)
         | stays('issuebox_audit_findings{kind="leak"}', 3), SHORT),
    Case("IssueboxAuditFindings", 1, stays('issuebox_audit_findings{kind="leak"}', 3, LONG), LONG, "5m"),
    Case("IssueboxAuditFindings", 0, stays('issuebox_audit_findings{kind="duplicate"}', 3, LONG), LONG, "5m"),
    Case("IssueboxAuditOverdue", 1, AUDIT_EACH_HOUR
         | at_age("issuebox_audit_last_success_timestamp_seconds", JOB, 4 * 3600), LONG, "5m"),
    Case("IssueboxAuditOverdue", 0, AUDIT_EACH_HOUR
         | at_age("issuebox_audit_last_success_timestamp_seconds", JOB, 2 * 3600), LONG, "5m"),
    Case("IssueboxAuditOverdue", 0,
         at_age("issuebox_audit_last_success_timestamp_seconds", JOB, 4 * 3600), LONG, "5m", what="audits are off"),
    Case("IssueboxAuditNeverDone", 1, AUDIT_EACH_HOUR
         | stays(f"issuebox_audit_last_success_timestamp_seconds{{{JOB}}}", "NaN", LONG)
         | at_age("process_start_time_seconds", JOB, 4 * 3600), LONG, "5m"),
    Case("IssueboxAuditNeverDone", 0, AUDIT_EACH_HOUR
         | stays(f"issuebox_audit_last_success_timestamp_seconds{{{JOB}}}", "NaN", LONG)
         | at_age("process_start_time_seconds", JOB, 1800), LONG, "5m", what="the exporter has just begun"),
    Case("IssueboxAuditNeverDone", 0, AUDIT_EACH_HOUR
         | at_age("issuebox_audit_last_success_timestamp_seconds", JOB, 4 * 3600)
         | at_age("process_start_time_seconds", JOB, 4 * 3600), LONG, "5m", what="there was one"),
    Case("IssueboxResyncOverdue", 1, RESYNC_EACH_HOUR
         | at_age("issuebox_resync_last_success_timestamp_seconds", f'repository="a/b",{JOB}', 4 * 3600)
         | at_age("issuebox_resync_last_success_timestamp_seconds", f'repository="a/c",{JOB}', 3600), LONG, "5m"),
    Case("IssueboxResyncOverdue", 0, RESYNC_EACH_HOUR
         | at_age("issuebox_resync_last_success_timestamp_seconds", f'repository="a/b",{JOB}', 3600), LONG, "5m"),
    Case("IssueboxDaytonaLimit", 1, stays('issuebox_daytona_limit{limiter="sandbox-create"}', 300)
         | stays('issuebox_daytona_limit_remaining{limiter="sandbox-create"}', 20), SHORT),
    Case("IssueboxDaytonaLimit", 1, stays('issuebox_daytona_paused{limiter="authenticated"}', 1), SHORT),
    Case("IssueboxDaytonaLimit", 0, stays('issuebox_daytona_limit{limiter="sandbox-create"}', 300)
         | stays('issuebox_daytona_limit_remaining{limiter="sandbox-create"}', 40)
         | stays('issuebox_daytona_paused{limiter="sandbox-create"}', 0), SHORT),
    Case("IssueboxDaytonaFails", 1, grows('issuebox_daytona_requests_total{operation="get_sandbox",code="502"}', 20, 30)
         | grows('issuebox_daytona_requests_total{operation="start_sandbox",code="none"}', 5, 30)
         | grows('issuebox_daytona_requests_total{operation="get_sandbox",code="200"}', 70, 30), 30),
    Case("IssueboxDaytonaFails", 0, grows('issuebox_daytona_requests_total{operation="get_sandbox",code="404"}', 90, 30)
         | grows('issuebox_daytona_requests_total{operation="get_sandbox",code="200"}', 10, 30), 30),
    Case("IssueboxRunsRefused", 1, {'issuebox_runs_total{outcome="credentials"}': "0x10 1x10"}, SHORT),
    Case("IssueboxRunsRefused", 0, {'issuebox_runs_total{outcome="failed"}': "0x10 1x10"}, SHORT),
    Case("IssueboxExporterBlind", 1,
         at_age("issuebox_exporter_last_success_timestamp_seconds", 'read="audit"', 900, SHORT, 60)
         | at_age("issuebox_exporter_last_success_timestamp_seconds", 'read="runs"', 60, SHORT, 60), SHORT),
    Case("IssueboxExporterBlind", 0,
         at_age("issuebox_exporter_last_success_timestamp_seconds", 'read="runs"', 60, SHORT, 60), SHORT),
    Case("IssueboxExporterMissing", 1, stays(f"up{{{JOB}}}", 1), SHORT),
    Case("IssueboxExporterMissing", 0,
         at_age("issuebox_exporter_last_success_timestamp_seconds", 'read="runs"', 60, SHORT, 60), SHORT),
)  # fmt: skip
