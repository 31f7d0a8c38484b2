"""Where the Temporal CLI comes from, with shell scripts in its place and a local download site."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import ssl
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import trustme

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


@pytest.fixture
async def real_binary() -> Path:
    """The Temporal CLI of this machine, found before `machine` hides it."""
    return await ensure_binary()


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_binary: Path) -> Path:
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
    """A configured binary is used, whatever else exists."""
    fake_cli(machine / "path" / "temporal", GOOD)
    mine = fake_cli(machine / "mine", OLD)
    monkeypatch.setenv("ISSUEBOX_TEMPORAL_BINARY", str(mine))
    assert await ensure_binary(routes={}) == mine


async def test_configured_binary_that_does_not_run_is_refused(machine: Path) -> None:
    """A configured path that is not a Temporal CLI is an error, and nothing else is tried silently."""
    fake_cli(machine / "path" / "temporal", GOOD)
    with pytest.raises(TemporalBinaryError, match="is configured"):
        await ensure_binary(machine / "missing", routes={"deliver": deliver})


async def test_binary_on_path_is_used_when_new_enough(machine: Path) -> None:
    """A usable `temporal` on PATH takes precedence over the cache."""
    fake_cli(cached_binary(), GOOD)
    on_path = fake_cli(machine / "path" / "temporal", GOOD)
    assert await ensure_binary(routes={}) == on_path


async def test_old_binary_on_path_gives_way_to_the_cache(machine: Path) -> None:
    """A server without update-with-start is skipped."""
    fake_cli(machine / "path" / "temporal", OLD)
    fake_cli(cached_binary(), GOOD)
    assert await ensure_binary(routes={}) == cached_binary()


async def test_routes_are_tried_in_order_until_one_delivers() -> None:
    """A route that fails, or yields something that does not run, is followed by the next one."""
    said: list[str] = []
    routes = {"first": refuse, "second": deliver_broken, "third": deliver}
    assert await ensure_binary(say=said.append, routes=routes) == cached_binary()
    assert await server_version(cached_binary()) == (1, 29, 1)
    assert [line.split("(")[1].split(")")[0] for line in said if line.startswith("This route failed")] == [
        "first",
        "second",
    ]


async def test_no_route_left_lists_each_with_its_reason() -> None:
    """When nothing works, the error names every route with its reason, and nothing stays in the cache."""
    with pytest.raises(TemporalBinaryError) as caught:
        await ensure_binary(routes={"one": refuse, "two": deliver_broken})
    assert "one: not here" in str(caught.value)
    assert "two: its binary" in str(caught.value)
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
    """A cancelled build leaves no binary, and the next build deletes the scratch directory of a killed one."""
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


class Site(BaseHTTPRequestHandler):
    """temporal.download as sdk-core's ephemeral server reads it, behind a proxy that is its host."""

    protocol_version = "HTTP/1.1"
    context: ClassVar[ssl.SSLContext]
    archive: ClassVar[bytes]
    status: ClassVar[int]

    def do_CONNECT(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.connection = self.context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        self.close_connection = False

    def do_GET(self) -> None:
        info = {"archiveUrl": "https://temporal.download/a.tar.gz", "fileToExtract": "temporal"}
        body = self.archive if self.path == "/a.tar.gz" else json.dumps(info).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def log_message(self, *_: object) -> None:
        """Silent: the test reads the outcome, not the log."""


def archive_of(script: str) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        member = tarfile.TarInfo("temporal")
        member.size = len(script)
        tar.addfile(member, io.BytesIO(script.encode()))
    return archive.getvalue()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Site]]:
    """The only way out of this machine: a proxy that answers as temporal.download, under a certificate of ours."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("temporal.download").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    kind = type("OneSite", (Site,), {"context": context, "archive": b"", "status": 200})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        yield kind
        server.shutdown()
        thread.join()


@pytest.fixture
def scratch_dir(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


only_linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere SSL_CERT_FILE adds no authority")


@only_linux
async def test_download_leaves_a_binary_that_runs(scratch_dir: Path, site: type[Site], real_binary: Path) -> None:
    """The SDK takes the one file out of the archive, and what it prints stays out of sight."""
    site.archive = archive_of(f'#!/bin/sh\nexec {real_binary} "$@"\n')
    binary = await temporal_install.download(scratch_dir, lambda _: None)
    assert await server_version(binary) == (1, 29, 1)
    assert [path.name for path in scratch_dir.iterdir()] == [binary.name]


@only_linux
async def test_downloaded_server_that_starts_slowly_is_taken(scratch_dir: Path, site: type[Site]) -> None:
    """The SDK gives a server five seconds. A slow disk needs more, and the binary is there all the same."""
    site.archive = archive_of(f"#!/bin/sh\n[ $1 = --version ] && echo '{GOOD}'\n")
    binary = await temporal_install.download(scratch_dir, lambda _: None)
    assert await server_version(binary) == (1, 29, 1)


@only_linux
async def test_download_that_is_not_there_is_a_failed_route(scratch_dir: Path, site: type[Site]) -> None:
    """An absent download makes the next route's turn, not a crash."""
    site.status = 404
    with pytest.raises(RouteError, match="404 Not Found"):
        await temporal_install.download(scratch_dir, lambda _: None)


async def test_site_that_is_not_reached_is_a_failed_route(scratch_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So does a site that refuses connections."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with pytest.raises(RouteError, match=r"temporal\.download"):
        await temporal_install.download(scratch_dir, lambda _: None)


async def test_site_that_stays_silent_is_not_waited_for(scratch_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall that drops packets costs seconds: the SDK alone would wait for as long as the system does."""
    monkeypatch.setattr(temporal_install, "DOWNLOAD_ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(RouteError, match="did not answer"):
            await temporal_install._fetch(scratch_dir)


async def test_old_go_on_path_is_a_failed_route(machine: Path) -> None:
    """A Go that cannot build the CLI is skipped before it costs minutes."""
    fake_cli(machine / "path" / "go", "go1.21.5")
    with pytest.raises(RouteError, match=r"1\.25 or later"):
        await temporal_install.build_with_go_on_path(machine, lambda _: None)


async def test_failing_build_reports_its_last_lines(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the reason of a failed build, so that nobody needs to search a log."""
    script = "#!/bin/sh\n[ $1 = env ] && echo go1.26.0 || { echo no such module; exit 3; }\n"
    fake_cli(machine / "path" / "go", "").write_text(script)
    monkeypatch.setenv("PATH", f"{machine / 'path'}{os.pathsep}/bin")
    with pytest.raises(RouteError, match="ended with 3: no such module"):
        await temporal_install.build_with_go_on_path(machine, lambda _: None)


def test_command_carries_every_option() -> None:
    """All options of the dev server reach its command line, dynamic values as JSON."""
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
