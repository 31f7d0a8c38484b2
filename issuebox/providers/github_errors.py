"""What GitHub's refusals mean: from a reply to a `ProviderError`, by tables. No I/O.

Messages are our own sentences with the status: GitHub's bodies quote issues, and headers carry tokens.
Rate limits as of GitHub's documentation, "Rate limits for the REST API": the primary one has its reset in
``x-ratelimit-reset``; a secondary one has ``retry-after`` or else wants a minute; whoever goes on may be banned.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from issuebox.domain.errors import ProviderError, RateLimitedError, RefusedError, TransientError
from issuebox.domain.phase import Cause
from issuebox.domain.text import number_of

SECONDARY_PAUSE_S = 60.0
"""GitHub's own advice for a secondary limit that does not say how long."""

PAUSE_MAX_S = 3700.0
"""The primary limit resets within an hour. A longer pause is a mistake of a clock."""

_LIMIT_STATUSES = frozenset({403, 429})
_SERVER_ERROR = 500
_LIMIT_WORDS = ("secondary rate limit", "abuse detection")

REFUSED: Mapping[int, tuple[Cause, str]] = {
    401: (Cause.CREDENTIALS, "GitHub does not accept the credentials"),
    403: (Cause.FORBIDDEN, "GitHub does not let these credentials read or write"),
    404: (Cause.FORBIDDEN, "GitHub does not show these credentials"),
    410: (Cause.INVALID, "GitHub has no issues (they are switched off) in"),
    451: (Cause.FORBIDDEN, "GitHub may not show"),
}
"""The meaning of a status that stays the same until somebody acts, before the name of what was asked for."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of GitHub's API; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def read_at(self) -> datetime:
        """When GitHub answered, by its own clock; by ours when it does not say."""
        try:
            return parsedate_to_datetime(self.headers.get("date", "")).astimezone(UTC)
        except ValueError:
            return datetime.now(UTC)

    @property
    def message(self) -> str:
        """GitHub's sentence in lower case, to be compared and never shown."""
        try:
            body = json.loads(self.body)
        except ValueError:
            return ""
        message = body.get("message") if isinstance(body, dict) else None
        return message.lower() if isinstance(message, str) else ""


class Pauses:
    """Until when nothing may be asked with which credentials. One per process, in its memory."""

    def __init__(self) -> None:
        self._until_s: dict[str, float] = {}

    def require_none(self, key: str) -> None:
        """Raise RateLimitedError while the credentials are paused, instead of asking once more."""
        left_s = self._until_s.get(key, 0.0) - time.monotonic()
        if left_s > 0:
            raise RateLimitedError("GitHub asked for a pause that is not over", retry_after_s=left_s)

    def learn(self, key: str, reply: Reply) -> None:
        """Remember what the reply says about further requests."""
        pause_s = limit_pause_s(reply)
        if pause_s is None and _is_spent(reply):
            pause_s = _until_reset_s(reply)
        if pause_s:
            self._until_s[key] = time.monotonic() + pause_s


def limit_pause_s(reply: Reply) -> float | None:
    """How long to wait when this reply is a rate limit's, in seconds; None when it is none."""
    if reply.status not in _LIMIT_STATUSES:
        return None
    pause_s = number_of(reply.headers.get("retry-after"))
    if pause_s is not None:
        return min(pause_s, PAUSE_MAX_S)
    if _is_spent(reply):
        return _until_reset_s(reply)
    is_named = any(words in reply.message for words in _LIMIT_WORDS)
    return SECONDARY_PAUSE_S if reply.status == 429 or is_named else None  # noqa: PLR2004


def error_for(reply: Reply, what: str) -> ProviderError:
    """The error for a reply that is no success; `what` names what was asked for."""
    pause_s = limit_pause_s(reply)
    if pause_s is not None:
        message = f"GitHub limits the rate of requests ({reply.status})"
        return RateLimitedError(message, status=reply.status, retry_after_s=pause_s)
    if reply.status >= _SERVER_ERROR or reply.status == 408:  # noqa: PLR2004
        retry_after_s = number_of(reply.headers.get("retry-after"))
        message = f"GitHub answered {reply.status} when asked for {what}"
        return TransientError(message, status=reply.status, retry_after_s=retry_after_s)
    cause, sentence = REFUSED.get(reply.status, (Cause.INVALID, "GitHub does not answer as expected for"))
    return RefusedError(f"{sentence} {what} ({reply.status})", cause=cause, status=reply.status)


def _is_spent(reply: Reply) -> bool:
    return number_of(reply.headers.get("x-ratelimit-remaining")) == 0.0


def _until_reset_s(reply: Reply) -> float:
    """Seconds until the primary limit is reset, by GitHub's own clock, and one more for its rounding."""
    reset_s = number_of(reply.headers.get("x-ratelimit-reset"))
    if reset_s is None:
        return SECONDARY_PAUSE_S
    return min(max(0.0, reset_s - reply.read_at.timestamp()) + 1.0, PAUSE_MAX_S)
