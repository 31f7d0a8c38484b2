"""The user's own tunnel: a command that prints the public address at which this machine can be reached."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import shutil
import signal
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from issuebox.connect.webhook import is_local
from issuebox.dev.child import bound
from issuebox.domain.text import one_line

URL: Final = re.compile(r"https://[^\s\"'<>|\\)\]}]+")
CHATTER: Final = (".cloudflare.com", ".github.com", ".ngrok.com", ".tailscale.com", ".npmjs.com")
"""Sites whose addresses tunnels print as advice. A tunnel's own address is never there."""
LAST_LINES_MAX: Final = 5
SHOWN_BYTES_MAX: Final = 200
READ_BYTES: Final = 4096
LINE_MAX: Final = 2000
STOP_TIMEOUT_S: Final = 5.0


class TunnelError(Exception):
    """The tunnel gives no address; the text says why. ``is_misuse``: the command cannot be run at all."""

    def __init__(self, sentence: str, *, is_misuse: bool = False) -> None:
        super().__init__(sentence)
        self.is_misuse = is_misuse


class Tunnel:
    """A running tunnel."""

    def __init__(self, process: asyncio.subprocess.Process, command: str) -> None:
        self._process = process
        self._command = command
        self._lines: deque[str] = deque(maxlen=LAST_LINES_MAX)
        self._url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read())

    async def url(self, timeout_s: float) -> str:
        """The public address that it prints. Raises TunnelError when it ends, or prints none in time."""
        waited: set[asyncio.Future[Any]] = {self._url, self._reading}
        done, _ = await asyncio.wait(waited, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if self._url.done():
            return self._url.result()
        if done:
            code = await self._process.wait()
            raise TunnelError(f"the tunnel `{self._command}` ended with exit code {code}{self._said()}")
        sentence = f"printed no public https address in {timeout_s:g} s"
        raise TunnelError(f"the tunnel `{self._command}` {sentence}{self._said()}")

    async def ended(self) -> int:
        """Wait until it ends; its exit code."""
        return await self._process.wait()

    async def stop(self) -> None:
        """End it, and all that it has started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)
                break
        self._reading.cancel()

    async def _read(self) -> None:
        """Read to the end, also when the address is known: a full pipe would hold the tunnel up."""
        assert self._process.stdout is not None  # noqa: S101 -- it is a pipe
        rest = ""
        while chunk := await self._process.stdout.read(READ_BYTES):
            *lines, rest = (rest + chunk.decode(errors="replace")).splitlines(keepends=True) or [""]
            if rest.endswith(("\n", "\r")):
                lines, rest = [*lines, rest], ""
            rest = rest[-LINE_MAX:]
            for line in lines:
                self._take(line.rstrip())
        self._take(rest)

    def _take(self, line: str) -> None:
        if line:
            self._lines.append(line)
        if not self._url.done() and (found := address_in(line)):
            self._url.set_result(found)

    def _said(self) -> str:
        return "".join(f"\n  {one_line(line, SHOWN_BYTES_MAX, keeps_markup=True)}" for line in self._lines)


@asynccontextmanager
async def running(command: str, api_url: str) -> AsyncIterator[Tunnel]:
    """Run the command, without a shell, until the block ends. ``{url}`` in it becomes the API's own address.

    Raises TunnelError.
    """
    words = words_of(command, api_url)
    process = await asyncio.create_subprocess_exec(
        *bound(*words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    tunnel = Tunnel(process, command)
    try:
        yield tunnel
    finally:
        await tunnel.stop()


def words_of(command: str, api_url: str) -> list[str]:
    """The command as a program and its arguments. Raises TunnelError when it is none."""
    try:
        words = [word.replace("{url}", api_url) for word in shlex.split(command)]
    except ValueError as error:
        raise TunnelError(f"`{command}` is no command: {error}", is_misuse=True) from error
    if not words or shutil.which(words[0]) is None:
        raise TunnelError(f"the tunnel's program {words[0] if words else ''!r} is not installed", is_misuse=True)
    return words


def address_in(line: str) -> str:
    """The first public https address in a line; '' for none."""
    for found in URL.findall(line):
        url = found.rstrip(".,;:/")
        host = urlsplit(url).hostname or ""
        if "." in host and not is_local(host) and not f".{host}".endswith(CHATTER):
            return str(url)
    return ""
