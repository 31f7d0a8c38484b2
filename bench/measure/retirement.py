"""What an issue leaves behind: the workflow runs of its whole life, and 10,000 issues that come and go.

The first part counts what one life costs from the opening to the retirement of its workflow. The second opens and
closes many issues on one stack, whose Temporal keeps for minutes what has ended, and looks into the file of its server
before, at the height, and after.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowExecutionStatus

from bench.measure.actions import billable
from bench.measure.bench_stack import DURATIONS_S, issues_over
from bench.measure.deliveries import REPOSITORY
from bench.measure.frame import Context
from bench.measure.load import Line, drive, post_request
from bench.measure.parts import Parts, running
from bench.measure.store import WORKFLOWS, Store, more
from issuebox.dev.demo.stack import until
from issuebox.dev.mock_delivery import MockIssue, build
from issuebox.dev.services import NAMESPACE
from issuebox.domain.issue import DEFAULT_NAME_PREFIX, sandbox_name
from issuebox.domain.phase import Phase
from issuebox.temporal.issues import Issues, UnavailableError
from workflows.messages import QUERY_STATUS, WORKFLOW_TYPE, Status

T = TypeVar("T")

PROGRAM: Final = "bench.measure.retirement_worker"
REUSES: Final = 4
"""Comments while the sandbox runs, as many as a month's costs assume."""

LIFE_SETTINGS: Final[Mapping[str, str]] = {
    "ISSUEBOX_CLOSE_STOP_AFTER_S": "1",
    "ISSUEBOX_CLOSE_ARCHIVE_AFTER_S": "3",
    "ISSUEBOX_CLOSE_DELETE_AFTER_S": "15",
}
LIFE_CONSTANTS: Final[Mapping[str, float]] = {"long_s": 4.0, "forget_after_s": 8.0, "redelivered_within_s": 1.0}
"""Seconds for what takes days by default. As there, the rest as archived is the first one that counts as long."""

MANY_SETTINGS: Final[Mapping[str, str]] = {
    # The sandbox of a closed issue is deleted at once.
    "ISSUEBOX_CLOSE_STOP_AFTER_S": "0",
    "ISSUEBOX_CLOSE_ARCHIVE_AFTER_S": "-1",
    "ISSUEBOX_CLOSE_DELETE_AFTER_S": "0",
    "ISSUEBOX_CACHED_WORKFLOWS": "5000",
}
MANY_CONSTANTS: Final[Mapping[str, float]] = {
    "confirm_gone_s": 0.5,
    "forget_after_s": 0.0,
    "redelivered_within_s": 0.0,
}
SERVER: Final[Mapping[str, str]] = {
    # Temporal's default spreads the deletes over half an hour.
    "history.retentionTimerJitterDuration": "1s"
}
IMMEDIATE: Final = ("pickup_s", "create_s", "stop_s", "destroy_s")
WORKERS: Final = 2
CALLERS: Final = 8
STEP: Final = 1000
"""How many issues are opened, or closed, before the next ones are. A longer backlog would only be a longer wait."""
ASKED: Final = 10
"""Of so many issues one is opened and gets its sandbox. Of the others issuebox hears first when they are closed."""
OURS: Final = 20
"""Of so many sandboxes issuebox inspects and deletes one. A person deletes the others at Daytona before the close."""
TIMEOUT_S: Final = 300.0
FORGOTTEN_TIMEOUT_S: Final = 900.0
TASKS_WITHIN_S: Final = 60.0
POLL_S: Final = 0.5
TASKS: Final = ("transfer_tasks", "timer_tasks", "visibility_tasks")
"""What Temporal has yet to do. It drops what is done half a minute later."""

BEFORE, OPEN, ENDED, AFTER = STAGES = ("before", "sandboxes run", "all retired", "after the retention")


class Run(BaseModel):
    """What the workflow runs of a part of a life come to; means over all lives."""

    model_config = ConfigDict(frozen=True)

    runs: float
    events: float
    history_bytes: float
    actions: float


