"""The cost of an event with few and with many live issues: the same figures at each size, on one growing stack.

Every issue is real: a live workflow, and a started sandbox in localdaytona. The sandboxes are created beforehand
over Daytona's API, so that the workflows find and reuse them, and ten thousand exist within minutes.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict
from temporalio.common import WorkflowIDConflictPolicy

from bench.measure import floor, usage
from bench.measure.bench_stack import issues_over
from bench.measure.deliveries import REPOSITORY
from bench.measure.frame import Context
from bench.measure.load import Line, drive, post_request
from bench.measure.parts import Parts, running
from bench.measure.processes import serving
from bench.measure.quantiles import Spread, spread
from issuebox.dev.demo.stack import until
from issuebox.dev.mock_delivery import MockIssue, build
from issuebox.domain.issue import DEFAULT_NAME_PREFIX, Issue, sandbox_name
from issuebox.domain.sandbox import LABEL_INSTANCE, LABEL_ISSUE_ID, LABEL_MANAGED_BY, MANAGED_BY
from workflows import messages
from workflows.search_attributes import PHASE

QUEUE = "floor"
CALLERS = 32
"""Concurrent calls while the stack grows. Measured calls are made one after the other."""
STEP = 200
"""How many issues are added at once while the stack grows."""
GROWN_TIMEOUT_S = 300.0
COUNT_INTERVAL_S = 0.5
"""Temporal's dev server reads every row for a count: ten counts a second would be most of its work."""
INSTANCE = "default"

ACK, BARE_SIGNAL = "acknowledgement", "bare signal-with-start"
ENSURE, BARE_UPDATE = "ensure, reused", "bare update with one local activity"
AGAIN, BARE_AGAIN = "the same again", "the bare one again"
"""The same call for the issue or empty workflow of the previous call, which the worker has in memory."""
FLOOR_OF: Mapping[str, str] = {ACK: BARE_SIGNAL, ENSURE: BARE_UPDATE, AGAIN: BARE_AGAIN}
AGAIN_OF: Mapping[str, str] = {ENSURE: AGAIN, BARE_UPDATE: BARE_AGAIN}
LOOKUP: Final = floor.Kind(activities=1, is_first_local=True)
"""An update like that of an ensure that finds the sandbox running."""


class Size(BaseModel):
    """The figures with this many live issues, and as many empty workflows beside them."""

    model_config = ConfigDict(frozen=True)

    issues: int
    times_ms: dict[str, Spread]
    requests_per_event: float
    """Requests to Daytona for an event that finds the sandbox running."""
    history_per_event: float
    """Events in Temporal's history for the same."""
    memory_mib: dict[str, float]
    grown_in_s: float

    def ratio(self, what: str) -> float:
        """Our time over the floor's, at the median."""
        return self.times_ms[what].p50 / self.times_ms[FLOOR_OF[what]].p50


class Growth(BaseModel):
    """All sizes, in ascending order."""

    model_config = ConfigDict(frozen=True)

    sizes: list[Size]


@dataclass
class Live:
    """A stack with more and more live issues, each with its workflow and its started sandbox."""

    parts: Parts
    line: Line
    size: int = 0
    sent: int = 0
    base: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(hours=6))

    async def grow(self, size: int) -> None:
        """Grow to this many served issues."""
        api, daytona = _Lines(self.parts.api_port), _Lines(self.parts.daytona_port)
        while self.size < size:
            # In steps: thousands of events at once, which the burst measures, take far longer to serve.
            first, self.size = self.size + 1, min(self.size + STEP, size)
            await self._add(api, daytona, first)
        await api.close()
        await daytona.close()

    async def _add(self, api: _Lines, daytona: _Lines, first: int) -> None:
        """Add the issues from `first` to `size`, and wait until all are served."""
        count = self.size - first + 1
        await drive(count, CALLERS, lambda caller, number: self._make(daytona.of(caller), first + number))
        await drive(count, CALLERS, lambda caller, number: self._open(api.of(caller), first + number))
        await until(
            self._served, lambda served: served >= self.size, "all are served", GROWN_TIMEOUT_S, COUNT_INTERVAL_S
        )

    async def deliver(self, line: Line, action: str, issue: int) -> None:
        """Send one delivery, newer than all before it. Raises RuntimeError when it is not accepted."""
        self.sent += 1
        about = MockIssue(issue, REPOSITORY, title="Bench issue", updated_at=self.base + timedelta(seconds=self.sent))
        mock = build(action, about, self.parts.around.webhook_secret)
        await _post(line, post_request("/webhooks/github", mock.headers, mock.body))

    async def _make(self, line: Line, issue: int) -> None:
        body = json.dumps(
            {
                "name": _name(issue),
                "labels": {LABEL_MANAGED_BY: MANAGED_BY, LABEL_INSTANCE: INSTANCE, LABEL_ISSUE_ID: str(issue)},
                # An occasional activity refresh would count as the cost of an event.
                "autoStopInterval": 0,
            }
        ).encode()
        headers = {
            "Authorization": f"Bearer {self.parts.around.secrets.daytona_api_key}",
            "Content-Type": "application/json",
        }
        await _post(line, post_request("/api/sandbox", headers, body))

    async def _open(self, line: Line, issue: int) -> None:
        await self.deliver(line, "opened", issue)

    async def _served(self) -> int:
        """Issues whose workflow has found its sandbox running."""
        return (await self.parts.client.count_workflows(f"{PHASE.name} = 'usable'")).count


