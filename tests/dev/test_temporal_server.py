"""Where the Temporal CLI comes from, with shell scripts in its place and a local download site."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from issuebox.dev import temporal_install
from issuebox.dev.temporal_install import RouteError
from issuebox.dev.temporal_server import (
    DevServer,
    TemporalBinaryError,
    cached_binary,
    ensure_binary,
    server_version,
)

GOOD = "temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)"
OLD = "temporal version 1.1.0 (Server 1.25.0, UI 2.30.0)"


def fake_cli(path: Path, answer: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty cache and a PATH that holds only a shell's own tools."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.delenv("ISSUEBOX_TEMPORAL_BINARY", raising=False)
    return tmp_path


async def refuse(scratch_dir: Path, say: object) -> Path:
    raise RouteError("not here")


async def deliver(scratch_dir: Path, say: object) -> Path:
    return fake_cli(scratch_dir / "temporal", GOOD)


async def deliver_broken(scratch_dir: Path, say: object) -> Path:
    return fake_cli(scratch_dir / "temporal", "something else")


async def test_configured_binary_wins_over_everything(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person configured is used, whatever else there is."""
    fake_cli(machine / "path" / "temporal", GOOD)
    mine = fake_cli(machine / "mine", OLD)
    monkeypatch.setenv("ISSUEBOX_TEMPORAL_BINARY", str(mine))
    assert await ensure_binary(routes={}) == mine


async def test_configured_binary_that_does_not_run_is_refused(machine: Path) -> None:
    """A configured path that is no Temporal CLI is an error, and nothing else is tried silently."""
    fake_cli(machine / "path" / "temporal", GOOD)
    with pytest.raises(TemporalBinaryError, match="is configured"):
        await ensure_binary(machine / "missing", routes={"deliver": deliver})


async def test_binary_on_path_is_used_when_new_enough(machine: Path) -> None:
    """A usable `temporal` on PATH is taken before the cache."""
    fake_cli(cached_binary(), GOOD)
    on_path = fake_cli(machine / "path" / "temporal", GOOD)
    assert await ensure_binary(routes={}) == on_path


async def test_old_binary_on_path_gives_way_to_the_cache(machine: Path) -> None:
    """A server without update-with-start is passed over."""
    fake_cli(machine / "path" / "temporal", OLD)
    fake_cli(cached_binary(), GOOD)
    assert await ensure_binary(routes={}) == cached_binary()


async def test_routes_are_tried_in_order_until_one_delivers() -> None:
    """A route that fails, or leaves something that does not run, hands over to the next one."""
    said: list[str] = []
    routes = {"first": refuse, "second": deliver_broken, "third": deliver}
    assert await ensure_binary(say=said.append, routes=routes) == cached_binary()
    assert await server_version(cached_binary()) == (1, 29, 1)
    assert [line.split("(")[1].split(")")[0] for line in said if line.startswith("Not by")] == ["first", "second"]


async def test_no_route_left_lists_each_with_its_reason() -> None:
    """When nothing works the error names every route and why, and nothing stays in the cache."""
    with pytest.raises(TemporalBinaryError) as caught:
        await ensure_binary(routes={"one": refuse, "two": deliver_broken})
    assert "one: not here" in str(caught.value)
    assert "two: what it left" in str(caught.value)
    assert [path.name for path in cached_binary().parent.iterdir()] == ["temporal.lock"]


async def test_concurrent_callers_build_once() -> None:
    """Two callers at the same time make one build, and both get its binary."""
    builds: list[Path] = []

    async def slow(scratch_dir: Path, say: object) -> Path:
        builds.append(scratch_dir)
        await asyncio.sleep(0.05)
        return await deliver(scratch_dir, say)

    found = await asyncio.gather(ensure_binary(routes={"slow": slow}), ensure_binary(routes={"slow": slow}))
    assert found == [cached_binary(), cached_binary()]
    assert len(builds) == 1


