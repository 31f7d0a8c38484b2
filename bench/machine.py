"""The machine and the versions behind a figure, as every run of `bench/` prints them.

It names no host, user or path, so that results can be published unchanged.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from issuebox.dev.temporal_server import BINARY_VARIABLE, cached_binary

ROOT = Path(__file__).resolve().parents[1]
UNKNOWN = "unknown"
COMMAND_TIMEOUT_S = 20.0
"""A cold start of the Temporal CLI from a slow disk takes seconds."""


def describe() -> dict[str, str]:
    """The machine and the versions. A value that cannot be determined is `unknown`. Safe to repeat."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "os": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "issuebox": f"{version('issuebox')} ({_commit()})",
        "temporalio": version("temporalio"),
        "daytona": version("daytona"),
        "temporal": _temporal(),
    }


def one_line(machine: Mapping[str, str]) -> str:
    """The same for people: `2 cores, 7.8 GiB, …`."""
    return ", ".join(f"{value} cores" if name == "cores" else f"{name} {value}" for name, value in machine.items())


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.machine() or UNKNOWN


def _commit() -> str:
    """The commit of the checkout; with `+` when tracked files differ from it."""
    commit = _output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    if commit is None:
        return UNKNOWN
    # The runs themselves write results and charts.
    changed = _output("git", "-C", str(ROOT), "status", "--porcelain", "-uno", "--", ".", ":!bench/results", ":!docs")
    return commit + ("+" if changed else "")


def _temporal() -> str:
    """The versions of CLI and server, as the binary reports them."""
    binary = os.environ.get(BINARY_VARIABLE) or shutil.which("temporal") or str(cached_binary())
    said = _output(binary, "--version")
    found = re.search(r"(?:version )?(\S+) \(Server (\d+\.\d+\.\d+)", said or "")
    return f"CLI {found.group(1)}, server {found.group(2)}" if found else UNKNOWN


def _output(*command: str) -> str | None:
    """What the command prints; None when it does not exist or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=COMMAND_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
