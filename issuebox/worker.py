"""The worker process: provider, activities and workflows put together. The composition root.

The Daytona SDK is imported here at start-up (4 to 6 s on a small machine), so that the first activity
does not pay for it. A worker without a Daytona key does not start.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Self

import structlog
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Interceptor, UnsandboxedWorkflowRunner, Worker

from activities.audit import AuditActivities
from activities.audit_messages import AuditTerms
from activities.github import GitHubActivities
from activities.inside import InsideActivities
from activities.sandboxes import SandboxActivities
from issuebox.domain.audit import Installation
from issuebox.domain.issue_source import IssueSource
from issuebox.domain.policy import Closing, Policy
from issuebox.domain.provider import SandboxProvider
from issuebox.domain.set_up import SetUp
from issuebox.providers.daytona import DaytonaOptions, DaytonaProvider
from issuebox.providers.github import GitHubSource
from issuebox.providers.github_client import GitHubOptions
from issuebox.settings import WorkerSettings, criteria_of
from issuebox.temporal.connect import connect, forward_core_log
from issuebox.temporal.schedules import ensure_schedules
from issuebox.temporal.search_attributes import has_search_attributes
from issuebox.temporal.sweeps import SweptIssues
from issuebox.watchdog import watched
from workflows.audit import AuditWorkflow
from workflows.issue_sandbox import IssueSandboxWorkflow
from workflows.resync import ResyncWorkflow
from workflows.signal_guard import SignalGuard

GRACEFUL_SHUTDOWN = timedelta(seconds=5)
"""Time for running activities to end by themselves after SIGTERM. Another worker resumes the rest with a lookup."""

STICKY_TIMEOUT = timedelta(seconds=5)
"""How long a workflow task waits for the worker that has the workflow in memory, before any other worker takes it.

Temporal counts a worker as gone 10 s after its last poll; a missed heartbeat reveals its death earlier.
"""

WORKFLOW_RUNNER = UnsandboxedWorkflowRunner()
"""Without Temporal's sandbox, which would protect nothing here and cost a third of the worker's time: decision 12."""

_log = structlog.get_logger("issuebox.worker")


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
    """Run a worker process until SIGINT or SIGTERM."""
    forward_core_log()
    asyncio.run(watched(run_worker(worker, ready_file)))


async def run_worker(worker: WorkerOptions, ready_file: Path | None = None) -> None:
    """Serve the task queue until SIGINT or SIGTERM. Touches `ready_file` when it has begun to poll."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    client = await connect()
    is_searchable = await has_search_attributes(client)
    settings = worker.settings
    async with (
        DaytonaProvider(worker.daytona) as provider,
        GitHubSource(worker.github) as source,
        build_worker(client, provider, worker, source=source, is_searchable=is_searchable),
    ):
        _log.info("worker_ready", task_queue=settings.task_queue, daytona=settings.daytona_api_url)
        if ready_file is not None:
            ready_file.touch()  # noqa: ASYNC240 -- one inode, once
        await ensure_schedules(client, settings)
        await stop.wait()
        _log.info("worker_stopping")


def build_worker(
    client: Client,
    provider: SandboxProvider,
    worker: WorkerOptions,
    interceptors: Sequence[Interceptor] = (),
    *,
    source: IssueSource | None = None,
    is_searchable: bool = False,
) -> Worker:
    """A worker for the task queue, also for tests. Without `source`, it uses GitHub as the settings say.

    `is_searchable` means that the search attributes are registered, so that workflows may set them.
    """
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
        provider, swept, ours=Installation(settings.instance, settings.name_prefix), terms=worker.audit
    )
    # Our lines carry the IDs as fields; the context dict in the message would only hide its words.
    workflow.logger.workflow_info_on_message = False
    activity.logger.activity_info_on_message = False
    return Worker(
        client,
        task_queue=settings.task_queue,
        workflows=[IssueSandboxWorkflow, AuditWorkflow, ResyncWorkflow],
        activities=[*activities.all(), *inside.all(), *github.all(), *audit.all()],
        workflow_runner=WORKFLOW_RUNNER,
        interceptors=[SignalGuard(), *interceptors],
        graceful_shutdown_timeout=GRACEFUL_SHUTDOWN,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
        max_cached_workflows=settings.cached_workflows,
        max_concurrent_activities=200,
    )


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
    return Policy(
        is_setup_configured=set_up(settings).is_configured,
        setup_timeout_s=settings.setup_timeout_s,
        closing=Closing(
            stop_after_s=settings.close_stop_after_s,
            archive_after_s=settings.close_archive_after_s,
            delete_after_s=settings.close_delete_after_s,
        ),
        has_github=bool(settings.github_token.get_secret_value() or settings.github_app_id),
        instance=settings.instance,
    )
