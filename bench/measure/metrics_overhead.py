"""What metrics cost: the same calls to a stack that counts, and to one that does not, in turn.

Each round starts both anew, so that no luck of one process passes for an effect: with and without an admin address
there are an API whose deliveries no worker takes up, and an API and a worker that hand sandboxes over. Temporal and
localdaytona are the same for all. What shows metrics is read as often as Prometheus does it.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import chain

import httpx
from pydantic import BaseModel, ConfigDict

from bench.measure import usage
from bench.measure.deliveries import REPOSITORY
from bench.measure.frame import Context
from bench.measure.intervals import Interval, median_interval
from bench.measure.load import Line, Window, drive, post_request
from bench.measure.parts import Parts, running
from bench.measure.quantiles import Spread, quantile, spread
from bench.measure.run_work import load
from bench.measure.webhook import requests
from issuebox.dev import services
from issuebox.dev.dev_stack import LOOPBACK
from issuebox.dev.services import Surroundings
from issuebox.dev.supervisor import Reporter, Supervisor
from localdaytona.testing import free_port

OFF, ON = ARMS = ("without metrics", "with metrics")
ONE, EIGHT = "acknowledgement, 1 at once", "acknowledgement, 8 at once"
CREATED, REUSED = "handover, created", "handover, reused"
CALLS = (ONE, EIGHT, CREATED, REUSED)
CALLERS: Mapping[str, int] = {ONE: 1, EIGHT: 8}
BATCH: Mapping[str, int] = {ONE: 1, EIGHT: 40}
"""How many calls one side makes before it is the other's turn."""
TURNS: Mapping[str, int] = {ONE: 300, EIGHT: 20, CREATED: 50}
"""Turns of each side in a round."""
REUSES = 3
"""How often each created sandbox is handed over again."""
WARM_UP = 0.1
"""The share of a round before it, which is not counted."""
SCRAPE_INTERVAL_S = 15.0
"""As deploy/prometheus/prometheus.yaml has it."""
ADMIN = "ISSUEBOX_ADMIN_ADDRESS"
API, WORKER = "API", "worker"


class Row(BaseModel):
    """One kind of call. `ratio`: of the medians of a round, with metrics to without."""

    model_config = ConfigDict(frozen=True)

    call: str
    times_ms: dict[str, Spread]
    ratios: list[float]

    @property
    def ratio(self) -> Interval:
        """The median of the rounds' ratios, with its interval."""
        return median_interval(self.ratios)


class Overhead(BaseModel):
    """All calls, and by arm the processor time that an acknowledgement and a handover took of API and worker."""

    model_config = ConfigDict(frozen=True)

    rows: list[Row]
    processor_ms: dict[str, dict[str, float]]
    memory_mib: dict[str, dict[str, float]]
    scrapes: int
    load: list[float]
    """The load of the machine before and after."""


@dataclass(slots=True)
class Arm:
    """The processes of one side in one round, and the connections to them."""

    name: str
    acks: list[Line]
    rest: Line
    pids: Mapping[str, int]
    admins: tuple[str, ...]


@dataclass(slots=True)
class Taken:
    """What was measured of one side so far. `times_ms` is round by round."""

    times_ms: dict[str, list[list[float]]] = field(default_factory=lambda: {call: [] for call in CALLS})
    processor_s: dict[str, float] = field(default_factory=lambda: {API: 0.0, WORKER: 0.0})
    calls: dict[str, int] = field(default_factory=lambda: {API: 0, WORKER: 0})
    memory_mib: dict[str, float] = field(default_factory=dict)

    def begin(self) -> None:
        """Begin a round."""
        for rounds in self.times_ms.values():
            rounds.append([])

    def note(self, call: str, window: Window) -> None:
        """Take the times of these calls into the round."""
        self.times_ms[call][-1] += [1000 * each for each in window.latencies_s]
        self.calls[API if call in CALLERS else WORKER] += len(window.latencies_s)


@dataclass(slots=True)
class Bench:
    """The parts that all rounds share, and numbers that no issue had yet."""

    parts: Parts
    http: httpx.AsyncClient
    dice: random.Random
    taken: dict[str, Taken] = field(default_factory=lambda: {name: Taken() for name in ARMS})
    block: int = 0
    issue: int = 0
    scrapes: int = 0


async def run(context: Context) -> Overhead:
    """Measure in rounds."""
    rounds, share, before = context.samples(full=12, quick=6), 1.0 if not context.is_quick else 0.1, load()
    async with (
        running(context.scratch / "metrics", workers=0) as parts,
        httpx.AsyncClient(timeout=10.0, trust_env=False) as http,
    ):
        await parts.admin.config(durations={"create_s": 0.0, "pickup_s": 0.0}, insert_delay_s=0.0)
        bench = Bench(parts, http, random.Random(context.seed))
        for number in range(rounds):
            await _round(bench, number, share)
            ratios = (f"{call} {_ratios(bench.taken, call)[-1]:.3f}" for call in CALLS)
            context.say(f"round {number + 1} of {rounds}: {', '.join(ratios)}")
    return summarize(bench.taken, bench.scrapes, [before, load()])


async def _round(bench: Bench, number: int, share: float) -> None:
    """Start both sides, and measure them in turn."""
    async with _arms(bench.parts, number) as arms:
        scraping = asyncio.create_task(_scrape(bench, [url for arm in arms for url in arm.admins]))
        await _measure(bench, arms, share * WARM_UP, {name: Taken() for name in ARMS})
        await _measure(bench, arms, share, bench.taken)
        scraping.cancel()
        await asyncio.wait({scraping})
        if not scraping.cancelled():
            scraping.result()


