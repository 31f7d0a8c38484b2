"""The worker process: provider, activities and workflows put together. The composition root.

The Daytona SDK is imported here at start-up (4 to 6 s on a small machine), so that the first activity
does not pay for it. A worker without a Daytona key does not start.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import structlog
from temporalio import activity, workflow
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Interceptor, UnsandboxedWorkflowRunner, Worker

from activities.audit import AuditActivities
from activities.audit_messages import AuditTerms
from activities.gate import GateActivities
from activities.github import GitHubActivities
from activities.inside import InsideActivities
from activities.notices import NoticeActivities, Receiver
from activities.run_reports import RunReportActivities
from activities.runs import TIMEOUTS, RunActivities, RunTimeouts, Work, redaction_of
from activities.sandboxes import SandboxActivities
from issuebox import measured, metrics
from issuebox.domain.audit import Installation
from issuebox.domain.comments import Comments
from issuebox.domain.gate import Caps
from issuebox.domain.issue_source import IssueSource
from issuebox.domain.policy import Closing, Policy
from issuebox.domain.presets import PRESETS
from issuebox.domain.provider import SandboxProvider
from issuebox.domain.run import RunTerms
from issuebox.domain.run_comment import Hints
from issuebox.domain.set_up import SetUp
from issuebox.domain.slot import Kind
from issuebox.health import answering, polls
from issuebox.providers.daytona import DaytonaOptions, DaytonaProvider
from issuebox.providers.github import GitHubSource
from issuebox.providers.github_client import GitHubOptions
from issuebox.providers.github_comments import GitHubComments
from issuebox.quick_checks import quick_checks
from issuebox.run_logs import RunLogs
from issuebox.settings import WorkerSettings, criteria_of
from issuebox.start_checks import OUTSIDE_PAUSES, Standing, reached, repeated
from issuebox.temporal.connect import TemporalConfigError, connect, forward_core_log, reason_of
from issuebox.temporal.counted import CountedCommands
from issuebox.temporal.fitting import warn_of_misfits
from issuebox.temporal.gate import GateClient
from issuebox.temporal.schedules import ensure_schedules
from issuebox.temporal.search_attributes import has_search_attributes
from issuebox.temporal.sweeps import SweptIssues
from issuebox.watchdog import end_failed, end_when_task_is_lost, watched
from workflows import options
from workflows.audit import AuditWorkflow
from workflows.gate import GateWorkflow
from workflows.issue_sandbox import IssueSandboxWorkflow
from workflows.messages import Aside
from workflows.resync import ResyncWorkflow
from workflows.signal_guard import SignalGuard

STICKY_TIMEOUT = timedelta(seconds=3)
"""How long a workflow task waits for the worker that has the workflow in memory, before any other worker takes it.

Temporal counts a worker as gone 10 s after its last poll; a missed heartbeat reveals its death earlier.
"""

WORKFLOW_RUNNER = UnsandboxedWorkflowRunner()
"""Without Temporal's sandbox, which would protect nothing here and cost a third of the worker's time: decision 12."""

WORKFLOW_TASKS_MAX: Final = 100
"""Limit on the workflow tasks that a worker works on at once: the SDK's own default."""

CACHE_PER_TASK: Final = 10
"""Cached workflows for each workflow task at once: with fewer, the cache may be full of busy ones, and tasks wait."""

_log = structlog.get_logger("issuebox.worker")


class StartError(Exception):
    """The worker cannot start; the text is one sentence that says why."""


