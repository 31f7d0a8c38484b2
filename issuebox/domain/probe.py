"""What a probe of a run's attempt says: read from the output of the scripts `activities/scripts/run_*.sh`. Pure.

Whoever works in the sandbox may have written the output, so it counts only when it is whole and each line is as the
scripts print it, and every value has a limit. What an attempt *means* is decided elsewhere.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from issuebox.domain.run import RUN_ID
from issuebox.domain.text import prose

FIRST = "issuebox probe 1"
LAST = "issuebox end"

PHASES = frozenset({"absent", "prepared", "running", "ended", "dead"})

DATA_BYTES_MAX = 64 * 1024
"""Limit on the data and on the result: what is asked for at most."""

TAIL_BYTES_MAX = 128 * 1024
"""Limit on each of the two ends of the output."""

PROGRESS_BYTES_MAX = 300

OUTPUT_CHARS_MAX = 1_000_000
"""Limit on the whole output: all of that in base64, and much for what a shell prints at its start."""

_NUMBER = r"[0-9]{1,15}"
_BASE64 = r"[A-Za-z0-9+/]*={0,2}"

_LINES: Mapping[str, re.Pattern[str]] = {
    # first word of the line: the rest of it. A line is there once at most.
    "phase": re.compile(r"[a-z]{1,10}"),
    "orphan": re.compile(""),
    "exit": re.compile(rf"(?P<code>[0-9]{{1,3}}) (?P<why>[a-z_]{{1,32}}) (?P<at>{_NUMBER})"),
    "oom": re.compile(_NUMBER),
    "out": re.compile(_NUMBER),
    "err": re.compile(_NUMBER),
    "progress": re.compile(_BASE64),
    "data": re.compile(rf"(?P<offset>{_NUMBER}) (?P<bytes>{_BASE64})"),
    "result": re.compile(_BASE64),
    "tail": re.compile(_BASE64),
    "errtail": re.compile(_BASE64),
}

_ROOM = re.compile(
    r"issuebox room (/[^\x00-\x1f\x7f]{0,1000}/\.issuebox/runs/" + RUN_ID + r"/"
    r"([0-9]{1,9})\.partial-[0-9A-Za-z-]{1,64}/\2)"
)


_OTHER = re.compile(rf"issuebox other (?P<run>{RUN_ID}) (?P<attempt>[1-9][0-9]{{0,8}})")


@dataclass(frozen=True, slots=True)
class Other:
    """An attempt of another run that is alive in the sandbox."""

    run: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Probe:
    """One attempt of a run, as a script found it in the sandbox.

    ``exit_code``, ``why`` and ``ended_at`` (seconds since 1970) are those of an attempt that ended. ``oom`` counts the
    processes of the sandbox that were killed for want of memory, None where that cannot be read. ``data`` are the
    bytes of the output from ``offset`` on. ``is_orphan``: something runs without its supervisor. ``room`` is the
    directory for the files of an attempt that is not in place, '' when it is. ``result``, ``tail`` and ``err_tail``
    are there when they were asked for. ``other`` is one that lives and that nobody should know of any more.
    """

    phase: str
    exit_code: int | None = None
    why: str = ""
    ended_at: int | None = None
    oom: int | None = None
    out_bytes: int = 0
    err_bytes: int = 0
    progress: str = ""
    offset: int = 0
    data: bytes = b""
    is_orphan: bool = False
    room: str = ""
    result: bytes = b""
    tail: bytes = b""
    err_tail: bytes = b""
    other: Other | None = None


def read_probe(output: str) -> Probe:
    """The one probe in the output of a script. Raises ValueError when there is none, or none that is whole."""
    if len(output) > OUTPUT_CHARS_MAX:
        raise ValueError("the output of the probe is too long")
    lines = output.split("\n")
    if (lines.count(FIRST), lines.count(LAST)) != (1, 1):
        raise ValueError("the output holds not exactly one probe that is whole")
    first, last = lines.index(FIRST), lines.index(LAST)
    return replace(_probe(_values(lines[first + 1 : last]), _room(lines[:first])), other=_other(lines[:first]))


def _values(lines: list[str]) -> dict[str, re.Match[str]]:
    """Each line by its first word, and its rest. The lines after the last one are the shell's and not read."""
    values: dict[str, re.Match[str]] = {}
    for line in lines:
        name, _, rest = line.partition(" ")
        pattern = _LINES.get(name)
        match = pattern.fullmatch(rest) if pattern else None
        if match is None or name in values:
            # Not the rest of it, which may hold what a job has written.
            raise ValueError(f"the probe has a line that cannot be read or is doubled: {prose(name, 20)}")
        values[name] = match
    return values


def _probe(values: Mapping[str, re.Match[str]], room: str) -> Probe:
    phase = _text(values, "phase")
    if phase not in PHASES or not {"out", "err"} <= values.keys():
        raise ValueError("the probe lacks a phase or a size")
    if ("exit" in values) is not (phase == "ended") or ("orphan" in values and phase != "running"):
        raise ValueError(f"the probe contradicts itself: it is {phase}")
    ended, data = values.get("exit"), values.get("data")
    return Probe(
        phase=phase,
        exit_code=_exit_code(ended["code"]) if ended else None,
        why=ended["why"] if ended else "",
        ended_at=int(ended["at"]) if ended else None,
        oom=int(values["oom"][0]) if "oom" in values else None,
        out_bytes=int(values["out"][0]),
        err_bytes=int(values["err"][0]),
        progress=prose(
            _decoded(_text(values, "progress"), PROGRESS_BYTES_MAX).decode(errors="ignore"), PROGRESS_BYTES_MAX
        ),
        offset=int(data["offset"]) if data else 0,
        data=_decoded(data["bytes"]) if data else b"",
        is_orphan="orphan" in values,
        room=room,
        result=_decoded(_text(values, "result")),
        tail=_decoded(_text(values, "tail"), TAIL_BYTES_MAX),
        err_tail=_decoded(_text(values, "errtail"), TAIL_BYTES_MAX),
    )


def _text(values: Mapping[str, re.Match[str]], name: str) -> str:
    return values[name][0] if name in values else ""


def _exit_code(text: str) -> int:
    if int(text) > 255:  # noqa: PLR2004 - of one byte
        raise ValueError("the probe has no exit code of a process")
    return int(text)


def _decoded(text: str, bytes_max: int = DATA_BYTES_MAX) -> bytes:
    """The bytes. Raises ValueError for what is no base64 (`binascii.Error` is one), or more than the limit."""
    if len(text) > (bytes_max + 2) // 3 * 4:
        raise ValueError("a value of the probe is too long")
    decoded = base64.b64decode(text, validate=True)
    if len(decoded) > bytes_max:
        raise ValueError("a value of the probe is too long")
    return decoded


def _room(lines: list[str]) -> str:
    """The directory that was made, '' for none."""
    said = [line for line in lines if line.startswith("issuebox room ")]
    if not said:
        return ""
    match = _ROOM.fullmatch(said[0])
    if match is None or len(said) > 1:
        raise ValueError("the output names no directory for the files of a run")
    return match[1]


def _other(lines: list[str]) -> Other | None:
    """The first other attempt that lives. The next time there may be another one."""
    found = next(filter(None, (_OTHER.fullmatch(line) for line in lines)), None)
    return Other(found["run"], int(found["attempt"])) if found else None
