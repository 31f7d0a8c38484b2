"""A burst from end to end: thousands of deliveries at once, until every issue has its one started sandbox.

`proofs.checker` judges the run by localdaytona's journal and trusts nothing of issuebox.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict

from bench.measure import usage
from bench.measure.deliveries import PER_ISSUE, burst, send
from bench.measure.frame import Context
from bench.measure.load import Window
from bench.measure.parts import Parts, running
from bench.measure.processes import serving
from bench.measure.quantiles import Spread, quantile, spread
from bench.measure.webhook import signal_all
from issuebox.dev.demo.stack import until
from issuebox.domain.issue import DEFAULT_NAME_PREFIX, sandbox_name
from localdaytona.journal import Entry
from proofs.checker.evidence import Delivery, Evidence, Signal
from proofs.checker.histories import read_signals
from proofs.checker.rules import check

WORKERS = 2
CALLERS = 64
"""Concurrent deliveries."""
ACKNOWLEDGED_LIMIT_S = 5.0
RIGHT_TIMEOUT_S = 600.0
POLL_INTERVAL_S = 1.0
"""Only detects the end: when each issue was right is read from the journal afterwards."""
FLOOR_QUEUE = "floor"
STEPS = 200
"""Points of a curve in the charts."""


class Acknowledged(BaseModel):
    """The durations of one side's calls."""

    model_config = ConfigDict(frozen=True)

    latency_ms: Spread
    curve_ms: list[float]
    """Quantiles at even steps from 0 to 1."""
    rate_per_s: float


class Burst(BaseModel):
    """One burst. Times are seconds from the first POST."""

    model_config = ConfigDict(frozen=True)

    issues: int
    statuses: dict[str, int]
    """How often each HTTP status was returned; `none` for no answer."""
    ours: Acknowledged
    bare: Acknowledged
    acknowledged_curve_s: list[float]
    right_each_s: list[float]
    """When each issue's sandbox was started, in ascending order."""
    violations: int
    requests: dict[str, int]
    """Requests to Daytona, by operation."""
    processor_s: dict[str, float]
    memory_mib: dict[str, float]

    @property
    def deliveries(self) -> int:
        """The number of POSTs."""
        return sum(self.statuses.values())

    @property
    def refused(self) -> int:
        """The number of POSTs without a 2xx answer."""
        return sum(count for status, count in self.statuses.items() if not status.startswith("2"))


async def run(context: Context) -> Burst:
    """Run the bare burst first, on the same server and also served by a worker; then that of issuebox."""
    issues = context.samples(full=1000, quick=100)
    async with running(context.scratch / "burst", workers=0) as parts:
        bare = await _bare(parts, issues * PER_ISSUE // 4)
        context.say(f"bare signal-with-starts: {bare.rate_per_s:.0f} a second")
        for number in range(1, WORKERS + 1):
            await parts.start_worker(number)
        posts = burst(issues, parts.around.webhook_secret, context.seed, datetime.now(UTC) - timedelta(hours=1))
        before, began_at = usage.processors_s(parts.pids), time.time()
        noted = await send(parts.api_port, posts, CALLERS)
        context.say(f"{len(noted)} deliveries were answered within {time.time() - began_at:.1f} s")
        await until(
            lambda: _started(parts),
            lambda count: count == issues,
            "all have a sandbox",
            RIGHT_TIMEOUT_S,
            POLL_INTERVAL_S,
        )
        context.say(f"{issues} issues had a started sandbox within {time.time() - began_at:.1f} s")
        after = usage.processors_s(parts.pids)
        memory_mib = {name: usage.memory_mib(pid) for name, pid in parts.pids.items()}
        signals = await until(
            lambda: _signals(parts, issues), _are_handled, "nothing waits any more", RIGHT_TIMEOUT_S, POLL_INTERVAL_S
        )
        evidence = Evidence(journal=await parts.admin.journal(), deliveries=noted, histories=signals)
    violations = check(evidence)
    for violation in violations[:10]:
        context.say(f"VIOLATION of ({violation.rule}), issue {violation.issue}: {violation.what}")
    return Burst(
        issues=issues,
        statuses=Counter(str(each.status or "none") for each in noted),
        ours=_acknowledged([answered - each.sent_at for each, answered in _answered(noted)], noted_took_s(noted)),
        bare=_acknowledged(bare.latencies_s, bare.took_s),
        acknowledged_curve_s=curve([answered - began_at for _, answered in _answered(noted)]),
        right_each_s=[at - began_at for at in started_at(evidence.journal)],
        violations=len(violations),
        requests=Counter(entry.operation or "" for entry in evidence.journal if entry.kind == "request"),
        processor_s={name: after[name] - before[name] for name in after},
        memory_mib=memory_mib,
    )


async def _bare(parts: Parts, count: int) -> Window:
    """The same number of callers on an empty workflow that a worker serves."""
    ready_file = parts.around.data_dir / "floor.ready"
    environment = parts.around.environment()
    async with serving(["-m", "bench.measure.floor", FLOOR_QUEUE, str(ready_file)], environment, ready_file):
        return await signal_all(parts.client, "bare", count, CALLERS, FLOOR_QUEUE)


async def _started(parts: Parts) -> int:
    return sum(row.state == "started" for row in await parts.admin.sandboxes())


async def _signals(parts: Parts, issues: int) -> list[Signal]:
    names = [sandbox_name(issue, DEFAULT_NAME_PREFIX) for issue in range(1, issues + 1)]
    return await read_signals(parts.client, names)


def _are_handled(signals: list[Signal]) -> bool:
    """Whether the workflows have seen every event that Temporal holds."""
    return all(signal.is_handled for signal in signals)


def _answered(noted: Iterable[Delivery]) -> list[tuple[Delivery, float]]:
    return [(each, each.answered_at) for each in noted if each.answered_at is not None]


def noted_took_s(noted: Sequence[Delivery]) -> float:
    """From the first POST to the last answer."""
    return max(answered for _, answered in _answered(noted)) - min(each.sent_at for each in noted)


def started_at(journal: Iterable[Entry]) -> list[float]:
    """When each name first had a started sandbox, in ascending order; epoch seconds."""
    return sorted(first_started(journal).values())


def first_started(journal: Iterable[Entry]) -> dict[str, float]:
    """When each name first had a started sandbox; epoch seconds."""
    first: dict[str, float] = {}
    for entry in journal:
        if entry.kind == "state" and entry.detail.get("new") == "started" and entry.name:
            first.setdefault(entry.name, entry.at)
    return first


def curve(samples: Sequence[float], steps: int = STEPS) -> list[float]:
    """Quantiles at even steps from 0 to 1, both included."""
    return [quantile(samples, step / steps) for step in range(steps + 1)]


def _acknowledged(latencies_s: Sequence[float], took_s: float) -> Acknowledged:
    latencies_ms = [latency * 1000 for latency in latencies_s]
    return Acknowledged(
        latency_ms=spread(latencies_ms), curve_ms=curve(latencies_ms), rate_per_s=len(latencies_ms) / took_s
    )
