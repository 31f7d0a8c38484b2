"""The scenario: load, backup, more load, restore, what is told, what recovers it, rest, verdict.

Only the order of the phases is here, and the documented recovery. `docs/operations.md` has it in words.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from proofs.chaos.cluster import READY_TIMEOUT_S, WEBHOOK_SECRET, Cluster, prepared, worker_environment
from proofs.chaos.fault_schedule import Command, TimedStep
from proofs.chaos.github import GitHub
from proofs.chaos.people import People
from proofs.chaos.restore.desk import Desk, DeskError
from proofs.chaos.restore.hub import TOKEN, Hub, serving
from proofs.chaos.restore.plan import RestorePlan, fated
from proofs.chaos.settling import NotAtRestError, settled
from proofs.chaos.tally import Tally
from proofs.chaos.terms import API, DAYTONA, REPOSITORY, SETTINGS, SHORTENED, TEMPORAL, WORKERS
from proofs.chaos.watch import JournalWatch, evidence_of
from proofs.checker.evidence import Evidence, Lost, Violation
from proofs.checker.histories import read_histories
from proofs.checker.rules import check
from proofs.checker.run_dir import write_run

HEAD_START_S: Final = 1.0
QUIET_S: Final = 2.5
ROUND_PAUSE_S: Final = 1.0
MENDS_MAX: Final = 4
"""So often the operator does what the audit advises for one workflow: its reset, and then its end."""
CALM_ROUNDS: Final = 2
"""So often in a row nothing is stuck before the operator is done: on a busy machine a task fails late."""
TASK_PAUSE_S: Final = 3.0
"""A workflow task that failed is tried again within this time."""

CLOSED_RESTS_AT: Final = frozenset({"archived"})
CONSTANTS: Final = SHORTENED | {"audit_recheck_s": 0.5, "audit_reads_per_s": 500}


class Mode(StrEnum):
    """What the workers do while the database is put back."""

    STOPPED = "stopped"
    """As docs/operations.md says, like the APIs."""
    RUNNING = "running"
    """They live on, which is wrong."""


def stop_after_s(mode: Mode, issues: int) -> int:
    """The time from a close to the stop, in seconds.

    As in production it is longer than the time in which requests are taken before the last resync: until then a
    workflow may go by a close that was undone in the lost time.
    """
    return 3 if mode is Mode.STOPPED else 10 + issues * 6 // 10


@dataclass(frozen=True, slots=True)
class Told:
    """What our own tools say at one moment. `findings`: the audit's, by kind; `listed`: marked as stuck in the list."""

    when: str
    doctor: dict[str, str]
    findings: dict[str, int]
    listed: int