async def test_interrupted_build_leaves_nothing_that_looks_finished() -> None:
    """A cancelled build leaves no binary, and a killed one's scratch directory is swept by the next."""
    is_building = asyncio.Event()

    async def endless(scratch_dir: Path, say: object) -> Path:
        await deliver(scratch_dir, say)
        is_building.set()
        await asyncio.Event().wait()
        raise AssertionError

    build = asyncio.create_task(ensure_binary(routes={"endless": endless}))
    await is_building.wait()
    killed = cached_binary().parent / "obtain-killed" / "temporal"
    fake_cli(killed, GOOD)
    build.cancel()
    await asyncio.wait({build})
    assert not cached_binary().exists()
    await ensure_binary(routes={"deliver": deliver})
    assert sorted(path.name for path in cached_binary().parent.iterdir()) == ["temporal", "temporal.lock"]


@pytest.fixture
def download_site() -> Iterator[str]:
    """What temporal.download answers, as sdk-core's ephemeral server reads it."""
    archive = io.BytesIO()
    content = f"#!/bin/sh\necho '{GOOD}'\n".encode()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        member = tarfile.TarInfo("temporal")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            origin = f"http://127.0.0.1:{self.server.server_port}"  # type: ignore[attr-defined]
            info = json.dumps({"archiveUrl": f"{origin}/a.tar.gz", "fileToExtract": "temporal"}).encode()
            body = archive.getvalue() if self.path == "/a.tar.gz" else info
            self.send_response(404 if self.path.startswith("/missing") else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Silent: the test reads the outcome, not the log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_download_leaves_a_binary_that_runs(machine: Path, download_site: str) -> None:
    """The download route asks where the archive is, and takes the one file out of it."""
    binary = await temporal_install.download(machine, lambda _: None, f"{download_site}/cli")
    assert await server_version(binary) == (1, 29, 1)


@pytest.mark.parametrize("path", ["/missing", ":1/unreachable"])
async def test_download_that_is_not_there_is_a_failed_route(machine: Path, download_site: str, path: str) -> None:
    """An absent or unreachable site makes the next route's turn, not a crash."""
    url = f"{download_site}{path}" if path.startswith("/") else f"http://127.0.0.1{path}"
    with pytest.raises(RouteError):
        await temporal_install.download(machine, lambda _: None, url)


async def test_old_go_on_path_is_a_failed_route(machine: Path) -> None:
    """A Go that cannot build the CLI is passed over before minutes are spent on it."""
    fake_cli(machine / "path" / "go", "go1.21.5")
    with pytest.raises(RouteError, match=r"1\.25 or later"):
        await temporal_install.build_with_go_on_path(machine, lambda _: None)


async def test_failing_build_reports_its_last_lines(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason of a failed build is in the error, so that a person need not look for a log."""
    script = "#!/bin/sh\n[ $1 = env ] && echo go1.26.0 || { echo no such module; exit 3; }\n"
    fake_cli(machine / "path" / "go", "").write_text(script)
    monkeypatch.setenv("PATH", f"{machine / 'path'}{os.pathsep}/bin")
    with pytest.raises(RouteError, match="ended with 3: no such module"):
        await temporal_install.build_with_go_on_path(machine, lambda _: None)


def test_command_carries_every_option() -> None:
    """What the dev server is given reaches its command line, dynamic values as JSON."""
    server = DevServer(
        binary=Path("/b/temporal"),
        database=Path("/d/t.db"),
        port=1,
        ui_port=2,
        search_attributes={"Phase": "Keyword"},
        dynamic_config={"frontend.x": True, "y": "z"},
    )
    command = " ".join(server.command())
    assert command.startswith("/b/temporal server start-dev --db-filename /d/t.db --ip 127.0.0.1 --port 1 --ui-port 2")
    for part in (
        "--namespace default",
        "--sqlite-pragma journal_mode=wal --sqlite-pragma synchronous=normal",
        "--search-attribute Phase=Keyword",
        '--dynamic-config-value frontend.x=true --dynamic-config-value y="z"',
    ):
        assert part in command
