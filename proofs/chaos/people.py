"""People: their acts in Daytona's dashboard, the work that they leave in sandboxes, and their orders over REST."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

import httpx

from proofs.chaos.cluster import BEARER, DAYTONA_KEY, Cluster
from proofs.chaos.fault_schedule import FOREIGN, Act, Command, Work
from proofs.chaos.tally import Tally
from proofs.checker.evidence import Order

POLL_INTERVAL_S: Final = 0.3
ORDER_TIMEOUT_S: Final = 10.0
WORK_FILE: Final = Path("home/work/notes.txt")
WORK: Final = "mkdir -p $HOME/work && cd $HOME/work && git init -q . && echo half a thought > notes.txt"


def work_left(daytona_dir: Path) -> set[str]:
    """The IDs of the sandboxes that hold work now, even when the answer to the person who left it was lost."""
    return {found.parents[2].name for found in (daytona_dir / "sandboxes").glob(f"*/{WORK_FILE}")}


def _handed_over(reply: httpx.Response) -> str:
    """The ID of the sandbox that the answer hands over; '' for none."""
    sandbox = reply.json().get("sandbox") if reply.status_code == httpx.codes.OK else None
    return str(sandbox.get("id", "")) if isinstance(sandbox, dict) else ""


class People:
    """What they do is noted in the tally. A refusal never fails the run: many of their acts are refused."""

    def __init__(self, cluster: Cluster, base: int, tally: Tally) -> None:
        self._cluster = cluster
        self._base = base
        self._tally = tally

    async def act(self, step: Act) -> None:
        """Do an act of the dashboard. The sandbox may not exist, or its state may not allow the act."""
        word = "break for good" if step.detail.get("recoverable") is False else step.act
        name = f"claude-issue-{step.issue}"
        try:
            if step.act == FOREIGN:
                await self._cluster.admin.create(name=name, **step.detail)
            else:
                await self._cluster.admin.act(name, step.act, **step.detail)
        except httpx.HTTPError:
            self._tally.refused_acts[word] += 1
        else:
            self._tally.acts[word] += 1

    async def work(self, step: Work) -> None:
        """Leave a file in a git repository, once the sandbox runs. It is noted only when it certainly exists."""
        while time.time() < self._base + step.until_s:
            sandbox_id = await self._running(step.issue)
            if sandbox_id and await self._execute(sandbox_id):
                self._tally.worked_in.add(sandbox_id)
                self._tally.acts["leave work"] += 1
                return
            await asyncio.sleep(POLL_INTERVAL_S)
        self._tally.refused_acts["leave work"] += 1

    async def command(self, step: Command) -> None:
        """Send an order, which is noted before it is sent and again with its answer."""
        sent_at = time.time()
        noted = Order(order=step.order, issue=step.issue, is_forced=step.is_forced, sent_at=sent_at)
        self._tally.orders.append(noted)
        try:
            reply = await self._send(step)
        except httpx.TransportError:
            self._tally.refused_acts[f"order {step.order}"] += 1
            return
        answer = {"answered_at": time.time(), "status": reply.status_code, "sandbox_id": _handed_over(reply)}
        self._tally.orders.append(noted.model_copy(update=answer))
        counter = self._tally.acts if reply.is_success else self._tally.refused_acts
        counter[f"order {step.order}"] += 1

    async def _send(self, step: Command) -> httpx.Response:
        issue_url = f"{self._cluster.api_urls[step.api]}/v1/issues/{step.issue}"
        method, url, params = {
            "stop": ("POST", f"{issue_url}/stop", {}),
            "replace": ("POST", f"{issue_url}/replace", {}),
            "delete": ("DELETE", f"{issue_url}/sandbox", {"force": str(step.is_forced).lower()}),
            "ensure": ("PUT", f"{issue_url}/sandbox", {"wait_s": "2"}),
        }[step.order]
        return await self._cluster.http.request(method, url, params=params, headers=BEARER, timeout=ORDER_TIMEOUT_S)

    async def _running(self, issue: int) -> str:
        """The ID of the issue's sandbox when it runs; '' otherwise, and when Daytona does not answer."""
        try:
            row = await self._cluster.admin.sandbox(f"claude-issue-{issue}")
        except httpx.HTTPError:
            return ""
        return row.id if row.state == row.desired_state == "started" else ""

    async def _execute(self, sandbox_id: str) -> bool:
        url = f"{self._cluster.daytona_url}/toolbox/{sandbox_id}/process/execute"
        headers = {"Authorization": f"Bearer {DAYTONA_KEY}"}
        try:
            reply = await self._cluster.http.post(url, json={"command": f"sh -c '{WORK}'"}, headers=headers)
        except httpx.TransportError:
            return False
        return reply.is_success and reply.json().get("exitCode") == 0
