"""What is allowed and dangerous all the same: everybody may ask, a secret can be guessed, others can read one.

API and workers warn of it at their start, `issuebox dev` of its data directory, and `issuebox doctor` of all of it.
Nobody outside is told: `/readyz` says nothing of it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from issuebox.domain.triggers import Association
from issuebox.environment import FILE, is_secret, variable_of
from issuebox.settings import ApiSettings, CommonSettings

SECRET_MIN: Final = 16
"""Characters. A shorter secret can be found by trying: GitHub tells to take a random one, ours have 32 and more."""

CONTAINER_SECRETS: Final = Path("/run/secrets")
"""Where Docker mounts secrets, for a container's one user. Their modes are those of the host, where others count."""


@dataclass(frozen=True, slots=True)
class Danger:
    """The setting or place that is dangerous, why, and what helps. Never with a secret."""

    what: str
    reason: str
    advice: str


def dangers(settings: CommonSettings, environ: Mapping[str, str]) -> Iterator[Danger]:
    """What is dangerous in the settings of one kind of process."""
    if isinstance(settings, ApiSettings):
        yield from _everybody(settings)
        yield from _anybodys_work(settings)
        yield from _short("ISSUEBOX_WEBHOOK_SECRETS", settings.webhook_secrets)
        yield from _short("ISSUEBOX_API_TOKENS", settings.api_tokens)
    for name, info in type(settings).model_fields.items():
        path = environ.get(variable_of(name) + FILE, "").strip() if is_secret(info) else ""
        if path and not Path(path).absolute().is_relative_to(CONTAINER_SECRETS):
            yield from open_to_others(variable_of(name) + FILE, Path(path))


def open_to_others(what: str, path: Path) -> Iterator[Danger]:
    """A danger if other users of this machine can read the file, or enter the directory."""
    try:
        mode = path.stat().st_mode
        is_reachable = all(parent.stat().st_mode & stat.S_IXOTH for parent in path.resolve().parents)
    except OSError:  # Whoever needs it says so.
        return
    allowed, private = (stat.S_IXOTH | stat.S_IROTH, "700") if stat.S_ISDIR(mode) else (stat.S_IROTH, "600")
    if mode & allowed and is_reachable:
        reason = f"other users of this machine can read {path} (mode {stat.S_IMODE(mode):04o})"
        yield Danger(what, reason, f"Run: chmod {private} {path}")


def _everybody(settings: ApiSettings) -> Iterator[Danger]:
    is_open = settings.min_association == Association.NONE and not settings.required_label
    if is_open and "*" in settings.allowed_repositories and settings.webhook_secrets:
        yield Danger(
            "ISSUEBOX_MIN_ASSOCIATION",
            "everybody who may open an issue in a connected repository may ask for a sandbox",
            "Before you connect a public repository: docs/who-may-ask.md.",
        )


def _anybodys_work(settings: ApiSettings) -> Iterator[Danger]:
    if settings.run_preset and settings.run_min_association.is_below(Association.CONTRIBUTOR):
        yield Danger(
            "ISSUEBOX_RUN_MIN_ASSOCIATION",
            "people who never contributed may have the agent work, with the credentials that you give it",
            "Leave it out: then only collaborators may.",
        )


def _short(what: str, secrets: tuple[SecretStr, ...]) -> Iterator[Danger]:
    if any(len(secret.get_secret_value()) < SECRET_MIN for secret in secrets):
        yield Danger(
            what,
            f"a secret of less than {SECRET_MIN} characters can be guessed",
            "Take a random one, such as that of: openssl rand -hex 32",
        )


def found_here(settings: CommonSettings) -> tuple[Danger, ...]:
    """What is dangerous in this process's settings."""
    return tuple(dangers(settings, os.environ))