@dataclass(slots=True)
class Findings:
    """What happened, for the report. `recovered`: by what, and how many."""

    told: list[Told] = field(default_factory=list)
    recovered: Counter[str] = field(default_factory=Counter)
    stuck_names: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a scenario ended. `lost_deliveries`, `lost_orders`: those acknowledged between backup and restore."""

    mode: Mode
    evidence: Evidence
    violations: list[Violation]
    unrest: str
    findings: Findings
    lost_deliveries: int
    lost_orders: int
    promise_holds: bool
    seconds: float

    @property
    def is_good(self) -> bool:
        """Whether it came to rest, no promise was broken, and the last audit says that the promise holds."""
        return not self.violations and not self.unrest and self.promise_holds


class Scenario:
    """One mode on one cluster. Afterwards `run_dir` has all its files, however it ended."""

    def __init__(self, plan: RestorePlan, mode: Mode, run_dir: Path, tally: Tally, settle_timeout_s: float) -> None:
        self._plan = plan
        self._mode = mode
        self._run_dir = run_dir
        self._tally = tally
        self._settle_timeout_s = settle_timeout_s
        self._findings = Findings()
        self._holds = False
        self._tried: Counter[str] = Counter()

    async def play(self) -> Outcome:
        """Carry it out and judge it. Raises PartError and DeskError."""
        began = time.monotonic()
        async with serving(Hub(itertools.chain(self._plan.posts, *self._plan.rounds))) as hub:
            settings = SETTINGS | _ladder(stop_after_s(self._mode, self._plan.issues)) | _to(hub)
            async with prepared(self._run_dir, settings, CONSTANTS) as cluster:
                await cluster.start()
                hub.base = math.ceil(time.time() + HEAD_START_S)
                environment = worker_environment(cluster.ports[TEMPORAL], cluster.ports[DAYTONA], settings)
                desk = Desk(cluster, environment)
                try:
                    async with _watched(cluster, self._tally) as watch:
                        lost, unrest = await self._play(cluster, desk, hub.base, watch)
                        evidence = await self._evidence(cluster, watch, lost, is_at_rest=not unrest)
                finally:
                    await asyncio.to_thread((self._run_dir / "commands.txt").write_text, "\n".join(desk.done))
        violations = await asyncio.to_thread(check, evidence)
        return Outcome(
            self._mode,
            evidence,
            violations,
            unrest,
            self._findings,
            lost_deliveries=len({each.delivery for each in evidence.deliveries if lost.covers(each.answered_at)}),
            lost_orders=sum(lost.covers(order.answered_at) for order in evidence.orders),
            promise_holds=self._holds,
            seconds=time.monotonic() - began,
        )

    async def _play(self, cluster: Cluster, desk: Desk, base: int, watch: JournalWatch) -> tuple[Lost, str]:
        plan, load = self._plan, _Load(cluster, self._plan, base, self._tally)
        self._tally.phase = "load"
        await load.send(0.0, plan.backup_at_s)
        since = time.time()
        await asyncio.to_thread(copy_database, _database(cluster), self._backup)
        await load.send(plan.backup_at_s, plan.restore_at_s)
        self._tally.phase = "restore"
        restore = self._with_workers_stopped if self._mode is Mode.STOPPED else self._with_workers_running
        until = await restore(cluster, desk, load)
        unrest = await self._come_to_rest(cluster, watch)
        self._holds = bool((await desk.audit())["promise_holds"])
        return Lost(since=since, until=until), unrest

    @property
    def _backup(self) -> Path:
        return self._run_dir / "backup.db"

    async def _with_workers_stopped(self, cluster: Cluster, desk: Desk, load: _Load) -> float:
        """As docs/operations.md says. Returns when Temporal served again."""
        first, *others = WORKERS
        await _end(cluster, (*WORKERS, *API))
        until = await self._put_back(cluster)
        await _begin(cluster, [first])
        await self._note(desk, "one worker runs")
        await self._bring_back(desk)
        await _begin(cluster, [*others, *API])
        await load.send(self._plan.restore_at_s, math.inf)
        await load.send_rounds()
        await self._resync(desk)
        return until

    async def _with_workers_running(self, cluster: Cluster, desk: Desk, load: _Load) -> float:
        """The wrong way, and its documented remedy: all workers are restarted. Returns when Temporal served again."""
        sending = asyncio.create_task(load.send(self._plan.restore_at_s, math.inf))
        until = await self._put_back(cluster)
        await sending
        await load.send_rounds()
        await self._note(desk, "the workers live on")
        await _end(cluster, WORKERS)
        await _begin(cluster, WORKERS)
        await self._resync(desk)
        await self._note(desk, "all workers were restarted")
        await desk.wake()
        calm = 0
        while calm < CALM_ROUNDS:
            calm = 0 if await self._mend(desk) else calm + 1
            await self._bring_back(desk)
            await self._resync(desk)
        return until

    async def _put_back(self, cluster: Cluster) -> float:
        await _end(cluster, [TEMPORAL])
        put_back(self._backup, _database(cluster))
        until = time.time()
        await _begin(cluster, [TEMPORAL])
        return until

    async def _mend(self, desk: Desk) -> bool:
        """The next command of each stuck workflow. Returns whether any was stuck.

        A reset may help for a while only. Raises DeskError when a workflow is stuck after all of its commands.
        """
        stuck = await self._stuck(desk)
        for found in stuck:
            name = found["name"]
            if self._tried[name] == MENDS_MAX:
                raise DeskError(f"{name} is still stuck: {found['seen']}")
            self._findings.stuck_names.add(name)
            self._findings.recovered[await desk.mend(found["advice"], self._tried[name])] += 1
            self._tried[name] += 1
        return bool(stuck)

    async def _stuck(self, desk: Desk) -> list[dict[str, Any]]:
        """The findings of stuck workflows, once two lists in a row have as many: a task has to fail twice."""
        before, listed = -1, await desk.stuck()
        while len(listed) != before:
            before = len(listed)
            await asyncio.sleep(TASK_PAUSE_S)
            listed = await desk.stuck()
        report = await desk.audit(may_mend=False)
        return [found for found in report["findings"] if found["kind"] == "stuck"]

    async def _bring_back(self, desk: Desk) -> None:
        """A full resync brings what GitHub knows, and an audit adopts the sandboxes that no workflow knows."""
        self._tally.phase = "recovery"
        await self._resync(desk)
        report = await desk.audit()
        mended = Counter(f"audit: {found['kind']}" for found in report["findings"] if found["mended"])
        self._findings.recovered.update(mended)

    async def _resync(self, desk: Desk) -> None:
        """Again after the audit: what it has adopted counts as open until then."""
        sent = await desk.resync()
        self._findings.recovered.update({f"resync: {action}": count for action, count in sent.items()})

    async def _note(self, desk: Desk, when: str) -> None:
        """Ask our own tools, which change nothing."""
        doctor, report, listed = await asyncio.gather(desk.doctor(), desk.audit(may_mend=False), desk.stuck())
        kinds = Counter(str(found["kind"]) for found in report["findings"])
        self._findings.told.append(Told(when, doctor, dict(kinds), len(listed)))

    async def _come_to_rest(self, cluster: Cluster, watch: JournalWatch) -> str:
        """Wait until every workflow answers and rests. Returns '' at rest, else what is not."""
        self._tally.phase = "rest"
        client = await cluster.temporal()
        try:
            async with asyncio.timeout(self._settle_timeout_s):
                while True:
                    await settled(client, self._tally, self._settle_timeout_s)
                    await watch.read_all()
                    before = len(watch.entries)
                    await asyncio.sleep(QUIET_S)
                    await watch.read_all()
                    if not any(entry.kind == "state" for entry in watch.entries[before:]):
                        return ""
        except NotAtRestError as error:
            return str(error)
        except TimeoutError:
            return f"{self._tally.at_rest} of {self._tally.workflows} issues are at rest"

    async def _evidence(self, cluster: Cluster, watch: JournalWatch, lost: Lost, *, is_at_rest: bool) -> Evidence:
        await watch.read_all()
        names = [f"claude-issue-{issue}" for issue in range(1, fated(self._plan.issues).stop)]
        recorded = await read_histories(await cluster.temporal(), names)
        facts: dict[str, object] = {"blocks": recorded.blocks, "ends": recorded.ends, "lost": lost}
        if is_at_rest:
            facts["histories"] = recorded.signals
        evidence = evidence_of(watch.entries, self._tally, is_at_rest=is_at_rest)
        evidence = evidence.model_copy(update={**facts, "closed_rests_at": CLOSED_RESTS_AT})
        await asyncio.to_thread(write_run, self._run_dir, evidence)
        return evidence


class _Load:
    """Sends the plan's deliveries and orders, in parts."""

    def __init__(self, cluster: Cluster, plan: RestorePlan, base: int, tally: Tally) -> None:
        self._plan = plan
        self._base = base
        self._github = GitHub(cluster.api_urls, WEBHOOK_SECRET, base, tally)
        self._people = People(cluster, base, tally)

    async def send(self, from_s: float, to_s: float) -> None:
        """Send what is due in this part of the load. What is overdue is sent at once."""
        posts = [post for post in self._plan.posts if from_s <= post.at_s < to_s]
        orders = [timed for timed in self._plan.orders if from_s <= timed.at_s < to_s]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._github.send_all(posts))
            for timed in orders:
                tasks.create_task(self._give(timed))
        if to_s < math.inf:
            await asyncio.sleep(max(0.0, self._base + to_s - time.time()))

    async def send_rounds(self) -> None:
        """Send the rounds, with a pause after each in which workers handle it."""
        for posts in self._plan.rounds:
            await self._github.send_all(posts)
            await asyncio.sleep(ROUND_PAUSE_S)

    async def _give(self, timed: TimedStep) -> None:
        await asyncio.sleep(max(0.0, self._base + timed.at_s - time.time()))
        if isinstance(timed.step, Command):
            await self._people.command(timed.step)


