"""The result of one check, and the report on all of them. Results never contain a secret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Part(StrEnum):
    """The part of the installation that a check is about."""

    SETTINGS = "settings"
    TEMPORAL = "temporal"
    DAYTONA = "daytona"
    GITHUB = "github"


class Verdict(StrEnum):
    """How a check ended. A warning may be intended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One row: what was checked, what was seen and, unless the verdict is ok, what to do."""

    part: Part
    check: str
    verdict: Verdict
    seen: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All check results. Warnings leave the installation healthy."""

    is_healthy: bool
    checks: tuple[CheckResult, ...]


def report(results: Sequence[CheckResult]) -> Report:
    """The report on these results."""
    is_healthy = all(result.verdict is not Verdict.FAILED for result in results)
    return Report(is_healthy, tuple(results))
