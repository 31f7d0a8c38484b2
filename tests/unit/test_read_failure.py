"""What a failed activity means for the loop."""

from __future__ import annotations

import inspect

import pytest
from temporalio.exceptions import ActivityError, ApplicationError, RetryState, TimeoutType
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

from issuebox.domain import errors
from issuebox.domain.phase import Cause
from workflows.failures import CUT_OFF, PASSING, read_failure


def failed(cause: BaseException) -> ActivityError:
    error = ActivityError(
        "failed",
        scheduled_event_id=1,
        started_event_id=2,
        identity="",
        activity_type="lookup_sandbox",
        activity_id="1",
        retry_state=RetryState.TIMEOUT,
    )
    error.__cause__ = cause
    return error


def test_every_provider_error_has_its_reaction() -> None:
    """A new class of error without a reaction here would count as a bug."""
    abstract = {"ProviderError", "ConflictError"}
    names = {
        name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.ProviderError)
    }
    not_the_providers = {"NotSettledError", "TimeoutError"} | CUT_OFF
    assert names - abstract == (set(PASSING) | {"RefusedError"}) - not_the_providers


@pytest.mark.parametrize("kind", PASSING)
def test_known_failure_leads_to_another_lookup(kind: str) -> None:
    """A failure in the table is never final."""
    failure = read_failure(failed(ApplicationError("x", type=kind)))
    assert (failure.is_final, failure.cause) == (False, PASSING[kind])


def test_refusal_is_final_and_carries_its_cause() -> None:
    """A refusal blocks with the provider's own sentence."""
    failure = read_failure(failed(ApplicationError("no CPUs", "quota", type="RefusedError")))
    assert (failure.is_final, failure.cause, failure.reason) == (True, Cause.QUOTA, "no CPUs")


def test_cause_of_a_newer_worker_is_internal_and_no_crash() -> None:
    """An unknown cause must not fail the workflow task."""
    failure = read_failure(failed(ApplicationError("x", "brand_new", type="RefusedError")))
    assert (failure.is_final, failure.cause) == (True, Cause.INTERNAL)


def test_unknown_failure_is_reported_as_a_bug() -> None:
    """A type in no table is reported, and not retried silently."""
    failure = read_failure(failed(ApplicationError("oops", type="TypeError")))
    assert (failure.is_final, failure.cause) == (True, Cause.INTERNAL)
    assert "TypeError" in failure.reason


def test_dead_worker_is_ambiguous() -> None:
    """A missing heartbeat proves nothing about the command."""
    timeout = TemporalTimeoutError("heartbeat", type=TimeoutType.HEARTBEAT, last_heartbeat_details=[])
    assert read_failure(failed(timeout)).is_final is False


@pytest.mark.parametrize(
    ("kind", "is_unattended"),
    [
        (TimeoutType.SCHEDULE_TO_START, True),
        (TimeoutType.SCHEDULE_TO_CLOSE, True),
        (TimeoutType.START_TO_CLOSE, False),
        (TimeoutType.HEARTBEAT, False),
    ],
)
def test_wait_for_a_worker_proves_nothing_about_daytona(kind: TimeoutType, *, is_unattended: bool) -> None:
    """An activity that timed out as a whole without a failed attempt may never have reached a worker."""
    timeout = TemporalTimeoutError("late", type=kind, last_heartbeat_details=[])
    assert read_failure(failed(timeout)).is_unattended is is_unattended
    timeout.__cause__ = TemporalTimeoutError("slow", type=TimeoutType.START_TO_CLOSE, last_heartbeat_details=[])
    assert read_failure(failed(timeout)).is_unattended is False


def test_exhausted_lookup_reports_its_last_real_failure() -> None:
    """When the time for retries is up, the reason is Daytona's and not "timed out"."""
    timeout = TemporalTimeoutError("closed", type=TimeoutType.SCHEDULE_TO_CLOSE, last_heartbeat_details=[])
    timeout.__cause__ = ApplicationError("503: maintenance", type="TransientError")
    failure = read_failure(failed(timeout))
    assert (failure.reason, failure.cause) == ("503: maintenance", Cause.UNREACHABLE)