class Stage(BaseModel):
    """Temporal and its file at one moment. `compact_bytes`: the file after a VACUUM."""

    model_config = ConfigDict(frozen=True)

    name: str
    open_workflows: int
    rows: dict[str, int]
    compact_bytes: int
    history_bytes: int
    after_s: float

    @property
    def workflows(self) -> int:
        """The workflow runs that the file has rows of, those of Temporal itself included."""
        return self.rows["executions"]


class Retirement(BaseModel):
    """Both parts. `runs`: the first one of a life, and those after it. `file_bytes`: the file without a VACUUM."""

    model_config = ConfigDict(frozen=True)

    lives: int
    runs: list[Run]
    issues: int
    retention_s: int
    stages: list[Stage]
    put_off: int
    file_bytes: int

    @property
    def whole(self) -> Run:
        """A whole life."""
        return Run(**{name: sum(getattr(run, name) for run in self.runs) for name in Run.model_fields})

    def stage(self, name: str) -> Stage:
        """The stage of this name."""
        return next(stage for stage in self.stages if stage.name == name)

    def left(self) -> dict[str, int]:
        """The rows that are there afterwards and were not before, by table."""
        return more(self.stage(AFTER).rows, self.stage(BEFORE).rows)

    def history_each(self, name: str) -> float:
        """The bytes of a workflow's history in this stage."""
        return self._each(name, lambda stage: stage.history_bytes)

    def bytes_each(self, name: str) -> float:
        """What a workflow adds to the file in this stage, its history included."""
        return self._each(name, lambda stage: stage.compact_bytes)

    def _each(self, name: str, size: Callable[[Stage], int]) -> float:
        stage, before = self.stage(name), self.stage(BEFORE)
        return (size(stage) - size(before)) / (stage.workflows - before.workflows)


@dataclass
class Bench:
    """A stack, and the deliveries about its issues."""

    parts: Parts
    sent: int = 0
    put_off: int = 0
    """Answers with 503: the delivery was sent again, as GitHub does when somebody asks for it."""
    base: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(hours=6))

    @property
    def issues(self) -> Issues:
        """The client of the issues' workflows."""
        return issues_over(self.parts.client)

    async def deliver(self, line: Line, action: str, issue: int) -> None:
        """Send one delivery, newer than all before it, and again while the API has no time for it.

        Raises RuntimeError when it is refused.
        """
        self.sent += 1
        about = MockIssue(issue, REPOSITORY, title="Bench issue", updated_at=self.base + timedelta(seconds=self.sent))
        mock = build(action, about, self.parts.around.webhook_secret, comment=f"@claude, step {self.sent}")
        request = post_request("/webhooks/github", mock.headers, mock.body)
        while (status := await line.post(request)) == httpx.codes.SERVICE_UNAVAILABLE:
            self.put_off += 1
        if status != httpx.codes.ACCEPTED:
            raise RuntimeError(f"answered {status}")

    async def send(self, action: str, issues: Sequence[int]) -> None:
        """Send one delivery about each of these issues, many at once."""
        lines = [Line(self.parts.api_port) for _ in range(CALLERS)]
        await drive(len(issues), CALLERS, lambda caller, number: self.deliver(lines[caller], action, issues[number]))
        for line in lines:
            await line.close()

    async def delete_by_hand(self, issues: Sequence[int]) -> None:
        """Delete the sandboxes of these issues, as a person does at Daytona."""
        act = self.parts.admin.act
        await drive(len(issues), CALLERS, lambda _, number: _silent(act(_name(issues[number]), "delete")))

    async def open(self) -> int:
        """How many issues' workflows run, as Temporal counts them."""
        query = f"WorkflowType = '{WORKFLOW_TYPE}' AND ExecutionStatus = 'Running'"
        return (await self.parts.client.count_workflows(query)).count


async def run(context: Context) -> Retirement:
    """The lives first, then the many."""
    lives = context.samples(full=10, quick=2)
    return await _many(context, lives, await _lived(context, lives))


