"""What the exporter reads of audits, resyncs and schedules, and what it does when it cannot read."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families
from temporalio import workflow
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleSpec,
    ScheduleState,
)
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from issuebox import metrics
from issuebox.domain.audit import Finding, Kind
from issuebox.domain.resync import Mark
from issuebox.exporter import Exporter
from issuebox.settings import ExporterSettings
from issuebox.temporal.connect import DATA_CONVERTER
from issuebox.temporal.schedules import schedule_id
from tests.waiting import until
from workflows import search_attributes
from workflows.audit_messages import AUDIT_TYPE, AuditReport
from workflows.messages import WORKFLOW_TYPE
from workflows.resync_messages import RESYNC_WORKFLOW_TYPE, RepositoryReport, ResyncReport

AT = datetime(2026, 1, 2, tzinfo=UTC)
READS = ("issues", "blocked", "runs", "stuck", "pollers", "schedules", "audit", "resync")


@workflow.defn(name=AUDIT_TYPE)
class Audit:
    """Reports what it is given."""

    @workflow.run
    async def run(self, report: AuditReport) -> AuditReport:
        return report


@workflow.defn(name=RESYNC_WORKFLOW_TYPE)
class Resync:
    """Ditto."""

    @workflow.run
    async def run(self, report: ResyncReport) -> ResyncReport:
        return report


@pytest.fixture(autouse=True)
def _on() -> Iterator[None]:
    metrics.turn_on(metrics.Process.EXPORTER)
    yield
    metrics.turn_off()


def shown(metric: metrics.Metric) -> dict[tuple[str, ...], float]:
    """The values of a metric, by its labels' values."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    samples = [sample for family in families for sample in family.samples if sample.name == metric.name]
    return {tuple(sample.labels[name] for name in metric.labels): sample.value for sample in samples}


def exporter_of(client: Client, task_queue: str) -> Exporter:
    settings = ExporterSettings.model_validate({"task_queue": task_queue, "admin_address": "127.0.0.1:1"})
    return Exporter(client, settings, searches_per_s=1_000)


def report(*kinds: Kind, is_complete: bool = True) -> AuditReport:
    findings = tuple(
        Finding(kind, number, f"id-{number}", "name", "seen", "advice", mended=kind is Kind.ORPHAN)
        for number, kind in enumerate(kinds)
    )
    return AuditReport(
        not findings, AT, took_s=1, sandboxes=3, sandboxes_leaving=0, issues=3, issues_compared=3, suspects=0,
        mended=0, is_complete=is_complete, findings=findings,
    )  # fmt: skip


async def closed(client: Client, workflow_id: str) -> float:
    """When the workflow's run was over, once searches know of it."""

    async def known() -> float | None:
        query = f"WorkflowId = '{workflow_id}' AND ExecutionStatus = 'Completed'"
        return max([run.close_time.timestamp() async for run in client.list_workflows(query) if run.close_time],
                   default=None)  # fmt: skip

    found = await until(known, lambda at: at is not None, "the run is known as completed")
    assert found is not None
    return found


async def test_audits_and_resyncs_are_read_from_their_newest_reports(temporal: Client) -> None:
    """Findings of the newest audit without the mended; the time of one that was complete; each repository's own."""
    queue, own = f"exporter-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex[:8]
    exporter = exporter_of(temporal, queue)

    async def ran(kind: str, given: object, name: str) -> float:
        await temporal.execute_workflow(kind, given, id=name, task_queue=queue)
        return await closed(temporal, name)

    async def resynced(*repositories: tuple[str, str]) -> float:
        """One run by the schedule, which starts it under an ID of its own."""
        given = ResyncReport(tuple(RepositoryReport(name, Mark.at(AT), error=error) for name, error in repositories))
        action = ScheduleActionStartWorkflow(RESYNC_WORKFLOW_TYPE, given, id=f"resync-{uuid.uuid4().hex}",
                                             task_queue=queue)  # fmt: skip
        spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(hours=2))])
        handle = await temporal.create_schedule(
            schedule_id("issuebox-resync", queue), Schedule(action, spec), trigger_immediately=True
        )

        async def begun() -> str:
            actions = (await handle.describe()).info.recent_actions
            return actions[0].action.workflow_id if actions else ""  # type: ignore[union-attr]

        at = await closed(temporal, await until(begun, bool, "the schedule has started it"))
        await exporter.round()
        assert shown(metrics.SWEEP_INTERVAL) == {("resync",): 7200}
        await handle.delete()
        return at

    async with Worker(
        temporal, task_queue=queue, workflows=[Audit, Resync], workflow_runner=UnsandboxedWorkflowRunner()
    ):
        complete_at = await ran(AUDIT_TYPE, report(), f"audit-1-{own}")
        await exporter.round()
        assert shown(metrics.AUDIT_AT) == {(): pytest.approx(complete_at, abs=0.001)}
        assert set(shown(metrics.AUDIT_FINDINGS).values()) == {0}
        await ran(AUDIT_TYPE, report(Kind.LEAK, Kind.LEAK, Kind.ORPHAN, is_complete=False), f"audit-2-{own}")
        first_at = await resynced(("octo/good", ""), ("octo/bad", ""))
        assert shown(metrics.AUDIT_FINDINGS)[("leak",)] == 2
        assert shown(metrics.AUDIT_FINDINGS)[("orphan",)] == 0  # It was mended.
        assert shown(metrics.AUDIT_AT) == {(): pytest.approx(complete_at, abs=0.001)}
        assert shown(metrics.RESYNC_AT) == {
            ("octo/good",): pytest.approx(first_at, abs=0.001), ("octo/bad",): pytest.approx(first_at, abs=0.001)
        }  # fmt: skip
        second_at = await resynced(("octo/good", ""), ("octo/bad", "UnknownError"))
    expected = {("octo/good",): pytest.approx(second_at, abs=0.001), ("octo/bad",): pytest.approx(first_at, abs=0.001)}
    assert second_at > first_at
    assert shown(metrics.RESYNC_AT) == expected
    await exporter.round()
    assert shown(metrics.SWEEP_INTERVAL) == {}  # The schedule is gone.
    metrics.turn_on(metrics.Process.EXPORTER)
    await exporter_of(temporal, queue).round()
    assert shown(metrics.RESYNC_AT) == expected  # Also for an exporter that was started since.
    assert shown(metrics.EXPORTER_ERRORS) == {}