@dataclass
class Bench(Live):
    """The same, with as many empty workflows beside them."""

    async def _add(self, api: _Lines, daytona: _Lines, first: int) -> None:
        """Add as many empty workflows as well."""
        await super()._add(api, daytona, first)
        await drive(self.size - first + 1, CALLERS, lambda _, number: self.update_floor(first + number))
        await self.update_floor(self.size)  # Queued behind everything that the floor's worker still has to do.

    async def ensure(self, issue: int) -> None:
        """Send an update-with-start as the API does. Returns when all earlier requests are served, too."""
        about = Issue(issue, REPOSITORY, issue, "Bench issue")
        await self.parts.client.execute_update_with_start_workflow(
            messages.UPDATE_ENSURE,
            messages.EnsureRequest(about, "bench"),
            start_workflow_operation=issues_over(self.parts.client).start_operation(about),
            result_type=messages.Handover,
        )

    async def signal_floor(self, number: int) -> None:
        """Send a bare signal-with-start with a payload as large as a delivery's."""
        await self.parts.client.start_workflow(
            floor.WORKFLOW_TYPE,
            id=f"floor-{number}",
            task_queue=QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            start_signal="event",
            start_signal_args=["e" * 464],
        )

    async def update_floor(self, number: int) -> None:
        """Send a bare update-with-start with one empty local activity."""
        await floor.run_floor(self.parts.client, f"floor-{number}", QUEUE, LOOKUP)

    async def history_length(self, issue: int) -> int:
        """Events in the history of the issue's workflow."""
        return (await self.parts.client.get_workflow_handle(_name(issue)).describe()).history_length

    async def requests(self, after: int = 0) -> Counter[str]:
        """Requests that Daytona received, by operation."""
        entries = await self.parts.admin.journal(after, kind="request")
        return Counter(entry.operation or "" for entry in entries)


async def run(context: Context) -> Growth:
    """Grow, measure, grow."""
    sizes = (100, 1000, 10_000) if not context.is_quick else (10, 100, 1000)
    rounds = context.samples(full=300, quick=30)
    dice = random.Random(context.seed)
    found = []
    async with AsyncExitStack() as exits:
        parts = await exits.enter_async_context(running(context.scratch / "growth", workers=1))
        await parts.admin.config(durations={"create_s": 0.0, "pickup_s": 0.0}, insert_delay_s=0.0)
        ready_file = context.scratch / "floor.ready"
        await exits.enter_async_context(
            serving(["-m", "bench.measure.floor", QUEUE, str(ready_file)], parts.around.environment(), ready_file)
        )
        bench = Bench(parts, Line(parts.api_port))
        for size in sizes:
            began = time.monotonic()
            await bench.grow(size)
            grown_in_s = time.monotonic() - began
            context.say(f"{size} live issues, and as many empty workflows, after {grown_in_s:.0f} s more")
            found.append(await _measure(bench, rounds, dice, grown_in_s))
            context.say(", ".join(f"{what} {spread_.p50:.1f} ms" for what, spread_ in found[-1].times_ms.items()))
        await bench.line.close()
    return Growth(sizes=found)


async def _measure(bench: Bench, rounds: int, dice: random.Random, grown_in_s: float) -> Size:
    """Rounds of all calls in a random order, each for a random workflow, one call at a time.

    Each update is sent twice in a row.
    """
    times: dict[str, list[float]] = {what: [] for pair in FLOOR_OF.items() for what in pair}
    calls: Mapping[str, Callable[[int], Awaitable[None]]] = {
        ACK: lambda issue: bench.deliver(bench.line, "comment", issue),
        BARE_SIGNAL: bench.signal_floor,
        ENSURE: bench.ensure,
        BARE_UPDATE: bench.update_floor,
    }
    for number in range(-3, rounds):
        for what in dice.sample(list(calls), len(calls)):
            subject = dice.randint(1, bench.size)
            for name in [what, AGAIN_OF[what]] if what in AGAIN_OF else [what]:
                began = time.perf_counter()
                await calls[what](subject)
                took_ms = (time.perf_counter() - began) * 1000
                if number >= 0:
                    times[name].append(took_ms)
            if what == ACK:  # What it started must end before the next call is measured.
                await bench.ensure(subject)
            elif what == BARE_SIGNAL:
                await bench.update_floor(subject)
    requests, history = await _costs(bench, dice)
    return Size(
        issues=bench.size,
        times_ms={what: spread(taken) for what, taken in times.items()},
        requests_per_event=requests,
        history_per_event=history,
        memory_mib={name: usage.memory_mib(pid) for name, pid in bench.parts.pids.items()},
        grown_in_s=grown_in_s,
    )


async def _costs(bench: Bench, dice: random.Random) -> tuple[float, float]:
    """Daytona requests and history events per event, as the mean of a few events."""
    subjects = dice.sample(range(1, bench.size + 1), 10)
    entries = await bench.parts.admin.journal(kind="request", operation="get")
    last = entries[-1].seq
    lengths = [await bench.history_length(issue) for issue in subjects]
    for issue in subjects:
        await bench.ensure(issue)
    requests = (await bench.requests(last)).total() / len(subjects)
    longer = [await bench.history_length(issue) for issue in subjects]
    return requests, (sum(longer) - sum(lengths)) / len(subjects)


class _Lines:
    """One connection for each caller."""

    def __init__(self, port: int) -> None:
        self._lines = [Line(port) for _ in range(CALLERS)]

    def of(self, caller: int) -> Line:
        return self._lines[caller]

    async def close(self) -> None:
        for line in self._lines:
            await line.close()


async def _post(line: Line, request: bytes) -> None:
    status = await line.post(request)
    if not 200 <= status < 300:  # noqa: PLR2004 -- HTTP
        raise RuntimeError(f"answered {status}")


def _name(issue: int) -> str:
    return sandbox_name(issue, DEFAULT_NAME_PREFIX)
