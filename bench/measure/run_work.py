"""What the measurements of runs share: an installation whose issues have work done, and how it is asked and read."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHandle

from bench.measure import parts
from bench.measure.bench_stack import DURATIONS_S, issues_over
from bench.measure.parts import Parts
from issuebox.dev.demo.stack import REPOSITORY, until
from issuebox.dev.mock_delivery import MockIssue, build, post
from issuebox.domain.issue import DEFAULT_NAME_PREFIX, Issue, sandbox_name
from issuebox.temporal.issues import Caller, Issues, UnavailableError
from localdaytona.journal import Entry
from workflows.run_messages import RunView

CALLER = Caller("bench", "bench")

WAIT_S = 20.0
"""For a sandbox that takes 0.1 s to create."""

FOLLOW = "follow_run"
SCHEDULED = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED


def until_told(step: str) -> str:
    """The command of a job that repeats this step until it is told to end."""
    return f"while [ ! -e ~/go ]; do {step}; done; rm ~/go; echo done"


def load() -> float:
    """How many processes were ready to run, on average over the last minute."""
    return round(os.getloadavg()[0], 2)


@dataclass(frozen=True, slots=True)
class Installation:
    """The parts at work, and what a person does to them."""

    parts: Parts
    http: httpx.AsyncClient

    @property
    def issues(self) -> Issues:
        """The one client of the issues' workflows."""
        return issues_over(self.parts.client)

    async def opened(self, issue: int) -> str:
        """Have the issue's sandbox running. Returns its ID."""
        handover = await self.issues.ensure(self.about(issue), WAIT_S, CALLER)
        if handover.sandbox is None:
            raise AssertionError(f"issue {issue} has no sandbox: {handover.outcome}")
        return handover.sandbox.id

    async def ask(self, issue: int) -> str:
        """Ask for work by a call, as REST and the command line do. Returns the request's key."""
        return (await self.issues.run(self.about(issue), "do it", CALLER)).key

    async def comment(self, issue: int) -> None:
        """Ask for work by a comment's delivery."""
        mock = build("comment", MockIssue(issue, REPOSITORY), self.parts.around.webhook_secret, comment="@claude do it")
        (await post(self.http, self.parts.around.api_url, mock)).raise_for_status()

    async def run(self, issue: int, key: str = "") -> RunView | None:
        """The run that serves the request; without a key the issue's newest one. None while nobody can tell."""
        try:
            view = await self.issues.runs(issue)
        except UnavailableError:
            return None  # The question went to a worker that is dead.
        found = [run for run in view.runs if not key or key in run.keys]
        return found[-1] if found else None

    async def working(self, issue: int, key: str = "") -> RunView:
        """Wait until the agent works at the request, or at the newest one."""
        return await self._until(issue, key, "working", lambda run: run.phase == "running")

    async def over(self, issue: int, key: str = "") -> RunView:
        """Wait until the run is over that serves the request, or the newest one."""
        return await self._until(issue, key, "over", lambda run: run.outcome is not None)

    async def tell(self, sandbox_id: str) -> None:
        """Let the job end."""
        await self.execute(sandbox_id, "touch ~/go")

    async def execute(self, sandbox_id: str, command: str) -> str:
        """Run a command in a sandbox, as its user would. Returns its output."""
        reply = await self.http.post(
            f"{self.parts.around.daytona_page_url}/toolbox/{sandbox_id}/process/execute",
            json={"command": command},
            headers={"Authorization": f"Bearer {self.parts.around.secrets.daytona_api_key}"},
        )
        reply.raise_for_status()
        return str(reply.json()["result"])

    async def history(self, issue: int) -> list[HistoryEvent]:
        """The events of the issue's workflow run."""
        return [event async for event in self.workflow(issue).fetch_history_events()]

    def workflow(self, issue: int) -> WorkflowHandle[object, object]:
        """The issue's workflow."""
        return self.parts.client.get_workflow_handle(sandbox_name(issue, DEFAULT_NAME_PREFIX))

    async def requests(self, sandbox_id: str, after: int = 0) -> list[Entry]:
        """What Daytona was asked about a sandbox after this entry of the journal, with what went to its toolbox."""
        entries = await self.parts.admin.journal(after=after, sandbox_id=sandbox_id)
        return [entry for entry in entries if entry.kind in {"request", "toolbox"}]

    def about(self, issue: int) -> Issue:
        """The issue as a caller names it."""
        return Issue(issue, REPOSITORY, issue, "A title")

    async def _until(self, issue: int, key: str, what: str, is_so: Callable[[RunView], bool]) -> RunView:
        found = await until(
            lambda: self.run(issue, key),
            lambda run: run is not None and is_so(run),
            f"the run of issue {issue} is {what}",
        )
        assert found is not None  # noqa: S101 -- that is what was waited for
        return found


@asynccontextmanager
async def installed(
    data_dir: Path,
    command: str,
    *,
    workers: int = 1,
    program: Sequence[str] = parts.WORKER,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Installation]:
    """Run all parts in this directory, with this command as the agent, and workers of this program."""
    work = {
        "ISSUEBOX_RUN_PRESET": "command",
        "ISSUEBOX_RUN_COMMAND": command,
        "ISSUEBOX_RUN_LOG_DIR": str(data_dir / "runs"),
        **(settings or {}),
    }
    async with (
        parts.running(data_dir, workers=0, **work) as running,  # type: ignore[arg-type]
        httpx.AsyncClient(timeout=15.0, trust_env=False) as http,
    ):
        await running.admin.config(durations=dict(DURATIONS_S), backup_every_s=0.0)
        for number in range(1, workers + 1):
            await running.start_worker(number, program)
        yield Installation(running, http)


def activity_of(event: HistoryEvent) -> str:
    """The name of the activity that this event schedules; '' for any other event."""
    is_scheduled = event.event_type == SCHEDULED
    return event.activity_task_scheduled_event_attributes.activity_type.name if is_scheduled else ""
