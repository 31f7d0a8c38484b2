"""The command line of `issuebox resync`: starts the workflow with a new ID, waits, and prints its report."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from issuebox.cli.command_line import DATA, AsJson, Data, Exit, expected, fail, load_or_fail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.text import Text

    from workflows.resync_messages import ResyncReport, ResyncRequest

TIMEOUT_S = 10.0
"""A resync of a quiet repository takes less than a second. After this time the command prints what it waits for."""

COUNTED = ("listed", "sent", "known", "unasked", "refused", "unreadable", "left_out")
"""What became of the issues and comments that GitHub listed, in the words of the report."""


def resync(
    repositories: Annotated[
        list[str] | None, typer.Argument(metavar="[REPOSITORY]...", help="owner/name. Default: the configured ones.")
    ] = None,
    *,
    full: Annotated[
        bool,
        typer.Option("--full", help="Compare all open issues, and let each request its sandbox, however old it is."),
    ] = False,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Look back to this time (ISO 8601) instead of three days.")
    ] = "",
    as_json: AsJson = False,
    data: Data = DATA,
) -> None:
    """Find at GitHub what its deliveries missed, and send it.

    It goes to the issues' workflows, which needs a running worker.

    Exit codes: 0 all repositories were read; 1 one could not be read; 2 misuse; 3 Temporal cannot be reached.
    """
    import asyncio  # noqa: PLC0415

    from issuebox.cli import screen  # noqa: PLC0415
    from issuebox.domain.issue_source import is_repository  # noqa: PLC0415
    from issuebox.settings import WorkerSettings  # noqa: PLC0415
    from issuebox.temporal.schedules import resync_request  # noqa: PLC0415
    from workflows.resync_messages import ResyncReport  # noqa: PLC0415

    settings = load_or_fail(WorkerSettings, connected_in=data)
    names = tuple(repositories or ())
    for name in names:
        if not is_repository(name):
            fail(f"{name!r} is not a repository: give owner/name", Exit.MISUSE)
    request = resync_request(settings, names, since=_time(since), is_full=full)
    if not request.repositories:
        fail("name a repository, or set ISSUEBOX_RESYNC_REPOSITORIES", Exit.MISUSE)
    report = asyncio.run(_run(settings.task_queue, request, data))
    screen.show_json(ResyncReport, report) if as_json else _print(report)
    if any(repository.error for repository in report.repositories):
        raise typer.Exit(Exit.NO)


async def _run(task_queue: str, request: ResyncRequest, data: Path) -> ResyncReport:
    """Start the workflow and wait for its report."""
    import asyncio  # noqa: PLC0415
    import uuid  # noqa: PLC0415

    from temporalio.client import WorkflowFailureError  # noqa: PLC0415
    from temporalio.service import RPCError  # noqa: PLC0415

    from issuebox.dev.dev_stack import temporal_environment  # noqa: PLC0415
    from issuebox.temporal.connect import TemporalConfigError, connect, reason_of  # noqa: PLC0415
    from issuebox.temporal.fairness import Urgency, priority_of  # noqa: PLC0415
    from workflows.resync_messages import RESYNC_WORKFLOW_TYPE, ResyncReport  # noqa: PLC0415

    workflow_id = f"issuebox-resync-{uuid.uuid4().hex[:12]}"
    try:
        client = await connect(environment=temporal_environment(data))
        handle = await client.start_workflow(
            RESYNC_WORKFLOW_TYPE,
            request,
            id=workflow_id,
            task_queue=task_queue,
            result_type=ResyncReport,
            priority=priority_of(Urgency.SWEEP),
        )
        result: asyncio.Future[ResyncReport] = asyncio.ensure_future(handle.result())
        done, _ = await asyncio.wait({result}, timeout=TIMEOUT_S)
        if not done:
            _say(f"waiting for workflow {workflow_id}; it needs a worker on the task queue {task_queue!r}")
        return await result
    except TemporalConfigError as error:
        fail(str(error), Exit.MISUSE)
    except WorkflowFailureError as error:
        fail(f"the workflow {workflow_id} did not complete: {error.cause}", Exit.NO)
    except (RPCError, RuntimeError) as error:
        # The SDK raises RuntimeError when it cannot connect.
        fail(f"{reason_of(error).rstrip('.')}. {expected(data)}", Exit.AWAY)


def _time(text: str) -> datetime | None:
    """The time as given. Without a zone it is UTC, like everything that GitHub shows."""
    from issuebox.domain.issue import time_of  # noqa: PLC0415

    if not text:
        return None
    time = time_of(text)
    if time is None:
        fail(f"{text!r} is not a time: give one such as 2026-01-31T12:00:00Z", Exit.MISUSE)
    return time


def report_lines(report: ResyncReport) -> Iterator[Text]:
    """One line for each repository, with its counts; then what was sent, and what could not be read."""
    from rich.text import Text  # noqa: PLC0415

    for one in report.repositories:
        counts = ", ".join(f"{getattr(one.counts, name)} {name.replace('_', ' ')}" for name in COUNTED)
        requests = f"{one.counts.requests} requests, {one.counts.unchanged} of them without news (304)"
        yield Text(f"{one.repository}: {counts}; {requests}")
    for one in report.repositories:
        for sent in one.sent:
            yield Text(f"sent {sent.repository}#{sent.number} {sent.action}: {sent.reason}")
        if one.error:
            yield Text(f"not read {one.repository}: {one.error}: {one.reason}", style="red")


def _print(report: ResyncReport) -> None:
    from issuebox.cli import screen  # noqa: PLC0415

    console = screen.console()
    for line in report_lines(report):
        console.print(line, soft_wrap=True)


def _say(text: str) -> None:
    sys.stderr.write(f"issuebox: {text}\n")
