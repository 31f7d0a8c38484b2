"""Drives one system through one round: faults on, the issues' deliveries, faults off, rest, one more event for each."""

from __future__ import annotations

import asyncio
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
from proofs.peers.peer import Event
from proofs.peers.plan import Act, Round, Send, life_of
from proofs.peers.system import HOSTS, RefusedError, System

REST_MAX_S = 60.0
DAYTONA_REST_MAX_S = 15.0
"""Longer than the slowest create of the plan."""
POLL_S = 0.1
CALM_CONFIG = {
    "durations": {"create_s": 1.0},
    "list_lag_s": 0.0,
    "list_flap_probability": 0.0,
    "name_cache_s": 0.0,
    "backup_every_s": 0.0,
}
"""The knobs that rounds change, with their values without faults; and no archive waits for other sandboxes' backups."""

NO_ANSWER = None
ACCEPTED = 202
FAILED = 500


@dataclass(slots=True)
class RestState:
    """The state at a moment of rest: by issue, the live sandboxes, and the one that the system would find."""

    live: dict[int, list[SandboxView]]
    found: dict[int, str | None]

    def is_served(self, issue: int) -> bool:
        """Whether the sandbox that the system would find runs."""
        return any(row.id == self.found[issue] and row.state == "started" for row in self.live[issue])


@dataclass(slots=True)
class Run:
    """Everything that a round leaves."""

    round: Round
    issues: list[int]
    deliveries: list[Delivery] = field(default_factory=list)
    journal: list[Entry] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    at_rest: RestState | None = None
    later: RestState | None = None
    """The state after one more event for each issue; None in a round that ends with closed issues."""


class Driver:
    """One round of one system."""

    def __init__(self, system: System, server: Server, each: Round, issues: Sequence[int], seed: int) -> None:
        self._system = system
        self._server = server
        self._seed = seed
        self._run = Run(each, list(issues))

    async def run(self) -> Run:
        """Run the round."""
        run, admin = self._run, self._server.admin
        began_at_seq = max((entry.seq for entry in await admin.journal()), default=0)
        await admin.set_faults(*run.round.rules, seed=self._seed)
        await admin.config(**run.round.knobs)
        at_once = asyncio.Semaphore(run.round.issues_at_once)
        await asyncio.gather(*(self._live(number, at_once) for number in range(len(run.issues))))
        await self._calm()
        await self._rest()
        run.at_rest = await self._rest_state()
        run.journal = await admin.journal(after=began_at_seq)
        if not run.round.ends_closed:
            further = Send(0, 0, "comment")
            await asyncio.gather(*(self._send(issue, 99, further, keep=False) for issue in run.issues))
            await self._rest()
            run.later = await self._rest_state()
        return run

    async def _live(self, number: int, at_once: asyncio.Semaphore) -> None:
        """Play one issue's deliveries and acts."""
        issue, life = self._run.issues[number], life_of(self._run.round, self._seed, number)
        async with at_once:
            await self._system.whole()
            began_s = asyncio.get_running_loop().time()
            acts: list[asyncio.Task[None]] = []
            sends: list[asyncio.Task[None]] = []
            for index, moment in enumerate(life):
                if isinstance(moment, Act):
                    acts.append(asyncio.create_task(self._act(issue, moment, began_s)))
                else:
                    sends.append(asyncio.create_task(self._follow(issue, index, moment, list(acts), began_s)))
            await asyncio.gather(*acts, *sends)

    async def _follow(
        self, issue: int, index: int, moment: Send, acts: Sequence[asyncio.Task[None]], began_s: float
    ) -> None:
        """Send at its time after the acts before it."""
        if acts:
            await asyncio.wait(acts)
            began_s = asyncio.get_running_loop().time()
        await _until(began_s + moment.at_s)
        if moment.waits_for_hosts:
            await self._system.whole()
        await self._send(issue, index, moment, keep=True)

    async def _act(self, issue: int, moment: Act, began_s: float) -> None:
        """Do the act to each sandbox of the issue. An act that Daytona refuses is skipped."""
        await _until(began_s + moment.at_s)
        for row in (await self._rows()).get(issue, []):
            with suppress(httpx.HTTPStatusError):
                await self._server.admin.act(row.id, moment.act)

    async def _send(self, issue: int, index: int, moment: Send, *, keep: bool) -> None:
        """Send one delivery, and note its answer."""
        sent_at = time.time()
        event = Event(f"{self._run.round.key}-{issue}-{index}", issue, moment.action, sent_at + index)
        status: int | None = ACCEPTED
        try:
            async with asyncio.timeout(moment.gone_after_s):
                await self._system.deliver(event, moment.host % HOSTS, moment.crash)
        except TimeoutError:
            status = NO_ANSWER
        except RefusedError as error:
            status = FAILED
            self._run.refusals.append(str(error))
        if keep:
            self._run.deliveries.append(
                Delivery(
                    delivery=event.delivery,
                    issue=issue,
                    action=moment.action,
                    expects=Expectation.STOPPED if event.is_close else Expectation.RUNNING,
                    updated_at=event.updated_at,
                    sent_at=sent_at,
                    answered_at=None if status is None else time.time(),
                    status=status,
                )
            )

    async def _rest(self) -> None:
        """Wait for the system, for Daytona, and for the system again."""
        await self._system.rest(self._run.issues, REST_MAX_S)
        deadline_s = asyncio.get_running_loop().time() + DAYTONA_REST_MAX_S
        while asyncio.get_running_loop().time() < deadline_s and await self._is_changing():  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
        await self._system.rest(self._run.issues, REST_MAX_S)

    async def _is_changing(self) -> bool:
        """Whether a sandbox of the round is changing its state."""
        rows = await self._rows()
        return any(row.transition for issue in self._run.issues for row in rows.get(issue, []))

    async def _calm(self) -> None:
        """Switch the faults off, and set the knobs back."""
        admin = self._server.admin
        await admin.set_faults()
        await admin.config(**CALM_CONFIG)

    async def _rest_state(self) -> RestState:
        """The present live sandboxes, and the ones that the system would find."""
        rows = await self._rows()
        live = {issue: rows.get(issue, []) for issue in self._run.issues}
        return RestState(live, {issue: self._system.finds(issue, there) for issue, there in live.items()})

    async def _rows(self) -> dict[int, list[SandboxView]]:
        """All live sandboxes by issue, without those whose delete was accepted."""
        found: dict[int, list[SandboxView]] = {}
        for row in await self._server.admin.sandboxes():
            issue = issue_of(row.name, row.labels)
            if issue is not None and not row.hidden and row.desired_state != "destroyed":
                found.setdefault(issue, []).append(row)
        return found


async def _until(at_s: float) -> None:
    """Sleep until this time of the loop's clock."""
    await asyncio.sleep(max(0.0, at_s - asyncio.get_running_loop().time()))
