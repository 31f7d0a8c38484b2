"""Credentials for GitHub: a token, or the installation tokens of a GitHub App, created here and kept in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import jwt
from gidgethub import apps

from issuebox.domain.errors import RefusedError
from issuebox.domain.phase import Cause
from issuebox.providers.github_models import InstallationBody, TokenBody

REFRESH_BEFORE = timedelta(minutes=5)
"""An installation token lives for an hour. One about to expire is not used for a listing of many pages."""


@dataclass(frozen=True, slots=True)
class Credential:
    """The credential of a request. ``key`` names the holder of the rate limit and is no secret."""

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
    """Installation tokens of one GitHub App: found per repository, created when needed, kept until they expire."""

    def __init__(self, app_id: str, private_key: str) -> None:
        self._app_id = app_id
        self._private_key = private_key
        self._installations: dict[str, int] = {}
        self._tokens: dict[int, TokenBody] = {}

    async def credential(self, repository: str, find: FindInstallation, make: MakeToken) -> Credential:
        """A token for the repository. Calls `find` and `make` only for what is not known yet."""
        known = self._tokens.get(self._installations.get(repository, 0))
        if known is not None and known.expires_at - datetime.now(UTC) > REFRESH_BEFORE:
            return Credential(f"installation {self._installations[repository]}", known.token, is_fresh=False)
        proof = proof_of(self._app_id, self._private_key)
        if repository not in self._installations:
            self._installations[repository] = (await find(proof, repository)).id
        installation = self._installations[repository]
        self._tokens[installation] = await make(proof, installation)
        return Credential(f"installation {installation}", self._tokens[installation].token)

    def forget(self, repository: str) -> None:
        """Drop what is kept for the repository, because GitHub refused it."""
        self._tokens.pop(self._installations.pop(repository, 0), None)


def proof_of(app_id: str, private_key: str) -> str:
    """The App's signed JWT, valid for ten minutes. Raises RefusedError when the key is none."""
    try:
        return apps.get_jwt(app_id=app_id, private_key=private_key)
    except (ValueError, jwt.PyJWTError):
        # Raised without its cause, which may quote the key.
        raise RefusedError("the GitHub App's private key cannot be read", cause=Cause.CREDENTIALS) from None
