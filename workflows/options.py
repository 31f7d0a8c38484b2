"""Every timeout and every retry policy of the workflows, in one place.

Only Temporal retries: the SDK's retries are switched off (`issuebox.providers.daytona_client`).
Temporal retries lookups. It never retries a command: the workflow looks the sandbox up after a failure,
and then decides whether the same command is still right.

They also say which task queue an activity goes to: what is no command and may take longer than some seconds goes to
one of those aside. Each worker serves them all, with task slots for each. So however many issues wait for Daytona or
are set up, a command or a lookup of another one finds a task slot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TypedDict

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityCancellationType

from issuebox.domain.run import FOLLOW_SLICE
from issuebox.domain.run_comment import EDIT_PACE, TOLD_WITHIN
from workflows.messages import Aside


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """`every`: how often a worker tells Temporal that it lives, at most. `timeout`: after such a silence it is dead."""

    every: timedelta
    timeout: timedelta


HEARTBEATS: Mapping[Aside | None, Heartbeat] = dict.fromkeys(
    (None, *Aside), Heartbeat(every=timedelta(seconds=8), timeout=timedelta(seconds=10))
)
"""By task queue; None is the installation's own, where the commands to Daytona are.

An activity records a heartbeat four times within its timeout (`activities.reporting`), on the worker's event loop. The
SDK's core sends the first one at once, and then the newest one `every` so often, on a thread of its own that no busy
loop holds up (temporalio 1.35.0, `activity_heartbeat_manager.rs`; its own default are the same 8 s). Each one is a
write of Temporal's, and an action that Temporal Cloud bills.

A shorter timeout for commands was tried and not kept: 200 creates at once, of 8 s each, on two cores at a load of 30,
with Temporal's dev server. With 10 s no worker was taken for dead, with 5 s and 4 s most were (131 and 184 of 200):
Temporal itself did not take the heartbeats in time.
"""

LOOKUP_TIMEOUT = timedelta(seconds=45)
"""One attempt of a lookup: up to two reads of 15 s, plus the delay of a busy worker."""

UNATTENDED_MAX = 30
"""How often a lookup is scheduled again while no worker picks it up: for half an hour, by default."""

COMMAND_TIMEOUT = timedelta(minutes=5)
"""One command: Daytona may hold the request for 30 s, then come slow reads. Also one attempt at a wait."""

LOOK_AFTER = timedelta(seconds=3)
"""How long a reply that brings a sandbox up may be out before the sandbox is looked at; then twice as long, and so on.
Its worker may be dead, which a missing heartbeat shows later."""

LATE_MAX = timedelta(seconds=60)
"""How long Daytona may take to execute a command whose reply was lost: up to 20 s were seen."""

QUEUE_TIMEOUT = timedelta(minutes=1)
"""How long a command may wait for a worker. After an outage of all workers, a lookup must come first."""

INSPECT_TIMEOUT = timedelta(minutes=3)
"""One inspection of a sandbox's repositories. Its own limits are well below this."""

SET_UP_MARGIN = timedelta(minutes=2)
"""Time of a set-up for everything but the clone and the configured command: reads, and the marker."""

LOCAL_TIMEOUT = timedelta(seconds=5)
"""For reading a worker's own settings."""

AT_ONCE_TIMEOUT = timedelta(seconds=1)
"""A lookup within the workflow task. Updates and queries are answered only after it; callers give them 2 s."""

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
    # The activity itself listens for a minute, so the pauses between attempts can be short.
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=30),
    non_retryable_error_types=["RefusedError"],
)
SETTLE_FLOOR = timedelta(seconds=1)
"""The least timeout of a wait whose budget is nearly spent: enough for one read."""

SAY_TIMEOUT = timedelta(seconds=10)
"""All tries to bring a word to the gate."""

WATCH_TIMEOUT = timedelta(seconds=75)
"""One watch for sandboxes that stop: longer than it lasts."""

RESYNC_TIMEOUT = timedelta(hours=2)
"""One attempt at one repository: thousands of pages, watched by heartbeat."""
RESYNC_DEADLINE = timedelta(hours=3)
"""All attempts: longer than a block by GitHub's primary rate limit, which resets within the hour."""
RESYNC_RETRY = RetryPolicy(
    # These attempts outlast an outage of about four minutes. After that the next scheduled run continues from the
    # same mark.
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=60),
    maximum_attempts=10,
    non_retryable_error_types=["RefusedError"],
)


WALK_TIMEOUT = timedelta(hours=12)
"""All attempts of one walk of the audit: 100,000 reads at the default rate take an hour and a half."""

REREAD_TIMEOUT = timedelta(hours=2)
"""All attempts to read the audit's suspects again. They fail until Daytona answers a list."""

