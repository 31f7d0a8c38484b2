"""What a failed activity means for the loop."""

from __future__ import annotations

import inspect
from datetime import timedelta

import pytest
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    FailureError,
    RetryState,
    TerminatedError,
    TimeoutType,
)
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

from issuebox.domain import errors
from issuebox.domain.memory import REASON_BYTES_MAX
from issuebox.domain.phase import Cause
from workflows.failures import CUT_OFF, PASSING, BlockedError, read_failure


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
    timeout.__cause__ = ApplicationError("oops", type="TypeError")
    failure = read_failure(failed(timeout))
    assert (failure.reason, failure.cause, failure.is_final) == ("closed", Cause.UNREACHABLE, False)


@pytest.mark.parametrize("kind", [*PASSING, "RefusedError", "TypeError"])
def test_only_a_lost_reply_leaves_open_what_daytona_does(kind: str) -> None:
    """An answer, even a refusal, says that the command is over; what our side cut off may still be executed."""
    failure = read_failure(failed(ApplicationError("x", type=kind)))
    assert failure.is_cut_off == (kind in {"WorkerShutdown", "ActivityPause", "ActivityReset", "CancelledError"})
    assert failure.is_unsure == (failure.is_cut_off or kind in {"AmbiguousError", "TimeoutError"})
    assert failure.is_refused == (kind == "RefusedError")


def test_command_that_no_worker_took_is_sure_to_have_had_no_effect() -> None:
    """Daytona never got it, unlike one whose worker died."""
    sure, unsure = (
        read_failure(failed(TemporalTimeoutError("late", type=kind, last_heartbeat_details=[])))
        for kind in (TimeoutType.SCHEDULE_TO_START, TimeoutType.HEARTBEAT)
    )
    assert (sure.is_unsure, unsure.is_unsure) == (False, True)


@pytest.mark.parametrize(("message", "reason"), [("", "no answer in time"), ("heartbeat timeout", "heartbeat timeout")])
def test_timeout_has_a_reason(message: str, reason: str) -> None:
    """Temporal does not always give one."""
    timeout = TemporalTimeoutError(message, type=TimeoutType.HEARTBEAT, last_heartbeat_details=[])
    assert read_failure(failed(timeout)).reason == reason


def test_pause_that_daytona_asks_for_is_read_from_any_failure() -> None:
    """Of the loop's retries as of the block; without one the loop has its own."""
    for kind in ("RateLimitedError", "RefusedError"):
        for pause in (None, timedelta(seconds=90)):
            error = ApplicationError("slow down", Cause.RATE_LIMITED.value, type=kind, next_retry_delay=pause)
            assert read_failure(failed(error)).retry_after_s == (90.0 if pause else 0.0)


def test_failure_of_a_local_activity_comes_unwrapped() -> None:
    """As in a replay its timeout does."""
    raised = ApplicationError("401", Cause.CREDENTIALS.value, type="RefusedError")
    assert read_failure(raised) == read_failure(failed(raised))
    timeout = TemporalTimeoutError("late", type=TimeoutType.START_TO_CLOSE, last_heartbeat_details=[])
    assert read_failure(timeout) == read_failure(failed(timeout))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ApplicationError("oops"), ""),
        (ApplicationError("oops", type="RefusedError"), "RefusedError"),
        (ApplicationError("oops", {"no": "word"}, type="RefusedError"), "RefusedError"),
        (ApplicationError("oops", "quota", type="TypeError"), "TypeError"),
        (TerminatedError("gone"), "TerminatedError"),
    ],
)
def test_what_nobody_raises_is_a_bug_and_no_crash(error: FailureError, kind: str) -> None:
    """The workflow task must not fail: the issue is blocked, and says so."""
    failure = read_failure(failed(error))
    assert (failure.kind, failure.cause, failure.is_final) == (kind, Cause.INTERNAL, True)
    assert "oops" in failure.reason or failure.reason == "gone"


def test_reason_is_cleaned_and_cut() -> None:
    """A bug's exception may quote anything, at any length."""
    failure = read_failure(failed(ApplicationError("a\x1b[31m\nb" + "x" * 100_000, type="TransientError")))
    assert len(failure.reason.encode()) <= REASON_BYTES_MAX
    assert "\x1b" not in failure.reason


def test_block_keeps_what_it_is_told() -> None:
    """The memory takes all three from it."""
    block = BlockedError(Cause.QUOTA, "full", 30.0)
    assert (block.cause, block.reason, block.retry_after_s, str(block)) == (Cause.QUOTA, "full", 30.0, "full")
