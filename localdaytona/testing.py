"""Starts a localdaytona for tests, as a process that can be killed or within the test's event loop.

`running` starts a real process, with `kill`, `restart` and real signals. `running_inside` starts
faster and cannot be killed. Both yield a `Server` with the URLs and an `AdminClient`.
"""

import asyncio
import os
import random
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from localdaytona.admin_models import FileView, ProcessesView, ProcessView, SandboxesPage, SandboxView
from localdaytona.fault_model import Plan
from localdaytona.faults import PlanView
from localdaytona.journal import PAGE_MAX, Entry, JournalPage
from localdaytona.types import JSONObject

API_KEY = "localdaytona"
READY_MAX_S = 20.0
POLL_S = 0.02
PORTS = (10_000, 32_000)
# Loading the system's certificates takes longer than starting a test's server, which speaks no TLS.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class AdminClient:
    """A client of `/_local/`. Raises httpx.HTTPStatusError for refusals."""

    def __init__(self, base_url: str) -> None:
        self._http = httpx.AsyncClient(base_url=f"{base_url}/_local", timeout=10.0, trust_env=False, verify=NO_TLS)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def healthy(self) -> bool:
        """Return whether the server answers."""
        try:
            return (await self._http.get("/healthz")).is_success
        except httpx.TransportError:
            return False

    async def journal(self, after: int = 0, **filters: str) -> list[Entry]:
        """Return all entries after a number; filters: sandbox_id, name, kind, operation."""
        found: list[Entry] = []
        cursor: int | None = after
        while cursor is not None:
            params = {"after": str(cursor), "limit": str(PAGE_MAX), **filters}
            page = JournalPage.model_validate(await self._ask("GET", "/journal", params=params))
            found.extend(page.entries)
            cursor = page.next
        return found

    async def faults(self) -> PlanView:
        """Return the plan and its progress."""
        return PlanView.model_validate(await self._ask("GET", "/faults"))

    async def set_faults(self, *rules: JSONObject, seed: int = 0) -> None:
        """Replace the plan; without rules there are no more faults."""
        plan = Plan.model_validate({"seed": seed, "rules": rules})
        await self._ask("PUT", "/faults", json=plan.model_dump(mode="json"))

    async def add_fault(
        self,
        operation: str,
        effect: JSONObject,
        *,
        name: str | None = None,
        sandbox_id: str | None = None,
        path: str | None = None,
        times: int | None = 1,
        skip: int = 0,
        probability: float = 1.0,
    ) -> str:
        """Add one rule, which by default fires once, and return its ID."""
        match: JSONObject = {"operation": operation, "name": name, "sandbox_id": sandbox_id, "path": path}
        rule: JSONObject = {
            "match": match,
            "effect": effect,
            "times": times,
            "skip": skip,
            "probability": probability,
        }
        return str((await self._ask("POST", "/faults", json=rule))["id"])

    async def config(self, **changes: object) -> JSONObject:
        """Change the given knobs, nested ones as dicts, and return all of them."""
        if not changes:
            return await self._ask("GET", "/config")
        return await self._ask("PATCH", "/config", json=changes)

    async def sandboxes(self) -> list[SandboxView]:
        """Return all rows, destroyed ones included, newest first."""
        found: list[SandboxView] = []
        params: dict[str, str] = {"limit": "1000"}
        while True:
            page = SandboxesPage.model_validate(await self._ask("GET", "/sandboxes", params=params))
            found.extend(page.sandboxes)
            if page.next is None:
                return found
            params["after"] = page.next

    async def sandbox(self, id_or_name: str) -> SandboxView:
        """Return one row, hidden or not."""
        return SandboxView.model_validate(await self._ask("GET", f"/sandboxes/{id_or_name}"))

    async def create(self, **asked: object) -> SandboxView:
        """Create a sandbox by hand: name, labels, env, snapshot."""
        return SandboxView.model_validate(await self._ask("POST", "/sandboxes", json=asked))

    async def act(self, id_or_name: str, act: str, **detail: object) -> SandboxView:
        """Do as a person would: start, stop, archive, delete, break, build-failed, release, set-state, idle.

        Or as nature: oom, daemon-restart, keep-disk, restore-old-disk.
        """
        return SandboxView.model_validate(await self._ask("POST", f"/sandboxes/{id_or_name}/{act}", json=detail))

    async def file(self, id_or_name: str, path: str) -> bytes | None:
        """Return a file of a sandbox, in whatever state it is, by its path within the home; None: no such file."""
        reply = await self._ask("GET", f"/sandboxes/{id_or_name}/file", params={"path": path})
        return FileView.model_validate(reply).content

    async def processes(self, id_or_name: str, variable: str | None = None) -> list[ProcessView]:
        """Return the living processes of a sandbox; with a variable, those that have it, with its value."""
        params = {} if variable is None else {"variable": variable}
        reply = await self._ask("GET", f"/sandboxes/{id_or_name}/processes", params=params)
        return ProcessesView.model_validate(reply).processes

    async def drop_events(self) -> None:
        """Reset every connection of the event stream."""
        await self._ask("POST", "/events/drop")

    async def _ask(self, method: str, path: str, **rest: Any) -> JSONObject:
        reply = await self._http.request(method, path, **rest)
        if reply.is_error:
            raise httpx.HTTPStatusError(f"{method} {path}: {reply.text}", request=reply.request, response=reply)
        body: JSONObject = reply.json() if reply.content else {}
        return body


