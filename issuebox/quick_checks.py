"""One or two questions each to Daytona and GitHub: do they take our credentials, and is the region one of theirs?

A worker asks them at its start (`issuebox.start_checks` says how often), and `issuebox doctor` asks them with the rest.
They only read.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

import httpx
from pydantic import BaseModel, ValidationError

from issuebox.domain.errors import GoneError, ProviderError, RateLimitedError, RefusedError
from issuebox.domain.phase import REMEDIES, Cause
from issuebox.domain.text import one_line
from issuebox.providers.daytona import DaytonaProvider
from issuebox.providers.github_app import App, GitHubAppError
from issuebox.settings import WorkerSettings
from issuebox.start_checks import Check, Trouble

PERMISSIONS: Final = ("write:sandboxes", "delete:sandboxes")
"""What a worker's key needs. Reads need none."""

GITHUB_TIMEOUT_S: Final = 10.0
REASON_MAX: Final = 160

_KEY_CAUSES = frozenset({Cause.CREDENTIALS, Cause.FORBIDDEN})


def quick_checks(settings: WorkerSettings, provider: DaytonaProvider) -> Mapping[str, Check]:
    """The checks of what a worker with these settings depends on, apart from Temporal, by part."""
    checks: dict[str, Check] = {"daytona": partial(daytona, settings, provider)}
    if settings.github_app_id:
        checks["github"] = partial(github_app, settings)
    elif settings.github_token.get_secret_value():
        checks["github"] = partial(github_token, settings)
    return checks


async def daytona(settings: WorkerSettings, provider: DaytonaProvider) -> Trouble | None:
    """One request for what the key may do, and one for the regions if the settings name one."""
    try:
        trouble = lacking(await provider.permissions())
        if trouble is None and settings.daytona_target:
            trouble = unknown_region(settings.daytona_target, await provider.regions())
    except ProviderError as error:
        return refused(error, settings.daytona_api_url)
    return trouble


def lacking(permissions: frozenset[str] | None) -> Trouble | None:
    """A key without a permission passes every read, and is refused when it first creates or deletes."""
    missing = [] if permissions is None else [name for name in PERMISSIONS if name not in permissions]
    if not missing:
        return None
    advice = f"Use a key with {' and '.join(PERMISSIONS)} (in Daytona's dashboard: Keys)."
    return Trouble("daytona", f"the key is accepted, but it lacks {' and '.join(missing)}", advice)


def unknown_region(target: str, offered: frozenset[str] | None) -> Trouble | None:
    """Every create would be refused. None also when Daytona does not tell."""
    if offered is None or target in offered:
        return None
    seen = f"Daytona offers no region {target}, only {', '.join(sorted(offered)) or 'none'}"
    return Trouble("daytona", seen, "Set DAYTONA_TARGET to one of them, or to nothing.")


def refused(error: ProviderError, url: str) -> Trouble:
    """What a failed read shows about the API and the key."""
    text = one_line(str(error), REASON_MAX, keeps_markup=True)  # A server other than Daytona may answer with a page.
    if is_about_key(error):
        assert isinstance(error, RefusedError)  # noqa: S101 -- for the type checker
        return Trouble("daytona", f"the key is refused: {text}", REMEDIES[error.cause].advice)
    if isinstance(error, RateLimitedError):
        advice = (
            "Wait. If this persists, too many processes share the organization's limit, or the key was refused often."
        )
        return Trouble("daytona", f"{url} asks for fewer requests", advice)
    if isinstance(error, GoneError | RefusedError):
        advice = "Check DAYTONA_API_URL: it ends in /api, as in https://app.daytona.io/api."
        return Trouble("daytona", f"{url} does not answer like Daytona: {text}", advice)
    advice = "Check DAYTONA_API_URL, that this machine may reach it (proxy, firewall, DNS), and that Daytona is up."
    return Trouble("daytona", f"{url} gives no usable answer: {text}", advice)


def is_about_key(error: ProviderError) -> bool:
    """Whether Daytona answered, and refused the key."""
    return isinstance(error, RefusedError) and error.cause in _KEY_CAUSES


async def github_app(settings: WorkerSettings) -> Trouble | None:
    """One request: does GitHub know the App by this key?"""
    app = App(settings.github_api_url, settings.github_app_id, settings.github_app_private_key.get_secret_value())
    try:
        await app.about()
    except GitHubAppError as error:
        return Trouble("github", str(error), app_advice(error))
    return None


def app_advice(error: GitHubAppError) -> str:
    """What helps against it."""
    if error.is_away:
        return "Check ISSUEBOX_GITHUB_API_URL, and that this machine may reach it."
    return "Check the App at GitHub, or register a new one: `issuebox connect github --replace`."


class Core(BaseModel):
    """GitHub's limit on the requests of an hour."""

    limit: int
    remaining: int


class _Resources(BaseModel):
    core: Core


class _RateLimit(BaseModel):
    resources: _Resources


async def github_token(settings: WorkerSettings) -> Trouble | None:
    """One request: does GitHub take the token?"""
    async with github_client(settings) as client:
        found = await rate_limit(client)
    return found if isinstance(found, Trouble) else None


def github_client(settings: WorkerSettings) -> httpx.AsyncClient:
    """A client with the token, if there is one. It follows no redirect, so that the token goes nowhere else."""
    headers = {"Accept": "application/vnd.github+json", "User-Agent": "issuebox"}
    if token := settings.github_token.get_secret_value():
        headers["Authorization"] = f"Bearer {token}"
    return httpx.AsyncClient(
        base_url=settings.github_api_url, headers=headers, timeout=GITHUB_TIMEOUT_S, follow_redirects=False
    )


async def rate_limit(client: httpx.AsyncClient) -> Core | Trouble:
    """What is left of this hour. It can always be read, and reading it does not count against it."""
    try:
        reply = await client.get("/rate_limit")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        advice = "Check ISSUEBOX_GITHUB_API_URL, and that this machine may reach it."
        return Trouble("github", f"GitHub cannot be reached: {type(error).__name__}", advice)
    if reply.status_code == httpx.codes.UNAUTHORIZED:
        return Trouble("github", "the token is refused: 401", "Create a new token; this one is wrong or has expired.")
    try:
        return _RateLimit.model_validate_json(reply.content).resources.core
    except ValidationError:
        advice = "Check ISSUEBOX_GITHUB_API_URL: GitHub Enterprise has its API under /api/v3."
        return Trouble("github", f"GitHub's answer cannot be read: {reply.status_code}", advice)
