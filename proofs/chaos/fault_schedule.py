"""The steps of a fault schedule: faults, and what people do. One class for each kind. Data only."""

from __future__ import annotations

from dataclasses import dataclass, field

from localdaytona.types import JSONObject


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


@dataclass(frozen=True, slots=True)
class Act:
    """A person does something to the issue's sandbox in Daytona's dashboard."""

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


OnPart = Kill | Freeze | Terminate | RollingRestart | StallReader
OnLink = Cut | Stall | Slow
ByPerson = Act | Work | Command
Step = OnPart | OnLink | Knob | Wave | ByPerson
"""Everything that the plan does to the system, besides GitHub's deliveries: faults, and people's acts and orders."""


@dataclass(frozen=True, slots=True)
class TimedStep:
    """A step and its time, in seconds since the beginning of the load."""

    at_s: float
    step: Step
