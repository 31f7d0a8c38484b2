"""What strikes an agent's run from outside: `kill -9` of its processes, a stop in the dashboard, too little memory.

The plan is a function of the seed. A strike needs only localdaytona's admin interface: the sandboxes' processes are
this machine's own.
"""

from __future__ import annotations

import os
import random
import signal
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from localdaytona.testing import AdminClient
from localdaytona.types import JSONObject


class Strike(StrEnum):
    """One thing that may happen to a run, or that a person may do about it."""

    JOB = "job"
    """One process of the job is killed."""
    SUPERVISOR = "supervisor"
    EVERYTHING = "everything"
    OOM = "oom"
    STOP = "stop"
    """A person stops the sandbox in the dashboard."""
    ASK = "ask"
    CANCEL = "cancel"
    CLOSE = "close"


WEIGHTS: Final = {
    Strike.JOB: 2,
    Strike.SUPERVISOR: 3,
    Strike.EVERYTHING: 2,
    Strike.OOM: 1,
    Strike.STOP: 2,
    Strike.ASK: 4,
    Strike.CANCEL: 1,
    Strike.CLOSE: 1,
}
MARKS: Final = {
    Strike.JOB: ("ISSUEBOX_RUN",),
    Strike.SUPERVISOR: ("ISSUEBOX_SUPERVISOR",),
    Strike.EVERYTHING: ("ISSUEBOX_SUPERVISOR", "ISSUEBOX_RUN"),
}
"""The environment variables by which the processes are found that a strike kills, in this order."""

FAULTS: Final[tuple[JSONObject, ...]] = (
    {"kind": "drop"},
    {"kind": "drop_after"},
    {"kind": "twice"},
    {"kind": "late", "seconds": 1.0},
    {"kind": "status", "status": 502},
    {"kind": "status_after", "status": 502},
)
"""What happens to requests to a sandbox meanwhile."""


@dataclass(frozen=True, slots=True)
class TimedStrike:
    """A strike at an issue's run, so many seconds after the beginning."""

    at_s: float
    issue: int
    strike: Strike


def plan_strikes(seed: int, issues: int, seconds: float, count: int) -> list[TimedStrike]:
    """The strikes in order. Each kind comes at least once, as far as `count` allows."""
    rng = random.Random(f"{seed}/strikes")
    kinds = [*Strike, *rng.choices(list(WEIGHTS), list(WEIGHTS.values()), k=max(0, count - len(Strike)))][:count]
    strikes = [TimedStrike(round(rng.uniform(0.1, 1.0) * seconds, 2), rng.randrange(issues), kind) for kind in kinds]
    return sorted(strikes, key=lambda each: (each.at_s, each.issue))


async def kill_marked(admin: AdminClient, name: str, strike: Strike) -> int:
    """Kill what the strike is about, with SIGKILL. Returns how many processes that were."""
    killed = 0
    for mark in MARKS[strike]:
        found = await admin.processes(name, mark)
        for process in found[:1] if strike is Strike.JOB else found:
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed += 1
    return killed
