"""The interface of a way to start an agent, and what all of them share: n8n's get-or-create, commands, a record.

n8n's algorithm did no lasting harm under the other table's faults, so what is counted here is the agent's start.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

from daytona import AsyncSandbox, DaytonaError

from proofs.peers.agents.agent import Work, start_command
from proofs.peers.algorithms.n8n import DEADLINE_S, N8n, NotReadyError
from proofs.peers.host import CommandError, Host
from proofs.peers.peer import Cloud, Event, Peer, state_of

T = TypeVar("T")

FAILURES = (DaytonaError, NotReadyError, CommandError)
"""What a step may raise."""
POLL_S = 5.0
"""Between two looks at an agent, in Daytona's seconds."""


@dataclass(frozen=True, slots=True)
class Request(Event):
    """A comment that asks for work; or `action` says that it cancels, or that the issue was closed.

    `act`: a name of what the person did, the same for each delivery about it. `number` and `key`: of the act.
    """

    act: str = ""
    number: int = 0
    key: str = ""
    work: Work = Work(1)  # noqa: RUF009 -- frozen


@dataclass(frozen=True, slots=True)
class Record:
    """A row about a request's execution: which process it is, and what is known of it."""

    request: Request
    pid: int = 0
    status: str = "running"


class StoppedError(Exception):
    """The sandbox does not run any more."""


class Starter(N8n):
    """One way to start an agent, in one process."""

    title: ClassVar[str]
    notes: ClassVar[str]

    def __init__(self, host: Host, cloud: Cloud) -> None:
        super().__init__(host, cloud)
        self.records = host.table("records", Record)

    async def on_delivery(self, event: Event) -> None:
        if not isinstance(event, Request):
            raise TypeError(event)
        if event.action == "cancel":
            await self.call_off(event.issue)
        else:
            await self.request(event)

    @abstractmethod
    async def request(self, request: Request) -> None:
        """Take a request. Returning is the 2xx; an error is what the caller sees."""

    async def call_off(self, issue: int) -> None:
        """End the agent's work, as far as it does that."""

    async def sandbox_of(self, issue: int) -> AsyncSandbox:
        """The issue's running sandbox. Raises one of FAILURES."""
        return await self.ensure(issue, self.host.deadline(DEADLINE_S))

    async def begin(self, sandbox: AsyncSandbox, request: Request) -> int:
        """Start the agent in the background, and note its process. Raises one of FAILURES."""
        pid = int(await self.host.execute(sandbox, start_command([request.key], request.work)))
        await self.records.write(request.number, Record(request, pid))
        return pid

    async def is_over(self, sandbox_id: str, pid: int) -> bool:
        """Whether the process has ended. Raises StoppedError, or one of FAILURES."""
        sandbox = await self.host.get(sandbox_id)
        if state_of(sandbox) != "started":
            raise StoppedError(sandbox_id)
        said = await self.host.execute(sandbox, f"kill -0 {pid} 2>/dev/null && echo alive || echo over")
        return said.strip() == "over"

    async def wait(self, sandbox_id: str, request: Request, pid: int) -> None:
        """Wait until it has ended, and note that. Raises StoppedError, or one of FAILURES."""
        while not await retried(self.host, lambda: self.is_over(sandbox_id, pid)):
            await self.host.sleep(POLL_S)
        await self.finish(request, "done")

    async def finish(self, request: Request, status: str) -> None:
        """Note how it ended."""
        record = await self.records.read(request.number) or Record(request)
        await self.records.write(request.number, replace(record, status=status))

    async def end(self, issue: int) -> None:
        """End the process groups of the agents that the records know, three tries. Raises one of FAILURES."""
        for record in (await self.records.all()).values():
            if record.request.issue == issue and record.status == "running" and record.pid:
                sandbox = await self.sandbox_of(issue)
                await retried(self.host, lambda sandbox=sandbox, pid=record.pid: self._kill(sandbox, pid))  # type: ignore[misc]
                await self.finish(record.request, "cancelled")

    async def _kill(self, sandbox: AsyncSandbox, pid: int) -> None:
        await self.host.execute(sandbox, f"kill -TERM -- -{pid} 2>/dev/null || true")

    def names(self, pid: int) -> bool:
        """Whether a record leads to this process, for the harness."""
        return any(record.pid == pid for record in self.records.everything().values())


async def retried(host: Host, work: Callable[[], Awaitable[T]], tries: int = 3, pause_s: float = 1.0) -> T:
    """Do it again after a failure, so many tries in all. Raises the last failure."""
    for _ in range(tries - 1):
        try:
            return await work()
        except FAILURES:
            await host.sleep(pause_s)
    return await work()


async def attempted(cloud: Cloud, work: Callable[[Starter], Awaitable[None]]) -> None:
    """One attempt on a live process. Raises NoWorkerError when it is killed, or what the work raises."""

    async def attempt(peer: Peer) -> None:
        if not isinstance(peer, Starter):
            raise TypeError(peer)
        await work(peer)

    await cloud.attempts(attempt, 1)