def copy_database(source: Path, target: Path) -> None:
    """Copy a database that is in use, as of one moment."""
    target.unlink(missing_ok=True)
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)


def put_back(copy: Path, database: Path) -> None:
    """Put the copy in the place of a database that nobody has open."""
    for path in (database, *(database.with_name(f"{database.name}-{kind}") for kind in ("wal", "shm"))):
        path.unlink(missing_ok=True)
    shutil.copyfile(copy, database)


def _database(cluster: Cluster) -> Path:
    return cluster.run_dir / "temporal.db"


def _ladder(after_s: int) -> dict[str, str]:
    """A closed issue's sandbox is soon stopped and archived, and never deleted."""
    return {
        "ISSUEBOX_CLOSE_STOP_AFTER_S": str(after_s),
        "ISSUEBOX_CLOSE_ARCHIVE_AFTER_S": str(after_s + 1),
        "ISSUEBOX_CLOSE_DELETE_AFTER_S": "-1",
    }


def _to(hub: Hub) -> dict[str, str]:
    """The settings that point the workers to this GitHub."""
    return {
        "ISSUEBOX_GITHUB_API_URL": hub.url,
        "ISSUEBOX_GITHUB_TOKEN": TOKEN,
        "ISSUEBOX_RESYNC_REPOSITORIES": REPOSITORY,
    }


async def _end(cluster: Cluster, names: Iterable[str]) -> None:
    """SIGTERM to these parts, which stay down until `_begin`."""
    await asyncio.gather(*(cluster.parts[name].end(math.inf) for name in names))


async def _begin(cluster: Cluster, names: Sequence[str]) -> None:
    """Start these parts, and wait until they serve."""
    for name in names:
        cluster.parts[name].thaw()
    for name in names:
        await cluster.parts[name].ready(READY_TIMEOUT_S)


@asynccontextmanager
async def _watched(cluster: Cluster, tally: Tally) -> AsyncIterator[JournalWatch]:
    """The journal, read and judged every second."""
    watch = JournalWatch(cluster.admin, tally)
    watching = asyncio.create_task(watch.keep_reading())
    try:
        yield watch
    finally:
        watching.cancel()
