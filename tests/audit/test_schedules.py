"""The schedules: created once however many workers start, kept as the settings say, and never blocking a worker."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs
from temporalio.client import (
    Client,
    CreateScheduleInput,
    Interceptor,
    OutboundInterceptor,
    ScheduleActionStartWorkflow,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleOverlapPolicy,
)
from temporalio.service import RPCError, RPCStatusCode

from issuebox.settings import WorkerSettings
from issuebox.temporal.schedules import ensure_schedules, schedule_id
from tests.waiting import until
from workflows.audit_messages import AUDIT_TYPE
from workflows.resync_messages import ResyncRequest

from .conftest import Audited, Started


def settings(issue_id: int, **changes: object) -> WorkerSettings:
    """Settings with a task queue that no other test uses."""
    return WorkerSettings.model_validate({"task_queue": f"queue-{issue_id}"} | changes)


def handle(client: Client, settings: WorkerSettings) -> ScheduleHandle:
    return client.get_schedule_handle(f"issuebox-audit-{settings.task_queue}")


async def described(client: Client, settings: WorkerSettings) -> ScheduleDescription:
    return await handle(client, settings).describe()


def words(logs: list[MutableMapping[str, Any]], settings: WorkerSettings) -> list[str]:
    """The log words about the audit's schedule."""
    own_id = f"issuebox-audit-{settings.task_queue}"
    return [line["event"] for line in logs if line["schedule"] == own_id]


def test_schedule_id_carries_the_task_queue_unless_it_is_the_usual_one() -> None:
    """Several installations can share a namespace."""
    assert schedule_id("issuebox-audit", "issuebox") == "issuebox-audit"
    assert schedule_id("issuebox-audit", "blue") == "issuebox-audit-blue"


async def test_schedule_says_what_the_settings_say(temporal: Client, issue_id: int) -> None:
    """It starts the audit on our task queue, one at a time, without catching up, and spread over installations."""
    given = settings(issue_id, audit_interval_s=600)
    await ensure_schedules(temporal, given)
    schedule = (await described(temporal, given)).schedule
    action = schedule.action
    assert isinstance(action, ScheduleActionStartWorkflow)
    assert (action.workflow, action.task_queue) == (AUDIT_TYPE, given.task_queue)
    assert [interval.every for interval in schedule.spec.intervals] == [timedelta(seconds=600)]
    assert schedule.spec.jitter == timedelta(seconds=60)
    assert schedule.policy.overlap is ScheduleOverlapPolicy.SKIP
    assert schedule.policy.catchup_window == timedelta(minutes=1)


async def test_many_workers_at_once_make_one_schedule(temporal: Client, issue_id: int) -> None:
    """Later workers find the schedule and leave it."""
    given = settings(issue_id)
    with capture_logs() as logs:
        await asyncio.gather(*(ensure_schedules(temporal, given) for _ in range(5)))
    assert sorted(words(logs, given)) == ["schedule_created", *["schedule_kept"] * 4]


async def test_new_interval_is_taken_over_and_a_pause_is_kept(temporal: Client, issue_id: int) -> None:
    """A restart with another setting updates the schedule; what a person paused stays paused."""
    given = settings(issue_id, audit_interval_s=600)
    await ensure_schedules(temporal, given)
    await handle(temporal, given).pause(note="maintenance")
    await ensure_schedules(temporal, settings(issue_id, audit_interval_s=900))
    schedule = (await described(temporal, given)).schedule
    assert [interval.every for interval in schedule.spec.intervals] == [timedelta(seconds=900)]
    assert (schedule.state.paused, schedule.state.note) == (True, "maintenance")


async def test_interval_of_zero_removes_the_schedule(temporal: Client, issue_id: int) -> None:
    """It is no error when there is none."""
    given, off = settings(issue_id), settings(issue_id, audit_interval_s=0)
    await ensure_schedules(temporal, given)
    with capture_logs() as logs:
        await ensure_schedules(temporal, off)
        await ensure_schedules(temporal, off)
    assert words(logs, given) == ["schedule_removed", "schedule_off"]
    with pytest.raises(RPCError) as raised:
        await described(temporal, given)
    assert raised.value.status is RPCStatusCode.NOT_FOUND


