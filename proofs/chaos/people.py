"""People: what they do in Daytona's dashboard, the work that they leave in sandboxes, their orders over REST."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

import httpx

from proofs.chaos.cluster import API_TOKEN, DAYTONA_KEY, Cluster
from proofs.chaos.deeds import Act, Command, Work
from proofs.chaos.tally import Tally
from proofs.checker.evidence import Order

POLL_INTERVAL_S: Final = 0.3
ORDER_TIMEOUT_S: Final = 10.0
WORK_FILE: Final = Path("home/work/notes.txt")
WORK: Final = "mkdir -p $HOME/work && cd $HOME/work && git init -q . && echo half a thought > notes.txt"
_BEARER: Final = {"Authorization": f"Bearer {API_TOKEN}"}


def work_left(daytona_dir: Path) -> set[str]:
    """The IDs of the sandboxes that hold work now, whatever was answered to who left it there."""
    return {found.parents[2].name for found in (daytona_dir / "sandboxes").glob(f"*/{WORK_FILE}")}


class People:
    """What they did is noted in the tally. Nothing that they do may fail the run: they are told no all the time."""

    def __init__(self, cluster: Cluster, base: int, tally: Tally) -> None:
        self._cluster = cluster
        self._base = base
        self._tally = tally

    async def act(self, deed: Act) -> None:
        """Press a button of the dashboard. The sandbox may not be there, or in no state for it."""
        word = "break for good" if deed.detail.get("recoverable") is False else deed.act
        try:
            await self._cluster.admin.act(f"claude-issue-{deed.issue}", deed.act, **deed.detail)
        except httpx.HTTPError:
            self._tally.refused_acts[word] += 1
        else:
            self._tally.acts[word] += 1

    async def work(self, deed: Work) -> None:
        """Leave a file in a git repository, once the sandbox runs; noted only when it is certainly there."""
        while time.time() < self._base + deed.until_s:
            sandbox_id = await self._running(deed.issue)
            if sandbox_id and await self._execute(sandbox_id):
                self._tally.worked_in.add(sandbox_id)
                self._tally.acts["leave work"] += 1
                return
            await asyncio.sleep(POLL_INTERVAL_S)
        self._tally.refused_acts["leave work"] += 1

    async def command(self, deed: Command) -> None:
        """Give an order, which is noted before it is sent and again with its answer."""
        sent_at = time.time()
        noted = Order(order=deed.order, issue=deed.issue, is_forced=deed.is_forced, sent_at=sent_at)
        self._tally.orders.append(noted)
        try:
            reply = await self._send(deed)
        except httpx.TransportError:
            self._tally.refused_acts[f"order {deed.order}"] += 1
            return
        self._tally.orders.append(noted.model_copy(update={"answered_at": time.time(), "status": reply.status_code}))
        counter = self._tally.acts if reply.is_success else self._tally.refused_acts
        counter[f"order {deed.order}"] += 1

    async def _send(self, deed: Command) -> httpx.Response:
        issue_url = f"{self._cluster.api_urls[deed.api]}/v1/issues/{deed.issue}"
        method, url, params = {
            "stop": ("POST", f"{issue_url}/stop", {}),
            "replace": ("POST", f"{issue_url}/replace", {}),
            "delete": ("DELETE", f"{issue_url}/sandbox", {"force": str(deed.is_forced).lower()}),
            "ensure": ("PUT", f"{issue_url}/sandbox", {"wait_s": "2"}),
        }[deed.order]
        return await self._cluster.http.request(method, url, params=params, headers=_BEARER, timeout=ORDER_TIMEOUT_S)

    async def _running(self, issue: int) -> str:
        """The ID of the issue's sandbox when it runs; '' otherwise, and when nobody can tell."""
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
