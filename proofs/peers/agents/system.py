"""The systems that run agents: a way of starting them on two processes, or issuebox with runs as a deployment."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import httpx
from temporalio.client import Client

from issuebox.dev.mock_delivery import MockDelivery, MockIssue, build
from localdaytona.testing import Server
from proofs.checker.evidence import Receipt
from proofs.checker.histories import Histories, read_histories
from proofs.peers.agents.agent import ISSUEBOX_COMMAND, Execution
from proofs.peers.agents.starter import Request, Starter
from proofs.peers.issuebox_system import REPOSITORY, SECRET, TOKEN, IssueboxSystem, deployment
from proofs.peers.peer import Event
from proofs.peers.system import Crash, PeerSystem, in_front_of

RunsOfIssue = dict[str, list[dict[str, str]]]
"""`runs` and `receipts`, as the REST API shows them."""
OVER = frozenset({"over", "refused"})
ANSWER_MAX_S = 60.0
POLL_S = 0.1
SETTINGS = {
    "ISSUEBOX_RUN_PRESET": "command",
    "ISSUEBOX_RUN_COMMAND": ISSUEBOX_COMMAND,
    "ISSUEBOX_RUN_ON_CLOSE": "cancel",
}
SECONDS = {"run_probe_timeout_s": 15.0, "run_script_timeout_s": 60.0}
"""Constants that wait for Daytona, besides those of the other table."""


class RunSystem(Protocol):
    """One system under test."""

    async def deliver(self, event: Event, host: int, crash: Crash | None) -> None:
        """Send a delivery to one of the two hosts and wait for its 2xx. Raises RefusedError."""
        ...

    async def kill(self, host: int) -> None:
        """kill -9 a host. It comes up again by itself."""
        ...

    async def whole(self) -> None:
        """Wait until both hosts are up."""
        ...

    async def rest(self, issues: Sequence[int], within_s: float) -> None:
        """Wait until it has nothing more to do for these issues, for `within_s` at most."""
        ...

    async def followed(self, executions: Sequence[Execution]) -> set[Execution]:
        """Those to which a record of the system leads, so that it could tell of them or end them."""
        ...


class StarterSystem(PeerSystem):
    """A way to start agents, on two processes. Implements `RunSystem`."""

    @property
    def is_idle(self) -> bool:
        return super().is_idle and not self.has_durable_work

    async def followed(self, executions: Sequence[Execution]) -> set[Execution]:
        peer = self.home(0)
        if not isinstance(peer, Starter):
            raise TypeError(peer)
        return {each for each in executions if peer.names(each.pid)}


def starter_system(
    kind: type[Starter], server: Server, speed: float, seed: str
) -> AbstractAsyncContextManager[StarterSystem]:
    """A way to start agents in front of this Daytona, with an SDK client for each of its processes."""
    return in_front_of(server, lambda clients: StarterSystem(kind, clients, speed, seed))


@dataclass(slots=True)
class IssueboxRuns(IssueboxSystem):
    """issuebox with a command for its runs. Implements `RunSystem`."""

    def built(self, event: Event) -> MockDelivery:
        """The comment has the same ID in each delivery about it, and the body is the same to the byte."""
        if not isinstance(event, Request):
            raise TypeError(event)
        issue = MockIssue(event.issue, REPOSITORY, updated_at=datetime.fromtimestamp(event.updated_at, UTC))
        action = "closed" if event.is_close else "comment"
        text = "@claude stop" if event.action == "cancel" else f"@claude {event.work.text}"
        mock = build(action, issue, SECRET, comment=text, delivery=event.act)
        return MockDelivery(event.delivery, mock.body, {**mock.headers, "X-GitHub-Delivery": event.delivery})

    async def rest(self, issues: Sequence[int], within_s: float) -> None:
        """Wait until every request of these issues is over, and their sandboxes are as they should be."""
        # Not `super()`: a dataclass with slots is not the class that its methods were compiled in.
        await self.rest_until(issues, within_s, self._is_over)

    async def followed(self, executions: Sequence[Execution]) -> set[Execution]:
        """A run has its request's receipt, and as many attempts as it says."""
        attempts = {issue: await self._attempts(issue) for issue in {each.issue for each in executions}}
        by_key: dict[tuple[int, str], list[Execution]] = defaultdict(list)
        for each in executions:
            by_key[each.issue, each.key].append(each)
        return {
            each
            for (issue, key), mine in by_key.items()
            for each in sorted(mine, key=lambda one: one.began)[: attempts[issue].get(key, 0)]
        }

    async def receipts(self, issues: Sequence[int]) -> list[Receipt]:
        """The receipt of every request of these issues."""
        return [
            Receipt(issue=issue, key=each["key"], state=each["state"], run=each["run"])
            for issue in issues
            for each in (await self._runs(issue))["receipts"]
        ]

    async def histories(self, issues: Sequence[int]) -> Histories:
        """What Temporal recorded about these issues."""
        client = await Client.connect(self.address)
        return await read_histories(client, [f"claude-issue-{issue}" for issue in issues])

    async def _is_over(self, issue: int) -> bool:
        runs = await self._asked(issue)
        if runs is None or not all(each["state"] in OVER for each in runs["receipts"]):
            return False
        return await self._is_at_rest(issue)

    async def _attempts(self, issue: int) -> dict[str, int]:
        """The number of attempts of the run that serves a request, by its key."""
        runs = await self._runs(issue)
        attempt = {each["id"]: int(each["attempt"]) for each in runs["runs"]}
        return {each["key"]: attempt.get(each["run"], 0) for each in runs["receipts"]}

    async def _runs(self, issue: int) -> RunsOfIssue:
        """The issue's runs and receipts. Raises TimeoutError when nobody answers for a minute."""
        async with asyncio.timeout(ANSWER_MAX_S):
            while (runs := await self._asked(issue)) is None:  # noqa: ASYNC110 -- another process
                await asyncio.sleep(POLL_S)
        return runs

    async def _asked(self, issue: int) -> RunsOfIssue | None:
        """The same; None while no worker can answer, as after a kill."""
        url = f"{self.pairs[0].url}/v1/issues/{issue}/runs"
        try:
            reply = await self.http.get(url, headers={"Authorization": f"Bearer {TOKEN}"})
        except httpx.TransportError:
            return None
        if reply.status_code == httpx.codes.NOT_FOUND:
            return {"runs": [], "receipts": []}
        if reply.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            return None
        reply.raise_for_status()
        found: RunsOfIssue = reply.json()
        return found


@asynccontextmanager
async def issuebox_runs(server: Server, scratch: Path, speed: float) -> AsyncIterator[IssueboxRuns]:
    """Temporal, two hosts with runs switched on, and the client that plays GitHub."""
    async with deployment(server, scratch, speed, SETTINGS, SECONDS) as (pairs, http, address):
        yield IssueboxRuns(pairs, http, address)
