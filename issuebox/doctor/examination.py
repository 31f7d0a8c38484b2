"""The whole examination: which settings count, and every part in turn."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from issuebox.dev.dev_stack import DevStack, temporal_environment
from issuebox.doctor import github, temporal
from issuebox.doctor.check_results import CheckResult, Part, Report, Verdict, report
from issuebox.settings import ApiSettings, WorkerSettings, first_mistake


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked of the doctor."""

    data_dir: Path
    parts: Collection[Part]
    is_fixing: bool = False


async def examine(order: Order) -> Report:
    """All findings of the parts that were asked for. Settings that are wrong are findings too."""
    results: list[CheckResult] = []
    stack = None if os.environ.get("TEMPORAL_ADDRESS") else DevStack.lookup(order.data_dir)
    try:
        worker, api = _worker_settings(stack), _api_settings(stack)
    except ValidationError as error:
        result = CheckResult(
            Part.SETTINGS, "settings", Verdict.FAILED, first_mistake(error), "Correct it: docs/reference/settings.md."
        )
        return report([result])
    if Part.TEMPORAL in order.parts:
        environment = temporal_environment(order.data_dir)
        results += await temporal.examine(environment, worker.task_queue, is_fixing=order.is_fixing)
    if Part.DAYTONA in order.parts:
        # Here, because the SDK takes seconds to import, and the other parts do not need it.
        from issuebox.doctor import daytona  # noqa: PLC0415

        results += await daytona.examine(worker)
    if Part.GITHUB in order.parts:
        results += await github.examine(api, worker)
    return report(results)


def _worker_settings(stack: DevStack | None) -> WorkerSettings:
    """As the environment says; what a running `issuebox dev` made up for its own Daytona stands in for it."""
    if stack is None or stack.daytona_api_key is None or os.environ.get("DAYTONA_API_KEY"):
        return WorkerSettings()
    own = {"DAYTONA_API_KEY": stack.daytona_api_key, "DAYTONA_API_URL": stack.daytona_api_url, "DAYTONA_TARGET": ""}
    return WorkerSettings.model_validate(own)


def _api_settings(stack: DevStack | None) -> ApiSettings:
    if stack is None:
        return ApiSettings()
    own = {"webhook_secrets": stack.webhook_secret, "api_tokens": stack.api_token}
    return ApiSettings.model_validate(own)
