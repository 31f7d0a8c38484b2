"""A pause of an issue's runs: who made it, since when, and why. Pure.

A person's pause is about the issue: only a resume ends it. One that issuebox makes, because somebody stops the sandbox
under a run again and again, ends with that run as well. `issuebox.domain.run.Runs` has what a pause does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from issuebox.domain.issue import in_utc
from issuebox.domain.text import Clean, clean, prose

STOPPED_AGAIN_WITHIN = timedelta(minutes=10)
"""Two stops of the sandbox under one run, so soon one after the other, are somebody's will."""

_TEXTS: Mapping[str, Clean] = {"by": partial(prose, bytes_max=64), "reason": partial(prose, bytes_max=200)}


@dataclass(frozen=True, slots=True)
class Pause:
    """What keeps an issue's runs from going on until somebody resumes them.

    ``by`` is who paused them, since `at`; '' for issuebox itself, which does so for a ``reason``, under a run.
    """

    at: datetime
    by: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        clean(self, _TEXTS)
        object.__setattr__(self, "at", in_utc(self.at))

    @property
    def words(self) -> str:
        """By whom, since when and why, behind the word *paused*."""
        why = f": {self.reason}" if self.reason else ""
        return f"by {self.by or 'issuebox'} since {self.at:%Y-%m-%d %H:%M} UTC{why}"
