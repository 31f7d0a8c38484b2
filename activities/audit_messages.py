"""The inputs and outputs of the audit's activities: one object each. Histories hold these shapes."""

from __future__ import annotations

from dataclasses import dataclass

from issuebox.domain.audit import Finding, Suspect


@dataclass(frozen=True, slots=True)
class AuditTerms:
    """The workers' settings for audits. ``mends``: whether an audit mends when its input does not say."""

    recheck_s: float = 75.0
    """The pause before a suspect is read again: longer than Daytona's caches live."""
    reads_per_s: float = 20.0
    """Reads by ID per second and worker: far below Daytona's smallest limit."""
    mends: bool = True


@dataclass(frozen=True, slots=True)
class Suspects:
    """What to read again. ``are_mended``: the reread is to show whether the mending helped."""

    suspects: tuple[Suspect, ...]
    are_mended: bool = False


@dataclass(frozen=True, slots=True)
class Findings:
    """What the last reread confirmed."""

    findings: tuple[Finding, ...]