@dataclass(frozen=True, slots=True)
class TaskSlots:
    """How many activities a worker works on at once, by their task queue.

    A wait or a follower of a run costs next to nothing. All others may each hold a connection to Daytona, and many
    systems allow a process 1,024 open files.
    """

    own: int = 200
    waits: int = 1000
    inside: int = 200
    notices: int = 50
    runs: int = 1000

    def aside(self, aside: Aside) -> int:
        """Those of a task queue beside the installation's own."""
        return {Aside.WAITS: self.waits, Aside.INSIDE: self.inside, Aside.NOTICES: self.notices, Aside.RUNS: self.runs}[
            aside
        ]


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker is built from. It follows from the settings; only proofs and tests change anything else.

    How long a worker waits and how often it tries are defaults of these objects, where each has its reason.
    """

    settings: WorkerSettings
    policy: Policy
    daytona: DaytonaOptions
    github: GitHubOptions
    audit: AuditTerms
    slots: TaskSlots = TaskSlots()
    runs: RunTimeouts = TIMEOUTS

    @classmethod
    def of(cls, settings: WorkerSettings) -> Self:
        """The options that follow from the settings."""
        return cls(
            settings,
            policy=policy(settings),
            daytona=daytona_options(settings),
            github=github_options(settings),
            audit=AuditTerms(mends=settings.audit_mend),
        )


def serve(worker: WorkerOptions, ready_file: Path | None = None) -> None:
    """Run a worker process until SIGINT or SIGTERM. Raises `StartError`."""
    if worker.settings.admin_address:
        measured.begin(metrics.Process.WORKER)
    else:
        forward_core_log()
    end_when_task_is_lost()
    asyncio.run(watched(run_worker(worker, ready_file)))


async def run_worker(worker: WorkerOptions, ready_file: Path | None = None) -> None:
    """Serve the task queue until SIGINT or SIGTERM. Touches `ready_file` when it has begun to poll.

    Raises `StartError`.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    settings = worker.settings
    async with AsyncExitStack() as exits:
        client = await _start(exits, worker, ready_file, stop)
        if client is None:
            _log.info("worker_stopping", reason="stopped before Temporal was reached")
            return
        _log.info("worker_ready", task_queue=settings.task_queue, daytona=settings.daytona_api_url)
        await ensure_schedules(client, settings)
        await warn_of_misfits(client, settings)
        await stop.wait()
        _log.info("worker_stopping", grace_s=settings.grace_s)


async def _start(
    exits: AsyncExitStack, worker: WorkerOptions, ready_file: Path | None, stop: asyncio.Event
) -> Client | None:
    """Bring the parts up, each to be closed by `exits`; None when `stop` is set before Temporal is reached.

    Temporal is waited for, however long that takes. Raises `StartError`.
    """
    settings, standing = worker.settings, Standing()
    client: Client | None = None

    async def is_not_ready() -> str:
        return await polls(client, settings.task_queue) if client else "; ".join(standing.sentences()) or "starting"

    try:
        await exits.enter_async_context(answering(settings.admin_address, is_not_ready, standing.sentences))
        found = await reached(_connected, stop, standing)
        if found is None:
            return None
        provider = await exits.enter_async_context(DaytonaProvider(worker.daytona))
        source = await exits.enter_async_context(GitHubSource(worker.github))
        await exits.enter_async_context(
            build_worker(
                found,
                provider,
                worker,
                source=source,
                is_searchable=await has_search_attributes(found),
                on_fatal_error=end_failed,
            )
        )
        client = found
        await exits.enter_async_context(repeated(quick_checks(settings, provider), standing, OUTSIDE_PAUSES))
        if ready_file is not None:
            ready_file.touch()  # noqa: ASYNC240 -- one inode, once
    except OSError as error:
        place = f"{error.filename} cannot be written: " if error.filename else ""
        raise StartError(f"{place}{error.strerror or error}") from error
    except (TemporalConfigError, RPCError, RuntimeError) as error:  # The SDK's core has no class of its own.
        raise StartError(reason_of(error)) from error
    return client


async def _connected() -> Client:
    """A client of Temporal, which knows our namespace."""
    client = await connect()
    await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    return client


