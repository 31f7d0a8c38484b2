"""The inputs and outputs of the audit's activities: one object each. Histories hold these shapes."""

from __future__ import annotations

from dataclasses import dataclass

from issuebox.domain.audit import Finding, Suspect

AUDIT_SHARE = 0.4
"""The most that an audit takes of Daytona's limit for reads, and of what is left of it: the rest is for the issues."""


@dataclass(frozen=True, slots=True)
class AuditTerms:
    """The workers' settings for audits. ``mends``: whether an audit mends when its input does not say."""

    recheck_s: float = 75.0
    """The pause before a suspect is read again: longer than Daytona's caches live."""
    share: float = AUDIT_SHARE
    reads_per_s: float = 200.0
    """The most reads by ID per second of one audit, also where Daytona tells of no limit."""
    mends: bool = True


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of the ranges of names in which the workflows are read (`issuebox.domain.name_ranges`)."""

    bounds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shard:
    """Some ranges, which one activity reads, while as many others as ``at_once`` says do the same.

    With ``mends``, a closed issue that goes by timers of earlier settings is told of the present ones.
    """

    bounds: tuple[str, ...]
    at_once: int = 1
    mends: bool = False


@dataclass(frozen=True, slots=True)
class Suspects:
    """What to read again. ``are_mended``: the reread is to show whether the mending helped."""

    suspects: tuple[Suspect, ...]
    are_mended: bool = False


@dataclass(frozen=True, slots=True)
class Findings:
    """What the last reread confirmed."""

    findings: tuple[Finding, ...]
