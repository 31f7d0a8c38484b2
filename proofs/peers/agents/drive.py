"""Drives one system through one round: faults on, the issues' comments and what befalls them, faults off, rest."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import httpx

from localdaytona.admin_models import SandboxView
from localdaytona.journal import Entry
from localdaytona.testing import Server
from proofs.checker.evidence import Delivery, Expectation
from proofs.checker.lives import issue_of
from proofs.peers.agents.agent import LEDGER, MARK, Execution, executions_of
from proofs.peers.agents.plan import Kill, Life, Moment, Round, Send, Since, Stop, life_of, request_key
from proofs.peers.agents.starter import Request
from proofs.peers.agents.system import RunSystem
from proofs.peers.system import HOSTS, RefusedError

REST_MAX_S = 60.0
CALLED_OFF_MAX_S = 12.0
"""How long after a close or a cancel an agent may be alive: two minutes of Daytona's time."""
WORK_WITHIN_S = 10.0
"""How long what comes while the agent works waits for the agent."""
POLL_S = 0.1
ACCEPTED, FAILED = 202, 500
EXPECTED = {"comment": Expectation.RUNNING, "closed": Expectation.STOPPED, "cancel": Expectation.NOTHING}


@dataclass(slots=True)
class Run:
    """Everything that a round leaves. `alive`: by issue, the keys of the agents that were alive at rest."""

    round: Round
    issues: list[int]
    deliveries: list[Delivery] = field(default_factory=list)
    journal: list[Entry] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    followed: set[Execution] = field(default_factory=set)
    alive: dict[int, set[str]] = field(default_factory=dict)


class Driver:
    """One round of one system."""

    def __init__(self, system: RunSystem, server: Server, each: Round, issues: Sequence[int], seed: int) -> None:
        self._system = system
        self._admin = server.admin
        self._seed = seed
        self._run = Run(each, list(issues))
        self._acts: dict[tuple[int, int], Request] = {}

    async def run(self) -> Run:
        """Run the round."""
        run = self._run
        began_at_seq = max((entry.seq for entry in await self._admin.journal()), default=0)
        await self._admin.set_faults(*run.round.rules, seed=self._seed)
        at_once = asyncio.Semaphore(run.round.issues_at_once)
        await asyncio.gather(*(self._live(number, at_once) for number in range(len(run.issues))))
        await self._admin.set_faults()
        await self._rest()
        run.executions = [each for issue in run.issues for each in await self._executions(issue)]
        run.followed = await self._system.followed(run.executions)
        run.alive = await self._alive()
        run.journal = await self._admin.journal(after=began_at_seq)
        await self._sweep()
        return run

    async def _live(self, number: int, at_once: asyncio.Semaphore) -> None:
        """Play what happens to one issue."""
        issue, life = self._run.issues[number], life_of(self._run.round, self._seed, number)
        async with at_once:
            await self._system.whole()
            beginning_s = _now_s()
            work = asyncio.create_task(self._working(issue))
            await asyncio.gather(*(self._moment(issue, life, each, beginning_s, work) for each in life.moments))
            work.cancel()

    async def _moment(
        self, issue: int, life: Life, moment: Moment, beginning_s: float, work: asyncio.Task[float]
    ) -> None:
        """Do it at its time."""
        since_s = beginning_s if moment.since is Since.BEGINNING else await asyncio.shield(work)
        await asyncio.sleep(max(0.0, since_s + moment.at_s - _now_s()))
        if isinstance(moment, Send):
            await self._send(issue, life, moment)
        elif isinstance(moment, Stop):
            for row in await self._rows(issue):
                with suppress(httpx.HTTPStatusError):  # It does not run.
                    await self._admin.act(row.id, "stop")
        elif isinstance(moment, Kill):
            await asyncio.gather(*(self._system.kill(host) for host in range(HOSTS)))

    async def _working(self, issue: int) -> float:
        """When an agent of the issue was first seen at work; the end of the wait when none was."""
        ends_s = _now_s() + WORK_WITHIN_S
        while _now_s() < ends_s and not await self._executions(issue):  # noqa: ASYNC110 -- a file
            await asyncio.sleep(POLL_S)
        return _now_s()

    async def _send(self, issue: int, life: Life, moment: Send) -> None:
        """Send one delivery, and note its answer."""
        if moment.waits_for_hosts:
            await self._system.whole()
        request, sent_at, status = self._request(issue, life, moment), time.time(), ACCEPTED
        try:
            await self._system.deliver(request, moment.host, moment.crash)
        except RefusedError as error:
            status = FAILED
            self._run.refusals.append(str(error))
        self._run.deliveries.append(
            Delivery(
                delivery=request.delivery,
                issue=issue,
                action=moment.action,
                expects=EXPECTED[moment.action],
                updated_at=request.updated_at,
                sent_at=sent_at,
                answered_at=time.time(),
                status=status,
                asks=request.key if moment.action == "comment" else "",
            )
        )

    def _request(self, issue: int, life: Life, moment: Send) -> Request:
        """The delivery. Each one about the same act says the same."""
        act = f"{self._run.round.key}-{issue}-{moment.act}"
        first = self._acts.get((issue, moment.act))
        updated_at = time.time() + moment.act if first is None else first.updated_at
        request = Request(
            f"{act}-{moment.hook}", issue, moment.action, updated_at, act, issue * 100 + moment.act,
            request_key(act), life.work,
        )  # fmt: skip
        return self._acts.setdefault((issue, moment.act), request) if not moment.hook else request

    async def _rest(self) -> None:
        """Wait for the system, and for what it may have left at work."""
        if self._run.round.is_called_off:
            await self._system.rest(self._run.issues, CALLED_OFF_MAX_S)
            return
        await self._system.rest(self._run.issues, REST_MAX_S)
        ends_s = _now_s() + REST_MAX_S
        while _now_s() < ends_s and any((await self._alive()).values()):  # noqa: ASYNC110 -- processes
            await asyncio.sleep(POLL_S)
        await self._system.rest(self._run.issues, REST_MAX_S)

    async def _executions(self, issue: int) -> list[Execution]:
        """What the ledgers of the issue's sandboxes show."""
        ledgers = [await self._admin.file(row.id, LEDGER) for row in await self._rows(issue)]
        return [each for ledger in ledgers for each in executions_of(issue, ledger or b"")]

    async def _alive(self) -> dict[int, set[str]]:
        """The keys of the agents that are alive, by issue: their own processes, and what they started."""
        found: dict[int, set[str]] = {}
        for issue in self._run.issues:
            for row in await self._rows(issue):
                for process in await self._admin.processes(row.id, MARK):
                    found.setdefault(issue, set()).update((process.value or "").split())
        return found

    async def _sweep(self) -> None:
        """Kill what is left, once it is counted."""
        for issue in self._run.issues:
            for row in await self._rows(issue):
                for process in await self._admin.processes(row.id, MARK):
                    with suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGKILL)

    async def _rows(self, issue: int) -> list[SandboxView]:
        """The issue's sandboxes whose delete was not accepted."""
        rows = await self._admin.sandboxes()
        return [
            row
            for row in rows
            if issue_of(row.name, row.labels) == issue and not row.hidden and row.desired_state != "destroyed"
        ]


def _now_s() -> float:
    return asyncio.get_running_loop().time()
