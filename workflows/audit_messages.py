"""The input and output of `AuditWorkflow`. Public like `workflows.messages`: add fields only with defaults."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from issuebox.domain.audit import Finding

AUDIT_TYPE = "AuditWorkflow"
AUDIT_SUMMARY = "audit of all managed sandboxes"


@dataclass(frozen=True, slots=True)
class AuditInput:
    """How to audit. With ``mend`` None the workers' setting decides."""

    mend: bool | None = None


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found. ``took_s`` is in seconds.

    ``sandboxes`` counts the managed sandboxes that Daytona listed, ``sandboxes_leaving`` those on their way out,
    ``issues`` the running workflows, ``issues_compared`` those whose sandbox was read by ID, ``suspects`` what was
    read again. ``is_complete`` is False when there were too many suspects to read all of them again, and when
    ``ranges_unsettled`` of the ``ranges`` in which the workflows were read had other counts than rows to the end.
    ``foreign`` counts the issues whose sandbox carries another installation's labels: the audit leaves them alone,
    and they do not break the promise. ``outdated`` counts the closed issues that went by timers of earlier settings,
    ``undelivered`` the issues whose last notice did not reach its receiver.
    When the audit mends, it told each of them of the present ones.
    """

    promise_holds: bool
    began_at: datetime
    took_s: float
    sandboxes: int
    sandboxes_leaving: int
    issues: int
    issues_compared: int
    suspects: int
    mended: int
    is_complete: bool = True
    findings: tuple[Finding, ...] = ()
    foreign: int = 0
    outdated: int = 0
    undelivered: int = 0
    ranges: int = 0
    ranges_unsettled: int = 0
