"""What goes into and comes out of the audit's activities: one object each. Histories hold these shapes."""

from __future__ import annotations

from dataclasses import dataclass

from issuebox.domain.audit import Finding, Suspect


@dataclass(frozen=True, slots=True)
class AuditTerms:
    """How the workers audit: their settings, which travel with the audit. Durations in seconds.

    ``recheck_s`` is how long a suspect is left before it is read again, ``reads_per_s`` how many sandboxes are
    read by ID in a second, ``mends`` whether an audit mends when it is not told.
    """

    recheck_s: float = 75.0
    reads_per_s: float = 20.0
    mends: bool = True


@dataclass(frozen=True, slots=True)
class Suspects:
    """What is to be read again, and whether that is to show what mending did."""

    suspects: tuple[Suspect, ...]
    are_mended: bool = False


@dataclass(frozen=True, slots=True)
class Findings:
    """What held on the last look."""

    findings: tuple[Finding, ...]
