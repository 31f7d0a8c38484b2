"""Checks GitHub, with GETs only: is the API ready for its webhooks, and may the token read what resync needs?"""

from __future__ import annotations

import re

import httpx
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from issuebox.connect.webhook import NOWHERE
from issuebox.doctor.check_results import CheckResult, Part, Verdict
from issuebox.providers.github_app import EVENTS, PERMISSIONS, About, App, GitHubAppError, Installation
from issuebox.quick_checks import app_advice, github_client, rate_limit
from issuebox.settings import ApiSettings, WorkerSettings
from issuebox.start_checks import Trouble
from issuebox.temporal.schedules import resync_repositories

REPOSITORIES_MAX = 50
"""Limit on the checked repositories. Each costs two of the token's 5,000 requests an hour."""
REMAINING_LOW = 500
WEBHOOK_PATH = "/webhooks/github"

LEVELS = {"read": 1, "write": 2, "admin": 3}
"""GitHub's words for what an App may do with something; each includes those before."""


class _HookConfig(BaseModel):
    url: str = ""


class _Hook(BaseModel):
    active: bool = False
    events: list[str] = Field(default_factory=list)
    config: _HookConfig = Field(default_factory=_HookConfig)


async def examine(api: ApiSettings, worker: WorkerSettings) -> list[CheckResult]:
    """The check results for GitHub: first the API's own secrets, then what the token may do."""
    token = worker.github_token.get_secret_value()
    repositories = resync_repositories(worker)
    results = [_secret(api), _tokens(api)]
    if worker.github_app_id:
        return [*results, *await _examined_app(worker, repositories)]
    if not token and not repositories:
        seen = "neither a token nor repositories: missed deliveries are not recovered"
        advice = "Set ISSUEBOX_GITHUB_TOKEN and ISSUEBOX_RESYNC_REPOSITORIES for the workers."
        return [*results, _found("token", Verdict.WARNING, seen, advice)]
    async with github_client(worker) as client:
        accepted = await _token(client, has_token=bool(token))
        results.append(accepted)
        if accepted.verdict is Verdict.FAILED:
            return results
        for repository in repositories[:REPOSITORIES_MAX]:
            results += await _repository(client, repository)
    return results


async def _examined_app(worker: WorkerSettings, repositories: tuple[str, ...]) -> list[CheckResult]:
    """The App as GitHub sees it: its key, its permissions, where it is installed, where its deliveries go."""
    app = App(worker.github_api_url, worker.github_app_id, worker.github_app_private_key.get_secret_value())
    try:
        about = await app.about()
        results = [_app(about), *_lacking(about), _installations(await app.installations(), about)]
        results.append(_deliveries(await app.webhook_url()))
        results += [
            _reach(repository, is_installed=await app.is_installed_in(repository))
            for repository in repositories[:REPOSITORIES_MAX]
        ]
    except GitHubAppError as error:
        return [_found("App", Verdict.FAILED, str(error), app_advice(error))]
    if not repositories:
        seen = "no repositories are named: missed deliveries are not recovered"
        advice = "Run `issuebox connect github` again after installing the App, or set ISSUEBOX_RESYNC_REPOSITORIES."
        results.append(_found("resync", Verdict.WARNING, seen, advice))
    return results


def _app(about: About) -> CheckResult:
    return _found("App", Verdict.OK, f"{about.slug} of {about.owner.login}; its key is accepted")


def _lacking(about: About) -> list[CheckResult]:
    """Issues must be readable now. The rest is for later, and asking again means approving again."""
    lacking = [
        f"{wanted.name} ({wanted.access})"
        for wanted in PERMISSIONS
        if LEVELS.get(about.permissions.get(wanted.name, ""), 0) < LEVELS[wanted.access]
    ]
    lacking += [f"the event {event}" for event in EVENTS if event not in about.events]
    if not lacking:
        return []
    verdict = Verdict.WARNING if "issues" in about.permissions else Verdict.FAILED
    advice = "Grant it in the App's settings at GitHub, and approve the change where the App is installed."
    return [_found("App: permissions", verdict, f"it lacks {', '.join(lacking)}", advice)]


def _installations(installations: list[Installation], about: About) -> CheckResult:
    active = [one.account.login for one in installations if one.suspended_at is None]
    if active:
        return _found("App: installed", Verdict.OK, f"for {', '.join(active)}")
    if installations:
        seen = f"suspended for {', '.join(one.account.login for one in installations)}"
        return _found("App: installed", Verdict.FAILED, seen, "Unsuspend it in GitHub's settings.")
    seen, advice = "nowhere", f"Install {about.slug} at GitHub: the App's page, then Install."
    return _found("App: installed", Verdict.FAILED, seen, advice)