async def test_paused_schedule_has_no_interval(temporal: Client) -> None:
    """Somebody paused it on purpose: that its last run is long ago is no news."""
    queue = f"exporter-{uuid.uuid4().hex[:8]}"
    handle = await temporal.create_schedule(
        schedule_id("issuebox-audit", queue),
        Schedule(
            ScheduleActionStartWorkflow(AUDIT_TYPE, id=f"audit-{queue}", task_queue=queue),
            ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(hours=2))]),
            state=ScheduleState(paused=True),
        ),
    )
    exporter = exporter_of(temporal, queue)
    await exporter._schedules()
    assert shown(metrics.SWEEP_INTERVAL) == {}
    await handle.unpause()
    await exporter._schedules()
    assert shown(metrics.SWEEP_INTERVAL) == {("audit",): 7200}
    await handle.delete()


async def test_what_cannot_be_read_keeps_its_value_and_grows_old(temporal: Client) -> None:
    """Temporal is away: nothing becomes 0, each read counts as failed, and its last success stays what it was."""
    queue = f"exporter-{uuid.uuid4().hex[:8]}"
    await exporter_of(temporal, queue).round()
    before = {metric: shown(metric) for metric in (metrics.ISSUES, metrics.POLLERS, metrics.EXPORTER_AT)}
    metrics.put(metrics.ISSUES, 7, phase="usable")
    away = await Client.connect("127.0.0.1:1", lazy=True, data_converter=DATA_CONVERTER)
    exporter = exporter_of(away, queue)
    started = shown(metrics.EXPORTER_AT)
    assert await exporter.is_not_ready()
    async with asyncio.timeout(60):
        await exporter.round()
    assert shown(metrics.ISSUES) == before[metrics.ISSUES] | {("usable",): 7}
    assert shown(metrics.POLLERS) == before[metrics.POLLERS]
    assert shown(metrics.EXPORTER_AT) == started
    assert shown(metrics.EXPORTER_ERRORS) == {(name,): 1 for name in READS}


async def test_read_that_never_succeeded_is_as_old_as_the_exporter() -> None:
    """Without a time it would have no age, and the alert on it would never fire."""
    before = time.time()
    away = await Client.connect("127.0.0.1:1", lazy=True, data_converter=DATA_CONVERTER)
    exporter_of(away, "queue")
    assert set(shown(metrics.EXPORTER_AT)) == {(name,) for name in READS}
    assert all(before <= at <= time.time() for at in shown(metrics.EXPORTER_AT).values())


async def test_issues_of_another_installation_are_not_counted(temporal: Client) -> None:
    """It may share the namespace; its task queue tells it apart."""
    queues = [f"exporter-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    given = TypedSearchAttributes(
        [
            SearchAttributePair(search_attributes.PHASE, "usable"),
            SearchAttributePair(search_attributes.BLOCKED, "quota"),
            SearchAttributePair(search_attributes.RUN, "working"),
        ]
    )
    started = [
        await temporal.start_workflow(WORKFLOW_TYPE, id=uuid.uuid4().hex, task_queue=queues[0], search_attributes=told)
        for told in (given, TypedSearchAttributes.empty)
    ]

    async def counted() -> int:
        return (await temporal.count_workflows(f"TaskQueue = '{queues[0]}'")).count

    await until(counted, lambda count: count == len(started), "searches know of them")
    await exporter_of(temporal, queues[1]).round()
    for metric in (metrics.ISSUES, metrics.ISSUES_BLOCKED, metrics.RUNS):
        assert set(shown(metric).values()) == {0}
    await exporter_of(temporal, queues[0]).round()
    assert {labels: value for labels, value in shown(metrics.ISSUES).items() if value} == {
        ("usable",): 1,
        (metrics.NONE,): 1,
    }
    assert {labels: value for labels, value in shown(metrics.ISSUES_BLOCKED).items() if value} == {("quota",): 1}
    assert {labels: value for labels, value in shown(metrics.RUNS).items() if value} == {("working",): 1}
    assert shown(metrics.BACKLOG)[("workflows",)] == len(started)  # No worker is there to take their first tasks.
    assert shown(metrics.POLLERS)[("workflows",)] == 0
    for handle in started:
        await handle.terminate()
