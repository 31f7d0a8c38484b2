"""Checks Daytona through our own provider, with reads only: a lookup of an unused name, a list of our sandboxes."""

from __future__ import annotations

import re
import time
import uuid
from collections import Counter

from activities.reporting import ms
from issuebox.doctor.check_results import CheckResult, Part, Verdict
from issuebox.domain.errors import GoneError, ProviderError, RateLimitedError, RefusedError
from issuebox.domain.phase import REMEDIES, Cause
from issuebox.domain.sandbox import LABEL_INSTANCE, LABEL_MANAGED_BY, MANAGED_BY
from issuebox.domain.text import one_line
from issuebox.providers.daytona import DaytonaProvider
from issuebox.settings import WorkerSettings
from issuebox.worker import daytona_options

LISTED_MAX = 400
"""Limit on the listed sandboxes. Two pages are enough to see the regions in use."""

REASON_MAX = 160

_URL = re.compile(r"https?://[^/\s]+")
_KEY_CAUSES = frozenset({Cause.CREDENTIALS, Cause.FORBIDDEN})


async def examine(settings: WorkerSettings) -> list[CheckResult]:
    """The check results for Daytona."""
    if not settings.daytona_api_key.get_secret_value():
        advice = "Set DAYTONA_API_KEY to a key of your organization (in Daytona's dashboard: Keys)."
        return [_found("key", Verdict.FAILED, "DAYTONA_API_KEY is not set", advice)]
    if not _URL.match(settings.daytona_api_url):
        seen = f"DAYTONA_API_URL is not a URL: {settings.daytona_api_url}"
        return [_found("API", Verdict.FAILED, seen, "Set it to a URL such as https://app.daytona.io/api.")]
    async with DaytonaProvider(daytona_options(settings)) as provider:
        try:
            return [*await _lookup(provider, settings), *await _list(provider, settings)]
        except ProviderError as error:
            return _failure(error, settings)


async def _lookup(provider: DaytonaProvider, settings: WorkerSettings) -> list[CheckResult]:
    name = f"issuebox-doctor-{uuid.uuid4().hex}"
    began = time.monotonic()
    await provider.lookup(name)
    took_ms = ms(began)
    return [
        _found("API", Verdict.OK, f"{settings.daytona_api_url} is reached"),
        _found("key", Verdict.OK, "accepted"),
        _found("lookup", Verdict.OK, f"a name that does not exist is not found, in {took_ms} ms"),
    ]


async def _list(provider: DaytonaProvider, settings: WorkerSettings) -> list[CheckResult]:
    """A list is needed as well, because a server other than Daytona also answers 404 to a lookup."""
    regions: Counter[str] = Counter()
    async for sandbox in provider.list_managed({LABEL_MANAGED_BY: MANAGED_BY, LABEL_INSTANCE: settings.instance}):
        regions[sandbox.region] += 1
        if regions.total() >= LISTED_MAX:
            break
    more = " or more" if regions.total() >= LISTED_MAX else ""
    seen = f"{regions.total()}{more} of ours (instance {settings.instance})"
    return [_found("sandboxes", Verdict.OK, seen), _region(settings.daytona_target, regions)]


def _region(target: str, regions: Counter[str]) -> CheckResult:
    """As much as can be known without a create: only a create makes Daytona refuse an unknown region."""
    if not target:
        return _found("region", Verdict.OK, "the organization's own (DAYTONA_TARGET is not set)")
    if regions[target]:
        return _found("region", Verdict.OK, f"{target}, where {regions[target]} of our sandboxes are")
    if not regions:
        return _found("region", Verdict.OK, f"{target}; only the first create will show whether Daytona knows it")
    advice = "Check DAYTONA_TARGET: only the first create shows whether Daytona knows it."
    return _found("region", Verdict.WARNING, f"{target}, but ours are in {', '.join(sorted(regions))}", advice)


def _failure(error: ProviderError, settings: WorkerSettings) -> list[CheckResult]:
    """What a failed read shows about the API and the key."""
    url = settings.daytona_api_url
    if isinstance(error, RefusedError) and error.cause in _KEY_CAUSES:
        return [
            _found("API", Verdict.OK, f"{url} answers"),
            _found("key", Verdict.FAILED, f"refused: {_short(error)}", REMEDIES[error.cause].advice),
        ]
    if isinstance(error, RateLimitedError):
        advice = (
            "Wait. If this persists, too many processes share the organization's limit, or the key was refused often."
        )
        return [_found("API", Verdict.WARNING, f"{url} asks for fewer requests", advice)]
    if isinstance(error, GoneError | RefusedError):
        advice = "Check DAYTONA_API_URL: it ends in /api, as in https://app.daytona.io/api."
        return [_found("API", Verdict.FAILED, f"{url} does not answer like Daytona: {_short(error)}", advice)]
    advice = "Check DAYTONA_API_URL, that this machine may reach it (proxy, firewall, DNS), and that Daytona is up."
    return [_found("API", Verdict.FAILED, f"{url} gives no usable answer: {_short(error)}", advice)]


def _short(error: ProviderError) -> str:
    """The beginning of the message: a server other than Daytona may answer with a whole page."""
    return one_line(str(error), REASON_MAX, keeps_markup=True)


def _found(check: str, verdict: Verdict, seen: str, advice: str = "") -> CheckResult:
    return CheckResult(Part.DAYTONA, check, verdict, seen, advice)
