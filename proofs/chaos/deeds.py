"""What a plan can do to the system: one small object for each kind of deed. Data only."""

from __future__ import annotations

from dataclasses import dataclass, field

from localdaytona.types import JSONObject


@dataclass(frozen=True, slots=True)
class Kill:
    """kill -9, and a new life after `down_s`."""

    part: str
    down_s: float


@dataclass(frozen=True, slots=True)
class Freeze:
    """SIGSTOP, and SIGCONT after `seconds`."""

    part: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Terminate:
    """SIGTERM, as a deploy does it; a new life `down_s` after the process has ended."""

    part: str
    down_s: float


@dataclass(frozen=True, slots=True)
class RollingRestart:
    """SIGTERM of one part after the other, each when the one before serves again."""

    parts: tuple[str, ...]
    down_s: float


@dataclass(frozen=True, slots=True)
class StallReader:
    """Whoever reads the part's log reads nothing for `seconds`; then all that waited."""

    part: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Cut:
    """Reset the connections of a link, old and new, for `seconds`."""

    link: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing passes a link for `seconds`; then all of it does."""

    link: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Slow:
    """Everything on a link takes `each_s` longer, for `seconds`."""

    link: str
    each_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Knob:
    """Daytona itself is different for `seconds`."""

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
Deed = OnPart | OnLink | Knob | Wave | Act | Work | Command


@dataclass(frozen=True, slots=True)
class Timed:
    """A deed and when it is done, in seconds since the beginning of the load."""

    at_s: float
    deed: Deed
