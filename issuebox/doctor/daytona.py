"""Checks Daytona through our own provider, with reads only: a lookup of an unused name, a list of our sandboxes."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from dataclasses import replace

from activities.reporting import ms
from issuebox.doctor.check_results import CheckResult, Part, Verdict
from issuebox.domain.audit import GOING
from issuebox.domain.errors import ProviderError, RateLimitedError, RefusedError
from issuebox.domain.issue import issue_id_of
from issuebox.domain.sandbox import LABEL_INSTANCE, LABEL_MANAGED_BY, LABEL_SHOWN_BYTES_MAX, MANAGED_BY
from issuebox.domain.text import one_line
from issuebox.providers.daytona import DaytonaProvider
from issuebox.quick_checks import is_about_key, lacking, refused, unknown_region
from issuebox.settings import WorkerSettings
from issuebox.worker import daytona_options

LISTED_MAX = 400
"""Limit on the listed sandboxes. Two pages are enough to see the regions in use."""

REASON_MAX = 160

NAMED_MAX = 5
"""Other installations, or sandboxes, that are named; all are counted."""

BECOMING = frozenset({"building", "pending", "pulling", "snapshotting"})
"""States of a snapshot that is not finished yet."""


async def examine(settings: WorkerSettings) -> list[CheckResult]:
    """The check results for Daytona."""
    if not settings.daytona_api_key.get_secret_value():
        advice = "Set DAYTONA_API_KEY to a key of your organization (in Daytona's dashboard: Keys)."
        return [_found("key", Verdict.FAILED, "DAYTONA_API_KEY is not set", advice)]
    # Without the event stream, which no read needs: when its key is refused, the SDK prints a traceback.
    async with DaytonaProvider(replace(daytona_options(settings), use_polling=True)) as provider:
        try:
            results = [*await _lookup(provider, settings), *await _list(provider, settings)]
            return [*results, *await _snapshot(provider, settings.snapshot)]
        except ProviderError as error:
            return _failure(error, settings)


async def _lookup(provider: DaytonaProvider, settings: WorkerSettings) -> list[CheckResult]:
    name = f"issuebox-doctor-{uuid.uuid4().hex}"
    began = time.monotonic()
    await provider.lookup(name)
    took_ms = ms(began)
    return [
        _found("API", Verdict.OK, f"{settings.daytona_api_url} is reached"),
        _key(await provider.permissions()),
        _found("lookup", Verdict.OK, f"a name that does not exist is not found, in {took_ms} ms"),
    ]


def _key(permissions: frozenset[str] | None) -> CheckResult:
    if trouble := lacking(permissions):
        return _found("key", Verdict.FAILED, trouble.seen.removeprefix("the key is "), trouble.advice)
    if permissions is None:
        return _found("key", Verdict.OK, "accepted; this Daytona does not say what it may do")
    return _found("key", Verdict.OK, "accepted, and may create and delete sandboxes")


async def _list(provider: DaytonaProvider, settings: WorkerSettings) -> list[CheckResult]:
    """A list is needed as well, because a server other than Daytona also answers 404 to a lookup."""
    regions: Counter[str] = Counter()
    others: Counter[str] = Counter()
    named_otherwise: list[str] = []
    async for sandbox in provider.list_managed({LABEL_MANAGED_BY: MANAGED_BY}):
        instance = sandbox.labels.get(LABEL_INSTANCE, "")
        if instance != settings.instance:
            others[instance] += 1
        else:
            regions[sandbox.region] += 1
            if issue_id_of(sandbox.name, settings.name_prefix) is None and sandbox.phase not in GOING:
                named_otherwise.append(sandbox.name)
        if regions.total() + others.total() >= LISTED_MAX:
            break
    seen = f"{_counted(regions)} of ours (instance {settings.instance})"
    return [
        _found("sandboxes", Verdict.OK, seen),
        _others(settings, ours=regions.total(), others=others),
        *_names(settings, named_otherwise),
        _region(settings.daytona_target, regions, await _regions(provider, settings.daytona_target)),
    ]


def _others(settings: WorkerSettings, *, ours: int, others: Counter[str]) -> CheckResult:
    """Whether ISSUEBOX_INSTANCE fits: with none of ours beside another's sandboxes, it may have been changed."""
    if not others:
        return _found("instance", Verdict.OK, f"{settings.instance}; no sandboxes of other installations")
    named = ", ".join(f"{_label(instance)} ({count})" for instance, count in others.most_common(NAMED_MAX))
    if ours:
        return _found("instance", Verdict.OK, f"{settings.instance}; other installations here: {named}")
    advice = "If ISSUEBOX_INSTANCE was changed, set it back: sandboxes labelled otherwise are not touched."
    return _found("instance", Verdict.WARNING, f"{settings.instance} has no sandboxes, but here are: {named}", advice)


