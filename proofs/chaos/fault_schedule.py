"""The steps of a fault schedule: faults, and what people do. One class for each kind. Data only."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from localdaytona.types import JSONObject
from proofs.chaos.run_strikes import Strike

MEDDLINGS: Final = ("cancel", "terminate", "reset")
IN_COMMANDS: Final = ("in a create", "in a command")
MOMENTS: Final = (*IN_COMMANDS, "blocked", "at rest")
"""What a workflow does when an operator ends or resets it."""


class Door(StrEnum):
    """Where strangers send their calls: two doors of the API, and Temporal itself."""

    WEBHOOK = "webhook"
    REST = "REST"
    SIGNAL = "signal"


@dataclass(frozen=True, slots=True)
class Kill:
    """kill -9, and a restart after `down_s`."""

    part: str
    down_s: float


@dataclass(frozen=True, slots=True)
class Freeze:
    """SIGSTOP, and SIGCONT after `seconds`."""

    part: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Terminate:
    """SIGTERM, as in a deploy, and a restart `down_s` after the process has ended."""

    part: str
    down_s: float


@dataclass(frozen=True, slots=True)
class RollingRestart:
    """SIGTERM to one part after the other, each once the part before serves again."""

    parts: tuple[str, ...]
    down_s: float


@dataclass(frozen=True, slots=True)
class StallReader:
    """The reader of the part's log reads nothing for `seconds`, and then everything that waited."""

    part: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Cut:
    """Reset the connections of a link, old and new, for `seconds`."""

    link: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing passes a link for `seconds`; then everything that waited does."""

    link: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Slow:
    """Everything on a link is delayed by `each_s`, for `seconds`."""

    link: str
    each_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Knob:
    """Daytona has another configuration for `seconds`."""

    name: str
    changes: JSONObject
    seconds: float


@dataclass(frozen=True, slots=True)
class Wave:
    """These fault rules, and no others, until the next wave."""

    number: int
    rules: tuple[JSONObject, ...]


FOREIGN: Final = "foreign"
"""The act of a person, or of another installation, who creates a sandbox of their own under the issue's name."""


@dataclass(frozen=True, slots=True)
class Act:
    """A person does something to the issue's sandbox in Daytona's dashboard, or creates one (`FOREIGN`)."""

    issue: int
    act: str
    detail: JSONObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Work:
    """A person leaves unsaved work in the issue's sandbox, if it runs by `until_s`."""

    issue: int
    until_s: float


@dataclass(frozen=True, slots=True)
class Command:
    """A person's order over REST, to one of the two APIs."""

    issue: int
    order: str
    is_forced: bool
    api: int


@dataclass(frozen=True, slots=True)
class StrikeRun:
    """Processes of a run are killed, once one is at work. `number` chooses among those that are."""

    number: int
    strike: Strike


@dataclass(frozen=True, slots=True)
class OrderRuns:
    """A person cancels or pauses the runs of an issue over REST, by one of the two APIs."""

    issue: int
    order: str
    api: int


@dataclass(frozen=True, slots=True)
class Meddle:
    """An operator cancels, terminates or resets a workflow: the first one from `issue` on that is in this moment.

    `share`: to which of the possible points of its history a reset goes; 0 is the earliest.
    """

    act: str
    moment: str
    issue: int
    share: float


@dataclass(frozen=True, slots=True)
class Stray:
    """A worker with one wrong setting serves our task queue, for `seconds` once it is ready."""

    part: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Burst:
    """Strangers send every kind of hostile call through one door, `copies` of each about each of these issues."""

    door: Door
    copies: int
    issues: tuple[int, ...]


OnPart = Kill | Freeze | Terminate | RollingRestart | StallReader
OnLink = Cut | Stall | Slow
ByPerson = Act | Work | Command
OnRun = StrikeRun | OrderRuns
ByOperator = Meddle | Stray
Step = OnPart | OnLink | Knob | Wave | ByPerson | OnRun | ByOperator | Burst
"""Everything that the plan does to the system, besides GitHub's deliveries: faults, and people's acts and orders."""


@dataclass(frozen=True, slots=True)
class TimedStep:
    """A step and its time, in seconds since the beginning of the load."""

    at_s: float
    step: Step
