"""What can go wrong at a provider, classed by what the caller must do about it.

*Not found* is a value, not an error. Messages carry the provider's own sentence with status and code,
never request bodies or secrets, on one line and short. Activities turn each class into an ``ApplicationError`` of that
name, so people see these names in Temporal's Web UI.
"""

from __future__ import annotations

from issuebox.domain.phase import Cause
from issuebox.domain.sandbox import Sandbox
from issuebox.domain.text import prose

MESSAGE_BYTES_MAX = 500
"""Limit on a message, which may quote a provider's answer. Of an attempt that it will repeat, Temporal keeps a failure
of at most 4 kB, the stack trace included. A longer failure loses its type, and so its meaning (server 1.29.1,
`limit.mutableStateActivityFailureSize.error`)."""


class ProviderError(Exception):
    """The root. ``status`` is the HTTP status, or None when there was no answer."""

    def __init__(self, message: str, *, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(prose(message, MESSAGE_BYTES_MAX))
        self.status = status
        self.retry_after_s = retry_after_s


class TransientError(ProviderError):
    """Nothing was learned and nothing was done: try again later."""


class RateLimitedError(TransientError):
    """The provider asks for fewer requests; ``retry_after_s`` says when to come back."""


class AmbiguousError(ProviderError):
    """A command was sent and may or may not have taken effect: look the sandbox up before doing anything else."""


class ConflictError(ProviderError):
    """The sandbox is not as the command assumed: look it up again. Nothing was done."""


class NameTakenError(ConflictError):
    """A create was refused because some sandbox holds the unique name.

    ``holder`` is that sandbox, None when it could not be found: it may be invisible by name for a while.
    """

    def __init__(self, message: str, *, status: int | None = None, holder: Sandbox | None = None) -> None:
        super().__init__(message, status=status)
        self.holder = holder


class ChangeInProgressError(ConflictError):
    """The sandbox is in the middle of a state change and takes no command."""


class NotInStateError(ConflictError):
    """The sandbox is in no state that takes this command."""


class GoneError(ConflictError):
    """A command for a known sandbox got a 404, which proves nothing by itself."""


class RefusedError(ProviderError):
    """The provider refuses this until somebody acts or a limit frees up: block the issue."""

    def __init__(self, message: str, *, cause: Cause, status: int | None = None) -> None:
        super().__init__(message, status=status)
        self.cause = cause