def _names(settings: WorkerSettings, named_otherwise: list[str]) -> list[CheckResult]:
    """Whether ISSUEBOX_NAME_PREFIX fits the sandboxes that carry our labels."""
    if not named_otherwise:
        return []
    named = ", ".join(_label(name) for name in named_otherwise[:NAMED_MAX])
    seen = f"{len(named_otherwise)} of ours are not named {settings.name_prefix}N: {named}"
    advice = "If ISSUEBOX_NAME_PREFIX was changed, set it back. `issuebox audit` says more about each."
    return [_found("names", Verdict.WARNING, seen, advice)]


def _label(text: str) -> str:
    """What anybody may have written at Daytona."""
    return one_line(text, LABEL_SHOWN_BYTES_MAX, keeps_markup=True) or "no instance"


def _counted(regions: Counter[str]) -> str:
    return f"{regions.total()}{' or more' if regions.total() >= LISTED_MAX else ''}"


async def _regions(provider: DaytonaProvider, target: str) -> frozenset[str] | None:
    """The regions that Daytona offers; None when no region is wanted, or a key is not told."""
    if not target:
        return None
    try:
        return await provider.regions()
    except RefusedError:
        return None


def _region(target: str, regions: Counter[str], offered: frozenset[str] | None) -> CheckResult:
    """Whether Daytona knows the region. If it does not tell, only a create shows it."""
    if not target:
        return _found("region", Verdict.OK, "the organization's own (DAYTONA_TARGET is not set)")
    if trouble := unknown_region(target, offered):
        return _found("region", Verdict.FAILED, trouble.seen, trouble.advice)
    if regions[target]:
        return _found("region", Verdict.OK, f"{target}, where {regions[target]} of our sandboxes are")
    if not regions and offered is not None:
        return _found("region", Verdict.OK, f"{target}, which Daytona offers")
    if not regions:
        return _found("region", Verdict.OK, f"{target}; only the first create will show whether Daytona knows it")
    advice = "Check DAYTONA_TARGET: new sandboxes come up in another region than those that there are."
    return _found("region", Verdict.WARNING, f"{target}, but ours are in {', '.join(sorted(regions))}", advice)


async def _snapshot(provider: DaytonaProvider, name: str) -> list[CheckResult]:
    """Whether new sandboxes can be created from the configured snapshot. Without one, Daytona takes its own."""
    if not name:
        return []
    try:
        state = await provider.snapshot_state(name)
    except RefusedError as error:
        return [_found("snapshot", Verdict.WARNING, f"{name} cannot be read: {_short(error)}", "Try a create.")]
    advice = "Set ISSUEBOX_SNAPSHOT to an active snapshot of Daytona's dashboard, or to nothing for Daytona's default."
    if state is None:
        return [_found("snapshot", Verdict.FAILED, f"{name} does not exist", advice)]
    if state == "active":
        return [_found("snapshot", Verdict.OK, f"{name}, active")]
    if state in BECOMING:
        return [_found("snapshot", Verdict.WARNING, f"{name} is {state}", "Wait until it is active.")]
    return [_found("snapshot", Verdict.FAILED, f"{name} is {state}: creates are refused", advice)]


def _failure(error: ProviderError, settings: WorkerSettings) -> list[CheckResult]:
    """What a failed read shows about the API and the key."""
    url, trouble = settings.daytona_api_url, refused(error, settings.daytona_api_url)
    if is_about_key(error):
        seen = trouble.seen.removeprefix("the key is ")
        return [_found("API", Verdict.OK, f"{url} answers"), _found("key", Verdict.FAILED, seen, trouble.advice)]
    verdict = Verdict.WARNING if isinstance(error, RateLimitedError) else Verdict.FAILED
    return [_found("API", verdict, trouble.seen, trouble.advice)]


def _short(error: ProviderError) -> str:
    """The beginning of the message: a server other than Daytona may answer with a whole page."""
    return one_line(str(error), REASON_MAX, keeps_markup=True)


def _found(check: str, verdict: Verdict, seen: str, advice: str = "") -> CheckResult:
    return CheckResult(Part.DAYTONA, check, verdict, seen, advice)
