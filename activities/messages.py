"""What goes into and comes out of the activities: one object each. Histories hold these shapes."""

from __future__ import annotations

from dataclasses import dataclass, field

from issuebox.domain.decision import Limits
from issuebox.domain.issue import Issue
from issuebox.domain.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class Patience:
    """The worker's settings that the workflow goes by; durations in seconds.

    They travel with every look, so that the workflow stays deterministic and a changed setting takes
    effect with the next look, without a new workflow version.
    """

    limits: Limits = field(default_factory=Limits)
    backoff_initial_s: float = 0.5
    backoff_max_s: float = 30.0
    blocked_retry_initial_s: float = 60.0
    blocked_retry_max_s: float = 3600.0
    settle_s: float = 60.0


@dataclass(frozen=True, slots=True)
class LookupInput:
    """Which sandbox to look for: by ID when one is known, else by name. The rest is for the log."""

    issue_id: int
    name: str
    sandbox_id: str = ""
    deliveries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """What a lookup found (None: not found, once), and the patience of the worker that looked."""

    sandbox: Sandbox | None
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True, slots=True)
class CreateInput:
    """What to create, and for which issue. ``issue`` gives the labels."""

    issue_id: int
    name: str
    issue: Issue | None = None
    deliveries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CommandInput:
    """A command for one known sandbox."""

    issue_id: int
    name: str
    sandbox_id: str
    issue: Issue | None = None
    deliveries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CommandReply:
    """The sandbox after the command and the wait for its effect; None when it is gone."""

    sandbox: Sandbox | None


@dataclass(frozen=True, slots=True)
class Blockage:
    """An issue that cannot be served now, for the log of the workers."""

    issue_id: int
    name: str
    cause: str
    reason: str
    advice: str
    sandbox_id: str = ""
    deliveries: tuple[str, ...] = ()
