"""What is done in a new sandbox before it is handed over: what to clone and run, and under which names. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

PLACEHOLDER = "{repository}"
"""Stands in the clone URL for ``owner/name``."""

_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+/(?P<name>[A-Za-z0-9_.-]+)")
_NOT_A_CLONE = frozenset({".", "..", ".git", ".issuebox"})


@dataclass(frozen=True, slots=True)
class SetUp:
    """What to clone and to run; '' for neither. The timeout is in seconds, for each of the two.

    The token is only for the clone: no repr shows it, and only the clone request carries it.
    """

    clone_url: str = ""
    command: str = ""
    timeout_s: float = 600.0
    token: str = field(default="", repr=False)

    @property
    def is_configured(self) -> bool:
        """Whether there is anything to do. Otherwise a sandbox is ready as soon as it runs."""
        return bool(self.clone_url or self.command)

    def url_of(self, repository: str) -> str:
        """Where to clone ``owner/name`` from; '' when there is nothing to clone."""
        return self.clone_url.replace(PLACEHOLDER, repository) if repository else ""


def directory_of(repository: str) -> str:
    """The directory under the home directory for the clone of ``owner/name``: its name alone.

    Raises ValueError when this is not the name of a repository, or not usable as a directory.
    """
    match = _REPOSITORY.fullmatch(repository)
    if match is None or match["name"] in _NOT_A_CLONE or match["name"].startswith("-"):
        raise ValueError(f"{repository!r} is not the name of a repository that can be cloned")
    return match["name"]
