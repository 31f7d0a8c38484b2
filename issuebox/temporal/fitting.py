"""Do task queue and name prefix fit the workflows that run?

After one of them was changed, nobody serves the workflows that began before, and Temporal still takes every event for
them. Reads only Temporal's index, which lags by a moment.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import structlog
from temporalio.client import Client
from temporalio.service import RPCError

from issuebox.settings import WorkerSettings
from issuebox.temporal.index import ODD, RUNNING, Index, Row, running_on
from issuebox.temporal.issues import Issues, IssuesError
from issuebox.temporal.pollers import pollers

COUNTED_MAX = 500
"""Limit on the workflows that are read for each question."""

CALL_TIMEOUT_S = 5.0
"""The worker serves meanwhile; only its shutdown would wait for this."""

MOVE = "Set it back, or move them: docs/operations.md."

_log = structlog.get_logger("issuebox.worker")


@dataclass(frozen=True, slots=True)
class Misfit:
    """Workflows that this installation's settings do not reach. ``is_served``: somebody polls their task queue."""

    seen: str
    advice: str
    is_served: bool


async def misfits(issues: Issues) -> list[Misfit]:
    """What does not fit, the worst first. Raises IssuesError and RPCError."""
    if ODD.search(issues.task_queue + issues.name_prefix):
        return []  # How to escape them depends on the server's database.
    found = [*await _on_other_queues(issues), *await _named_otherwise(issues)]
    return sorted(found, key=lambda misfit: misfit.is_served)


async def warn_of_misfits(client: Client, settings: WorkerSettings) -> None:
    """Log what does not fit, when a worker starts. Does not raise when Temporal refuses the question."""
    issues = Issues.over(
        client, name_prefix=settings.name_prefix, task_queue=settings.task_queue, timeout_s=CALL_TIMEOUT_S
    )
    try:
        found = await misfits(issues)
    except (IssuesError, RPCError) as error:
        _log.warning("settings_not_compared", reason=str(error))
        return
    for misfit in found:
        _log.warning("settings_misfit", seen=misfit.seen, advice=misfit.advice)


async def _on_other_queues(issues: Issues) -> list[Misfit]:
    """Workflows with our names on other task queues. Another installation in the namespace has other names."""
    ours = f"WorkflowId STARTS_WITH '{issues.name_prefix}'"
    page = await Index(issues).page(f"{RUNNING} AND {ours} AND TaskQueue != '{issues.task_queue}'", size=COUNTED_MAX)
    by_queue: defaultdict[str, list[Row]] = defaultdict(list)
    for row in page.rows:
        if row.issue_id:
            by_queue[row.task_queue].append(row)
    return [await _on_another(issues, queue, rows) for queue, rows in by_queue.items()]


async def _on_another(issues: Issues, queue: str, rows: list[Row]) -> Misfit:
    is_served = await _is_polled(issues, queue)
    who = "somebody else polls" if is_served else "nobody polls"
    return Misfit(
        f"{_counted(rows)} on the task queue {queue!r}, which {who}; ours is {issues.task_queue!r}",
        f"ISSUEBOX_TASK_QUEUE was {queue!r} when they began. {MOVE}",
        is_served,
    )


async def _named_otherwise(issues: Issues) -> list[Misfit]:
    """Workflows on our task queue whose names the prefix does not make."""
    others = f"WorkflowId NOT STARTS_WITH '{issues.name_prefix}'"
    page = await Index(issues).page(f"{running_on(issues.task_queue)} AND {others}", size=COUNTED_MAX)
    if not page.rows:
        return []
    return [
        Misfit(
            f"{_counted(page.rows)} on our task queue under names that do not begin with {issues.name_prefix!r}",
            f"ISSUEBOX_NAME_PREFIX was another when they began. {MOVE}",
            is_served=True,
        )
    ]


async def _is_polled(issues: Issues, queue: str) -> bool:
    async with issues.within():
        return bool(await pollers(await issues.client(), queue, "workflows"))


def _counted(rows: list[Row] | tuple[Row, ...]) -> str:
    more = " or more" if len(rows) >= COUNTED_MAX else ""
    runs = "workflow runs" if len(rows) == 1 else "workflows run"
    return f"{len(rows)}{more} {runs} (such as {rows[0].name})"
