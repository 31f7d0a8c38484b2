"""The shell scripts that activities run inside a sandbox: POSIX sh, which dash, busybox and bash all run.

A script is one argument of ``sh -c``, followed by its own arguments. So it works the same in whatever shell the
sandbox's daemon uses, and no value is ever parsed as part of a script.
"""

from __future__ import annotations

import shlex
from importlib.resources import files


def text_of(name: str) -> str:
    """The text of one of the scripts beside this module."""
    return files(__name__).joinpath(f"{name}.sh").read_text("utf-8")


def command_line(name: str, *arguments: str, is_silent: bool = False) -> str:
    """The command that runs a script with its arguments; its stderr is dropped when `is_silent`."""
    command = shlex.join(("sh", "-c", text_of(name), f"issuebox-{name}", *arguments))
    return f"{command} 2>/dev/null" if is_silent else command
