"""Provider errors as Temporal failures: the type is the class name, so that policies and people can read it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from issuebox.domain.errors import ProviderError, RefusedError

NOT_SETTLED = "NotSettledError"
"""The sandbox is still in a transitional phase. Expected: retried without noise and without history."""


def to_failure(error: ProviderError) -> ApplicationError:
    """The failure for a provider error. Its one detail is the cause of the block, or None.

    A ``Retry-After`` becomes the next retry delay. Temporal honours it for an activity with retries, the workflow
    for one without.
    """
    return ApplicationError(
        str(error),
        error.cause.value if isinstance(error, RefusedError) else None,
        type=type(error).__name__,
        next_retry_delay=None if error.retry_after_s is None else timedelta(seconds=error.retry_after_s),
    )


def not_settled(state: str) -> ApplicationError:
    """The failure that makes Temporal try again later."""
    return ApplicationError(f"the sandbox is still {state}", type=NOT_SETTLED, category=ApplicationErrorCategory.BENIGN)


@asynccontextmanager
async def typed_failures() -> AsyncIterator[None]:
    """Raise each `ProviderError` from the block as its failure.

    The failure drops the error's causes: they quote the reply's body and headers, and histories keep failures.
    """
    try:
        yield
    except ProviderError as error:
        raise to_failure(error) from None
