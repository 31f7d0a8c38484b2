"""One run: start, load and storm, good weather, rest, verdict. The phases in order; how each is done is elsewhere."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proofs.chaos.cluster import WEBHOOK_SECRET, Cluster, prepared
from proofs.chaos.github import GitHub
from proofs.chaos.parts import BAD_ENDINGS, Ending
from proofs.chaos.people import work_left
from proofs.chaos.plan import Plan
from proofs.chaos.settling import NotAtRestError, settled
from proofs.chaos.storm import Storm
from proofs.chaos.tally import Tally
from proofs.chaos.terms import DAYTONA, OURS
from proofs.chaos.watch import JournalWatch, evidence_of
from proofs.checker.evidence import Evidence, Violation
from proofs.checker.histories import read_histories
from proofs.checker.rules import check
from proofs.checker.run_dir import write_run

HEAD_START_S: Final = 1.0
QUIET_S: Final = 2.5
"""How long the journal has to say nothing new about a sandbox once the workflows rest."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. Times are epoch seconds; `settle_s` is from good weather to rest, None without rest."""

    evidence: Evidence
    violations: list[Violation]
    unrest: str
    load_began_at: float
    calm_began_at: float
    ended_at: float
    settle_s: float | None
    own_deaths: dict[str, int]
    """How often each part ended by itself."""
    endings: dict[Ending, int]
    """What became of the SIGTERMs that our own processes got, the last one of each included."""
    bad_endings: tuple[str, ...]
    """Which of our own processes did not end in order when they were told to: `worker-1 did not end`."""
    failed_tasks: dict[str, int]
    """How often workflow tasks failed, by the code in the SDK's message."""
    full_pipes: int
    """In how many lives a stalled reader left the pipe of the log full, so that somebody had to wait."""

    @property
    def is_good(self) -> bool:
        """Whether it came to rest, nothing was broken, and every process ended in order when it was told to."""
        return not self.violations and not self.unrest and not self.bad_endings


class Run:
    """One plan on one cluster. `run_dir` holds everything that was seen afterwards, however it ended."""

    def __init__(self, plan: Plan, run_dir: Path, tally: Tally, settle_timeout_s: float) -> None:
        self._plan = plan
        self._run_dir = run_dir
        self._tally = tally
        self._settle_timeout_s = settle_timeout_s
        self._failed_tasks: Counter[str] = Counter()

    async def play(self) -> Outcome:
        """Carry out the plan and judge it. Raises `PartError` when a part cannot be started."""
        async with prepared(self._run_dir) as cluster:
            await cluster.start()
            watch = JournalWatch(cluster.admin, self._tally)
            watching = asyncio.create_task(watch.keep_reading())
            try:
                return await self._play(cluster, watch)
            finally:
                watching.cancel()

    async def _play(self, cluster: Cluster, watch: JournalWatch) -> Outcome:
        base = math.ceil(time.time() + HEAD_START_S)
        storm = Storm(cluster, self._plan, base, self._tally)
        github = GitHub(cluster.api_urls, WEBHOOK_SECRET, base, self._tally)
        load = asyncio.create_task(github.send_all(self._plan.sent))
        self._tally.phase = "faults on"
        await _unless_broken(watch, storm.rage())
        await _unless_broken(watch, _until(base + self._plan.seconds))
        calm_at, unrest = time.time(), "not waited for"
        self._tally.phase = "faults off"
        await storm.end()
        if not watch.broken.is_set():
            unrest = await self._come_to_rest(cluster, load, watch)
        settle_s = None if unrest else time.time() - calm_at
        load.cancel()
        await asyncio.wait({load})
        self._tally.phase = "judging"
        evidence = await self._evidence(cluster, watch, is_at_rest=not unrest)
        violations = await asyncio.to_thread(check, evidence)
        self._tally.violations[:] = violations
        ended_at = time.time()
        self._tally.phase = "ending"
        await cluster.end()
        ours = [cluster.parts[name] for name in OURS]
        return Outcome(
            evidence,
            violations,
            unrest,
            load_began_at=base,
            calm_began_at=calm_at,
            ended_at=ended_at,
            settle_s=settle_s,
            own_deaths={part.name: part.deaths for part in cluster.parts.values() if part.deaths},
            endings=dict(sum((part.endings for part in ours), Counter[Ending]())),
            bad_endings=tuple(f"{part.name} {bad}" for part in ours for bad in BAD_ENDINGS if part.endings[bad]),
            failed_tasks=dict(self._failed_tasks),
            full_pipes=sum(part.full_pipes for part in ours),
        )

    async def _come_to_rest(self, cluster: Cluster, load: asyncio.Task[None], watch: JournalWatch) -> str:
        """Wait for the last redeliveries, the workflows, and Daytona; '' or why there is no rest."""
        try:
            async with asyncio.timeout(self._settle_timeout_s):
                await load
                await self._quiet(cluster, watch)
        except NotAtRestError as error:
            return str(error)
        except TimeoutError:
            return f"{self._tally.waiting} deliveries wait for a redelivery, {self._tally.at_rest} issues rest"
        return ""

    async def _quiet(self, cluster: Cluster, watch: JournalWatch) -> None:
        """Rest, and nothing new after it: a workflow between two reconciliations looks like one that rests."""
        client = await cluster.temporal()
        while True:
            await settled(client, self._tally, self._settle_timeout_s)
            await watch.read_all()
            before = _changes(watch)
            await asyncio.sleep(QUIET_S)
            await watch.read_all()
            if _changes(watch) == before and not await _is_moving(cluster):
                return

    async def _evidence(self, cluster: Cluster, watch: JournalWatch, *, is_at_rest: bool) -> Evidence:
        await watch.read_all()
        if is_at_rest:
            self._tally.worked_in |= await asyncio.to_thread(work_left, self._run_dir / DAYTONA)
        evidence = evidence_of(watch.entries, self._tally, is_at_rest=is_at_rest)
        names = [f"claude-issue-{issue}" for issue in range(1, self._plan.issues + 1)]
        recorded = await read_histories(await cluster.temporal(), names)
        self._failed_tasks = recorded.failed_tasks
        # Without rest a delivery may be in no history yet, which says nothing; a block that is there was there.
        facts: dict[str, object] = {"blocks": recorded.blocks}
        if is_at_rest:
            facts["histories"] = recorded.signals
        evidence = evidence.model_copy(update=facts)
        await asyncio.to_thread(write_run, self._run_dir, evidence)
        return evidence


async def _unless_broken(watch: JournalWatch, course: Coroutine[None, None, None]) -> None:
    """Let it run to its end, or to the first violation: then it is cancelled, and everything stays as it is."""
    running = asyncio.create_task(course)
    breaking = asyncio.create_task(watch.broken.wait())
    await asyncio.wait({running, breaking}, return_when=asyncio.FIRST_COMPLETED)
    breaking.cancel()
    if not running.done():
        running.cancel()
        await asyncio.wait({running})
        return
    running.result()


async def _until(at: float) -> None:
    await asyncio.sleep(max(0.0, at - time.time()))


def _changes(watch: JournalWatch) -> int:
    """How many changes of sandboxes the journal holds."""
    return sum(entry.kind in {"created", "state", "desired", "destroyed"} for entry in watch.entries)


async def _is_moving(cluster: Cluster) -> bool:
    """Whether any sandbox is on its way to another state."""
    return any(row.transition is not None and not row.stuck for row in await cluster.admin.sandboxes())