MEND_TIMEOUT = timedelta(minutes=10)
"""All attempts of an audit's mending. The report names what was not mended; the next audit tries again."""

SWEEP_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(minutes=1),
    non_retryable_error_types=["RefusedError"],
)


NOTICE_TIMEOUT = timedelta(seconds=30)
"""One attempt at a notice. The receiver has some seconds of it to answer: `activities.notices`."""

NOTICE_WITHIN = timedelta(days=3)
"""How long a notice is tried: as long as GitHub redelivers."""

NOTICE_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(minutes=15),
    non_retryable_error_types=["RefusedError"],
)


REPORT_TIMEOUT = timedelta(minutes=2)
"""One attempt at telling an issue of a run: some requests to GitHub, and the looks after one that nobody answered."""

HEARD_WITHIN = timedelta(minutes=10)
"""How long it is tried to show under a comment that it was heard. Later, the run's own comment says more."""

REPORT_PACE = EDIT_PACE

REPORT_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(minutes=5),
    non_retryable_error_types=["RefusedError"],
)

STEP_TIMEOUT = timedelta(minutes=3)
"""One step of a run inside the sandbox: some short requests, each with limits well below this."""

FOLLOW_TIMEOUT = FOLLOW_SLICE + timedelta(minutes=5)
"""One attempt at such a slice."""

FOLLOW_RETRY = RetryPolicy(
    # Another worker goes on where a dead one stopped: soon, also after several deaths. What says that the sandbox does
    # not run leads to a lookup.
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=10),
    non_retryable_error_types=["RefusedError", "GoneError", "NotInStateError"],
)


GATE_TIMEOUT = timedelta(seconds=30)
"""One try to reach the gate of the runs: two calls to Temporal, or one for each of some holders."""


class Options(TypedDict, total=False):
    """What `workflow.execute_activity_method` takes besides the activity, its input and a summary.

    Without a `task_queue` it is the workflow's own.
    """

    task_queue: str
    schedule_to_start_timeout: timedelta
    start_to_close_timeout: timedelta
    schedule_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy
    cancellation_type: ActivityCancellationType


class LocalOptions(TypedDict):
    """The same for `workflow.execute_local_activity_method`."""

    schedule_to_close_timeout: timedelta
    retry_policy: RetryPolicy


def lookup_at_once() -> LocalOptions:
    """One short attempt, because updates, signals and queries wait for its end."""
    return LocalOptions(schedule_to_close_timeout=AT_ONCE_TIMEOUT, retry_policy=ONCE)


def lookup(unreachable_after_s: float) -> Options:
    """Retried for `unreachable_after_s`. Then the workflow blocks the issue and tries again slowly."""
    return Options(
        start_to_close_timeout=LOOKUP_TIMEOUT,
        schedule_to_close_timeout=timedelta(seconds=unreachable_after_s),
        retry_policy=LOOKUP_RETRY,
    )


def command() -> Options:
    """One attempt, watched by heartbeat, and begun while the lookup behind the decision is still fresh."""
    return Options(
        schedule_to_start_timeout=QUEUE_TIMEOUT,
        start_to_close_timeout=COMMAND_TIMEOUT,
        heartbeat_timeout=HEARTBEATS[None].timeout,
        retry_policy=ONCE,
    )


def settle(budget_left_s: float) -> Options:
    """Retried, without writing history, until the phase's budget is spent."""
    return Options(
        task_queue=_queue(Aside.WAITS),
        start_to_close_timeout=COMMAND_TIMEOUT,
        schedule_to_close_timeout=max(SETTLE_FLOOR, timedelta(seconds=budget_left_s)),
        heartbeat_timeout=HEARTBEATS[Aside.WAITS].timeout,
        retry_policy=SETTLE_RETRY,
    )


def inspect() -> Options:
    """It only reads, so the death of a worker costs no more than another inspection."""
    return Options(
        task_queue=_queue(Aside.INSIDE),
        start_to_close_timeout=INSPECT_TIMEOUT,
        heartbeat_timeout=HEARTBEATS[Aside.INSIDE].timeout,
        retry_policy=THRICE,
    )


def set_up(step_timeout_s: float) -> Options:
    """One attempt, watched by heartbeat. A set-up that is left half done is repeated after a lookup.

    `step_timeout_s` bounds the clone and the command, each.
    """
    return Options(
        task_queue=_queue(Aside.INSIDE),
        start_to_close_timeout=timedelta(seconds=2 * step_timeout_s) + SET_UP_MARGIN,
        heartbeat_timeout=HEARTBEATS[Aside.INSIDE].timeout,
        retry_policy=ONCE,
    )


