"""One run: start, load and faults, end of the faults, rest, verdict. Only the order of the phases is here."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Final

from proofs.chaos.agents import (
    Agents,
    agent_settings,
    alive_under,
    places_of,
    read_habits,
    read_ledger,
    read_receipts,
)
from proofs.chaos.cluster import WEBHOOK_SECRET, Cluster, prepared
from proofs.chaos.comments import ToldGitHub, told_of
from proofs.chaos.fault_injector import FaultInjector
from proofs.chaos.github import TITLE, GitHub
from proofs.chaos.operators import Operators
from proofs.chaos.parts import Ending
from proofs.chaos.people import work_left
from proofs.chaos.plan import Plan
from proofs.chaos.receiver import out_of_order, untold
from proofs.chaos.settling import QUERY, NotAtRestError, settled, shown
from proofs.chaos.strangers import intrusions
from proofs.chaos.tally import Tally
from proofs.chaos.terms import DAYTONA, NAME_PREFIX, SETTINGS, capped_at
from proofs.chaos.watch import JournalWatch, evidence_of
from proofs.checker.evidence import Evidence, Expectation, Violation
from proofs.checker.histories import read_histories
from proofs.checker.rules import check
from proofs.checker.run_dir import write_run
from proofs.github_api import running

HEAD_START_S: Final = 1.0
FINE: Final = 12
"""Of the writes to GitHub, for each round of fates: some four of ten are disturbed."""
QUIET_S: Final = 2.5
"""How long the journal must show no change of a sandbox once the workflows rest."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. Times are epoch seconds. `settle_s`: from the last fault to rest; None without rest."""

    evidence: Evidence
    violations: list[Violation]
    unrest: str
    load_began_at: float
    faults_ended_at: float
    ended_at: float
    settle_s: float | None
    own_deaths: dict[str, int]
    """How often each part ended by itself."""
    endings: dict[Ending, int]
    """The outcomes of all SIGTERMs to our own processes, with the last one of each."""
    bad_endings: tuple[str, ...]
    """Which of our own processes did not end in order after a SIGTERM: `worker-1 did not end`."""
    failed_tasks: dict[str, int]
    """How often workflow tasks failed, by the code in the SDK's message."""
    full_pipes: int
    """How many processes had a full log pipe at the end of a stall, so that they had to wait."""
    breaches: tuple[str, ...] = ()
    """What strangers should not have achieved, cancels that did not end as documented, notices that were not told."""

    @property
    def is_good(self) -> bool:
        """Whether it came to rest, no promise was broken, and every process ended in order after a SIGTERM."""
        return not self.violations and not self.unrest and not self.bad_endings and not self.breaches


