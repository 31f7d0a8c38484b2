"""The policies under which the model explores the workflow: the product's, with times that add no states."""

from __future__ import annotations

from dataclasses import replace

from issuebox.domain.policy import Closing, Policy
from issuebox.domain.run import RunTerms

POLICY = Policy(
    # Pauses and retries do not grow: the model lets everything happen in each of them, however short.
    backoff_initial_s=0.0,
    backoff_max_s=0.0,
    blocked_retry_initial_s=60.0,
    blocked_retry_max_s=60.0,
    unreachable_after_s=60.0,
    # A workflow of an issue that ended stays: what comes after its retirement is another workflow's, and
    # `tests/property/test_retirement.py` compares the two.
    closing=Closing(forget_after_s=-1.0),
)
"""The product's defaults, except where they would only add states of the same kind."""

PREPARING = replace(POLICY, is_setup_configured=True)
"""The same policy, with a set-up of each sandbox before its use."""

WORKING = replace(
    POLICY,
    runs=RunTerms(is_configured=True, attempts_max=2, stall_s=0.0),
    # A step of a run that failed is followed by a pause, in which Daytona may end what it does. A blocked issue is
    # tried again after some of those.
    backoff_initial_s=1.0,
    backoff_max_s=1.0,
    blocked_retry_initial_s=3.0,
    blocked_retry_max_s=3.0,
)
"""The same policy, with runs. Two attempts that are cut off are enough."""

CANCELLING = replace(WORKING, runs=replace(WORKING.runs, is_cancelled_on_close=True, interrupts_for_follow_up=True))
"""The same, where a close cancels the run, and a request while the agent works ends that work."""