async def _lived(context: Context, lives: int) -> list[Run]:
    """Whole lives, all at once, on a stack whose days are seconds."""
    async with running(context.scratch / "lives", workers=0, **LIFE_SETTINGS) as parts:  # type: ignore[arg-type]
        await parts.admin.config(durations=dict(DURATIONS_S), backup_every_s=0.0)
        await parts.start_worker(1, (PROGRAM, json.dumps(LIFE_CONSTANTS)))
        bench = Bench(parts)
        async with asyncio.TaskGroup() as group:
            living = [group.create_task(_live(bench, issue)) for issue in range(1, lives + 1)]
    runs = summarize([task.result() for task in living])
    context.say(f"{lives} lives: {', '.join(f'{run.events:g} events' for run in runs)}")
    return runs


async def _live(bench: Bench, issue: int) -> list[list[HistoryEvent]]:
    """Open an issue, comment, have its sandbox stopped, comment, close it. Returns its runs once it has retired."""
    line, name, admin = Line(bench.parts.api_port), _name(issue), bench.parts.admin
    for number, action in enumerate(["opened", *["comment"] * REUSES], 1):
        await bench.deliver(line, action, issue)
        await _served(bench, issue, number)
    await admin.act(name, "stop")
    await until(lambda: admin.sandbox(name), lambda row: row.state == "stopped", f"{name} is stopped")
    await bench.deliver(line, "comment", issue)
    await _served(bench, issue, REUSES + 2)
    await bench.deliver(line, "closed", issue)
    await line.close()
    handle = bench.parts.client.get_workflow_handle(name)
    await until(
        handle.describe, lambda seen: seen.status is WorkflowExecutionStatus.COMPLETED, f"{name} has retired", TIMEOUT_S
    )
    return await _histories(bench, name)


async def _served(bench: Bench, issue: int, deliveries: int) -> None:
    async def status() -> Status | None:
        try:
            return await bench.issues.query(issue, QUERY_STATUS, Status)
        except UnavailableError:  # Too slow an answer is no failure of what is counted here.
            return None

    await until(
        status,
        lambda seen: seen is not None and seen.deliveries_seen >= deliveries and not seen.requests_waiting,
        f"issue {issue} is served",
        TIMEOUT_S,
    )


async def _histories(bench: Bench, name: str) -> list[list[HistoryEvent]]:
    """The events of each run under this ID, the oldest run first."""
    client = bench.parts.client
    ran = [each async for each in client.list_workflows(f"WorkflowId = '{name}'")]
    handles = [client.get_workflow_handle(name, run_id=each.run_id) for each in sorted(ran, key=lambda e: e.start_time)]
    return [[event async for event in handle.fetch_history_events()] for handle in handles]


def summarize(lives: Sequence[Sequence[Sequence[HistoryEvent]]]) -> list[Run]:
    """The first run of all lives, and those that follow it: as a rule one. Raises ValueError when none does."""
    if not all(len(runs) > 1 for runs in lives):
        raise ValueError("a life did not continue as new before its long rest")
    return [_mean([_counted(runs[:1]) for runs in lives]), _mean([_counted(runs[1:]) for runs in lives])]


def _counted(runs: Sequence[Sequence[HistoryEvent]]) -> Run:
    return Run(
        runs=len(runs),
        events=sum(len(events) for events in runs),
        history_bytes=sum(event.ByteSize() for events in runs for event in events),
        actions=sum(billable(events) for events in runs),
    )


def _mean(counted: Sequence[Run]) -> Run:
    totals = {name: math.fsum(getattr(each, name) for each in counted) for name in Run.model_fields}
    return Run(**{name: total / len(counted) for name, total in totals.items()})


