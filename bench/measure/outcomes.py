"""Runs the life of an issue on the real stack and records what each outcome needs from Daytona and Temporal.

It only counts; `bench.measure.latency` measures times.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from bench.measure.bench_stack import BenchStack, measured
from bench.measure.frame import Context
from issuebox.dev.demo.stack import until
from localdaytona.journal import Entry

Row = TypeVar("Row")

CREATED, REUSED, REFRESHED, STARTED = "created", "reused", "reused after idling", "started"
STOPPED, ARCHIVED, DELETED = "closed: stopped", "closed: archived", "closed: deleted"

WEBHOOK, REST = "webhook", "REST"

IDLE_S = 2400
"""Idle long enough that the stop is near and the handover postpones it, but not long enough for the stop."""

LADDER = {
    "ISSUEBOX_CLOSE_STOP_AFTER_S": "0.5",
    "ISSUEBOX_CLOSE_ARCHIVE_AFTER_S": "3",
    "ISSUEBOX_CLOSE_DELETE_AFTER_S": "6",
}
"""The days after a close, shortened to seconds: the same steps and the same timers."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one outcome cost. `operations` are Daytona's, in order; `events` are those added to the history."""

    outcome: str
    way: str
    operations: tuple[str, ...]
    toolbox: int
    events: tuple[HistoryEvent, ...]


@dataclass
class Player:
    """The life of one issue, with requests by webhook (a signal) or over REST (an update)."""

    bench: BenchStack
    issue: int
    way: str
    samples: list[Sample] = field(default_factory=list)
    journal_end: int = 0
    events_seen: int = 0
    first_run_id: str = ""
    deliveries: int = 0

    async def live(self) -> None:
        """Run each step once, in order. Only deliveries close issues."""
        await self.open()
        await self.reuse()
        await self.reuse_after_idling()
        await self.start()
        if self.way == WEBHOOK:
            await self.close()

    async def open(self, outcome: str = CREATED) -> None:
        """The issue is opened: there is no sandbox, and one is created."""
        await self._note(outcome, lambda: self._ask("opened"))

    async def reuse(self) -> None:
        """Somebody comments: the sandbox runs."""
        await self._note(REUSED, lambda: self._ask("comment"))

    async def reuse_after_idling(self) -> None:
        """Somebody comments when Daytona is about to stop the sandbox."""
        await self.bench.stack.act(self.issue, "idle", seconds=IDLE_S)
        await self._note(REFRESHED, lambda: self._ask("comment"))

    async def start(self) -> None:
        """Daytona, or a person, has stopped the sandbox; somebody comments."""
        await self.bench.stack.act(self.issue, "stop")
        await self.bench.stack.settled(self.issue, "stopped")
        await self._note(STARTED, lambda: self._ask("comment"))

    async def close(self) -> None:
        """The issue is closed, and its sandbox is stopped, archived and deleted."""
        await self._note(STOPPED, self._close)
        await self._note(ARCHIVED, lambda: self._resting("archived"))
        await self._note(DELETED, lambda: self._resting("deleted"))

    async def _ask(self, action: str) -> None:
        stack = self.bench.stack
        if self.way == WEBHOOK:
            await stack.send(action, self.issue)
            self.deliveries += 1
            await stack.served(self.issue, self.deliveries)
            return
        url = f"{stack.stack.api_url}/v1/issues/{self.issue}/sandbox"
        reply = await stack.http.put(
            url, params={"wait_s": 10}, headers={"Authorization": f"Bearer {stack.stack.api_token}"}
        )
        if reply.status_code != httpx.codes.OK:
            raise AssertionError(f"PUT answered {reply.status_code}: {reply.text}")

    async def _close(self) -> None:
        await self.bench.stack.send("closed", self.issue)
        await self._resting("stopped")

    async def _resting(self, goal: str) -> None:
        """Wait until this goal is reached: nothing more is done, and the next timer runs."""
        await until(
            lambda: self.bench.stack.status(self.issue),
            lambda seen: bool(seen) and seen["goal"] == goal and seen["doing"].startswith("resting"),
            f"issue {self.issue} is {goal}",
        )

    async def _note(self, outcome: str, happen: Callable[[], Awaitable[None]]) -> None:
        """Make it happen, and record what it caused."""
        self.journal_end = await self._journal_end()
        await happen()
        entries = await self._entries()
        events = await self._events()
        self.samples.append(
            Sample(
                outcome,
                self.way,
                tuple(entry.operation or "" for entry in entries if entry.kind == "request"),
                sum(entry.kind == "toolbox" for entry in entries),
                tuple(events[self.events_seen :]),
            )
        )
        self.events_seen = len(events)

    async def _events(self) -> list[HistoryEvent]:
        """The history so far, also that of earlier runs: a workflow continues as new before a long rest."""
        self.first_run_id = self.first_run_id or (await self.bench.workflow(self.issue).describe()).run_id
        events: list[HistoryEvent] = []
        run_id = self.first_run_id
        while run_id:
            name = self.bench.stack.name(self.issue)
            handle = self.bench.temporal.get_workflow_handle(name, run_id=run_id)
            events += [event async for event in handle.fetch_history_events()]
            run_id = events[-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id
        return events

    async def _entries(self) -> list[Entry]:
        """The journal's entries about this issue's sandbox since the mark."""
        name = self.bench.stack.name(self.issue)
        found = await self.bench.stack.admin.journal(after=self.journal_end)
        rows = await self.bench.stack.admin.sandboxes()
        ids = {row.id for row in rows if row.name == name or row.name.startswith(f"DESTROYED_{name}_")}
        return [entry for entry in found if entry.name == name or entry.sandbox_id in ids]

    async def _journal_end(self) -> int:
        entries = await self.bench.stack.admin.journal(after=self.journal_end)
        return entries[-1].seq if entries else self.journal_end


def event_name(event: HistoryEvent) -> str:
    """Temporal's name, such as `ACTIVITY_TASK_SCHEDULED`."""
    return EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")


async def lived(context: Context, data_dir: Path) -> list[Sample]:
    """The samples of whole lives on their own stack, every other issue over REST."""
    samples: list[Sample] = []
    async with measured(data_dir, **LADDER) as bench:
        for issue in range(1, context.samples(full=20, quick=2) + 1):
            player = Player(bench, issue, WEBHOOK if issue % 2 else REST)
            await player.live()
            samples += player.samples
            context.say(f"issue {issue} is done, requested by {player.way}")
    return samples


def summarize(samples: Iterable[Sample], row: Callable[[str, str, list[Sample]], Row]) -> list[Row]:
    """One row for each outcome and way, in the order of their first samples."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.outcome, sample.way), []).append(sample)
    return [row(outcome, way, group) for (outcome, way), group in groups.items()]
