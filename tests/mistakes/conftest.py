"""The world in which mistakes are made: a running `issuebox dev` with one issue, and strangers at some ports."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Self

import pytest

from issuebox.dev.child import bound
from issuebox.dev.dev_stack import DevStack
from issuebox.dev.environment import bare
from localdaytona.testing import free_port
from tests.mistakes.mistakes import STRANGE

READY_S = 90.0
POLL_S = 0.05


class World:
    """What placeholders stand for. Each part is started when a mistake first needs it."""

    def __init__(self, directory: Path, exits: ExitStack) -> None:
        self._directory = directory
        self._exits = exits

    @cached_property
    def stack(self) -> DevStack:
        """The running stack. Its issue 5 has a sandbox."""
        data = self._directory / "data"
        self._exits.enter_context(running_dev(data, self._directory / "dev.log"))
        stack = DevStack.lookup(data)
        assert stack is not None
        for arguments in (("send", "opened", "--issue", "5", "--title", STRANGE), ("ensure", "5")):
            command = [*issuebox(), *arguments, "--data", str(data)]
            subprocess.run(command, env=bare(), check=True, capture_output=True)
        return stack

    @cached_property
    def stranger(self) -> Stranger:
        """The server that answers nonsense, or nothing."""
        return self._exits.enter_context(Stranger())

    def _data_of(self, _stack: DevStack) -> Path:
        return self._directory / "data"

    def value(self, placeholder: str, cwd: Path) -> str:
        """What the placeholder stands for."""
        values: dict[str, Callable[[], object]] = {
            "cwd": lambda: cwd,
            "closed": free_port,
            "free": free_port,
            "data": lambda: self._data_of(self.stack),
            "api": lambda: self.stack.api_url,
            "api_port": lambda: self.stack.api_url.rpartition(":")[2],
            "temporal": lambda: self.stack.temporal_address,
            "daytona": lambda: self.stack.daytona_api_url.removesuffix("/api"),
            "key": lambda: self.stack.daytona_api_key,
            "strange": lambda: f"http://127.0.0.1:{self.stranger.http_port}",
            "stalled": lambda: self.stranger.stalled_port,
        }
        return str(values[placeholder]())


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all mistakes of this process."""
    with ExitStack() as exits:
        yield World(tmp_path_factory.mktemp("world"), exits)


def issuebox() -> list[str]:
    """The command."""
    return [sys.executable, "-m", "issuebox"]


@contextmanager
def running_dev(data: Path, log: Path) -> Iterator[None]:
    """`issuebox dev` on this data directory. Ctrl-C ends it, in order and with 0."""
    ports = {name: str(free_port()) for name in ("api", "temporal", "ui", "daytona")}
    flags = [part for name, port in ports.items() for part in (f"--{name}-port", port)]
    command = bound(*issuebox(), "dev", "--data", str(data), *flags)
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=bare(), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        wait_for(lambda: (found := DevStack.lookup(data)) is not None and found.is_ready, log.read_text)
        yield
        process.send_signal(signal.SIGINT)
        assert process.wait(READY_S) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def wait_for(is_so: Callable[[], object], seen: Callable[[], object]) -> None:
    """Look every 50 ms until it is so. Fails with what was seen."""
    deadline = time.monotonic() + READY_S
    while not is_so():
        assert time.monotonic() < deadline, seen()
        time.sleep(POLL_S)


class Nonsense(http.server.BaseHTTPRequestHandler):
    """Answers every request with JSON that nobody expects."""

    def do_GET(self) -> None:
        """The answer."""
        body = json.dumps({"version": 99, "items": "none"}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Stranger:
    """A port where nonsense is answered, and one where connections are taken and nothing is answered."""

    def __init__(self) -> None:
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nonsense)
        self._stalled = socket.create_server(("127.0.0.1", 0))
        self._taken: list[socket.socket] = []
        self.http_port = self._http.server_address[1]
        self.stalled_port = self._stalled.getsockname()[1]

    @property
    def connections(self) -> int:
        """How many connections were taken."""
        return len(self._taken)

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        threading.Thread(target=self._take, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._stalled.shutdown(socket.SHUT_RDWR)
        self._stalled.close()
        for taken in self._taken:
            taken.close()

    def _take(self) -> None:
        while True:
            try:
                self._taken.append(self._stalled.accept()[0])
            except OSError:  # It was closed.
                return


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """An empty directory in which a mistake is made. A disk that was mounted in it is unmounted."""
    yield tmp_path
    if os.path.ismount(tmp_path / "full"):
        subprocess.run(["umount", tmp_path / "full"], check=True)
