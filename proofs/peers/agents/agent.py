"""The agent of the harness, and its ledger.

A small shell script that works for a number of beats. It appends a line to `~/agent-ledger` at its begin, at each beat
and at its end, for each request that it serves. No system reads the ledger. The beats show how long an agent that was
cut off had worked.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

LEDGER = "agent-ledger"
MARK = "AGENT_KEYS"
"""The variable by which the harness finds the agent's processes: the keys of its requests."""
BEAT_S = 0.2

SCRIPT = f"""\
note() {{ read -r now _ </proc/uptime; for key in ${MARK}; do echo "$1 $key $$ $now"; done >>"$HOME/{LEDGER}"; }}
note begin
[ -z "$AGENT_HELPER" ] || setsid sleep 120 </dev/null >/dev/null 2>&1 &
beats=0
while [ "$beats" -lt "$AGENT_BEATS" ]; do sleep {BEAT_S}; note beat; beats=$((beats + 1)); done
note end
"""
"""Its helper is in a session of its own, as what an agent's tools start may be."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a request asks the agent for."""

    beats: int
    has_helper: bool = False

    @property
    def text(self) -> str:
        """The words in the comment."""
        return f"work for {self.beats} beats{' with a helper' if self.has_helper else ''}"


def variables(keys: Iterable[str], work: Work) -> dict[str, str]:
    """The environment that tells the agent its work."""
    return {MARK: " ".join(keys), "AGENT_BEATS": str(work.beats), "AGENT_HELPER": "1" if work.has_helper else ""}


def start_command(keys: Iterable[str], work: Work) -> str:
    """The shell command that starts the agent in the background, in a session of its own, and prints its ID."""
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables(keys, work).items())
    return f"{settings} setsid sh -c {shlex.quote(SCRIPT)} agent </dev/null >/dev/null 2>&1 & echo $!"


ISSUEBOX_COMMAND = f"""\
asked="$ISSUEBOX_RUN_DIR/request.json"
{MARK}=$(sed -n 's/^ *"key": "\\([^"]*\\)".*/\\1/p' "$asked" | tr '\\n' ' ')
AGENT_BEATS=$(sed -n 's/.*work for \\([0-9]*\\) beats.*/\\1/p' "$asked" | head -n 1)
AGENT_HELPER=$(grep -c 'with a helper' "$asked")
[ "$AGENT_HELPER" != 0 ] || AGENT_HELPER=
export {MARK} AGENT_BEATS AGENT_HELPER
exec sh -c {shlex.quote(SCRIPT)} agent
"""
"""ISSUEBOX_RUN_COMMAND: the same script, for the requests in `request.json`."""


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution of a request by one process. Times are seconds of the machine's uptime.

    `last`: when it was last seen at work. `is_whole`: it came to its end.
    """

    issue: int
    key: str
    pid: int
    began: float
    last: float
    is_whole: bool

    def is_at_work(self, at: float) -> bool:
        """Whether it had begun and went on after that."""
        return self.began <= at < self.last


def executions_of(issue: int, ledger: bytes) -> list[Execution]:
    """The executions that a sandbox's ledger shows, in the order of their begin."""
    found: dict[tuple[str, int], Execution] = {}
    for word, key, pid, now in _lines(ledger):
        before = found.get((key, pid))
        began = now if before is None or word == "begin" else before.began
        found[key, pid] = Execution(issue, key, pid, began, now, is_whole=word == "end")
    return sorted(found.values(), key=lambda each: (each.began, each.pid))


def _lines(ledger: bytes) -> Iterator[tuple[str, str, int, float]]:
    for line in ledger.decode(errors="replace").splitlines():
        words = line.split()
        if len(words) == 4:  # noqa: PLR2004 -- a line that was cut off has fewer
            yield words[0], words[1], int(words[2]), float(words[3])