class Run:
    """One plan on one cluster. Afterwards `run_dir` has all its files, however the run ended."""

    def __init__(self, plan: Plan, run_dir: Path, tally: Tally, settle_timeout_s: float) -> None:
        self._plan = plan
        self._run_dir = run_dir
        self._tally = tally
        self._settle_timeout_s = settle_timeout_s
        self._failed_tasks: Counter[str] = Counter()
        self._secret = token_hex(16)
        self._told_github = ToldGitHub(plan.seed, fine=FINE)
        self._told_github.know((issue, issue) for issue in range(1, plan.issues + 1))

    async def play(self) -> Outcome:
        """Carry out the plan and judge it. Raises `PartError` when a part cannot be started."""
        settings = SETTINGS | capped_at(self._tally.running_max) | agent_settings(self._run_dir, self._secret)
        async with (
            running(self._told_github),
            prepared(self._run_dir, settings | self._told_github.settings) as cluster,
        ):
            await cluster.start()
            watch = JournalWatch(cluster.admin, self._tally)
            watching = asyncio.create_task(watch.keep_reading())
            try:
                return await self._play(cluster, watch)
            finally:
                watching.cancel()

    async def _play(self, cluster: Cluster, watch: JournalWatch) -> Outcome:
        base = math.ceil(time.time() + HEAD_START_S)
        injector = FaultInjector(cluster, self._plan, base, self._tally)
        github = GitHub(cluster.api_urls, WEBHOOK_SECRET, base, self._tally)
        load = asyncio.create_task(github.send_all(self._plan.sent))
        self._tally.phase = "faults on"
        await _unless_broken(watch, injector.run())
        await _unless_broken(watch, _until(base + self._plan.seconds))
        faults_ended_at, unrest = time.time(), "not waited for"
        self._tally.phase = "faults off"
        self._told_github.is_calm = True
        await injector.end()
        if not watch.broken.is_set():
            unrest = await self._come_to_rest(cluster, github, load, watch)
        settle_s = None if unrest else time.time() - faults_ended_at
        if not unrest:
            await self._told_at_github(cluster)
        load.cancel()
        await asyncio.wait({load})
        self._tally.phase = "judging"
        evidence = await self._evidence(cluster, watch, is_at_rest=not unrest)
        violations = await asyncio.to_thread(check, evidence)
        self._tally.violations[:] = violations
        ended_at = time.time()
        self._tally.phase = "ending"
        await cluster.end()
        await self._search()
        ours = cluster.ours
        return Outcome(
            evidence,
            violations,
            unrest,
            load_began_at=base,
            faults_ended_at=faults_ended_at,
            ended_at=ended_at,
            settle_s=settle_s,
            own_deaths={part.name: part.deaths for part in cluster.parts.values() if part.deaths},
            endings=dict(sum((part.endings for part in ours), Counter[Ending]())),
            bad_endings=tuple(bad for part in ours for bad in part.bad_endings),
            failed_tasks=dict(self._failed_tasks),
            full_pipes=sum(part.full_pipes for part in ours),
            breaches=tuple(self._tally.breaches),
        )

    async def _come_to_rest(
        self, cluster: Cluster, github: GitHub, load: asyncio.Task[None], watch: JournalWatch
    ) -> str:
        """Wait for the last redeliveries, the workflows, and Daytona. Returns '' at rest, else what is not.

        In between, operators do what the documentation says for the workflows that were ended.
        """
        try:
            async with asyncio.timeout(self._settle_timeout_s):
                await load
                await self._quiet(cluster, watch)
                await Operators(cluster, self._tally).revive(github, self._plan.posts)
                await self._quiet(cluster, watch)
                while await Agents(cluster, self._tally).resume():
                    await self._quiet(cluster, watch)
                await self._told(cluster)
        except NotAtRestError as error:
            return str(error)
        except TimeoutError:
            waiting, restless = self._tally.waiting, self._tally.restless
            return f"{waiting} deliveries wait for a redelivery, {len(restless)} issues do not rest: {shown(restless)}"
        return ""

    async def _search(self) -> None:
        """The agents' secret stands nowhere. That an issue's title stands in Temporal's database shows the search."""
        leaks = await places_of(self._run_dir, self._secret)
        self._tally.breaches += [f"the agents' secret stands in {place}" for place in leaks]
        if not any("temporal.db" in place for place in await places_of(self._run_dir, TITLE)):
            self._tally.breaches.append("the search for secrets does not find an issue's title")

    async def _told_at_github(self, cluster: Cluster) -> None:
        """Give the last reports their time. An issue that was deleted is not told any more."""
        gone = {post.issue for post in self._tally.posts if post.expects is Expectation.GONE}
        issues = set(range(1, self._plan.issues + 1)) - gone
        await told_of(self._told_github, await read_receipts(await cluster.temporal(), sorted(issues)))

    async def _told(self, cluster: Cluster) -> None:
        """The receiver of notices has to know each issue's present state, and to have learned all in order."""
        client = await cluster.temporal()
        running = [execution.id async for execution in client.list_workflows(QUERY)]
        names = {int(name.removeprefix(NAME_PREFIX)): name for name in running if name.startswith(NAME_PREFIX)}
        excused = frozenset(each.issue for each in self._tally.meddled)
        self._tally.breaches += [
            *await untold(cluster.receiver, client, names),
            *out_of_order(cluster.receiver.told, excused),
        ]
        self._tally.told.update(cluster.receiver.moods)

    async def _quiet(self, cluster: Cluster, watch: JournalWatch) -> None:
        """Wait for rest without a later change: between two reconciliations, a workflow looks as if it rested."""
        client = await cluster.temporal()
        while True:
            mend = Operators(cluster, self._tally).mend
            await settled(client, self._tally, self._settle_timeout_s, mend, watch.is_full)
            await watch.read_all()
            before = _changes(watch)
            await asyncio.sleep(QUIET_S)
            await watch.read_all()
            is_queue_at_rest = not self._tally.queued or await watch.is_full()
            if _changes(watch) == before and is_queue_at_rest and not await _is_moving(cluster):
                return

    async def _evidence(self, cluster: Cluster, watch: JournalWatch, *, is_at_rest: bool) -> Evidence:
        await watch.read_all()
        if is_at_rest:
            self._tally.worked_in |= await asyncio.to_thread(work_left, self._run_dir / DAYTONA)
        evidence = evidence_of(watch.entries, self._tally, is_at_rest=is_at_rest)
        names = [f"{NAME_PREFIX}{issue}" for issue in range(1, self._plan.issues + 1)]
        client = await cluster.temporal()
        recorded = await read_histories(client, names)
        self._failed_tasks = recorded.failed_tasks
        self._tally.breaches += [*recorded.bad_cancels, *await intrusions(client, names, recorded.signals)]
        # Without rest, a delivery may not be in a history yet, which proves nothing; a recorded block is certain.
        facts: dict[str, object] = {"blocks": recorded.blocks, "ends": recorded.ends, "run_steps": recorded.run_steps}
        facts["ledger"] = await asyncio.to_thread(read_ledger, self._run_dir)
        facts["comments"] = self._told_github.told()
        self._tally.at_github, self._tally.habits = self._told_github.counts(), read_habits(self._run_dir)
        if is_at_rest:
            facts["histories"] = recorded.signals
            facts["receipts"] = await read_receipts(client, range(1, self._plan.issues + 1))
            facts["left"] = await asyncio.to_thread(alive_under, self._run_dir)
        evidence = evidence.model_copy(update=facts)
        await asyncio.to_thread(write_run, self._run_dir, evidence)
        return evidence


async def _unless_broken(watch: JournalWatch, work: Coroutine[None, None, None]) -> None:
    """Run it to its end, or cancel it at the first violation, which leaves everything as it is."""
    running = asyncio.create_task(work)
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
    """How many changes of sandboxes the journal has."""
    return sum(entry.kind in {"created", "state", "desired", "destroyed"} for entry in watch.entries)


async def _is_moving(cluster: Cluster) -> bool:
    """Whether any sandbox is changing its state."""
    return any(row.transition is not None and not row.stuck for row in await cluster.admin.sandboxes())