@dataclass(slots=True)
class Server:
    """A running server. `kill` and `restart` need one that runs as a process."""

    base_url: str
    admin: AdminClient
    api_key: str = API_KEY
    command: list[str] = field(default_factory=list)
    process: asyncio.subprocess.Process | None = None

    @property
    def api_url(self) -> str:
        """The URL for the SDK, without a slash at the end."""
        return f"{self.base_url}/api"

    @property
    def pid(self) -> int:
        """The process that serves."""
        return os.getpid() if self.process is None else self.process.pid

    async def kill(self) -> None:
        """Kill it with SIGKILL."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """Ask it to end (SIGTERM) and return its exit code."""
        return await self._end(signal.SIGTERM)

    async def start(self) -> None:
        """Start it on the same port and data, and wait until it answers."""
        self.process = await asyncio.create_subprocess_exec(*self.command, stdout=asyncio.subprocess.DEVNULL)
        process = self.process
        await _until_ready(self.admin, lambda: process.returncode is not None)

    async def restart(self) -> None:
        """Kill it and start it again."""
        await self.kill()
        await self.start()

    async def _end(self, how: signal.Signals) -> int:
        if self.process is None:
            raise RuntimeError("this server runs inside the test's process and cannot be killed")
        if self.process.returncode is None:
            self.process.send_signal(how)
        return await self.process.wait()


async def _until_ready(admin: AdminClient, ended: Callable[[], bool]) -> None:
    """Return when the server answers. Raises RuntimeError when it ends first, TimeoutError when it is late."""
    async with asyncio.timeout(READY_MAX_S):
        while not await admin.healthy():
            if ended():
                raise RuntimeError("localdaytona ended before it was ready")
            await asyncio.sleep(POLL_S)


def free_port() -> int:
    """Return a port that nothing listens on now.

    The port is random and below those that the system gives to outgoing connections (32768 on Linux), so that
    nobody else takes it while a killed server is down.
    """
    while True:
        port = random.randrange(*PORTS)  # noqa: S311 -- no secret
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue  # The port is taken.
        return port


@asynccontextmanager
async def running(data_dir: Path, **options: object) -> AsyncIterator[Server]:
    """Run a server as a process: `options` are those of the command line (port, speed, faults, seed)."""
    port = options.pop("port", None) or free_port()
    command = [sys.executable, "-m", "localdaytona", "--port", str(port), "--data", str(data_dir)]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    base_url = f"http://127.0.0.1:{port}"
    api_key = str(options.get("api_key", API_KEY))
    server = Server(base_url, AdminClient(base_url), api_key, command)
    try:
        await server.start()
        yield server
    finally:
        if server.process is not None and server.process.returncode is None:
            await server.kill()
        await server.admin.aclose()


@asynccontextmanager
async def running_inside(data_dir: Path, **options: Any) -> AsyncIterator[Server]:
    """Run a server within this event loop: `options` are fields of `world.Options`."""
    # Imported here: a test that only starts processes does not need it.
    from localdaytona.server import base_url, bind, build_server  # noqa: PLC0415
    from localdaytona.world import Options  # noqa: PLC0415

    listener = bind("127.0.0.1", 0)
    options.setdefault("api_key", API_KEY)
    url = base_url(listener)
    admin = AdminClient(url)
    try:
        async with build_server(listener, Options(data_dir=data_dir, **options)).serving(listener):
            yield Server(url, admin, options["api_key"])
    finally:
        await admin.aclose()