async def _measure(bench: Bench, arms: Sequence[Arm], share: float, taken: Mapping[str, Taken]) -> None:
    """All kinds of calls, one after the other, and in each the sides in turn, in a random order."""
    before = {arm.name: _used_s(arm) for arm in arms}
    for each in taken.values():
        each.begin()
    for call in TURNS:
        for _ in range(max(1, round(TURNS[call] * share))):
            for arm in bench.dice.sample(arms, len(arms)):
                if call in CALLERS:
                    taken[arm.name].note(call, await _acknowledged(bench, arm, call))
                else:
                    await _handed_over(bench, arm, taken[arm.name])
    for arm in arms:
        mine = taken[arm.name]
        for what, used_s in _used_s(arm).items():
            mine.processor_s[what] += used_s - before[arm.name][what]
        mine.memory_mib = {what: usage.memory_mib(pid) for what, pid in arm.pids.items()}


def _used_s(arm: Arm) -> dict[str, float]:
    return {what: usage.processor_s(pid) for what, pid in arm.pids.items()}


async def _acknowledged(bench: Bench, arm: Arm, call: str) -> Window:
    """Send a batch of deliveries."""
    bench.block += 1
    work = requests(bench.parts.around.webhook_secret, bench.block, BATCH[call])
    return await drive(
        len(work), CALLERS[call], lambda caller, number: _expect(arm.acks[caller], work[number], httpx.codes.ACCEPTED)
    )


async def _handed_over(bench: Bench, arm: Arm, taken: Taken) -> None:
    """Ask for the sandbox of a new issue, and then again for the same one."""
    bench.issue += 1
    about = json.dumps({"repository": REPOSITORY, "number": bench.issue, "title": "Bench issue"}).encode()
    headers = {"Authorization": f"Bearer {bench.parts.around.api_token}", "Content-Type": "application/json"}
    put = post_request(f"/v1/issues/{bench.issue}/sandbox", headers, about, method="PUT")
    for call, times in ((CREATED, 1), (REUSED, REUSES)):
        taken.note(call, await drive(times, 1, lambda _caller, _number: _expect(arm.rest, put, httpx.codes.OK)))


async def _expect(line: Line, request: bytes, expected: int) -> None:
    status = await line.post(request)
    if status != expected:
        raise RuntimeError(f"answered {status}")


async def _scrape(bench: Bench, urls: list[str]) -> None:
    """Read all metrics again and again, until cancelled."""
    while True:
        for url in urls:
            (await bench.http.get(url)).raise_for_status()
            bench.scrapes += 1
        await asyncio.sleep(SCRAPE_INTERVAL_S)


@asynccontextmanager
async def _arms(parts: Parts, number: int) -> AsyncIterator[list[Arm]]:
    """Both arms for one round, started in an order that changes from round to round."""
    reporter = Reporter(say=lambda _: None, show=lambda _name, _line: None, changed=lambda: None)
    supervisor = Supervisor(parts.around.data_dir / "logs", reporter)
    names = ARMS if number % 2 else ARMS[::-1]
    try:
        arms = [await _start(parts.around, supervisor, name, number) for name in names]
        yield arms
        for line in (line for arm in arms for line in (arm.rest, *arm.acks)):
            await line.close()
    finally:
        await supervisor.stop()


async def _start(around: Surroundings, supervisor: Supervisor, name: str, number: int) -> Arm:
    """Start an arm's API for deliveries, and its API and worker for handovers."""
    word, admins = f"{'on' if name == ON else 'off'}-{number}", []
    acks, rest = (_beside(around, queue) for queue in ("nobody-serves-this", f"handovers-{word}"))
    data_dir = around.data_dir / f"worker-{word}"
    data_dir.mkdir()
    for part, service in (
        ("acks", services.api_service(acks)),
        ("rest", services.api_service(rest)),
        ("worker", services.worker_service(replace(rest, data_dir=data_dir))),
    ):
        environment = dict(service.environment)
        if name == ON:
            environment[ADMIN] = f"{LOOPBACK}:{free_port()}"
            admins.append(f"http://{environment[ADMIN]}/metrics")
        await supervisor.start(replace(service, name=f"{part}-{word}", environment=environment))
    pids = {API: supervisor.pids[f"acks-{word}"], WORKER: supervisor.pids[f"worker-{word}"]}
    lines = [Line(acks.ports.api) for _ in range(max(CALLERS.values()))]
    return Arm(name, lines, Line(rest.ports.api), pids, tuple(admins))


def _beside(around: Surroundings, task_queue: str) -> Surroundings:
    """The same Temporal and localdaytona, with another API and another task queue."""
    inherited = {**around.inherited, "ISSUEBOX_TASK_QUEUE": task_queue}
    return replace(around, ports=replace(around.ports, api=free_port()), inherited=inherited)


def summarize(taken: Mapping[str, Taken], scrapes: int, loads: Sequence[float]) -> Overhead:
    """The spreads over all rounds, and the ratio of each round."""
    return Overhead(
        rows=[
            Row(
                call=call,
                times_ms={name: spread(list(chain(*arm.times_ms[call]))) for name, arm in taken.items()},
                ratios=_ratios(taken, call),
            )
            for call in CALLS
        ],
        processor_ms={
            name: {what: 1000 * arm.processor_s[what] / arm.calls[what] for what in arm.calls}
            for name, arm in taken.items()
        },
        memory_mib={name: dict(arm.memory_mib) for name, arm in taken.items()},
        scrapes=scrapes,
        load=list(loads),
    )


def _ratios(taken: Mapping[str, Taken], call: str) -> list[float]:
    """Of the medians of each round."""
    both = zip(taken[ON].times_ms[call], taken[OFF].times_ms[call], strict=True)
    return [quantile(on, 0.5) / quantile(off, 0.5) for on, off in both]
