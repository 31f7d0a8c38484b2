"""A git server on loopback that requires a token: git's own http-backend behind a few lines of HTTP."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

USER = "x-access-token"
TOKEN = "ghs_s3cr3t/with+odd=signs"
IDENTITY = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")


@dataclass
class Origin:
    """Bare repositories under `root`, served to clients with the token.

    While `gate` is closed, a request for objects waits until it opens, so that a clone stops half-way.
    """

    root: Path
    url: str = ""
    token: str = TOKEN
    gate: threading.Event = field(default_factory=threading.Event)
    is_fetching: threading.Event = field(default_factory=threading.Event)
    fetches: int = 0

    def add(self, repository: str) -> Path:
        """Create a repository with one commit; returns its bare directory."""
        bare = self.root / f"{repository}.git"
        work = self.root / "work" / repository
        work.mkdir(parents=True)
        git("init", "--quiet", cwd=work)
        (work / "file").write_text("one", "utf-8")
        git("add", ".", cwd=work)
        git("commit", "--quiet", "-m", "one", cwd=work)
        git("clone", "--quiet", "--bare", str(work), str(bare), cwd=work)
        return bare

    def lets_in(self, authorization: str) -> bool:
        return authorization == "Basic " + base64.b64encode(f"{USER}:{self.token}".encode()).decode()


def git(*arguments: str, cwd: Path) -> str:
    """Run git for the test itself, outside of any sandbox."""
    env = {"GIT_CONFIG_GLOBAL": os.devnull, "HOME": str(cwd), "PATH": os.environ["PATH"]}
    done = subprocess.run(("git", *IDENTITY, *arguments), cwd=cwd, env=env, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@contextmanager
def serving(root: Path) -> Iterator[Origin]:
    """An origin with an open gate."""
    origin = Origin(root)
    origin.gate.set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(origin))
    origin.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield origin
    finally:
        origin.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(origin: Origin) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve(b"")

        def do_POST(self) -> None:
            self._serve(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Log nothing."""

        def _serve(self, body: bytes) -> None:
            if not origin.lets_in(self.headers.get("Authorization", "")):
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.end_headers()
                return
            if self.command == "POST" and self.path.endswith("/git-upload-pack"):
                origin.fetches += 1
                origin.is_fetching.set()
                origin.gate.wait(30)
            self._answer(_backend(origin.root, self, body))

        def _answer(self, said: bytes) -> None:
            head, _, body = said.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(body)
            except ConnectionError:
                return  # The client was killed, which is what the test does.

    return Handler


def _backend(root: Path, request: BaseHTTPRequestHandler, body: bytes) -> bytes:
    url = urlsplit(request.path)
    env = {
        "PATH": os.environ["PATH"],
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": url.path,
        "QUERY_STRING": url.query,
        "REQUEST_METHOD": request.command,
        "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
        "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
        "REMOTE_USER": USER,
    }
    return subprocess.run(("git", "http-backend"), env=env, input=body, capture_output=True, check=True).stdout
