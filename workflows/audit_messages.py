"""What goes into and comes out of `AuditWorkflow`. Public, as `workflows.messages` is: add fields with defaults."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from issuebox.domain.audit import Finding

AUDIT_TYPE = "AuditWorkflow"
AUDIT_SUMMARY = "audit of all managed sandboxes"


@dataclass(frozen=True, slots=True)
class AuditInput:
    """How to audit. ``mend`` None leaves it to the workers' setting."""

    mend: bool | None = None


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found. `seconds` in ``took_s``.

    ``sandboxes`` counts the managed sandboxes that Daytona listed, ``sandboxes_leaving`` those of them on their way
    out, ``issues`` the running workflows, ``issues_compared`` those of them whose sandbox was read by ID,
    ``suspects`` what was read again. ``is_complete`` is False when there were too many suspects to read all again.
    ``foreign`` counts the issues whose sandbox is labelled as another installation's: they are left alone, and do
    not break the promise.
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
