"""How resync is run, from the settings: what its schedule starts and how often, and what a person starts by hand."""

from __future__ import annotations

from datetime import datetime

from issuebox.domain.issue_source import is_repository
from issuebox.settings import WorkerSettings
from workflows.resync_messages import ResyncRequest


def resync_interval_s(settings: WorkerSettings) -> float:
    """How often the schedule runs; 0 for not at all, which is also so without repositories.

    Runs must not overlap: each goes on from the result of the last one that completed.
    """
    return settings.resync_interval_s if resync_repositories(settings) else 0.0


def resync_repositories(settings: WorkerSettings) -> tuple[str, ...]:
    """The configured repositories; without any, those of the allowed ones that are named, when there are credentials.

    GitHub answers only 60 requests an hour without credentials, which is for who asks for it.
    """
    has_credentials = bool(settings.github_token.get_secret_value() or settings.github_app_id)
    named = tuple(name for name in settings.allowed_repositories if is_repository(name))
    return settings.resync_repositories or (named if has_credentials else ())


def resync_request(
    settings: WorkerSettings,
    repositories: tuple[str, ...] = (),
    *,
    since: datetime | None = None,
    is_full: bool = False,
) -> ResyncRequest:
    """The input of one run: for these repositories, or without any for the configured ones, each once."""
    wanted = {name.lower(): name for name in repositories or resync_repositories(settings)}
    return ResyncRequest(
        repositories=tuple(wanted.values()),
        since=since,
        lookback_s=settings.resync_lookback_s,
        sweep_interval_s=settings.resync_sweep_interval_s,
        is_full=is_full,
    )
