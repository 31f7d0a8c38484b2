"""Authentication: webhooks by signature, REST by bearer token. Both fail closed."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence

from fastapi import Request
from fastapi.security import HTTPBearer
from gidgethub import ValidationFailure
from gidgethub.sansio import validate_event
from pydantic import SecretStr

from api.problems import ProblemError

bearer = HTTPBearer(auto_error=False, scheme_name="token", description="One of ISSUEBOX_API_TOKENS.")

_SIGNATURE = re.compile(r"sha256=[0-9a-f]{64}\Z")


def signature_of(request: Request, secrets: Sequence[SecretStr]) -> str:
    """The signature that the request claims. Raises 401, before any byte of the body is read, when it claims none."""
    signature = request.headers.get("x-hub-signature-256", "")
    if not secrets:
        raise _unsigned("no webhook secret is configured: set ISSUEBOX_WEBHOOK_SECRETS")
    if not signature:
        raise _unsigned("X-Hub-Signature-256 is missing: set a secret in the webhook's settings on GitHub")
    if not _SIGNATURE.match(signature):
        raise _unsigned("X-Hub-Signature-256 is not 'sha256=' and 64 hex digits")
    return signature


def require_signature(body: bytes, signature: str, secrets: Sequence[SecretStr]) -> None:
    """Raise 401 unless `signature` is the HMAC SHA-256 of the body under one of the secrets.

    Several secrets allow a rotation. All are tried, so that the response time does not reveal which one matched.
    """
    if not any([_matches(body, signature, secret) for secret in secrets]):  # noqa: C419 -- no early exit
        raise _unsigned("X-Hub-Signature-256 matches none of the configured secrets")


def require_token(request: Request, tokens: Sequence[SecretStr]) -> None:
    """Raise 401 unless the request carries one of the tokens as a bearer token."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if not tokens:
        raise _unauthorized("no API token is configured: set ISSUEBOX_API_TOKENS")
    if scheme.lower() != "bearer" or not given.strip():
        raise _unauthorized("send one of ISSUEBOX_API_TOKENS as a bearer token")
    given_bytes = given.strip().encode()
    if not any([hmac.compare_digest(given_bytes, token.get_secret_value().encode()) for token in tokens]):  # noqa: C419
        raise _unauthorized("the bearer token is not one of ISSUEBOX_API_TOKENS")


def _matches(body: bytes, signature: str, secret: SecretStr) -> bool:
    try:
        validate_event(body, signature=signature, secret=secret.get_secret_value())
    except ValidationFailure:
        return False
    return True


def _unsigned(reason: str) -> ProblemError:
    return ProblemError(401, "unsigned", reason)


def _unauthorized(reason: str) -> ProblemError:
    return ProblemError(401, "unauthorized", reason, {"WWW-Authenticate": "Bearer"})
