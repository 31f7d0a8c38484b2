"""The measurements, in the order in which they run and appear."""

from __future__ import annotations

from typing import Any

from bench.measure.audit import AUDIT
from bench.measure.burst_page import BURST
from bench.measure.cold_start import COLD_START
from bench.measure.fairness import FAIRNESS_OF_REPOSITORIES
from bench.measure.frame import Measurement
from bench.measure.growth_page import GROWTH
from bench.measure.history import HISTORY
from bench.measure.latency import LATENCY
from bench.measure.metrics_page import METRICS
from bench.measure.recovery import RECOVERY
from bench.measure.requests import REQUESTS
from bench.measure.retirement_page import RETIREMENT
from bench.measure.run_history import RUN_HISTORY
from bench.measure.run_overhead import RUN_OVERHEAD
from bench.measure.run_recovery import RUN_RECOVERY
from bench.measure.run_requests import RUN_REQUESTS
from bench.measure.slots import SLOTS
from bench.measure.webhook import WEBHOOK

MEASUREMENTS: tuple[Measurement[Any], ...] = (
    REQUESTS,
    LATENCY,
    HISTORY,
    RECOVERY,
    WEBHOOK,
    METRICS,
    BURST,
    GROWTH,
    AUDIT,
    RETIREMENT,
    FAIRNESS_OF_REPOSITORIES,
    SLOTS,
    COLD_START,
    RUN_OVERHEAD,
    RUN_REQUESTS,
    RUN_HISTORY,
    RUN_RECOVERY,
)
