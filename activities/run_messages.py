"""The inputs and outputs of the activities that work on a run: one object each. Histories hold these shapes.

None of them holds output of the job beyond a line, or a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from issuebox.domain.issue import Issue
from issuebox.domain.probe import Other
from issuebox.domain.run import Report, Run, RunRequest
from issuebox.domain.run_comment import Surroundings
from issuebox.domain.text import Clean, clean, prose, word


@dataclass(frozen=True, slots=True)
class RunInput:
    """One attempt of a run, in one sandbox. ``is_ours`` is as in `CommandInput`.

    ``toolbox_url``: where the sandbox's toolbox was at the last lookup; '' for not known.
    """

    issue_id: int
    name: str
    sandbox_id: str
    run: str
    attempt: int
    is_ours: bool = False
    toolbox_url: str = ""


@dataclass(frozen=True, slots=True)
class PrepareInput:
    """What to put in place for an attempt. ``is_continued``: an earlier attempt at the same requests was cut off."""

    about: RunInput
    issue: Issue | None
    requests: tuple[RunRequest, ...]
    is_continued: bool = False


@dataclass(frozen=True, slots=True)
class BeginInput:
    """What to begin. ``session`` names the agent's conversation."""

    about: RunInput
    issue: Issue | None
    kind: str
    session: str
    is_session_new: bool


@dataclass(frozen=True, slots=True)
class HeardInput:
    """The comments under which 👀 is to show that they were heard."""

    issue_id: int
    name: str
    issue: Issue
    comments: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ReportInput:
    """What to tell of a run on its issue, without the texts of its requests.

    ``is_unsure``: a report of it was begun before, and nobody knows whether it was written.
    """

    issue_id: int
    name: str
    run: Run
    around: Surroundings
    is_unsure: bool = False

    def __post_init__(self) -> None:
        """Nobody is told on the issue what stands there already."""
        object.__setattr__(self, "run", replace(self.run, requests=()))


@dataclass(frozen=True, slots=True)
class Reported:
    """The comment that tells of the run now: -1 when somebody deleted it."""

    comment_id: int


@dataclass(frozen=True, slots=True)
class FollowInput:
    """What to follow, from which byte of its output on. ``quiet_since``: since when it has not grown.

    ``report`` is what the issue is told meanwhile, with the progress of then; None for nothing. ``is_further``: another
    follower has followed this attempt before.
    """

    about: RunInput
    out_bytes: int
    quiet_since: datetime
    stall_s: float
    report: ReportInput | None = None
    is_further: bool = False


@dataclass(frozen=True, slots=True)
class InterruptInput:
    """What to end in order, and the one word that says why. ``is_hard``: at once, without order."""

    about: RunInput
    why: str
    is_hard: bool = False


_SEEN_TEXTS: Mapping[str, Clean] = {
    "phase": partial(word, bytes_max=16),
    "why": partial(word, bytes_max=32),
    "progress": partial(prose, bytes_max=300),
}


@dataclass(frozen=True, slots=True)
class AttemptSeen:
    """What a probe of the attempt showed: see `issuebox.domain.probe`.

    ``other`` lives in the sandbox beside it. A follower sets ``quiet_since``, and ``is_through`` when the agent said
    how it ended, and does not end.
    """

    phase: str
    exit_code: int | None = None
    why: str = ""
    out_bytes: int = 0
    progress: str = ""
    is_orphan: bool = False
    oom_kills: int = 0
    quiet_since: datetime | None = None
    is_through: bool = False
    other: Other | None = None

    def __post_init__(self) -> None:
        """Whoever works in the sandbox may have written it."""
        clean(self, _SEEN_TEXTS)


@dataclass(frozen=True, slots=True)
class Collected:
    """An attempt that has ended, and what it says about itself."""

    seen: AttemptSeen
    report: Report
