"""The Temporal Schedules of an installation: one table, which every starting worker applies.

A sweep is one row of `SWEEPS`. Several workers may start at once with the same table: a later one finds the
schedule and writes the same into it. A worker that may not create schedules still serves its task queue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from issuebox.domain.issue_source import is_repository
from issuebox.settings import WorkerSettings
from issuebox.temporal.fairness import Urgency, priority_of
from workflows.audit_messages import AUDIT_SUMMARY, AUDIT_TYPE, AuditInput
from workflows.messages import TASK_QUEUE
from workflows.resync_messages import RESYNC_WORKFLOW_TYPE, ResyncRequest

RPC_TIMEOUT = timedelta(seconds=5)
"""The worker serves meanwhile; only its shutdown would wait for this."""

ATTEMPTS_MAX = 3
_UNANSWERED = frozenset({RPCStatusCode.CANCELLED, RPCStatusCode.DEADLINE_EXCEEDED})
"""The statuses of a call that Temporal does not answer in time."""

CATCHUP_WINDOW = timedelta(minutes=1)
"""Runs missed while Temporal was down are not caught up: the next run sees the same state."""

JITTER_SHARE = 0.1
"""Offset within the interval: without one, Temporal starts every installation's runs on the full hour."""


_log = structlog.get_logger("issuebox.schedules")


@dataclass(frozen=True, slots=True)
class Sweep:
    """One schedule: the workflow that it starts, its argument, and the interval in seconds (0 for never)."""

    id: str
    workflow: str
    summary: str
    argument: Callable[[WorkerSettings], object]
    interval_s: Callable[[WorkerSettings], float]


def resync_interval_s(settings: WorkerSettings) -> float:
    """The interval in seconds; 0 for never, as without repositories.

    Runs must not overlap: each continues from the result of the last completed one.
    """
    return settings.resync_interval_s if resync_repositories(settings) else 0.0


def resync_repositories(settings: WorkerSettings) -> tuple[str, ...]:
    """The configured repositories; else, with credentials, the allowed repositories that are given by full name.

    Without credentials GitHub answers only 60 requests an hour, which nobody should get by default.
    """
    has_credentials = bool(settings.github_token.get_secret_value() or settings.github_app_id)
    named = tuple(name for name in settings.allowed_repositories if is_repository(name))
    return settings.resync_repositories or (named if has_credentials else ())


def resync_request(
    settings: WorkerSettings,
    repositories: tuple[str, ...] = (),
    *,
    since: datetime | None = None,
    is_full: bool = False,
) -> ResyncRequest:
    """The input of one run, for these repositories or, without any, the configured ones; each only once."""
    wanted = {name.lower(): name for name in repositories or resync_repositories(settings)}
    return ResyncRequest(
        repositories=tuple(wanted.values()),
        since=since,
        is_full=is_full,
    )


SWEEPS = (
    Sweep("issuebox-audit", AUDIT_TYPE, AUDIT_SUMMARY, lambda _: AuditInput(), lambda s: s.audit_interval_s),
    Sweep("issuebox-resync", RESYNC_WORKFLOW_TYPE, "resync of missed deliveries", resync_request, resync_interval_s),
)


def schedule_id(sweep_id: str, task_queue: str) -> str:
    """The schedule's ID. An unusual task queue becomes part of it, because installations may share a namespace."""
    return sweep_id if task_queue == TASK_QUEUE else f"{sweep_id}-{task_queue}"


async def ensure_schedules(client: Client, settings: WorkerSettings) -> None:
    """Bring Temporal's schedules in line with the settings. Does not raise when Temporal refuses. Safe to repeat."""
    for sweep in SWEEPS:
        own_id = schedule_id(sweep.id, settings.task_queue)
        try:
            word = await _ensure(client, sweep, own_id, settings)
        except RPCError as error:
            _log.warning(
                "schedule_failed",
                schedule=own_id,
                reason=f"{error.status.name}: {error.message}",
                advice="Allow the workers' credentials to manage schedules and restart a worker, or create it by hand.",
            )
        else:
            _log.info(word, schedule=own_id, interval_s=sweep.interval_s(settings))


async def _ensure(client: Client, sweep: Sweep, own_id: str, settings: WorkerSettings) -> str:
    """The log word for what was done, after a few tries at most. Raises RPCError.

    Temporal sometimes does not answer a request about a schedule that is being created (server 1.29.1: 1 in 500,
    with five workers at once).
    """
    for _ in range(ATTEMPTS_MAX - 1):
        try:
            return await _ensure_once(client, sweep, own_id, settings)
        except RPCError as error:
            if error.status not in _UNANSWERED:
                raise
    return await _ensure_once(client, sweep, own_id, settings)


async def _ensure_once(client: Client, sweep: Sweep, own_id: str, settings: WorkerSettings) -> str:
    """The log word for what was done."""
    if sweep.interval_s(settings) <= 0:
        return "schedule_removed" if await _remove(client, own_id) else "schedule_off"
    schedule = _schedule(sweep, own_id, settings)
    try:
        await client.create_schedule(own_id, schedule, rpc_timeout=RPC_TIMEOUT)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(own_id).update(
            lambda known: _updated(known, schedule), rpc_timeout=RPC_TIMEOUT
        )
        return "schedule_kept"
    return "schedule_created"


async def _remove(client: Client, own_id: str) -> bool:
    """Delete the schedule. Returns whether there was one."""
    try:
        await client.get_schedule_handle(own_id).delete(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


def _updated(known: ScheduleUpdateInput, schedule: Schedule) -> ScheduleUpdate:
    """The schedule by the settings, still paused if it was: a person may have paused it."""
    return ScheduleUpdate(replace(schedule, state=known.description.schedule.state))


def _schedule(sweep: Sweep, own_id: str, settings: WorkerSettings) -> Schedule:
    interval = timedelta(seconds=sweep.interval_s(settings))
    return Schedule(
        action=ScheduleActionStartWorkflow(
            sweep.workflow,
            sweep.argument(settings),
            id=own_id,
            task_queue=settings.task_queue,
            static_summary=sweep.summary,
            priority=priority_of(Urgency.SWEEP),
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=interval)], jitter=interval * JITTER_SHARE),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCHUP_WINDOW),
    )
