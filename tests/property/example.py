"""One example: what GitHub, people and Daytona's faults do to the system.

The sender notes deliveries and orders for the checker. issuebox is asked only whether it is done, so that the example
knows when to check the result.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Sequence
from typing import Any

import httpx
from temporalio.service import RPCError, RPCStatusCode

from localdaytona.admin_models import SandboxView
from proofs.checker.evidence import Delivery, Order
from tests.property.github import Event
from tests.property.recorder import Recorder
from tests.property.rig import SECRET, Rig, new_task_queue
from tests.property.terms import KNOBS, Terms

UNSAVED = "mkdir -p work && cd work && git init --quiet && echo unsaved > file"
"""A person's work: a repository with a file that is nowhere else."""

DONE = ("resting", "blocked")
"""How a workflow's `doing` begins when it waits for somebody."""


class Example:
    """One example on the shared processes, with its own task queue, workers and API application."""

    def __init__(self, rig: Rig, issues: Sequence[int], terms: Terms) -> None:
        self._rig = rig
        self._issues = issues
        self._terms = terms
        self._task_queue = new_task_queue()
        self._api = rig.api(self._task_queue)
        self.recorder = Recorder(rig, [name_of(issue) for issue in issues], terms.closed_rests_at)

    async def begin(self) -> None:
        """Configure Daytona by the terms, and start the first worker."""
        await self._rig.daytona.admin.set_faults()
        await self._rig.daytona.admin.config(**KNOBS | self._terms.knobs)
        self.start_worker()

    async def end(self) -> None:
        """End everything of this example that could still act."""
        self._rig.workers.kill_all()
        for issue in self._issues:
            try:
                await self._rig.temporal.get_workflow_handle(name_of(issue)).terminate()
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
        await self._api.aclose()
        self.recorder.close()

    async def post(self, event: Event, delivery: str = "", copies: int = 1) -> None:
        """POST a signed delivery, `copies` times at once. Without Temporal the answer is 503."""
        await asyncio.gather(*(self._post(event, delivery or event.delivery) for _ in range(copies)))

    async def _post(self, event: Event, delivery: str) -> None:
        digest = hmac.new(SECRET.encode(), event.body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": event.kind,
            "X-GitHub-Delivery": delivery,
            "X-Hub-Signature-256": f"sha256={digest}",
        }
        sent_at = time.time()
        reply = await self._api.post("/webhooks/github", content=event.body, headers=headers)
        if reply.status_code not in {202, 503}:
            raise AssertionError(f"the webhook answered {reply.status_code}: {reply.text}")
        self.recorder.deliveries.append(
            Delivery(
                delivery=delivery,
                issue=event.issue,
                action=event.action,
                expects=event.expects,
                # The fraction distinguishes two events of the same second, as their bodies do.
                updated_at=event.updated_at.timestamp() + event.number / 1000,
                closed_at=event.closed_at.timestamp() if event.closed_at else None,
                sent_at=sent_at,
                answered_at=time.time(),
                status=reply.status_code,
            )
        )

    async def ask(self, issue: int, wait_s: float) -> None:
        """A person's sandbox request over REST."""
        await self._order("ensure", issue, "PUT", "sandbox", params={"wait_s": wait_s})

    async def stop(self, issue: int) -> None:
        """A person's order to stop the sandbox."""
        await self._order("stop", issue, "POST", "stop")

    async def replace(self, issue: int) -> None:
        """A person's order to replace the sandbox, which abandons its content."""
        await self._order("replace", issue, "POST", "replace", is_forced=True)

    async def delete(self, issue: int, *, is_forced: bool) -> None:
        """A person's order to delete the sandbox."""
        await self._order("delete", issue, "DELETE", "sandbox", is_forced=is_forced, params={"force": is_forced})

    async def retry(self, issue: int) -> None:
        """A person's retry. It changes no expectation, so it is not noted as an order."""
        reply = await self._api.post(f"/v1/issues/{issue}/retry")
        if reply.status_code not in {202, 404}:
            raise AssertionError(f"retry answered {reply.status_code}: {reply.text}")

    async def _order(
        self, word: str, issue: int, method: str, path: str, *, is_forced: bool = False, **rest: Any
    ) -> None:
        sent_at = time.time()
        reply = await self._api.request(method, f"/v1/issues/{issue}/{path}", **rest)
        if reply.status_code not in {200, 202, 404, 409, 503}:
            raise AssertionError(f"{method} {path} answered {reply.status_code}: {reply.text}")
        self.recorder.orders.append(
            Order(
                order=word,
                issue=issue,
                is_forced=is_forced,
                sent_at=sent_at,
                answered_at=time.time(),
                status=reply.status_code,
            )
        )

    async def by_hand(self, issue: int, act: str, **detail: object) -> bool:
        """A person's act at Daytona. Returns whether Daytona accepted it."""
        try:
            await self._rig.daytona.admin.act(name_of(issue), act, **detail)
        except httpx.HTTPStatusError as error:
            if error.response.is_server_error:
                raise
            return False  # The sandbox does not exist, or its state does not allow the act.
        return True

    async def work(self, issue: int) -> bool:
        """Leave unsaved work in the issue's sandbox. Returns whether that succeeded."""
        row = await self.row(issue)
        if row is None or row.state != "started":
            return False
        daytona = self._rig.daytona
        async with httpx.AsyncClient(base_url=daytona.base_url, timeout=5, trust_env=False) as http:
            try:
                reply = await http.post(
                    f"/toolbox/{row.id}/process/execute",
                    json={"command": f"sh -c '{UNSAVED}'"},
                    headers={"Authorization": f"Bearer {daytona.api_key}"},
                )
            except httpx.TransportError:
                return False  # A fault; the work may be there, but it is not certain.
        if not reply.is_success or reply.json()["exitCode"] != 0:
            return False
        self.recorder.worked_in.add(row.id)
        return True

    async def row(self, issue: int) -> SandboxView | None:
        """The sandbox that has the issue's name now, from the admin API, which injects no faults."""
        try:
            return await self._rig.daytona.admin.sandbox(name_of(issue))
        except httpx.HTTPStatusError as error:
            if error.response.status_code != httpx.codes.NOT_FOUND:
                raise
            return None

    async def fault(self, issue: int, operation: str, effect: dict[str, Any], *, times: int, skip: int) -> None:
        """Inject a fault into this issue's requests, `times` times after the first `skip`."""
        name = f"*{name_of(issue)}*"
        await self._rig.daytona.admin.add_fault(operation, effect, name=name, times=times, skip=skip)

    async def begin_outage(self) -> None:
        """Daytona loses its database: first it answers 404, then 503."""
        await self._rig.daytona.admin.config(outage=True)

    async def end_outage(self) -> None:
        """Daytona has its database again."""
        await self._rig.daytona.admin.config(outage=False)

    async def drop_events(self) -> None:
        """Break every connection of the event stream."""
        await self._rig.daytona.admin.drop_events()

    async def restart_daytona(self) -> None:
        """kill -9 of Daytona, and a restart."""
        await self._rig.daytona.restart()

    def start_worker(self, *, cached_workflows: int = 100) -> None:
        """Start one more worker of this example."""
        settings = self._terms.settings | {"task_queue": self._task_queue}
        self._rig.start_worker(settings, cached_workflows=cached_workflows)

    def kill_workers(self) -> None:
        """kill -9 of all workers."""
        self._rig.workers.kill_all()

    async def mend(self) -> None:
        """End all faults. A person releases stuck sandboxes, and retries blocked issues."""
        admin = self._rig.daytona.admin
        await admin.set_faults()
        await admin.config(**KNOBS)
        self.kill_workers()
        self.start_worker()
        for issue in self._issues:
            await self.by_hand(issue, "release")
        for issue in self._issues:
            if (await self.status(issue)).get("blocked"):
                await self.retry(issue)

    async def rest(self) -> None:
        """End all faults, and wait until every issue is as its newest event asks. Raises AssertionError."""
        await self.mend()
        await self.recorder.require_rest(self._is_done)

    async def _is_done(self) -> str:
        """What issuebox itself reports as not done yet; '' when it reports everything as done."""
        for issue in self._issues:
            reply = await self._api.get(f"/v1/issues/{issue}/sandbox")
            if reply.status_code == httpx.codes.NOT_FOUND:
                continue
            status = reply.json()
            if not reply.is_success or status["goal_due_at"] or not status["doing"].startswith(DONE):
                return f"issue {issue}: {status}"
        return ""

    async def status(self, issue: int) -> dict[str, Any]:
        """The status of the issue's workflow; empty without a workflow or an answer."""
        reply = await self._api.get(f"/v1/issues/{issue}/sandbox")
        body: dict[str, Any] = reply.json()
        return body if reply.is_success else {}


def name_of(issue: int) -> str:
    """The documented name of the issue's sandbox."""
    return f"claude-issue-{issue}"