async def _many(context: Context, lives: int, runs: list[Run]) -> Retirement:
    """Open many, close them all, and wait until Temporal has forgotten them. Returns the figures of both parts."""
    issues, retention_s = context.samples(full=10_000, quick=200), context.samples(full=120, quick=20)
    data_dir = context.scratch / "many"
    async with running(data_dir, workers=0, dynamic_config=SERVER, **MANY_SETTINGS) as parts:  # type: ignore[arg-type]
        await parts.admin.config(durations=dict.fromkeys(IMMEDIATE, 0.0), insert_delay_s=0.0, backup_every_s=0.0)
        for number in range(1, WORKERS + 1):
            await parts.start_worker(number, (PROGRAM, json.dumps(MANY_CONSTANTS)))
        bench, store, began = Bench(parts), Store(data_dir / "temporal.db", context.scratch), time.monotonic()
        store.keep_for(retention_s, NAMESPACE)
        stages: list[Stage] = []

        async def look(name: str) -> None:
            stages.append(await _stage(bench, store, name, began))
            context.say(f"{name}: {stages[-1].open_workflows} open, {stages[-1].compact_bytes:,} bytes")

        await look(BEFORE)
        await _open(bench, store, issues)
        await look(OPEN)
        await _close(bench, store, issues)
        await look(ENDED)
        await _forgotten(store, stages[0].rows)
        await look(AFTER)
        return Retirement(
            lives=lives,
            runs=runs,
            issues=issues,
            retention_s=retention_s,
            stages=stages,
            put_off=bench.put_off,
            file_bytes=store.file_bytes(),
        )


async def _stage(bench: Bench, store: Store, name: str, began: float) -> Stage:
    after_s = time.monotonic() - began
    compact_bytes = await asyncio.to_thread(store.compact_bytes)
    return Stage(
        name=name,
        open_workflows=await bench.open(),
        rows=store.rows(),
        compact_bytes=compact_bytes,
        history_bytes=store.history_bytes(),
        after_s=after_s,
    )


async def _open(bench: Bench, store: Store, issues: int) -> None:
    """Open those that are opened, step by step, each time until all have their sandbox."""

    async def usable() -> int:
        return store.open_workflows(WORKFLOW_TYPE, Phase.USABLE)

    for step in _steps(issues):
        await bench.send("opened", _asked(step))
        await until(usable, lambda count: count >= step[-1] // ASKED, "all have one", TIMEOUT_S, POLL_S)  # noqa: B023


async def _close(bench: Bench, store: Store, issues: int) -> None:
    """Close them all, step by step, each time until their workflows have ended."""

    async def open_now() -> int:
        return store.open_workflows(WORKFLOW_TYPE)

    for step in _steps(issues):
        await bench.delete_by_hand([issue for issue in _asked(step) if issue // ASKED % OURS])
        await bench.send("closed", step)
        left = issues // ASKED - step[-1] // ASKED
        await until(open_now, lambda count: count <= left, "all have retired", TIMEOUT_S, POLL_S)  # noqa: B023


def _steps(issues: int) -> list[range]:
    return [range(first, min(first + STEP, issues + 1)) for first in range(1, issues + 1, STEP)]


def _asked(issues: Sequence[int]) -> list[int]:
    return [issue for issue in issues if issue % ASKED == 0]


async def _forgotten(store: Store, before: Mapping[str, int]) -> None:
    """Wait until Temporal has no row of any issue any more, and a while longer until it has nothing to do."""

    async def grown() -> dict[str, int]:
        return more(store.rows(), before)

    await until(
        grown, lambda rows: not any(rows.get(name, 0) > 0 for name in WORKFLOWS), "forgotten", FORGOTTEN_TIMEOUT_S, 1.0
    )
    idle_by = time.monotonic() + TASKS_WITHIN_S
    await until(
        grown,
        lambda rows: not any(rows.get(name, 0) > 0 for name in TASKS) or time.monotonic() > idle_by,
        "idle",
        2 * TASKS_WITHIN_S,
        1.0,
    )


async def _silent(call: Awaitable[T]) -> None:
    await call


def _name(issue: int) -> str:
    return sandbox_name(issue, DEFAULT_NAME_PREFIX)
