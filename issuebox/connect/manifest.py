"""The manifest of the GitHub App: what GitHub shows to the person who registers it, and then makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

from issuebox.connect.webhook import NOWHERE
from issuebox.providers.github_app import EVENTS, PERMISSIONS

NAME_MAX: Final = 34
"""GitHub's limit on the name of an App."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the person chose. ``webhook_url`` is '' for an App that delivers nothing."""

    github_url: str
    name: str
    organization: str = ""
    webhook_url: str = ""


def manifest(wanted: Wanted, redirect_url: str) -> dict[str, Any]:
    """The manifest, in GitHub's words."""
    hook = {"url": wanted.webhook_url, "active": True} if wanted.webhook_url else {"url": NOWHERE, "active": False}
    return {
        "name": wanted.name,
        "url": _origin(wanted.webhook_url) or wanted.github_url,
        "description": "One Daytona sandbox per issue, kept by issuebox.",
        "hook_attributes": hook,
        "redirect_url": redirect_url,
        "public": False,
        "default_permissions": {permission.name: permission.access for permission in PERMISSIONS},
        "default_events": list(EVENTS),
    }


def registration_url(wanted: Wanted, state: str) -> str:
    """Where the manifest is posted."""
    return f"{_settings(wanted.github_url, wanted.organization)}/new?state={quote(state, safe='')}"


def apps_url(wanted: Wanted) -> str:
    """The list of the account's Apps, where one can be deleted."""
    return _settings(wanted.github_url, wanted.organization)


def settings_url(wanted: Wanted, slug: str) -> str:
    """The App's own settings."""
    return f"{_settings(wanted.github_url, wanted.organization)}/{quote(slug, safe='')}"


def installation_url(html_url: str) -> str:
    """Where the App is installed in repositories."""
    return f"{html_url.rstrip('/')}/installations/new"


def _settings(github_url: str, organization: str) -> str:
    place = f"/organizations/{quote(organization, safe='')}" if organization else ""
    return f"{github_url}{place}/settings/apps"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if url else ""
