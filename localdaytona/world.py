"""The parts that the routes need, assembled once, and the toolbox's view of them."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from localdaytona.caches import NameCache, ReadCache
from localdaytona.config import Config
from localdaytona.engine import Engine
from localdaytona.events import EventStream, Publisher
from localdaytona.fault_model import Fault
from localdaytona.faults import Faults, Target
from localdaytona.journal import NewEntry
from localdaytona.limits import Quota, RateLimiter
from localdaytona.listing import Listing
from localdaytona.model import now_s
from localdaytona.ssh import SshAccesses
from localdaytona.store import Store
from localdaytona.toolbox_host import ToolboxInside, ToolboxListener, ToolboxStatus
from localdaytona.types import JSONObject

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """The server's options. `base_url` is how clients reach it; '' stands for the bound address."""

    data_dir: Path
    base_url: str = ""
    api_key: str = "localdaytona"
    seed: int | None = None
    speed: float | None = None
    faults_file: Path | None = None


class World:
    """The server's parts. The constructor reads the file; `running` starts the engine."""

    def __init__(self, options: Options) -> None:
        options.data_dir.mkdir(parents=True, exist_ok=True)
        self.options = options
        self.api_key = options.api_key
        self.toolbox_url = f"{options.base_url}/toolbox"
        self.store = Store(options.data_dir / "localdaytona.sqlite3")
        self._config = Config.model_validate(self.store.setting("config") or {})
        self.faults = Faults(self.store)
        self.events = EventStream(options.api_key, lambda: self.config, lambda: self.faults.take(Target("events")))
        self.publisher = Publisher(self.events.emit)
        self.engine = Engine(self.store, lambda: self.config, self.publisher, self.toolbox_url)
        self.limiter = RateLimiter()
        self.quota = Quota(self.store)
        self.names = NameCache()
        self.ssh = SshAccesses()
        self.reads = ReadCache()
        self.listing = Listing(self.store, options.seed or 0)
        self._random = random.Random(options.seed)  # noqa: S311 - reproducible on purpose
        self.inside: ToolboxInside | None = None
        self.failure: BaseException | None = None
        self.outage_since: float | None = now_s() if self._config.outage else None

    @property
    def config(self) -> Config:
        """The current knobs."""
        return self._config

    def reconfigure(self, config: Config) -> None:
        """Set new knobs, within the caller's transaction."""
        if config.outage != self._config.outage:
            self.outage_since = now_s() if config.outage else None
        self._config = config
        self.store.keep_setting("config", config.model_dump(mode="json"))
        self.engine.wake()

    def chance(self, probability: float) -> bool:
        """Return true with this probability."""
        return self._random.random() < probability

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the engine while the block runs, then close the file."""
        tasks = [asyncio.create_task(self.publisher.run()), asyncio.create_task(self.engine.run())]
        for task in tasks:
            task.add_done_callback(self._task_ended)
        with self.store.transaction():
            self.store.journal.append(now_s(), NewEntry("server_started"))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.store.close()
        if self.failure is not None:
            raise self.failure

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """Log that the engine or the publisher has stopped: nothing would ever change again."""
        if not task.cancelled():
            self.failure = task.exception()
            log.critical("clockwork_failed", exc_info=self.failure)


class WorldToolboxHost:
    """The toolbox's view of the world (see toolbox_host.py)."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def data_dir(self) -> Path:
        """The server's data directory."""
        return self._world.options.data_dir

    @property
    def stop_grace_s(self) -> float:
        """The grace of a stop, in real seconds."""
        return self._world.config.stop_grace_s

    @property
    def exit_code_waits_for_output(self) -> bool:
        """Whether sessions do as those of newer daemons."""
        return self._world.config.exit_code_waits_for_output

    def sandbox_status(self, sandbox_id: str) -> ToolboxStatus:
        """Look a sandbox up by its ID."""
        sandbox = self._world.store.by_id(sandbox_id)
        if sandbox is None or sandbox.hidden:
            return ToolboxStatus(exists=False, state="", env={}, user="")
        env = {key: str(value) for key, value in sandbox.spec.env.items()}
        return ToolboxStatus(exists=True, state=sandbox.state, env=env, user=sandbox.spec.user)

    def touch(self, sandbox_id: str) -> None:
        """Count activity, at most once in `activity_throttle_s`."""
        sandbox = self._world.store.by_id(sandbox_id)
        throttle_s = self._world.config.scaled(self._world.config.activity_throttle_s)
        if sandbox is None or sandbox.hidden or now_s() - sandbox.last_activity_at < throttle_s:
            return
        with self._world.store.transaction():
            self._world.store.update(replace(sandbox, last_activity_at=now_s()))

    def journal(self, kind: str, sandbox_id: str, detail: JSONObject) -> None:
        """Append an entry in its own transaction."""
        sandbox = self._world.store.by_id(sandbox_id)
        name = None if sandbox is None else sandbox.name
        with self._world.store.transaction():
            self._world.store.journal.append(now_s(), NewEntry(kind, sandbox_id, name, "toolbox", detail))

    def take_fault(self, operation: str, sandbox_id: str, path: str) -> Fault | None:
        """Return the fault that hits this request."""
        sandbox = self._world.store.by_id(sandbox_id)
        name = None if sandbox is None else sandbox.name
        return self._world.faults.take(Target(operation, sandbox_id, name, path=path))

    def add_listener(self, listener: ToolboxListener) -> None:
        """Notify the toolbox of stops and deletions."""
        self._world.publisher.add_listener(listener)

    def add_inside(self, inside: ToolboxInside) -> None:
        """Let the administration reach into sandboxes."""
        self._world.inside = inside
