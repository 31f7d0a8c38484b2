"""Page tokens that only we can make.

Temporal's own are opaque bytes that it trusts: a forged one makes it fail inside, and the SDK retries that
until the time is up (server 1.29.1: `Unknown`, "invalid character looking for beginning of value").
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Sequence

from pydantic import SecretStr

_SEAL_BYTES = 16


def sealed(token: bytes, secrets: Sequence[SecretStr]) -> str:
    """The token for a caller. Every process with the first of the secrets takes it."""
    return urlsafe_b64encode(_seal(token, secrets[0]) + token).decode()


def opened(text: str, secrets: Sequence[SecretStr]) -> bytes | None:
    """Temporal's token; None when the text is none that was handed out."""
    try:
        raw = b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return None
    seal, token = raw[:_SEAL_BYTES], raw[_SEAL_BYTES:]
    return token if any([hmac.compare_digest(seal, _seal(token, secret)) for secret in secrets]) else None  # noqa: C419


def _seal(token: bytes, secret: SecretStr) -> bytes:
    key = b"issuebox page token\0" + secret.get_secret_value().encode()
    return hmac.new(key, token, hashlib.sha256).digest()[:_SEAL_BYTES]
