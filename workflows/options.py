"""Every timeout and every retry policy of the workflows, in one place.

Retries belong to Temporal alone: the SDK's are switched off (`issuebox.providers.daytona_client`).
A look is retried by Temporal. A command is never retried as such: its failure leads back to a look,
and the look decides whether the same command is still right.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TypedDict

from temporalio.common import RetryPolicy

HEARTBEAT_TIMEOUT = timedelta(seconds=10)
"""A worker that is silent for so long is dead; activities beat every 2 s."""

LOOKUP_TIMEOUT = timedelta(seconds=45)
"""One attempt: up to two reads of 15 s, and what a busy worker adds."""

UNTOLD_LOOKUPS_MAX = 30
"""How often a look is asked for that no worker comes to: half an hour, by default."""

COMMAND_TIMEOUT = timedelta(minutes=5)
"""One command: held by the server for up to 30 s, then listened to for a minute, with reads that may be slow."""

QUEUE_TIMEOUT = timedelta(minutes=1)
"""How long a command may wait for a worker. After an outage of all of them the world is looked at first."""

INSPECT_TIMEOUT = timedelta(minutes=3)
"""One look into a sandbox's repositories, which bounds itself well below."""

SET_UP_MARGIN = timedelta(minutes=2)
"""What a set-up may take beside the clone and the configured command: reads, and the marker."""

LOCAL_TIMEOUT = timedelta(seconds=5)
"""For what a worker knows by itself."""

AT_ONCE_TIMEOUT = timedelta(seconds=1)
"""A look within the workflow task. An update is accepted and a query answered when that ends; callers give it 2 s."""

LOOKUP_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=0.5),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=10),
    non_retryable_error_types=["RefusedError"],
)
ONCE = RetryPolicy(maximum_attempts=1)
THRICE = RetryPolicy(
    initial_interval=timedelta(seconds=0.5), maximum_attempts=3, non_retryable_error_types=["RefusedError"]
)
SETTLE_RETRY = RetryPolicy(
    # The activity itself listens for a minute; in between there is nothing to wait for.
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=30),
    non_retryable_error_types=["RefusedError"],
)
SETTLE_FLOOR = timedelta(seconds=1)
"""Least time given to a wait whose budget is nearly spent: enough for one read."""

RESYNC_TIMEOUT = timedelta(hours=2)
"""One attempt at one repository: thousands of pages, watched by heartbeat."""
RESYNC_DEADLINE = timedelta(hours=3)
"""All attempts: longer than GitHub's primary rate limit, which resets within the hour."""
RESYNC_RETRY = RetryPolicy(
    # An outage of some four minutes is sat out; after that the next scheduled run goes on from the same mark.
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=60),
    maximum_attempts=10,
    non_retryable_error_types=["RefusedError"],
)


WALK_TIMEOUT = timedelta(hours=12)
"""All attempts of one walk of the audit: 100,000 reads at the default pace take an hour and a half."""

REREAD_TIMEOUT = timedelta(hours=2)
"""All attempts to read the audit's suspects again, which wait for Daytona to answer a list."""

MEND_TIMEOUT = timedelta(minutes=10)
"""All attempts of an audit's mending; what was not mended is reported, and mended by the next audit."""

SWEEP_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(minutes=1),
    non_retryable_error_types=["RefusedError"],
)


class Options(TypedDict, total=False):
    """What `workflow.execute_activity_method` takes besides the activity, its input and a summary."""

    schedule_to_start_timeout: timedelta
    start_to_close_timeout: timedelta
    schedule_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy


class LocalOptions(TypedDict):
    """The same for `workflow.execute_local_activity_method`."""

    schedule_to_close_timeout: timedelta
    retry_policy: RetryPolicy


def lookup_at_once() -> LocalOptions:
    """One short attempt: updates, signals and queries wait for its end."""
    return LocalOptions(schedule_to_close_timeout=AT_ONCE_TIMEOUT, retry_policy=ONCE)


def lookup(unreachable_after_s: float) -> Options:
    """Retried until `unreachable_after_s` have passed; then the issue is blocked and tried again slowly."""
    return Options(
        start_to_close_timeout=LOOKUP_TIMEOUT,
        schedule_to_close_timeout=timedelta(seconds=unreachable_after_s),
        retry_policy=LOOKUP_RETRY,
    )


def command() -> Options:
    """One attempt, watched by heartbeat, and begun while what it was decided from is still fresh."""
    return Options(
        schedule_to_start_timeout=QUEUE_TIMEOUT,
        start_to_close_timeout=COMMAND_TIMEOUT,
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
        retry_policy=ONCE,
    )


def settle(budget_left_s: float) -> Options:
    """Retried, without history, until the phase's budget is spent."""
    return Options(
        start_to_close_timeout=COMMAND_TIMEOUT,
        schedule_to_close_timeout=max(SETTLE_FLOOR, timedelta(seconds=budget_left_s)),
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
        retry_policy=SETTLE_RETRY,
    )


def inspect() -> Options:
    """Reads only, so that a worker's death costs no more than another look."""
    return Options(
        start_to_close_timeout=INSPECT_TIMEOUT,
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
        retry_policy=THRICE,
    )


def set_up(step_timeout_s: float) -> Options:
    """One attempt, watched by heartbeat; what it left half done is done again after a look.

    `step_timeout_s` bounds the clone and the command each.
    """
    return Options(
        start_to_close_timeout=timedelta(seconds=2 * step_timeout_s) + SET_UP_MARGIN,
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
        retry_policy=ONCE,
    )


def github() -> Options:
    """One small read of GitHub; after a minute the tie stays with the later arrival."""
    return Options(
        start_to_close_timeout=timedelta(seconds=20),
        schedule_to_close_timeout=timedelta(minutes=1),
        retry_policy=RetryPolicy(
            initial_interval=timedelta(seconds=1),
            maximum_interval=timedelta(seconds=20),
            non_retryable_error_types=["RefusedError"],
        ),
    )


def sweep(within: timedelta) -> Options:
    """For what reads on and on, watched by heartbeat: a dead worker's work is taken over where it was."""
    return Options(schedule_to_close_timeout=within, heartbeat_timeout=HEARTBEAT_TIMEOUT, retry_policy=SWEEP_RETRY)


def best_effort() -> Options:
    """For what the handover does not depend on: labels and the activity refresh."""
    return Options(start_to_close_timeout=LOOKUP_TIMEOUT, retry_policy=THRICE)


def resync() -> Options:
    """Retried from where the last attempt was, and then given up until the next run."""
    return Options(
        start_to_close_timeout=RESYNC_TIMEOUT,
        schedule_to_close_timeout=RESYNC_DEADLINE,
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
        retry_policy=RESYNC_RETRY,
    )
