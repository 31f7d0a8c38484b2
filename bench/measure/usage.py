"""What processes use, from Linux's /proc. Raises FileNotFoundError elsewhere, and for a process that has ended."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

MEBIBYTE = 2**20
_UTIME, _STIME, _RSS = 11, 12, 21
"""Positions in /proc/PID/stat after the name, which may contain blanks (proc_pid_stat(5): fields 14, 15 and 24)."""


def processor_s(pid: int) -> float:
    """Seconds of processor time so far, in user and kernel mode."""
    fields = _stat(pid)
    return (int(fields[_UTIME]) + int(fields[_STIME])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> float:
    """Resident memory now, in MiB."""
    return int(_stat(pid)[_RSS]) * os.sysconf("SC_PAGE_SIZE") / MEBIBYTE


def processors_s(pids: Mapping[str, int]) -> dict[str, float]:
    """The same for several processes, and for this one as `sender`."""
    return {name: processor_s(pid) for name, pid in {**pids, "sender": os.getpid()}.items()}


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
