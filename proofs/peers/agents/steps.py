"""A checkpointed step that is run again: a durable function of two or three steps, each with retries.

What a step returned is stored, and a step that failed, or whose process died, is run again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import ClassVar

from proofs.peers.agents.starter import FAILURES, Request, Starter, StoppedError, attempted
from proofs.peers.host import Host
from proofs.peers.peer import Cloud, Event, NoWorkerError

log = logging.getLogger(__name__)

ATTEMPTS_MAX = 4
RETRY_PAUSE_S = 10.0


@dataclass(slots=True)
class Functions:
    """The durable functions of one issue: one works at a time, the others wait."""

    gate: asyncio.Lock = field(default_factory=asyncio.Lock)
    running: list[asyncio.Task[None]] = field(default_factory=list)


class OneStep(Starter):
    """The step starts the agent and waits for its end."""

    title: ClassVar[str] = "checkpointed step"
    notes: ClassVar[str] = (
        "read in several public functions for Inngest with a step `execute-agent`; a node of open-swe's graph is run "
        "again in the same way; 3 retries; best configuration: the event's ID is the comment's, one function at a time "
        "for an issue, `cancelOn` for a cancel and for the close, 3 tries of each read, and a start that starts a "
        "stopped sandbox as E2B's `connect` does; inferred: what a cancelled function has started lives on"
    )

    def __init__(self, host: Host, cloud: Cloud) -> None:
        super().__init__(host, cloud)
        self.events = host.table("events", Request)
        self.functions = host.table("functions", Functions)

    async def request(self, request: Request) -> None:
        """Send the event. One with a known ID is taken and not run again."""
        if await self.events.insert(request.number, request):
            functions = self._functions(request.issue)
            functions.running.append(self.cloud.start(self.function(self.cloud, request, functions)))

    async def on_close(self, event: Event) -> None:
        await self.call_off(event.issue)

    async def call_off(self, issue: int) -> None:
        await self.host.step()
        for task in self._functions(issue).running:
            task.cancel()

    async def function(self, cloud: Cloud, request: Request, functions: Functions) -> None:
        """The durable function. What it fails with is only its own state."""
        async with functions.gate:
            try:
                sandbox_id = await step(cloud, lambda peer: peer.get_sandbox(request))
                await self.agent(cloud, request, sandbox_id)
            except (*FAILURES, NoWorkerError, StoppedError) as error:
                log.debug("the function of %s failed: %s", request.key, error)

    async def agent(self, cloud: Cloud, request: Request, sandbox_id: str) -> None:
        """The steps after the sandbox's."""
        await step(cloud, lambda peer: peer.execute_agent(request, sandbox_id))

    async def get_sandbox(self, request: Request) -> str:
        """A step: the sandbox's ID."""
        return (await self.sandbox_of(request.issue)).id

    async def execute_agent(self, request: Request, sandbox_id: str) -> str:
        """A step: start it, and wait for its end."""
        pid = await self.begin(await self.sandbox_of(request.issue), request)
        await self.wait(sandbox_id, request, pid)
        return ""

    def _functions(self, issue: int) -> Functions:
        functions = self.functions.peek(issue)
        if functions is None:
            functions = Functions()
            self.functions.put(issue, functions)
        return functions


class TwoSteps(OneStep):
    """One step starts the agent, the next one waits for its end. A cancel ends the process that the first returned."""

    title: ClassVar[str] = "start and wait in two steps"
    notes: ClassVar[str] = (
        "the same functions as others write them, and PostHog's activities with 3 attempts: start, then wait; "
        "inferred: when it is cancelled, its clean-up ends the process group that the first step returned; a stop of "
        "the sandbox fails the wait, and the first step is not run again"
    )

    async def agent(self, cloud: Cloud, request: Request, sandbox_id: str) -> None:
        try:
            pid = int(await step(cloud, lambda peer: peer.start_agent(request)))
            await step(cloud, lambda peer: peer.wait_for_end(request, sandbox_id, pid))
        except asyncio.CancelledError:
            self.cloud.start(self.clean_up(cloud, request))
            raise

    async def start_agent(self, request: Request) -> str:
        """A step: start it."""
        return str(await self.begin(await self.sandbox_of(request.issue), request))

    async def wait_for_end(self, request: Request, sandbox_id: str, pid: int) -> str:
        """A step: wait for its end."""
        await self.wait(sandbox_id, request, pid)
        return ""

    async def clean_up(self, cloud: Cloud, request: Request) -> None:
        """A function of its own: what a cancelled one started is ended."""
        try:
            await step(cloud, lambda peer: peer.end_agents(request))
        except (*FAILURES, NoWorkerError) as error:
            log.debug("what %s started was not ended: %s", request.key, error)

    async def end_agents(self, request: Request) -> str:
        """A step: end what the records know."""
        await self.end(request.issue)
        return ""


async def step(cloud: Cloud, work: Callable[[TwoSteps], Awaitable[str]]) -> str:
    """Run a step, and run it again after a failure or the death of its process. Returns what it returned."""
    results: list[str] = []

    async def attempt(peer: Starter) -> None:
        results.append(await work(peer))  # type: ignore[arg-type]

    for left in range(ATTEMPTS_MAX - 1, -1, -1):
        try:
            await attempted(cloud, attempt)
        except (*FAILURES, NoWorkerError, StoppedError):
            if not left:
                raise
        else:
            return results[0]
        await cloud.pause(RETRY_PAUSE_S)
    raise AssertionError("unreachable")
