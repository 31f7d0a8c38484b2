"""The running stack as the demo uses it: GitHub's deliveries, a person's actions, and the state of Daytona."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx

from issuebox.dev.dev_stack import DevStack
from issuebox.dev.environment import inherited
from issuebox.dev.mock_delivery import MockDelivery, MockIssue, build, post
from localdaytona.admin_models import SandboxView
from localdaytona.testing import AdminClient, free_port

T = TypeVar("T")

REPOSITORY = "octo/repo"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
WAIT_TIMEOUT_S = 75.0
"""Longer than the worker waits for the reply to a create."""
POLL_S = 0.1
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)

SETTINGS = {
    "ISSUEBOX_LOG_FORMAT": "json",
    # Seconds instead of minutes, so that the demo shows the whole way of a closed issue.
    "ISSUEBOX_CLOSE_STOP_AFTER_S": "1",
    "ISSUEBOX_CLOSE_ARCHIVE_AFTER_S": "5",
    # A stand-in for the agent, which the demo puts into one sandbox. Only comments make it work, and a close ends it.
    "ISSUEBOX_RUN_PRESET": "claude",
    "ISSUEBOX_RUN_ON": "comment",
    "ISSUEBOX_RUN_ON_CLOSE": "cancel",
}


@dataclass
class Stack:
    """A running stack, and what the demo does to it."""

    data_dir: Path
    stack: DevStack
    http: httpx.AsyncClient
    admin: AdminClient
    updated_at: datetime = LONG_AGO
    remembered: dict[int, str] = field(default_factory=dict)
    """The sandbox that an issue had, for checks that build on one another."""

    def name(self, issue: int) -> str:
        """The sandbox's name; a mock's global issue ID is its number."""
        return f"claude-issue-{issue}"

    def mock(self, action: str, issue: int, comment: str = "@claude") -> MockDelivery:
        """A signed delivery about the issue, newer than all before it."""
        # GitHub's times have a resolution of one second, and two equal bodies would count as one event.
        self.updated_at = max(datetime.now(UTC), self.updated_at + timedelta(seconds=1))
        about = MockIssue(issue, REPOSITORY, title=f"Demo issue {issue}", updated_at=self.updated_at)
        return build(action, about, self.stack.webhook_secret, comment=comment)

    async def post(self, action: str, issue: int) -> httpx.Response:
        """POST a mock delivery and return the API's answer, whatever it is."""
        return await post(self.http, self.stack.api_url, self.mock(action, issue))

    async def send(self, action: str, issue: int, copies: int = 1) -> None:
        """POST this many copies of one delivery at once. Every one must be accepted."""
        await self._all_taken(self.mock(action, issue), copies)

    async def comment(self, issue: int, text: str, copies: int = 1) -> None:
        """POST this many copies of the delivery of one comment."""
        await self._all_taken(self.mock("comment", issue, text), copies)

    async def runs(self, issue: int) -> list[dict[str, Any]]:
        """The issue's runs over REST, oldest first; none while the API does not tell."""
        try:
            reply = await self.http.get(f"{self.stack.api_url}/v1/issues/{issue}/runs", headers=self._bearer)
        except httpx.TransportError:
            return []
        return list(reply.json()["runs"]) if reply.is_success else []

    async def _all_taken(self, mock: MockDelivery, copies: int) -> None:
        for reply in await asyncio.gather(*(post(self.http, self.stack.api_url, mock) for _ in range(copies))):
            if reply.status_code != httpx.codes.ACCEPTED:
                raise AssertionError(f"the webhook answered {reply.status_code}: {reply.text}")

    async def redeliver_late(self, action: str, issue: int) -> None:
        """POST a delivery about the issue as it was a minute ago."""
        about = MockIssue(issue, REPOSITORY, updated_at=self.updated_at - timedelta(minutes=1))
        reply = await post(self.http, self.stack.api_url, build(action, about, self.stack.webhook_secret))
        if reply.status_code != httpx.codes.ACCEPTED:
            raise AssertionError(f"the webhook answered {reply.status_code}: {reply.text}")

    async def delete(self, issue: int, *, force: bool) -> None:
        """Order the delete of the issue's sandbox over REST."""
        url = f"{self.stack.api_url}/v1/issues/{issue}/sandbox"
        reply = await self.http.delete(url, params={"force": force}, headers=self._bearer)
        if reply.status_code != httpx.codes.ACCEPTED:
            raise AssertionError(f"the API answered {reply.status_code}: {reply.text}")

    async def execute(self, issue: int, command: str) -> None:
        """Run a command inside the issue's sandbox, as its user would."""
        sandbox = await self.one(issue)
        reply = await self.http.post(
            f"{self.stack.daytona_page_url}/toolbox/{sandbox.id}/process/execute",
            json={"command": command},
            headers={"Authorization": f"Bearer {self.stack.daytona_api_key}"},
        )
        if not reply.is_success or reply.json()["exitCode"] != 0:
            raise AssertionError(f"{command!r} in the sandbox of issue {issue}: {reply.text}")

    async def status(self, issue: int) -> dict[str, Any]:
        """The issue's status over REST; empty while the API does not give one."""
        try:
            reply = await self.http.get(f"{self.stack.api_url}/v1/issues/{issue}/sandbox", headers=self._bearer)
        except httpx.TransportError:
            return {}
        body: dict[str, Any] = reply.json() if reply.is_success else {}
        return body

    async def served(self, issue: int, deliveries: int = 1) -> dict[str, Any]:
        """Wait until the workflow has seen that many deliveries and no request waits."""
        return await until(
            lambda: self.status(issue),
            lambda seen: bool(seen) and seen["deliveries_seen"] >= deliveries and not seen["requests_waiting"],
            f"issue {issue} is served",
        )

    async def blocked(self, issue: int) -> dict[str, Any]:
        """Wait until the issue is blocked."""
        return await until(
            lambda: self.status(issue), lambda seen: bool(seen and seen["blocked"]), f"issue {issue} is blocked"
        )

    async def live(self, issue: int) -> list[SandboxView]:
        """The sandboxes of this issue that Daytona has, including those being deleted."""
        name = self.name(issue)
        rows = await self.admin.sandboxes()
        mine = [row for row in rows if row.name == name or row.name.startswith(f"DESTROYED_{name}_")]
        return [row for row in mine if row.state != "destroyed" and not row.hidden]

    async def one(self, issue: int) -> SandboxView:
        """The issue's only sandbox. Fails when there is none, or more than one."""
        rows = await self.live(issue)
        if len(rows) != 1:
            raise AssertionError(f"issue {issue} has {len(rows)} sandboxes: {[(r.id, r.state) for r in rows]}")
        return rows[0]

    async def settled(self, issue: int, state: str) -> SandboxView:
        """Wait until the issue's only sandbox is in this state."""
        return await until(lambda: self.one(issue), lambda row: row.state == state, f"issue {issue} is {state}")

    async def act(self, issue: int, act: str, **detail: object) -> None:
        """Act as a person does on the localdaytona page."""
        await self.admin.act((await self.one(issue)).id, act, **detail)

    async def creates(self, issue: int) -> int:
        """How many sandboxes Daytona ever created for the issue."""
        entries = await self.admin.journal(kind="created")
        return len([entry for entry in entries if entry.name == self.name(issue)])

    def kill(self, part: str) -> None:
        """kill -9 the process that runs this part of the stack now."""
        stack = DevStack.lookup(self.data_dir) or self.stack
        os.kill(stack.processes[part], signal.SIGKILL)

    def log_lines(self, issue: int) -> list[dict[str, Any]]:
        """The worker's own log lines about the issue, in order."""
        lines = (self.data_dir / "logs" / "worker.log").read_text(errors="replace").splitlines()
        parsed = (json.loads(line) for line in lines if line.startswith("{"))
        return [line for line in parsed if line.get("issue_id") == issue]

    @property
    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.stack.api_token}"}