def _deliveries(url: str) -> CheckResult:
    if url in {"", NOWHERE}:
        advice = "Run `issuebox connect github --webhook-url https://<host>`. Until then resync finds what happens."
        return _found("App: webhook", Verdict.WARNING, "has no address: GitHub delivers nothing", advice)
    return _found("App: webhook", Verdict.OK, f"goes to {url}")


def _reach(repository: str, *, is_installed: bool) -> CheckResult:
    if is_installed:
        return _found(repository, Verdict.OK, "the App is installed there")
    advice = "Install it there, or correct the name."
    return _found(repository, Verdict.FAILED, "the App is not installed there", advice)


def _secret(api: ApiSettings) -> CheckResult:
    count = len(api.webhook_secrets)
    if count:
        return _found("webhook secret", Verdict.OK, f"{count} set")
    advice = "Set ISSUEBOX_WEBHOOK_SECRETS for the API to the webhook's secret; without it every delivery is refused."
    return _found("webhook secret", Verdict.WARNING, "not set in this environment", advice)


def _tokens(api: ApiSettings) -> CheckResult:
    count = len(api.api_tokens)
    if count:
        return _found("API token", Verdict.OK, f"{count} set")
    advice = "Set ISSUEBOX_API_TOKENS for the API; without them every REST call is refused."
    return _found("API token", Verdict.WARNING, "not set in this environment", advice)


async def _token(client: httpx.AsyncClient, *, has_token: bool) -> CheckResult:
    core = await rate_limit(client)
    if isinstance(core, Trouble):
        return _found("token", Verdict.FAILED, core.seen, core.advice)
    left = f"{core.remaining} of {core.limit} requests left this hour"
    if not has_token:
        advice = "Set ISSUEBOX_GITHUB_TOKEN: without it only public issues can be read, with 60 requests an hour."
        return _found("token", Verdict.WARNING, f"not set, {left}", advice)
    seen = f"accepted, {left}"
    if core.remaining < REMAINING_LOW:
        return _found("token", Verdict.WARNING, seen, "Others use the same token: give issuebox its own.")
    return _found("token", Verdict.OK, seen)


async def _repository(client: httpx.AsyncClient, repository: str) -> list[CheckResult]:
    """Whether the issues can be read and, if the token may list hooks, whether one leads to us."""
    try:
        reply = await client.get(f"/repos/{repository}/issues", params={"per_page": 1, "state": "all"})
    except httpx.HTTPError as error:
        seen = f"GitHub cannot be reached: {type(error).__name__}"
        return [_found(repository, Verdict.FAILED, seen, "Try again; GitHub answered a moment ago.")]
    if reply.is_success:
        return [_found(repository, Verdict.OK, "issues can be read"), *await _hook(client, repository)]
    if reply.is_redirect:
        advice = "The repository was renamed or moved: configure its new name."
        return [_found(repository, Verdict.FAILED, f"has moved: {reply.status_code}", advice)]
    advice = "Let the token read the repository's issues (fine-grained: Issues, read), or correct its name."
    return [_found(repository, Verdict.FAILED, f"cannot be read: {reply.status_code}", advice)]


async def _hook(client: httpx.AsyncClient, repository: str) -> list[CheckResult]:
    """No result if the token may not list hooks, which few tokens should."""
    try:
        reply = await client.get(f"/repos/{repository}/hooks", params={"per_page": 100})
        hooks = TypeAdapter(list[_Hook]).validate_json(reply.content) if reply.is_success else None
    except (httpx.HTTPError, ValidationError):
        return []
    if hooks is None:
        return []
    name = f"{repository}: webhook"
    ours = [hook for hook in hooks if re.sub(r"[?#].*", "", hook.config.url).rstrip("/").endswith(WEBHOOK_PATH)]
    if not ours:
        advice = f"Add a webhook to https://<your host>{WEBHOOK_PATH}, or ignore this if the organization has one."
        return [_found(name, Verdict.WARNING, f"none leads to {WEBHOOK_PATH}", advice)]
    if not any(hook.active for hook in ours):
        return [_found(name, Verdict.WARNING, "is not active", "Activate it in the repository's settings.")]
    missing = {"issues", "issue_comment"} - {event for hook in ours if hook.active for event in hook.events}
    if missing and not any("*" in hook.events for hook in ours if hook.active):
        seen = f"does not send {', '.join(sorted(missing))}"
        return [_found(name, Verdict.WARNING, seen, "Tick these events in the hook's settings.")]
    return [_found(name, Verdict.OK, "is active")]


def _found(check: str, verdict: Verdict, seen: str, advice: str = "") -> CheckResult:
    return CheckResult(Part.GITHUB, check, verdict, seen, advice)
