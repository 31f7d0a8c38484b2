"""What one check found, and what follows from all of them. Findings never hold a secret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Part(StrEnum):
    """What a check is about."""

    SETTINGS = "settings"
    TEMPORAL = "temporal"
    DAYTONA = "daytona"
    GITHUB = "github"


class Verdict(StrEnum):
    """Completes "this is …", or "this has …"."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One row: what was looked at, what was seen, and, unless all is well, what to do."""

    part: Part
    check: str
    verdict: Verdict
    seen: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All findings. Warnings leave it healthy."""

    is_healthy: bool
    checks: tuple[CheckResult, ...]


def report(results: Sequence[CheckResult]) -> Report:
    """The findings with the verdict over all of them."""
    is_healthy = all(result.verdict is not Verdict.FAILED for result in results)
    return Report(is_healthy, tuple(results))