@asynccontextmanager
async def build_worker(
    client: Client,
    provider: SandboxProvider,
    worker: WorkerOptions,
    interceptors: Sequence[Interceptor] = (),
    *,
    source: IssueSource | None = None,
    is_searchable: bool = False,
    on_fatal_error: Callable[[BaseException], Awaitable[None]] | None = None,
) -> AsyncIterator[None]:
    """Serve all task queues within the block, also for tests. Without `source`, it uses GitHub as the settings say.

    `is_searchable` means that the search attributes are registered, so that workflows may set them. The SDK awaits
    `on_fatal_error` when it gives up on any queue. Every queue has every activity: only `workflows.options` says where
    one is scheduled.
    """
    settings = worker.settings
    comments = GitHubComments(worker.github)
    activities = _activities(client, provider, worker, source, comments, is_searchable=is_searchable)
    # Our lines carry the IDs as fields; the context dict in the message would only hide its words.
    workflow.logger.workflow_info_on_message = False
    activity.logger.activity_info_on_message = False
    serving = partial(
        Worker,
        client,
        activities=activities,
        interceptors=[SignalGuard(), *([CountedCommands()] if metrics.is_on() else []), *interceptors],
        graceful_shutdown_timeout=timedelta(seconds=settings.grace_s),
        on_fatal_error=on_fatal_error,
    )
    own = serving(
        task_queue=settings.task_queue,
        workflows=[IssueSandboxWorkflow, AuditWorkflow, ResyncWorkflow, GateWorkflow],
        workflow_runner=WORKFLOW_RUNNER,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
        max_cached_workflows=settings.cached_workflows,
        max_concurrent_workflow_tasks=min(WORKFLOW_TASKS_MAX, settings.cached_workflows // CACHE_PER_TASK),
        max_concurrent_activities=worker.slots.own,
        max_heartbeat_throttle_interval=options.HEARTBEATS[None].every,
    )
    workers = [own] + [
        serving(
            task_queue=aside.queue(settings.task_queue),
            max_concurrent_activities=worker.slots.aside(aside),
            max_heartbeat_throttle_interval=options.HEARTBEATS[aside].every,
        )
        for aside in Aside
    ]
    async with AsyncExitStack() as exits:
        await exits.enter_async_context(comments)
        for each in workers:
            await exits.enter_async_context(each)
        try:
            yield
        finally:
            # Together: one after the other, each would take the whole grace.
            await asyncio.gather(*(each.shutdown() for each in workers))


def _activities(
    client: Client,
    provider: SandboxProvider,
    worker: WorkerOptions,
    source: IssueSource | None,
    comments: Comments,
    *,
    is_searchable: bool,
) -> list[Callable[..., Any]]:
    settings = worker.settings
    activities = SandboxActivities(
        provider,
        policy=replace(worker.policy, has_search_attributes=is_searchable),
        instance=settings.instance,
        settle_timeout_s=worker.daytona.settle_timeout_s,
    )
    inside = InsideActivities(
        provider, set_up=set_up(settings), inspect_paths=settings.inspect_paths, instance=settings.instance
    )
    swept = SweptIssues(client, name_prefix=settings.name_prefix, task_queue=settings.task_queue)
    github = GitHubActivities(source or GitHubSource(worker.github), swept, criteria_of(settings))
    audit = AuditActivities(
        provider,
        swept,
        ours=Installation(settings.instance, settings.name_prefix),
        terms=worker.audit,
        closing=worker.policy.closing,
    )
    notices = NoticeActivities(Receiver(settings.notice_url, settings.notice_secret.get_secret_value()))
    reports = RunReportActivities(
        comments,
        Hints(settings.trigger_label if settings.run_on else "", settings.trigger_phrase),
        partial(redacted, settings),
    )
    runs = RunActivities(
        provider,
        work=work(settings),
        instance=settings.instance,
        logs=RunLogs(settings.run_log_dir),
        own_secrets=own_secrets(settings),
        reports=reports,
        timeouts=worker.runs,
    )
    gate = GateClient(client, name_prefix=settings.name_prefix, task_queue=settings.task_queue)
    at_gate = GateActivities(
        gate,
        provider,
        caps={Kind.SANDBOX: worker.policy.caps, Kind.RUN: Caps(settings.runs_max)},
        ours=Installation(settings.instance, settings.name_prefix),
    )
    groups = (activities, inside, github, audit, notices, runs, at_gate, reports)
    return [each for group in groups for each in group.all()]


def daytona_options(settings: WorkerSettings) -> DaytonaOptions:
    """How to reach Daytona, from the settings."""
    return DaytonaOptions(
        api_key=settings.daytona_api_key.get_secret_value(),
        api_url=settings.daytona_api_url,
        target=settings.daytona_target,
        snapshot=settings.snapshot,
        auto_stop_interval_s=settings.auto_stop_interval_s,
        auto_archive_interval_s=settings.auto_archive_interval_s,
    )


def set_up(settings: WorkerSettings) -> SetUp:
    """What makes a new sandbox ready, from the settings. The token goes no further than the activities."""
    return SetUp(
        clone_url=settings.setup_clone_url,
        command=settings.setup_command,
        timeout_s=settings.setup_timeout_s,
        token=settings.github_token.get_secret_value(),
    )


def own_secrets(settings: WorkerSettings) -> tuple[str, ...]:
    """The worker's own secrets, which must not appear in a copy of a run's output, however they came there."""
    secrets = (
        settings.daytona_api_key,
        settings.github_token,
        settings.github_app_private_key,
        settings.notice_secret,
    )
    return tuple(value for secret in secrets if (value := secret.get_secret_value()))


def redacted(settings: WorkerSettings, text: str) -> str:
    """The text without the worker's own secrets and those of a run."""
    return redaction_of(own_secrets(settings), settings.run_env).text(text)


def work(settings: WorkerSettings) -> Work:
    """What a run does, from the settings."""
    preset = PRESETS[settings.run_preset or "command"]
    return Work(
        preset,
        preset.command_line(settings.run_command, settings.run_arguments) if settings.run_preset else "",
        time_limit_s=settings.run_timeout_s,
        secrets=settings.run_env,
        has_clone=bool(settings.setup_clone_url),
    )


def github_options(settings: WorkerSettings) -> GitHubOptions:
    """How to reach GitHub, from the settings."""
    return GitHubOptions(
        api_url=settings.github_api_url,
        token=settings.github_token.get_secret_value(),
        app_id=settings.github_app_id,
        private_key=settings.github_app_private_key.get_secret_value(),
    )


def policy(settings: WorkerSettings) -> Policy:
    """What the settings hand to the workflow."""
    has_github = bool(settings.github_token.get_secret_value() or settings.github_app_id)
    return Policy(
        is_setup_configured=set_up(settings).is_configured,
        setup_timeout_s=settings.setup_timeout_s,
        closing=Closing(
            stop_after_s=settings.close_stop_after_s,
            archive_after_s=settings.close_archive_after_s,
            delete_after_s=settings.close_delete_after_s,
        ),
        has_github=has_github,
        has_receiver=bool(settings.notice_url),
        runs=RunTerms(
            is_configured=bool(settings.run_preset),
            time_limit_s=settings.run_timeout_s,
            stall_s=settings.run_stall_s,
            attempts_max=settings.run_attempts,
            is_told=bool(settings.run_preset) and settings.run_report == "comment" and has_github,
            is_cancelled_on_close=settings.run_on_close == "cancel",
            interrupts_for_follow_up=settings.run_follow_up == "interrupt",
            runs_max=settings.runs_max,
        ),
        caps=Caps(
            settings.running_max,
            settings.running_max_per_repository,
            settings.running_max_per_author,
            settings.running_reserve,
        ),
        instance=settings.instance,
        name_prefix=settings.name_prefix,
    )
