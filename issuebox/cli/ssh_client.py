"""OpenSSH's client on this machine: how it is told whom to reach, and how it runs.

Daytona's access token is the user name. It goes into a configuration file that only this user can read: everybody on
the machine could read it among the arguments.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from issuebox.providers.daytona import SshAccess

FORWARDED = (signal.SIGTERM, signal.SIGHUP)
DEFAULT_PORT = 22

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:.]+\]")
_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.~-]{0,255}")


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where Daytona takes SSH connections, and the token that leads to one sandbox."""

    host: str
    port: int
    token: str = field(repr=False)

    @classmethod
    def of(cls, access: SshAccess) -> Self | None:
        """The gateway of Daytona's command, such as ``ssh -p 2222 TOKEN@HOST``; None for any other command."""
        match shlex.split(access.command):
            case ["ssh", "-p", port, target] if port.isdecimal() and 0 < int(port) <= 65535:  # noqa: PLR2004
                number = int(port)
            case ["ssh", target]:
                number = DEFAULT_PORT
            case _:
                return None
        token, _, host = target.partition("@")
        is_plain = token == access.token and _TOKEN.fullmatch(token) and _HOST.fullmatch(host)
        return cls(host, number, token) if is_plain else None

    def configuration(self, name: str) -> str:
        """A client configuration that calls the sandbox by its name. What the user has configured comes after it."""
        return "\n".join(
            (
                f"Host {name}",
                f"  HostName {self.host}",
                f"  Port {self.port}",
                f"  User {self.token}",
                "  ControlPath none",  # A shared connection would have the token in its name, and outlive this one.
                "Match all",
                "  Include ~/.ssh/config",
                "  Include /etc/ssh/ssh_config",
                "",
            )
        )


def ssh_path() -> str | None:
    """Where the client is; None when this machine has none."""
    return shutil.which("ssh")


async def run_ssh(client: str, gateway: Gateway, name: str, arguments: Sequence[str]) -> int:
    """Run the client on this terminal until it ends, and return its exit code. It gets the signals that we get."""
    with tempfile.TemporaryDirectory(prefix="issuebox-ssh-") as directory:
        configuration = Path(directory) / "config"
        configuration.touch(mode=0o600)
        configuration.write_text(gateway.configuration(name))
        process = await asyncio.create_subprocess_exec(client, "-F", str(configuration), name, *arguments)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, lambda: None)  # The terminal sends it to both; the client decides.
        for number in FORWARDED:
            loop.add_signal_handler(number, process.send_signal, number)
        try:
            code = await process.wait()
        finally:
            for number in (signal.SIGINT, *FORWARDED):
                loop.remove_signal_handler(number)
    return 128 - code if code < 0 else code