async def test_resync_is_scheduled_for_the_configured_repositories(temporal: Client, issue_id: int) -> None:
    """Without repositories there is no schedule; with other ones it reads those."""
    await ensure_schedules(temporal, settings(issue_id))
    schedule = temporal.get_schedule_handle(f"issuebox-resync-queue-{issue_id}")
    with pytest.raises(RPCError):
        await schedule.describe()
    for repositories in ("octo/one", "octo/two"):
        await ensure_schedules(temporal, settings(issue_id, resync_repositories=repositories, resync_interval_s=300))
        described = (await schedule.describe()).schedule
        assert isinstance(described.action, ScheduleActionStartWorkflow)
        (payload,) = described.action.args
        request = temporal.data_converter.payload_converter.from_payload(payload, ResyncRequest)
        assert request.repositories == (repositories,)
        assert [interval.every for interval in described.spec.intervals] == [timedelta(seconds=300)]


class Forbidden(Interceptor):
    """A Temporal that does not let this client create schedules."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002
        return _Forbidden(next)


class _Forbidden(OutboundInterceptor):
    async def create_schedule(self, input: object) -> ScheduleHandle:  # noqa: A002
        raise RPCError("schedules are not for you", RPCStatusCode.PERMISSION_DENIED, b"")


async def test_forbidden_schedule_is_reported_and_stops_nobody(temporal: Client, issue_id: int) -> None:
    """The log names the schedule, the reason and what to do."""
    config = temporal.config()
    config["interceptors"] = [Forbidden()]
    with capture_logs() as logs:
        await ensure_schedules(Client(**config), settings(issue_id))
    line = next(line for line in logs if line["event"] == "schedule_failed")
    assert (line["event"], line["log_level"]) == ("schedule_failed", "warning")
    assert line["schedule"] == f"issuebox-audit-queue-{issue_id}"
    assert line["reason"] == "PERMISSION_DENIED: schedules are not for you"
    assert "restart" in line["advice"]


class Unanswered(Interceptor):
    """The first creates are carried out, but their answers do not come in time."""

    def __init__(self, times: int) -> None:
        self.times = times

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002
        return _Unanswered(next, self)


class _Unanswered(OutboundInterceptor):
    def __init__(self, inner: OutboundInterceptor, fate: Unanswered) -> None:
        super().__init__(inner)
        self._fate = fate

    async def create_schedule(self, input: CreateScheduleInput) -> ScheduleHandle:  # noqa: A002
        try:
            return await super().create_schedule(input)
        finally:
            self._fate.times -= 1
            if self._fate.times >= 0:
                raise RPCError("Timeout expired", RPCStatusCode.CANCELLED, b"")


@pytest.mark.parametrize(("times", "word"), [(1, "schedule_kept"), (2, "schedule_kept"), (3, "schedule_failed")])
async def test_unanswered_call_is_made_again(temporal: Client, issue_id: int, times: int, word: str) -> None:
    """The call is repeated a few times; then the log reports the failure, and the worker serves all the same."""
    config = temporal.config()
    config["interceptors"] = [Unanswered(times)]
    given = settings(issue_id)
    with capture_logs() as logs:
        await ensure_schedules(Client(**config), given)
    assert words(logs, given) == [word]


async def test_scheduled_audit_runs(start: Started) -> None:
    """What the schedule starts is an audit that ends with a report."""
    world = await start()
    given = world.stack.settings
    await ensure_schedules(world.stack.temporal, given)
    try:
        await handle(world.stack.temporal, given).trigger()
        await until(lambda: _audits_done(world), lambda done: done == 1, "a scheduled audit has ended")
    finally:
        await handle(world.stack.temporal, given).delete()


async def _audits_done(world: Audited) -> int:
    ours = f"TaskQueue = '{world.stack.settings.task_queue}' AND WorkflowType = '{AUDIT_TYPE}'"
    return (await world.stack.temporal.count_workflows(f"{ours} AND ExecutionStatus = 'Completed'")).count


async def test_installations_of_one_namespace_have_each_their_own(temporal: Client, issue_id: int) -> None:
    """Removing one schedule leaves the other."""
    ours = settings(issue_id)
    theirs = settings(issue_id, task_queue=f"other-{issue_id}")
    await ensure_schedules(temporal, ours)
    await ensure_schedules(temporal, theirs)
    await ensure_schedules(temporal, settings(issue_id, audit_interval_s=0))
    assert (await described(temporal, theirs)).id.endswith(theirs.task_queue)
