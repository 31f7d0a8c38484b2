"""What Daytona's errors mean: translates an SDK error into a `ProviderError`, by tables.

The SDK's classes are too coarse. One status has several meanings (409: name taken, change in progress,
modified, cool-down; 400: quota, snapshot, not in state, and on servers before 2026-04 also change in
progress), and an error without a status may be a timeout, a broken connection or an unreadable body.
Texts are those of server v0.190.0; docs/daytona.md lists them with their sources.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import aiohttp
from daytona.common.errors import DaytonaError

from issuebox.domain.errors import (
    AmbiguousError,
    ChangeInProgressError,
    GoneError,
    NameTakenError,
    NotInStateError,
    ProviderError,
    RateLimitedError,
    RefusedError,
    TransientError,
)
from issuebox.domain.phase import Cause

Maker = Callable[[str, int | None], ProviderError]


def _refused(cause: Cause) -> Maker:
    return lambda message, status: RefusedError(message, cause=cause, status=status)


def _plain(cls: type[ProviderError]) -> Maker:
    return lambda message, status: cls(message, status=status)


TEXTS: tuple[tuple[str, Maker], ...] = (
    # Searched for in 400 and 409 answers, lower-cased, in this order.
    ("already exists", _plain(NameTakenError)),
    ("state change in progress", _plain(ChangeInProgressError)),
    ("modified by another operation", _plain(ChangeInProgressError)),
    ("operation is already in progress", _plain(ChangeInProgressError)),
    ("recovery has been attempted recently", _refused(Cause.RATE_LIMITED)),
    ("limit exceeded", _refused(Cause.QUOTA)),
    ("exceeds maximum allowed", _refused(Cause.QUOTA)),
    ("no available runners", _refused(Cause.CAPACITY)),
    ("errored state", _plain(NotInStateError)),
    ("not in valid state", _plain(NotInStateError)),
    ("not in a stoppable state", _plain(NotInStateError)),
    ("not in a recoverable state", _plain(NotInStateError)),
    ("is not stopped", _plain(NotInStateError)),
)

STATUSES: Mapping[int, Maker] = {
    400: _refused(Cause.INVALID),
    401: _refused(Cause.CREDENTIALS),
    402: _refused(Cause.QUOTA),
    403: _refused(Cause.FORBIDDEN),
    409: _plain(ChangeInProgressError),
    422: _refused(Cause.INVALID),
    429: _plain(RateLimitedError),
}
"""The meaning of a status whose text is in no row of `TEXTS`. 404 and 5xx depend on what was sent."""

_TEXT_STATUSES = frozenset({400, 409})
_SERVER_ERROR = 500
_NOT_FOUND = 404
_REQUEST_TIMEOUT = 408


def is_failed_start(error: DaytonaError) -> bool:
    """Whether the server reports that the sandbox exists and its start ended in an error state."""
    return error.status_code == 400 and "failed to start" in str(error).lower()  # noqa: PLR2004


def translate(error: DaytonaError, *, is_command: bool, has_target: bool = True) -> ProviderError:
    """The provider error for an SDK error.

    `is_command` distinguishes a request that changes something from a read: a command may have had its
    effect and needs a lookup, a read can simply be repeated. `has_target` is False for a create, whose
    404 is about the region and not about a sandbox.
    """
    status = error.status_code
    message = message_of(error)
    lost: type[ProviderError] = AmbiguousError if is_command and not was_never_sent(error) else TransientError
    if status is None or status >= _SERVER_ERROR or status == _REQUEST_TIMEOUT:
        return lost(message, status=status, retry_after_s=retry_after_s(error))
    if status == _NOT_FOUND:
        return _plain(GoneError)(message, status) if has_target else _refused(Cause.INVALID)(message, status)
    if status in _TEXT_STATUSES:
        text = message.lower()
        for fragment, maker in TEXTS:
            if fragment in text:
                return maker(message, status)
    translated = STATUSES.get(status, _refused(Cause.INVALID))(message, status)
    translated.retry_after_s = retry_after_s(error)
    return translated


def retry_after_s(error: DaytonaError) -> float | None:
    """Seconds that the server asks to wait, from ``Retry-After`` or ``Retry-After-<limiter>``.

    Daytona puts the limiter's name into the header and omits the plain one, and the SDK keeps headers
    in a case-sensitive dict.
    """
    for name, value in (error.headers or {}).items():
        if str(name).lower().startswith("retry-after"):
            try:
                return max(0.0, float(value))
            except ValueError:
                continue
    return None


def was_never_sent(error: DaytonaError) -> bool:
    """Whether the connection itself failed, so that the server cannot have seen the request."""
    return isinstance(error.__cause__, aiohttp.ClientConnectorError)


def message_of(error: DaytonaError) -> str:
    """The server's text with its status. The SDK's timeouts have no text."""
    text = str(error).strip() or type(error).__name__
    if error.status_code is None and error.__cause__ is not None and not isinstance(error.__cause__, DaytonaError):
        text = f"{text} ({type(error.__cause__).__name__})"
    return text if error.status_code is None else f"{error.status_code}: {text}"
