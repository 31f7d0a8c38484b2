"""The shell scripts that activities run inside a sandbox: POSIX sh, which dash, busybox and bash all run.

A script is one argument of ``sh -c``, followed by its own arguments. So it works the same in whatever shell the
sandbox's daemon uses, and no value is ever parsed as part of a script.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from importlib.resources import files

_PARTS: Mapping[str, tuple[str, ...]] = {
    # script: the parts that it shares with others, which stand in front of it
    "run_room": ("run_common", "run_report"),
    "run_place": ("run_common", "run_report"),
    "run_begin": ("run_common", "run_report"),
    "run_supervise": ("run_common", "run_ending"),
    "run_probe": ("run_common", "run_report"),
    "run_interrupt": ("run_common", "run_report", "run_ending"),
    "run_fence": ("run_common", "run_report", "run_ending"),
    "run_collect": ("run_common", "run_report"),
}


def text_of(name: str) -> str:
    """The text of one of the scripts beside this module, whole: with the parts that it shares with others."""
    names = (*_PARTS.get(name, ()), name)
    return "\n".join(files(__name__).joinpath(f"{part}.sh").read_text("utf-8") for part in names)


def command_line(name: str, *arguments: str, is_silent: bool = False) -> str:
    """The command that runs a script with its arguments; its stderr is dropped when `is_silent`."""
    command = shlex.join(("sh", "-c", text_of(name), f"issuebox-{name}", *arguments))
    return f"{command} 2>/dev/null" if is_silent else command
