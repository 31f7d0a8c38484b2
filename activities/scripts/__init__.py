"""The shell scripts that activities run inside a sandbox: POSIX sh, for dash and busybox as for bash.

A script is one argument of ``sh -c`` with its arguments behind it, so that it means the same whatever
shell the sandbox's daemon uses, and so that no value is ever read as a piece of a script.
"""

from __future__ import annotations

import shlex
from importlib.resources import files


def text_of(name: str) -> str:
    """The text of one of the scripts beside this module."""
    return files(__name__).joinpath(f"{name}.sh").read_text("utf-8")


def command_line(name: str, *arguments: str, is_silent: bool = False) -> str:
    """The command that runs a script with its arguments; without its errors when `is_silent`."""
    command = shlex.join(("sh", "-c", text_of(name), f"issuebox-{name}", *arguments))
    return f"{command} 2>/dev/null" if is_silent else command
