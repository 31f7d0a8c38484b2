"""Credentials for GitHub: a token, or a GitHub App whose installation tokens are made here and kept in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
from gidgethub import apps

from issuebox.domain.errors import RefusedError
from issuebox.domain.phase import Cause
from issuebox.providers.github_models import InstallationBody, TokenBody

REFRESH_BEFORE = timedelta(minutes=5)
"""An installation token lives for an hour; one that is about to end is not used for a listing of many pages."""

_PEM = "-----BEGIN"


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request is sent with. ``key`` names the holder of the rate limit and holds no secret."""

    key: str
    token: str = ""
    is_fresh: bool = True

    def __repr__(self) -> str:
        return f"Credential({self.key!r})"


FindInstallation = Callable[[str, str], Awaitable[InstallationBody]]
"""(jwt, repository) -> the installation of the App in it."""
MakeToken = Callable[[str, int], Awaitable[TokenBody]]
"""(jwt, installation) -> a new token."""


class AppTokens:
    """Installation tokens of one GitHub App: found per repository, made when needed, kept until they end."""

    def __init__(self, app_id: str, private_key: str) -> None:
        self._app_id = app_id
        self._private_key = private_key
        self._installations: dict[str, int] = {}
        self._tokens: dict[int, TokenBody] = {}

    async def credential(self, repository: str, find: FindInstallation, make: MakeToken) -> Credential:
        """A token for the repository; `find` and `make` are asked only for what is not known yet."""
        known = self._tokens.get(self._installations.get(repository, 0))
        if known is not None and known.expires_at - datetime.now(UTC) > REFRESH_BEFORE:
            return Credential(f"installation {self._installations[repository]}", known.token, is_fresh=False)
        proof = self._proof()
        if repository not in self._installations:
            self._installations[repository] = (await find(proof, repository)).id
        installation = self._installations[repository]
        self._tokens[installation] = await make(proof, installation)
        return Credential(f"installation {installation}", self._tokens[installation].token)

    def forget(self, repository: str) -> None:
        """What is kept for the repository was refused: find and make it anew next time."""
        self._tokens.pop(self._installations.pop(repository, 0), None)

    def _proof(self) -> str:
        """The App's signed statement of who it is, good for ten minutes."""
        try:
            key = read_private_key(self._private_key)
            return apps.get_jwt(app_id=self._app_id, private_key=key)
        except (OSError, ValueError, jwt.PyJWTError):
            # Without the cause: it may quote the key.
            raise RefusedError("the GitHub App's private key cannot be read", cause=Cause.CREDENTIALS) from None


def read_private_key(given: str) -> str:
    """The PEM text: as given (line breaks may be written as ``\\n``), or from the file of that name."""
    if given.lstrip().startswith(_PEM):
        return given.replace("\\n", "\n")
    return Path(given).read_text(encoding="ascii")