async def until(
    read: Callable[[], Awaitable[T]],
    is_so: Callable[[T], bool],
    what: str,
    timeout_s: float = WAIT_TIMEOUT_S,
    poll_s: float = POLL_S,
) -> T:
    """Read until `is_so`, and return the last reading. Raises AssertionError with it after `timeout_s`."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        seen = await read()
        if is_so(seen):
            return seen
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"{what}: not within {timeout_s:.0f} s; last seen {str(seen)[:300]}")
        await asyncio.sleep(poll_s)


@asynccontextmanager
async def running(data_dir: Path, base: Mapping[str, str] = SETTINGS, **settings: str) -> AsyncIterator[Stack]:
    """Run `issuebox dev` in this directory as a person would, and end it with Ctrl-C's signal.

    `settings` are environment variables in addition to `base`, which holds the demo's.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "issuebox", "dev", "--data", str(data_dir), "--quiet", "--attached"),
        # Ports of its own, so that no other stack takes one while its server is dead.
        *(text for part in ("api", "temporal", "ui", "daytona") for text in (f"--{part}-port", str(free_port()))),
        env={**inherited(), **base, **settings},
        stdin=asyncio.subprocess.PIPE,  # It closes when we die, and the stack ends.
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    output = asyncio.create_task(process.stdout.read() if process.stdout else asyncio.sleep(0, b""))
    try:
        stack = await _ready(process, output, data_dir)
        async with httpx.AsyncClient(timeout=15.0, trust_env=False) as http:
            admin = AdminClient(stack.daytona_page_url or "")
            if stack.daytona_page_url:
                # An archive waits for a backup, and a demo has no time for the 10 s that Daytona takes to begin one.
                await admin.config(backup_every_s=1.0)
            yield Stack(data_dir, stack, http, admin)
            await admin.aclose()
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        await output


async def _ready(process: asyncio.subprocess.Process, output: asyncio.Task[bytes], data_dir: Path) -> DevStack:
    async def read() -> DevStack | None:
        if process.returncode is not None:
            raise AssertionError(f"issuebox dev ended with {process.returncode}:\n{(await output).decode()}")
        stack = DevStack.lookup(data_dir)
        return stack if stack is not None and stack.is_ready and stack.pid == process.pid else None

    stack = await until(read, lambda seen: seen is not None, "issuebox dev is ready", START_TIMEOUT_S)
    assert stack is not None  # noqa: S101 -- `until` returns nothing else
    return stack