def github() -> Options:
    """One small read of GitHub. If it fails for a minute, the later arrival wins the tie."""
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
    """For long walks, watched by heartbeat: another worker continues where a dead one stopped."""
    return Options(
        task_queue=_queue(Aside.WAITS),
        schedule_to_close_timeout=within,
        heartbeat_timeout=HEARTBEATS[Aside.WAITS].timeout,
        retry_policy=SWEEP_RETRY,
    )


def notice(age: timedelta) -> Options:
    """Retried for three days from when the notice was made. An attempt under way ends before a newer notice is sent."""
    return Options(
        task_queue=_queue(Aside.NOTICES),
        start_to_close_timeout=NOTICE_TIMEOUT,
        schedule_to_close_timeout=max(NOTICE_TIMEOUT, NOTICE_WITHIN - age),
        retry_policy=NOTICE_RETRY,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )


def heard() -> Options:
    """Best effort, beside everything else."""
    return Options(
        task_queue=_queue(Aside.NOTICES),
        start_to_close_timeout=REPORT_TIMEOUT,
        schedule_to_close_timeout=HEARD_WITHIN,
        heartbeat_timeout=HEARTBEATS[Aside.NOTICES].timeout,
        retry_policy=REPORT_RETRY,
    )


def report(age: timedelta) -> Options:
    """Retried as long as it is worth telling. One under way ends before a newer one is sent."""
    return Options(
        task_queue=_queue(Aside.NOTICES),
        start_to_close_timeout=REPORT_TIMEOUT,
        schedule_to_close_timeout=max(REPORT_TIMEOUT, TOLD_WITHIN - age),
        heartbeat_timeout=HEARTBEATS[Aside.NOTICES].timeout,
        retry_policy=REPORT_RETRY,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )


def run_step() -> Options:
    """A step that is safe to repeat: preparing, probing, interrupting, fencing, collecting."""
    return Options(
        task_queue=_queue(Aside.INSIDE),
        start_to_close_timeout=STEP_TIMEOUT,
        heartbeat_timeout=HEARTBEATS[Aside.INSIDE].timeout,
        retry_policy=THRICE,
    )


def begin_run() -> Options:
    """One attempt. Whatever becomes of it, a probe says whether the command has begun."""
    return Options(
        task_queue=_queue(Aside.INSIDE),
        schedule_to_start_timeout=QUEUE_TIMEOUT,
        start_to_close_timeout=STEP_TIMEOUT,
        heartbeat_timeout=HEARTBEATS[Aside.INSIDE].timeout,
        retry_policy=ONCE,
    )


def follow_run() -> Options:
    """Retried for as long as the workflow wants it followed: it only reads."""
    return Options(
        task_queue=_queue(Aside.RUNS),
        start_to_close_timeout=FOLLOW_TIMEOUT,
        heartbeat_timeout=HEARTBEATS[Aside.RUNS].timeout,
        retry_policy=FOLLOW_RETRY,
    )


def gate() -> Options:
    """A word to the gate of the runs, or its question who has ended. Later it is said again, or asked again."""
    return Options(
        start_to_close_timeout=GATE_TIMEOUT, schedule_to_close_timeout=timedelta(minutes=2), retry_policy=LOOKUP_RETRY
    )


def say() -> Options:
    """A word to the gate. Steps wait for it, so it is given up soon: it is said again later, or the gate asks."""
    return Options(start_to_close_timeout=SAY_TIMEOUT, schedule_to_close_timeout=SAY_TIMEOUT, retry_policy=LOOKUP_RETRY)


def watch() -> Options:
    """The gate listens for sandboxes that stop. What a lost watch would have told, the next check does."""
    return Options(
        task_queue=_queue(Aside.WAITS),
        start_to_close_timeout=WATCH_TIMEOUT,
        schedule_to_close_timeout=WATCH_TIMEOUT,
        heartbeat_timeout=HEARTBEATS[Aside.WAITS].timeout,
        retry_policy=ONCE,
    )


def best_effort() -> Options:
    """For what the handover does not depend on: labels and the refresh of the activity timer."""
    return Options(start_to_close_timeout=LOOKUP_TIMEOUT, retry_policy=THRICE)


def resync() -> Options:
    """Each retry continues where the last attempt stopped; then the repository waits for the next run."""
    return Options(
        task_queue=_queue(Aside.WAITS),
        start_to_close_timeout=RESYNC_TIMEOUT,
        schedule_to_close_timeout=RESYNC_DEADLINE,
        heartbeat_timeout=HEARTBEATS[Aside.WAITS].timeout,
        retry_policy=RESYNC_RETRY,
    )


def _queue(aside: Aside) -> str:
    return aside.queue(workflow.info().task_queue)
