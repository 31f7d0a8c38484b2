"""The whole examination: it reads the settings, and then checks each part in turn."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from issuebox.connections import ConnectionsError, added_to, directory_of, is_set
from issuebox.dangers import dangers, open_to_others
from issuebox.dev.dev_stack import DevStack, temporal_environment
from issuebox.doctor import github, temporal
from issuebox.doctor.check_results import CheckResult, Part, Report, Verdict, report
from issuebox.environment import SettingsError, load_both, unknown
from issuebox.settings import CommonSettings


@dataclass(frozen=True, slots=True)
class Order:
    """What the doctor should examine."""

    data_dir: Path
    parts: Collection[Part]
    is_fixing: bool = False
    connections: Path | None = None
    """Where `issuebox connect` has stored something; None for the place in the data directory."""


async def examine(order: Order) -> Report:
    """The check results of the requested parts. Wrong settings are check results, too."""
    stack = None if os.environ.get("TEMPORAL_ADDRESS") else DevStack.lookup(order.data_dir)
    try:
        environ = added_to(os.environ, order.connections or directory_of(order.data_dir))
        environ = environ if stack is None else environ | _of_dev(stack, environ)
        api, worker = load_both(environ)
    except ConnectionsError as error:
        return report([_settings(Verdict.FAILED, str(error))])
    except SettingsError as error:
        return report([_settings(Verdict.FAILED, mistake) for mistake in error.mistakes])
    results = [_settings(Verdict.WARNING, f"{name}: no setting has this name") for name in unknown(environ)]
    results += _dangers(order, (api, worker), environ)
    if Part.TEMPORAL in order.parts:
        environment = temporal_environment(order.data_dir)
        results += await temporal.examine(environment, worker.task_queue, worker.name_prefix, is_fixing=order.is_fixing)
    if Part.DAYTONA in order.parts:
        # Imported here, because the SDK takes seconds to import and the other parts do not need it.
        from issuebox.doctor import daytona  # noqa: PLC0415

        results += await daytona.examine(worker)
    if Part.GITHUB in order.parts:
        results += await github.examine(api, worker)
    return report(results)


def _dangers(order: Order, models: Iterable[CommonSettings], environ: Mapping[str, str]) -> list[CheckResult]:
    found = [danger for settings in models for danger in dangers(settings, environ)]
    found += open_to_others("data directory", order.data_dir)
    return [
        CheckResult(Part.SETTINGS, danger.what, Verdict.WARNING, danger.reason, danger.advice)
        for danger in dict.fromkeys(found)
    ]


def _settings(verdict: Verdict, seen: str) -> CheckResult:
    return CheckResult(Part.SETTINGS, "settings", verdict, seen, "Correct it: docs/reference/settings.md.")


def _of_dev(stack: DevStack, environ: Mapping[str, str]) -> dict[str, str]:
    """What a running `issuebox dev` generated for its parts. What is configured or connected takes precedence."""
    generated = {"ISSUEBOX_WEBHOOK_SECRETS": stack.webhook_secret, "ISSUEBOX_API_TOKENS": stack.api_token}
    own = {name: value for name, value in generated.items() if not is_set(environ, name)}
    if stack.daytona_api_key is None or is_set(environ, "DAYTONA_API_KEY"):
        return own
    daytona = {"DAYTONA_API_KEY": stack.daytona_api_key, "DAYTONA_API_URL": stack.daytona_api_url}
    return own | daytona | {"DAYTONA_TARGET": ""}
